//! Commands that wait while no node can take them: how many, for how long, in which order, and by whose hand.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bson::{Document, Uuid, doc};
use serde_json::Value;
use tidegate::sandbox::{Options, ReplicaSet};
use tokio::{sync::Semaphore, time::Instant};

use crate::support::{
    Proxy,
    client::{Client, batch, eventually, is_ok, labels, number, prefer},
    raw::{self, Raw},
    shared_set, start_set,
};
use crate::topology::restless_set;

const DB: &str = "gate";
const LIMIT: Duration = Duration::from_secs(60);
/// The set stays without a primary until the test lets it have one.
const FROZEN: i32 = 3600;

pub(crate) fn post(address: SocketAddr, path: &str, headers: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap())
}

fn gate(proxy: &Proxy) -> Value {
    proxy.status()["gate"].clone()
}

async fn until_held(proxy: &Proxy, count: u64) {
    let what = format!("{count} commands are held");
    eventually(&what, LIMIT, async || gate(proxy)["commands"] == count).await;
}

/// Takes the primary away, and sees to it that nobody becomes one.
async fn take_primary(set: &ReplicaSet) -> usize {
    let primary = set.primary().await.unwrap();
    for node in (0..3).filter(|node| *node != primary) {
        set.command(node, doc! { "replSetFreeze": FROZEN }).await.unwrap();
    }
    let step_down = doc! { "replSetStepDown": FROZEN, "force": true };
    set.command(primary, step_down).await.unwrap();
    primary
}

/// Lets the set have the primary again that it had.
async fn give_primary(set: &ReplicaSet, primary: usize) {
    let thaw = doc! { "replSetFreeze": 0 };
    eventually("the old primary may be one again", LIMIT, async || {
        let _ = set.command(primary, thaw.clone()).await;
        set.command(primary, doc! { "replSetStepUp": 1 }).await.is_ok()
    })
    .await;
}

/// Sets the counter of document `id` to `to`, if it is one less.
fn count_up(id: i32, to: i32) -> Document {
    let update = doc! { "q": { "_id": id, "n": to - 1 }, "u": { "$set": { "n": to } } };
    doc! { "update": "order", "updates": [update] }
}

#[tokio::test]
async fn ten_thousand_commands_are_held_and_released_in_order_and_one_more_is_refused() {
    const COMMANDS: usize = 10_000;
    let set = start_set(Options::default());
    let sections =
        format!("[limits]\nmax_clients = 20000\n[failover]\nhold = \"2m\"\nhold_commands = {COMMANDS}\n");
    let proxy = Proxy::start(&set.uri(), &sections);
    let mut first = Client::connect(proxy.address).await;
    for part in (0..COMMANDS as i32).collect::<Vec<_>>().chunks(2_500) {
        let documents: Vec<_> = part.iter().map(|id| doc! { "_id": id, "n": 0 }).collect();
        first
            .succeed(DB, doc! { "insert": "order", "documents": documents })
            .await;
    }
    let primary = take_primary(&set).await;
    eventually("the proxy knows of no primary", LIMIT, async || {
        proxy.status()["topology"]["primary"].is_null()
    })
    .await;

    let connecting = Semaphore::new(200);
    let mut clients = Vec::new();
    for id in 0..COMMANDS as i32 {
        let _turn = connecting.acquire().await.unwrap();
        let mut client = Client::connect(proxy.address).await;
        // Both are on their way at once; the second is read when the first is done.
        client.send(DB, count_up(id, 1)).await.unwrap();
        client.send(DB, count_up(id, 2)).await.unwrap();
        clients.push(client);
    }
    until_held(&proxy, COMMANDS as u64).await;
    let held = gate(&proxy);
    println!("{held}");
    assert_eq!(held["state"], "holding");
    assert!(
        held["bytes"].as_u64().unwrap() <= held["max_bytes"].as_u64().unwrap(),
        "{held}"
    );
    let refused = first.run(DB, count_up(0, 1)).await;
    assert_eq!(number(&refused, "code"), Some(6), "{refused}");
    assert_eq!(
        labels(&refused),
        ["SystemOverloadedError", "RetryableError"],
        "{refused}"
    );
    // A read that a secondary serves does not wait.
    first
        .succeed(DB, prefer("secondary", doc! { "find": "order", "limit": 1 }))
        .await;

    give_primary(&set, primary).await;
    let released = Instant::now();
    for client in &mut clients {
        for _ in 0..2 {
            let reply = client.next_reply().await.unwrap();
            assert_eq!(number(&reply, "nModified"), Some(1), "out of order: {reply}");
        }
    }
    println!(
        "{COMMANDS} commands, and as many behind them, were done after {:?}",
        released.elapsed()
    );
    let total = doc! { "aggregate": "order", "cursor": {}, "pipeline": [{ "$group": { "_id": null, "n": { "$sum": "$n" } } }] };
    let total = first.succeed(DB, total).await;
    assert_eq!(number(&batch(&total).0[0], "n"), Some(2 * COMMANDS as i64));
    assert_eq!(gate(&proxy)["commands"], 0);
    assert_eq!(proxy.metric("tidegate_holds_refused_total"), 1.0);
    assert_eq!(proxy.metric("tidegate_holds_expired_total"), 0.0);
}

