//! Writes without a number go out under sessions of the proxy's own, so that a node recognises a second attempt.
//!
//! What reached the node is taken from its profiler, which keeps each command as it came.

use std::sync::OnceLock;

use bson::{Bson, Document, doc, uuid::Uuid};
use tidegate::sandbox::{Options, ReplicaSet};

use crate::{
    reads_again,
    support::{
        Client, Proxy,
        client::{batch, number},
        raw::{self, MORE_TO_COME, Raw, body_section, sequence_section},
        relay::RelayedSet,
        shared_set, start_set,
    },
};

/// A set of one node, whose records of sessions are those of this file's tests alone.
fn lone_node() -> &'static ReplicaSet {
    static NODE: OnceLock<ReplicaSet> = OnceLock::new();
    NODE.get_or_init(|| {
        start_set(Options {
            nodes: 1,
            mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
            ..Options::default()
        })
    })
}

/// A connection to the node itself, which keeps from now on what reaches `db`.
async fn profiled(db: &str) -> Client {
    let mut node = Client::connect(lone_node().address(0)).await;
    node.succeed(db, doc! { "profile": 2 }).await;
    node
}

/// The commands of this name that reached `db`, the latest last.
async fn seen(node: &mut Client, db: &str, name: &str) -> Vec<Document> {
    let mut filter = doc! {};
    filter.insert(format!("command.{name}"), doc! { "$exists": true });
    let find =
        doc! { "find": "system.profile", "filter": filter, "sort": { "$natural": 1 }, "batchSize": 10_000 };
    let found = batch(&node.succeed(db, find).await).0;
    let command = |entry: &Document| entry.get_document("command").unwrap().clone();
    found.iter().map(command).collect()
}

fn numbered(proxy: &Proxy) -> f64 {
    proxy.metric("tidegate_writes_numbered_total")
}

fn bare_session() -> Document {
    doc! { "lsid": { "id": Uuid::new() } }
}

fn with(mut command: Document, more: Document) -> Document {
    command.extend(more);
    command
}

#[tokio::test]
async fn writes_that_a_node_can_recognise_go_out_under_a_number_and_all_else_as_it_came() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    let mut node = profiled("numbered").await;
    for create in [
        doc! { "create": "capped", "capped": true, "size": 100_000 },
        doc! { "create": "series", "timeseries": { "timeField": "at" } },
        doc! { "create": "c" },
    ] {
        client.succeed("numbered", create).await;
    }
    let insert =
        |collection: &str| doc! { "insert": collection, "documents": [{ "at": bson::DateTime::now() }] };
    let update = |more: Document| with(doc! { "q": {}, "u": { "$inc": { "x": 1 } } }, more);
    let table = [
        ("numbered", insert("c"), true),
        ("numbered", with(insert("c"), bare_session()), true),
        ("numbered", insert("capped"), true),
        ("numbered", insert("series"), true),
        ("admin", insert("exactly_once"), true),
        ("config", insert("exactly_once"), true),
        ("local", insert("exactly_once"), false),
        (
            "numbered",
            doc! { "update": "c", "updates": [update(doc! {}), update(doc! {})] },
            true,
        ),
        (
            "numbered",
            doc! { "update": "c", "updates": [update(doc! { "multi": true })] },
            false,
        ),
        (
            "numbered",
            doc! { "delete": "c", "deletes": [{ "q": { "x": -1 }, "limit": 1 }] },
            true,
        ),
        (
            "numbered",
            doc! { "delete": "c", "deletes": [{ "q": { "x": -1 }, "limit": 0 }] },
            false,
        ),
        (
            "numbered",
            doc! { "findAndModify": "c", "update": { "$inc": { "x": 1 } } },
            true,
        ),
        ("numbered", doc! { "find": "c" }, false),
        (
            "numbered",
            with(insert("c"), with(bare_session(), doc! { "txnNumber": 1_i64 })),
            false,
        ),
    ];
    for (db, command, expected) in table {
        let before = numbered(&proxy);
        client.succeed(db, command.clone()).await;
        assert_eq!(
            numbered(&proxy) - before,
            f64::from(u8::from(expected)),
            "{db} {command}"
        );
    }
    for (name, sent) in [("insert", 5), ("findAndModify", 1)] {
        let commands = seen(&mut node, "numbered", name).await;
        assert_eq!(commands.len(), sent);
        assert!(
            commands
                .iter()
                .all(|command| command.get_i64("txnNumber").unwrap() > 0)
        );
    }
}

