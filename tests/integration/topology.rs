//! The replica set changes, and the proxy follows: elections, crashes, no primary at all.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use tidegate::sandbox::{Options, ReplicaSet};
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    task::JoinSet,
    time::timeout,
};

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok, labels, number, prefer},
    http_get, start_set,
};

pub(super) const DB: &str = "topology";
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// The heartbeat of the proxies here: a tenth of the default, so that what takes heartbeats shows.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(1000);
/// Codes by which a node says that it is not, or no longer, what the driver took it for.
const STATE_CHANGES: [i64; 8] = [10107, 13435, 13436, 11600, 11602, 91, 189, 10058];

/// A set that these tests disturb one after the other; each gets it whole.
pub(super) async fn restless_set() -> MutexGuard<'static, ReplicaSet> {
    static SET: OnceCell<Mutex<ReplicaSet>> = OnceCell::const_new();
    let start = || async {
        Mutex::new(start_set(Options {
            // Mirrored reads are counted by the secondaries, and would blur where reads were served.
            mongod_arguments: ["enableTestCommands=1", "mirrorReads={samplingRate: 0.0}"]
                .into_iter()
                .flat_map(|parameter| ["--setParameter".to_owned(), parameter.to_owned()])
                .collect(),
            ..Options::default()
        }))
    };
    let set = SET.get_or_init(start).await.lock().await;
    // A test that failed may have left something down.
    let running = set.pids().len();
    if running < 3 {
        for node in 0..3 {
            let _ = set.restart(node).await;
        }
    }
    set.wait_ready().await.unwrap();
    set
}

/// A proxy with [`HEARTBEAT`] and further options of the connection string.
pub(super) fn proxy(uri: &str, options: &str) -> Proxy {
    Proxy::start(&with_heartbeat(uri, options), "")
}

pub(super) fn with_heartbeat(uri: &str, options: &str) -> String {
    format!("{uri}&heartbeatFrequencyMS={}{options}", HEARTBEAT.as_millis())
}

/// The address of each node that `/status` shows, and its state.
pub(super) fn states(proxy: &Proxy) -> Vec<(String, String)> {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    nodes
        .iter()
        .map(|node| (text(&node["address"]), text(&node["state"])))
        .collect()
}

fn primary_of(proxy: &Proxy) -> Option<String> {
    proxy.status()["topology"]["primary"].as_str().map(str::to_owned)
}

/// A write that may not be sent twice.
fn update_all(collection: &str) -> Document {
    let all = doc! { "q": {}, "u": { "$inc": { "n": 1 } }, "multi": true };
    doc! { "update": collection, "updates": [all] }
}

pub(super) fn insert(collection: &str) -> Document {
    doc! { "insert": collection, "documents": [{}], "writeConcern": { "w": "majority" } }
}

/// How often a node ran a command that only these tests use.
async fn count_of(set: &ReplicaSet, node: usize, command: &str) -> i64 {
    let status = set
        .command(node, prefer("secondaryPreferred", doc! { "serverStatus": 1 }))
        .await
        .unwrap();
    let commands = status
        .get_document("metrics")
        .unwrap()
        .get_document("commands")
        .unwrap();
    number(commands.get_document(command).unwrap(), "total").unwrap()
}

pub(super) async fn counts_of(set: &ReplicaSet, command: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    for node in 0..set.options().nodes {
        counts.push(count_of(set, node, command).await);
    }
    counts
}

/// How often each node has run `command` since.
pub(super) async fn since(set: &ReplicaSet, command: &str, before: &[i64]) -> Vec<i64> {
    let now = counts_of(set, command).await;
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}

/// Panics if a reply, at any level, would make a driver take the proxy for a node that changed its state.
fn assert_no_state_change(reply: &Document) {
    let mut errors = vec![reply.clone()];
    errors.extend(reply.get_document("writeConcernError").ok().cloned());
    let writes = reply
        .get_array("writeErrors")
        .map(Vec::as_slice)
        .unwrap_or_default();
    errors.extend(writes.iter().filter_map(Bson::as_document).cloned());
    for error in errors {
        let code = number(&error, "code").unwrap_or_default();
        assert!(!STATE_CHANGES.contains(&code), "{reply}");
        let message = error.get_str("errmsg").unwrap_or_default().to_lowercase();
        for words in ["not master", "not primary", "node is recovering"] {
            assert!(!message.contains(words), "{reply}");
        }
    }
    assert!(!reply.contains_key("topologyVersion") || is_ok(reply), "{reply}");
}