#[tokio::test]
async fn the_gate_is_closed_and_opened_by_hand() {
    let proxy = Proxy::start(&shared_set().uri(), "[failover]\nhold = \"1m\"\n");
    let mut client = Client::connect(proxy.address).await;
    let documents: Vec<_> = (0..5).map(|n| doc! { "n": n }).collect();
    client
        .succeed(DB, doc! { "insert": "pause", "documents": documents })
        .await;
    let opened = client.succeed(DB, doc! { "find": "pause", "batchSize": 2 }).await;
    let (_, cursor) = batch(&opened);

    let web_page = post(proxy.admin, "/pause", "Origin: http://example.com\r\n");
    assert_eq!(web_page.0, 403, "{}", web_page.1);
    let (code, answer) = post(proxy.admin, "/pause", "");
    assert_eq!((code, &answer["changed"]), (200, &Value::Bool(true)), "{answer}");
    assert_eq!(post(proxy.admin, "/pause", "").1["changed"], false);
    assert_eq!(gate(&proxy)["state"], "paused");
    assert_eq!(proxy.status()["ready"], true, "clients are served, if later");

    // What needs no node is answered, all else waits: a write, a read from secondaries, and a cursor.
    client.succeed("admin", doc! { "hello": 1 }).await;
    let held = [
        doc! { "insert": "pause", "documents": [{ "n": 5 }] },
        prefer("secondary", doc! { "find": "pause", "limit": 1 }),
        doc! { "getMore": cursor, "collection": "pause" },
        // Of one session that nobody has: with none named, all end, and with them what other tests are at.
        doc! { "killSessions": [{ "id": Uuid::new() }] },
    ];
    let mut waiting = Vec::new();
    for command in held {
        let mut client = Client::connect(proxy.address).await;
        client.send(DB, command).await.unwrap();
        waiting.push(client);
    }
    until_held(&proxy, 4).await;
    // One whose time is over, and one whose client leaves.
    let late = doc! { "find": "pause", "maxTimeMS": 200 };
    let reply = client.run(DB, late).await;
    assert_eq!(number(&reply, "code"), Some(50), "{reply}");
    let mut leaves = Client::connect(proxy.address).await;
    let gone = doc! { "insert": "pause", "documents": [{ "_id": "gone" }] };
    leaves.send(DB, gone).await.unwrap();
    until_held(&proxy, 5).await;
    drop(leaves);
    until_held(&proxy, 4).await;
    assert_eq!(proxy.metric("tidegate_holds_left_total"), 1.0);

    assert_eq!(post(proxy.admin, "/resume", "").1["changed"], true);
    for client in &mut waiting {
        let reply = client.reply().await.unwrap();
        assert_eq!(number(&reply, "ok"), Some(1), "{reply}");
    }
    assert_eq!(post(proxy.admin, "/resume", "").1["changed"], false);
    assert_eq!(gate(&proxy)["state"], "open");
    let gone = client
        .succeed(DB, doc! { "find": "pause", "filter": { "_id": "gone" } })
        .await;
    assert!(
        batch(&gone).0.is_empty(),
        "its client left before it could be sent"
    );
}