#[tokio::test]
async fn where_it_is_turned_off_writes_go_out_as_they_came() {
    let proxy = Proxy::start(&lone_node().uri(), "[failover]\nexactly_once = \"off\"");
    let mut client = Client::connect(proxy.address).await;
    let mut node = profiled("off").await;
    let session = bare_session();
    let insert = doc! { "insert": "c", "documents": [{}] };
    client.succeed("off", insert.clone()).await;
    client.succeed("off", with(insert, session.clone())).await;
    let seen = seen(&mut node, "off", "insert").await;
    assert!(seen.len() == 2 && seen.iter().all(|command| !command.contains_key("txnNumber")));
    assert_eq!(seen[1].get("lsid"), session.get("lsid"));
    assert_eq!(numbered(&proxy), 0.0);
}

#[tokio::test]
async fn a_session_that_its_client_wrote_under_runs_a_transaction_all_the_same() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    let session = bare_session();
    for id in 0..5 {
        let insert = doc! { "insert": "before", "documents": [{ "_id": id }] };
        client.succeed("transacted", with(insert, session.clone())).await;
    }
    let statement = with(session, doc! { "txnNumber": 1_i64, "autocommit": false });
    let first = doc! { "insert": "before", "documents": [{ "_id": 5 }], "startTransaction": true };
    client.succeed("transacted", with(first, statement.clone())).await;
    let commit = doc! { "commitTransaction": 1 };
    client.succeed("admin", with(commit, statement)).await;
    let count = client.succeed("transacted", doc! { "count": "before" }).await;
    assert_eq!(number(&count, "n"), Some(6));
    assert_eq!(numbered(&proxy), 5.0);
}

#[tokio::test]
async fn what_a_node_recognises_is_counted_and_told_only_to_those_who_sent_a_number() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    let mut node = profiled("told").await;
    let recognised = || proxy.metric("tidegate_retries_recognised_total");
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1 }] };
    client.succeed("told", insert).await;
    let sent = seen(&mut node, "told", "insert").await.remove(0);
    let mut next = sent.get_i64("txnNumber").unwrap();
    let increase = doc! { "$inc": { "x": 1 } };
    let table = [
        doc! { "update": "c", "updates": [{ "q": { "_id": 1 }, "u": &increase }] },
        doc! { "findAndModify": "c", "query": { "_id": 1 }, "update": &increase },
    ];
    for (command, x) in table.into_iter().zip(1..) {
        next += 1;
        let number = doc! { "lsid": sent.get("lsid"), "txnNumber": next };
        // As if the proxy had sent it and lost the reply: its next attempt has the same number.
        node.succeed("told", with(command.clone(), number)).await;
        let reply = client.succeed("told", command.clone()).await;
        assert!(reply.keys().all(|key| !key.starts_with("retried")), "{reply}");
        assert_eq!(recognised(), f64::from(x), "{command}");
        let found = client.succeed("told", doc! { "find": "c" }).await;
        assert_eq!(number_of(&found, "x"), Some(i64::from(x)));
    }
    let own = with(bare_session(), doc! { "txnNumber": 1_i64 });
    let insert = with(doc! { "insert": "c", "documents": [{ "_id": 2 }] }, own);
    client.succeed("told", insert.clone()).await;
    let again = client.succeed("told", insert).await;
    assert_eq!(again.get_array("retriedStmtIds").unwrap().len(), 1, "{again}");
    assert_eq!(recognised(), 3.0);
}

fn number_of(found: &Document, key: &str) -> Option<i64> {
    number(&batch(found).0[0], key)
}