/// What a client does all the time while the set changes: writes, batches, reads. Every reply is judged.
async fn keep_busy(mut client: Client, end: Instant) -> (usize, Vec<String>) {
    let (mut done, mut errors) = (0, Vec::new());
    let many: Vec<_> = (0..100).map(|n| doc! { "n": n }).collect();
    while Instant::now() < end {
        let commands = [
            insert("busy"),
            doc! { "insert": "busy", "documents": &many, "ordered": false },
            // Of one in a hundred: to change all, again and again, would keep the nodes applying changes long after the end.
            doc! { "update": "busy", "updates": [{ "q": { "n": 0 }, "u": { "$inc": { "x": 1 } }, "multi": true }] },
            doc! { "findAndModify": "busy", "query": {}, "update": { "$inc": { "y": 1 } } },
            doc! { "find": "busy", "limit": 1 },
        ];
        for command in commands {
            let reply = client.run(DB, command).await;
            assert_no_state_change(&reply);
            if is_ok(&reply) {
                done += 1;
            } else {
                errors.push(reply.get_str("codeName").unwrap_or_default().to_owned());
            }
        }
    }
    (done, errors)
}

/// How often each error came.
fn tally(errors: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    errors
        .iter()
        .for_each(|error| *counts.entry(error.as_str()).or_default() += 1);
    counts
}

#[tokio::test]
async fn after_a_stepdown_the_topology_is_right_within_two_heartbeats_and_commands_work() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "");
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, insert("stepdown")).await;
    for through_the_proxy in [true, false] {
        let old = set.primary().await.unwrap();
        let address = set.address(old).to_owned();
        assert_eq!(primary_of(&proxy).as_ref(), Some(&address));
        let end = Instant::now() + Duration::from_secs(3);
        let mut busy = JoinSet::new();
        for _ in 0..10 {
            busy.spawn(keep_busy(Client::connect(proxy.address).await, end));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;

        if through_the_proxy {
            let command = doc! { "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 8 };
            client.succeed("admin", command).await;
        } else {
            set.step_down().await.unwrap();
        }
        let stepped_down = Instant::now();
        let write = async {
            let mut client = Client::connect(proxy.address).await;
            client.succeed(DB, insert("stepdown")).await;
            stepped_down.elapsed()
        };
        let watch = async {
            let forgotten = eventually("the old primary is none any more", 2 * HEARTBEAT, async || {
                primary_of(&proxy).as_ref() != Some(&address)
            });
            let forgotten = forgotten.await;
            let new = set.primary().await.unwrap();
            assert_ne!(new, old);
            let found = eventually("the new primary is known", 2 * HEARTBEAT, async || {
                primary_of(&proxy).as_deref() == Some(set.address(new))
            });
            (forgotten, found.await)
        };
        let (write, (forgotten, found)) = tokio::join!(write, watch);
        let (done, errors): (Vec<_>, Vec<_>) = busy.join_all().await.into_iter().unzip();
        println!(
            "stepdown through the proxy: {through_the_proxy}; the old primary was forgotten after {forgotten:?}, the \
             new one known {found:?} after its election, a write acknowledged {write:?} after the stepdown; meanwhile \
             {} commands succeeded, and failed: {:?}",
            done.iter().sum::<usize>(),
            tally(&errors.concat())
        );
        assert!(write < Duration::from_secs(15), "{write:?}");
        set.wait_ready().await.unwrap();
        eventually("all are known", 2 * HEARTBEAT, async || {
            let states: Vec<_> = states(&proxy).into_iter().map(|(_, state)| state).collect();
            let secondaries = states.iter().filter(|state| *state == "secondary");
            secondaries.count() == 2 && states.contains(&"primary".to_owned())
        })
        .await;
    }
    println!(
        "{} replies were masked",
        proxy.metric("tidegate_state_changes_masked_total")
    );
}

#[tokio::test]
async fn errors_of_state_changes_become_host_unreachable() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "&appName=masked");
    let primary = set.primary().await.unwrap();
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, insert("masked")).await;
    let mut masked = 0.0;
    for code in STATE_CHANGES {
        let concern = doc! { "code": code as i32, "errmsg": "not primary, or the like" };
        for failure in [
            doc! { "errorCode": code as i32 },
            doc! { "writeConcernError": concern },
        ] {
            let mut data = doc! { "failCommands": ["update"], "appName": "masked" };
            data.extend(failure.clone());
            let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
            set.command(primary, point).await.unwrap();
            let reply = client.run(DB, update_all("masked")).await;
            assert_no_state_change(&reply);
            let error = reply.get_document("writeConcernError").unwrap_or(&reply);
            assert_eq!(number(error, "code"), Some(6), "{failure}: {reply}");
            masked += 1.0;
        }
        // The proxy has looked, and found that nothing is amiss.
        client.succeed(DB, insert("masked")).await;
    }
    assert_eq!(proxy.metric("tidegate_state_changes_masked_total"), masked);
    // A connection that breaks under a command, which may have been executed; one with a number goes again.
    let data = doc! { "failCommands": ["update", "insert"], "appName": "masked", "closeConnection": true };
    let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    set.command(primary, point.clone()).await.unwrap();
    let reply = client.run(DB, update_all("masked")).await;
    assert_eq!(number(&reply, "code"), Some(6), "{reply}");
    assert!(
        reply.get_str("errmsg").unwrap().contains("outcome is unknown"),
        "{reply}"
    );
    let mut with_number = insert("masked");
    let uuid = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![7; 16],
    };
    with_number.insert("lsid", doc! { "id": uuid });
    with_number.insert("txnNumber", 1_i64);
    set.command(primary, point).await.unwrap();
    client.succeed(DB, with_number).await;
    assert_eq!(proxy.metric("tidegate_writes_sent_again_total"), 1.0);
    assert_eq!(proxy.metric("tidegate_outcomes_unknown_total"), 1.0);
}