#[tokio::test]
async fn a_command_is_held_for_no_longer_than_the_configuration_says() {
    let proxy = Proxy::start(&shared_set().uri(), "[failover]\nhold = \"300ms\"\n");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(DB, doc! { "insert": "expired", "documents": [{}] })
        .await;
    post(proxy.admin, "/pause", "");
    let waited = Instant::now();
    let mut with_number = doc! { "insert": "expired", "documents": [{}], "txnNumber": 1_i64 };
    let uuid = bson::Binary {
        subtype: bson::spec::BinarySubtype::Uuid,
        bytes: vec![9; 16],
    };
    with_number.insert("lsid", doc! { "id": uuid });
    let reply = client.run(DB, with_number).await;
    assert!(waited.elapsed() >= Duration::from_millis(300));
    assert_eq!(number(&reply, "code"), Some(6), "{reply}");
    assert_eq!(labels(&reply), ["RetryableWriteError"]);
    let message = reply.get_str("errmsg").unwrap();
    assert!(
        message.contains("closed by hand") && message.contains("was not sent"),
        "{message}"
    );
}

#[tokio::test]
async fn commands_are_held_within_their_bytes() {
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[failover]\nhold = \"1m\"\nhold_bytes = \"64MiB\"\n",
    );
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(DB, doc! { "insert": "bytes", "documents": [{}] })
        .await;
    post(proxy.admin, "/pause", "");
    // Two of these have more bytes than may wait.
    let large = || doc! { "insert": "bytes", "documents": (0..3).map(|_| doc! { "x": "x".repeat(12 << 20) }).collect::<Vec<_>>() };
    let mut other = Client::connect(proxy.address).await;
    other.send(DB, large()).await.unwrap();
    until_held(&proxy, 1).await;
    let reply = client.run(DB, large()).await;
    assert!(labels(&reply).contains(&"SystemOverloadedError"), "{reply}");
    assert!(reply.get_str("errmsg").unwrap().contains("hold_bytes"), "{reply}");
    post(proxy.admin, "/resume", "");
    let reply = other.reply().await.unwrap();
    // The node itself takes no body of this size.
    assert_eq!(number(&reply, "code"), Some(10334), "it was let go: {reply}");
    client
        .succeed(DB, doc! { "insert": "bytes", "documents": [{}] })
        .await;
}

/// Lets the set's primary fail this command once, for the proxy that names itself `app`.
async fn fail_once(set: &ReplicaSet, app: &str, command: &str, failure: Document) {
    let primary = set.primary().await.unwrap();
    let mut data = doc! { "failCommands": [command], "appName": app };
    data.extend(failure);
    let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data };
    set.command(primary, point).await.unwrap();
}

#[tokio::test]
async fn without_holding_writes_still_go_again_and_nothing_waits() {
    let set = restless_set().await;
    let uri = format!("{}&appName=unheld", set.uri());
    let proxy = Proxy::start(&uri, "[failover]\nhold = \"off\"\n");
    let mut client = Client::connect(proxy.address).await;
    let insert = || doc! { "insert": "unheld", "documents": [{}] };
    eventually("a connection is there", LIMIT, async || {
        is_ok(&client.run(DB, insert()).await)
    })
    .await;
    // From half a second after its last check on, a node whose connection breaks is asked before it is known again, and nothing waits for
    // that here. It has just been asked then, so that the next connection that breaks costs itself alone.
    let sent_again = || proxy.metric("tidegate_writes_sent_again_total");
    eventually("a write goes again", LIMIT, async || {
        fail_once(&set, "unheld", "insert", doc! { "closeConnection": true }).await;
        let before = sent_again();
        let reply = client.run(DB, insert()).await;
        assert!(is_ok(&reply) || number(&reply, "code") == Some(6), "{reply}");
        if is_ok(&reply) {
            assert_eq!(sent_again() - before, 1.0);
        }
        is_ok(&reply)
    })
    .await;
    post(proxy.admin, "/pause", "");
    let waited = Instant::now();
    let reply = client.run(DB, insert()).await;
    assert_eq!(number(&reply, "code"), Some(6), "{reply}");
    assert!(waited.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn who_waits_when_the_proxy_stops_is_told_at_once() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(DB, doc! { "insert": "stopped", "documents": [{}] })
        .await;
    post(proxy.admin, "/pause", "");
    client
        .send(DB, doc! { "insert": "stopped", "documents": [{}] })
        .await
        .unwrap();
    until_held(&proxy, 1).await;
    let stopping = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || proxy.stop());
    let reply = client.reply().await.unwrap();
    let message = reply.get_str("errmsg").unwrap();
    assert!(
        message.contains("stopping") && message.contains("not sent"),
        "{message}"
    );
    let (status, log) = stopped.await.unwrap();
    assert!(status.success(), "{log}");
    assert!(
        stopping.elapsed() < Duration::from_secs(5),
        "{:?}",
        stopping.elapsed()
    );
}