#[tokio::test]
async fn a_thousand_documents_behind_the_body_are_inserted_once_however_often_they_are_sent() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut node = profiled("many").await;
    let mut client = Raw::connect(proxy.address.to_string()).await.unwrap();
    let documents: Vec<_> = (0..1000).map(|n| doc! { "n": n }).collect();
    let sections = |body: &Document| vec![body_section(body), sequence_section("documents", &documents)];
    let insert = doc! { "insert": "c", "ordered": true, "$db": "many" };
    for (flags, count) in [(0, 1000), (raw::CHECKSUM_PRESENT, 2000)] {
        let id = client.next_id();
        client
            .send(&raw::msg(id, flags, &sections(&insert)))
            .await
            .unwrap();
        let reply = client.reply_to(id).await.unwrap();
        assert_eq!(number(&reply.body, "n"), Some(1000), "{reply:?}");

        let sent = seen(&mut node, "many", "insert").await.pop().unwrap();
        let number_sent = doc! { "lsid": sent.get("lsid"), "txnNumber": sent.get("txnNumber") };
        let mut direct = Raw::connect(lone_node().address(0)).await.unwrap();
        let id = direct.next_id();
        let again = raw::msg(id, 0, &sections(&with(insert.clone(), number_sent)));
        direct.send(&again).await.unwrap();
        let reply = direct.reply_to(id).await.unwrap();
        assert_eq!(reply.body.get_array("retriedStmtIds").unwrap().len(), 1000);
        let found = node.succeed("many", doc! { "count": "c" }).await;
        assert_eq!(number(&found, "n"), Some(count));
    }
}

#[tokio::test]
async fn writes_whose_client_wants_no_reply_are_acknowledged_to_the_proxy_and_keep_their_order() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut node = profiled("unheard").await;
    let mut client = Raw::connect(proxy.address.to_string()).await.unwrap();
    let unacknowledged = doc! { "writeConcern": { "w": 0 }, "$db": "unheard" };
    for round in 1..=20 {
        let statement = doc! { "q": { "_id": 1 }, "u": { "$inc": { "x": 1 } }, "upsert": true };
        let update = with(
            doc! { "update": "c", "updates": [statement] },
            unacknowledged.clone(),
        );
        let id = client.next_id();
        client
            .send(&raw::msg(id, MORE_TO_COME, &[body_section(&update)]))
            .await
            .unwrap();
        // Its reply would be taken for this one's.
        let found = client
            .command(&doc! { "find": "c", "$db": "unheard" })
            .await
            .unwrap();
        assert_eq!(number_of(&found.body, "x"), Some(round));
    }
    let insert = with(doc! { "insert": "d", "documents": [{}] }, unacknowledged);
    let id = client.next_id();
    client
        .send(&raw::msg(id, MORE_TO_COME, &[body_section(&insert)]))
        .await
        .unwrap();
    // Who waits for a reply gets that of an unacknowledged write.
    let reply = client.command(&insert).await.unwrap();
    assert_eq!(
        (reply.ok(), number(&reply.body, "n")),
        (true, Some(0)),
        "{reply:?}"
    );
    assert_eq!(numbered(&proxy), 22.0);
    let concern = |commands: Vec<Document>| {
        let of = |command: &Document| number(command.get_document("writeConcern").unwrap(), "w").unwrap();
        commands.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(concern(seen(&mut node, "unheard", "insert").await), [1, 0]);
}

#[tokio::test]
async fn sessions_are_used_again_and_ended_when_the_proxy_stops() {
    let proxy = Proxy::start(&lone_node().uri(), "");
    let mut node = profiled("again").await;
    let mut client = Client::connect(proxy.address).await;
    for n in 0..1000 {
        client
            .succeed("again", doc! { "insert": "c", "documents": [{ "n": n }] })
            .await;
    }
    node.succeed("again", doc! { "profile": 0 }).await;
    let sent = seen(&mut node, "again", "insert").await;
    let lsid = sent.last().unwrap().get_document("lsid").unwrap();
    assert_eq!(sent.last().unwrap().get_i64("txnNumber").unwrap(), 1000);
    let ours = doc! { "find": "system.sessions", "filter": { "_id.id": lsid.get("id") } };
    let refresh = doc! { "refreshLogicalSessionCacheNow": 1 };
    node.succeed("admin", refresh.clone()).await;
    assert_eq!(batch(&node.succeed("config", ours.clone()).await).0.len(), 1);
    drop(client);
    let (status, log) = proxy.stop();
    assert!(status.success(), "{log}");
    node.succeed("admin", refresh).await;
    assert_eq!(
        batch(&node.succeed("config", ours).await).0,
        Vec::<Document>::new()
    );
}