#[tokio::test]
async fn a_secondary_that_is_killed_leaves_and_comes_back() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "&serverSelectionTimeoutMS=5000");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(
            DB,
            doc! { "insert": "killed", "documents": [{}], "writeConcern": { "w": 3 } },
        )
        .await;
    let read = prefer("secondary", doc! { "find": "killed" });
    for _ in 0..20 {
        client.succeed(DB, read.clone()).await;
    }
    let primary = set.primary().await.unwrap();
    let victim = (primary + 1) % 3;
    let state = |proxy: &Proxy| {
        let states = states(proxy);
        states
            .into_iter()
            .find(|(address, _)| address == set.address(victim))
    };
    set.kill(victim).unwrap();
    // At once, over connections to a node that is gone.
    for _ in 0..20 {
        client.succeed(DB, read.clone()).await;
    }
    let left = eventually("the dead node is unknown", 2 * HEARTBEAT, async || {
        state(&proxy).unwrap().1 == "unknown"
    })
    .await;
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    let node = nodes
        .iter()
        .find(|node| node["address"] == set.address(victim))
        .unwrap();
    assert!(node["error"].is_string(), "{node}");
    assert_eq!(node["pool"]["idle"], 0, "{node}");
    client.succeed(DB, insert("killed")).await;

    set.restart(victim).await.unwrap();
    set.wait_ready().await.unwrap();
    let back = eventually("it is a secondary again", LIMIT, async || {
        state(&proxy).unwrap().1 == "secondary"
    })
    .await;
    println!("a killed secondary was unknown after {left:?}, and back {back:?} after it was ready");
    let before = count_of(&set, victim, "distinct").await;
    eventually("it serves reads again", LIMIT, async || {
        client
            .succeed(DB, prefer("secondary", doc! { "distinct": "killed", "key": "x" }))
            .await;
        count_of(&set, victim, "distinct").await > before
    })
    .await;
}

#[tokio::test]
async fn without_a_primary_writes_fail_in_time_with_labels_and_reads_go_on() {
    let set = restless_set().await;
    let proxy = proxy(&set.uri(), "&serverSelectionTimeoutMS=1500");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(
            DB,
            doc! { "insert": "alone", "documents": [{}], "writeConcern": { "w": 3 } },
        )
        .await;
    let primary = set.primary().await.unwrap();
    let down = [primary, (primary + 1) % 3];
    down.into_iter().for_each(|node| set.kill(node).unwrap());
    let read = prefer("secondaryPreferred", doc! { "find": "alone" });
    let lsid = || {
        let bytes = (0..16).map(|_| fastrand::u8(..)).collect();
        doc! { "id": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes } }
    };
    let mut retryable = insert("alone");
    retryable.extend(doc! { "lsid": lsid(), "txnNumber": 1_i64 });
    let mut in_transaction = doc! { "insert": "alone", "documents": [{}] };
    in_transaction
        .extend(doc! { "lsid": lsid(), "txnNumber": 1_i64, "autocommit": false, "startTransaction": true });
    let mut commit = doc! { "commitTransaction": 1 };
    commit.extend(doc! { "lsid": lsid(), "txnNumber": 1_i64, "autocommit": false });
    let primary_read = doc! { "find": "alone" };
    let cases: [(&str, Document, &[&str]); 5] = [
        (DB, insert("alone"), &[]),
        (DB, primary_read, &[]),
        (DB, retryable, &["RetryableWriteError"]),
        (DB, in_transaction, &["TransientTransactionError"]),
        ("admin", commit, &["RetryableWriteError"]),
    ];
    let mut asking = JoinSet::new();
    for (db, command, expected) in cases {
        let mut client = Client::connect(proxy.address).await;
        asking.spawn(async move {
            let asked = Instant::now();
            let reply = client.run(db, command.clone()).await;
            let waited = asked.elapsed().as_millis();
            assert_eq!(number(&reply, "code"), Some(6), "{command}: {reply}");
            assert_eq!(labels(&reply), expected, "{command}");
            assert!((1400..4000).contains(&waited), "{waited} ms: {reply}");
        });
    }
    while !asking.is_empty() {
        let (documents, _) = batch(&client.succeed(DB, read.clone()).await);
        assert_eq!(documents.len(), 1);
        if let Ok(Some(asked)) = timeout(Duration::from_millis(50), asking.join_next()).await {
            asked.unwrap();
        }
    }
    assert_eq!(
        http_get(proxy.admin, "/readyz").unwrap().0,
        200,
        "an election does not end readiness"
    );
    for node in down {
        set.restart(node).await.unwrap();
    }
    set.wait_ready().await.unwrap();
    eventually("writes work again", LIMIT, async || {
        is_ok(&client.run(DB, insert("alone")).await)
    })
    .await;
}