#[tokio::test]
async fn a_busy_gate_opens_again_and_turns_nobody_away() {
    const CLIENTS: usize = 120;
    let sections = "[pool]\nmax_size = 3\n[failover]\nhold_commands = 150\n";
    let proxy = Proxy::start(&shared_set().uri(), sections);
    let address = proxy.address;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut tasks = Vec::new();
    for number in 0..CLIENTS {
        let stopped = stopped.clone();
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut done = 0;
            while !*stopped.borrow() {
                let find = doc! { "find": "busy", "filter": { "_id": number as i32 } };
                client.succeed(DB, find).await;
                done += 1;
            }
            done
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    post(proxy.admin, "/pause", "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gate(&proxy)["state"], "paused");
    post(proxy.admin, "/resume", "");
    // More clients than have room in the window and the pool go on asking.
    eventually("nobody waits at the gate any more", LIMIT, async || {
        gate(&proxy)["commands"] == 0
    })
    .await;
    stop.send_replace(true);
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
    assert_eq!(proxy.metric("tidegate_holds_refused_total"), 0.0);
}

#[tokio::test]
async fn a_write_that_hangs_keeps_no_connection_for_a_client_that_left_without_a_word() {
    let uri = format!("{}&appName=left", shared_set().uri());
    let proxy = Proxy::start(&uri, "[pool]\nmax_size = 1\n[failover]\nhold = \"300ms\"\n");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(DB, doc! { "insert": "left", "documents": [{}] })
        .await;
    let hangs = doc! { "blockConnection": true, "blockTimeMS": 20_000 };
    fail_once(shared_set(), "left", "insert", hangs).await;
    let mut leaves = Raw::connect(proxy.address.to_string()).await.unwrap();
    let insert = doc! { "insert": "left", "documents": [{}], "writeConcern": { "w": 0 }, "$db": DB };
    let id = leaves.next_id();
    leaves
        .send(&raw::msg(id, raw::MORE_TO_COME, &[raw::body_section(&insert)]))
        .await
        .unwrap();
    let in_use = |node: &Value| node["pool"]["in_use"] == 1;
    eventually("the write hangs on the only connection", LIMIT, async || {
        proxy.status()["topology"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .any(in_use)
    })
    .await;
    drop(leaves);
    let waited = Instant::now();
    client.succeed(DB, doc! { "find": "left" }).await;
    assert!(
        waited.elapsed() < Duration::from_secs(8),
        "{:?}",
        waited.elapsed()
    );
}

#[tokio::test]
async fn commands_that_wait_for_a_connection_to_a_hung_primary_outlast_the_election() {
    let set = start_set(Options::default());
    let sections = "[pool]\nmax_size = 2\nwait_timeout = \"1500ms\"\n[failover]\nhold = \"1m\"\n";
    let proxy = Proxy::start(&set.uri(), sections);
    let mut first = Client::connect(proxy.address).await;
    first
        .succeed(DB, doc! { "insert": "queued", "documents": [{}] })
        .await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Client::connect(proxy.address).await);
    }
    let primary = set.primary().await.unwrap();
    set.pause(primary).unwrap();
    for (number, client) in clients.iter_mut().enumerate() {
        let w = doc! { "w": 1 };
        let insert = doc! { "insert": "queued", "documents": [{ "_id": number as i32 }], "writeConcern": w };
        client.send(DB, insert).await.unwrap();
    }
    for client in &mut clients {
        let reply = client.reply().await.unwrap();
        assert_eq!(number(&reply, "n"), Some(1), "{reply}");
    }
    set.resume(primary).unwrap();
}