#[tokio::test]
async fn a_member_by_itself_gets_writes_as_they_came() {
    let set = shared_set();
    let primary = set.primary().await.unwrap();
    let listener = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nnode = \"{}\"",
        set.address(primary)
    );
    let proxy = Proxy::start(&set.uri(), &listener);
    let address = proxy.status()["listeners"][1]["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut client = Client::connect(address).await;
    let reply = client
        .succeed("alone", doc! { "insert": "exactly_once", "documents": [{}] })
        .await;
    assert_eq!(reply.get("n"), Some(&Bson::Int32(1)));
    assert_eq!(numbered(&proxy), 0.0);
}

/// Every write under a number is executed, and then its connection is closed instead of a reply, as often as `times` says.
async fn lose_replies(nodes: &RelayedSet, primary: usize, times: i32) {
    let point = doc! { "configureFailPoint": "onPrimaryTransactionalWrite", "mode": { "times": times } };
    nodes.set.command(primary, point).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_is_applied_once_for_clients_that_have_no_numbers() {
    let (nodes, _lent) = reads_again::nodes().await;
    let primary = nodes.set.primary().await.unwrap();
    let proxy = reads_again::proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    let insert = doc! { "insert": "c", "documents": [{ "_id": 1, "x": 0 }], "writeConcern": { "w": 3 } };
    client.run("lost", doc! { "drop": "c" }).await;
    client.succeed("lost", insert).await;
    let increase = doc! { "$inc": { "x": 1 }, "$push": { "list": "once" } };
    let statement = doc! { "q": { "_id": 1 }, "u": &increase };
    let documents: Vec<_> = (0..1000).map(|n| doc! { "n": n }).collect();
    let table = [
        doc! { "update": "c", "updates": [&statement] },
        with(
            doc! { "update": "c", "updates": [&statement, &statement] },
            bare_session(),
        ),
        doc! { "findAndModify": "c", "query": { "_id": 1 }, "update": &increase },
        doc! { "insert": "c", "documents": documents },
        doc! { "delete": "c", "deletes": [{ "q": { "n": { "$exists": true } }, "limit": 1 }] },
    ];
    let count = table.len() as f64;
    for command in table {
        lose_replies(nodes, primary, 1).await;
        let reply = client.succeed("lost", command.clone()).await;
        assert!(reply.keys().all(|key| !key.starts_with("retried")), "{reply}");
    }
    let recognised = proxy.metric("tidegate_retries_recognised_total");
    assert_eq!(recognised, count, "each was executed before its reply was lost");
    let found = client
        .succeed("lost", doc! { "find": "c", "filter": { "_id": 1 } })
        .await;
    let document = &batch(&found).0[0];
    assert_eq!(number(document, "x"), Some(4));
    assert_eq!(document.get_array("list").unwrap().len(), 4);
    let left = client.succeed("lost", doc! { "count": "c" }).await;
    assert_eq!(number(&left, "n"), Some(1000));

    // One whose client wants no reply, and reads at once what it wrote.
    lose_replies(nodes, primary, 1).await;
    let mut raw = Raw::connect(proxy.address.to_string()).await.unwrap();
    let update = doc! {
        "update": "c", "updates": [&statement], "writeConcern": { "w": 0 }, "$db": "lost",
    };
    let id = raw.next_id();
    raw.send(&raw::msg(id, MORE_TO_COME, &[body_section(&update)]))
        .await
        .unwrap();
    let find = doc! { "find": "c", "filter": { "_id": 1 }, "$db": "lost" };
    let found = raw.command(&find).await.unwrap();
    assert_eq!(number_of(&found.body, "x"), Some(5));
    assert_eq!(proxy.metric("tidegate_retries_recognised_total"), count + 1.0);
    assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);
}
