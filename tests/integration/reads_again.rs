//! Reads that a node or its connection failed go again, on another node if one fits; nothing else does.

use std::{
    pin::pin,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bson::{Document, doc, uuid::Uuid};
use tidegate::sandbox::Options;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use crate::support::{
    Client, Proxy,
    client::{batch, is_ok, labels, number, prefer},
    relay::{Cut, RelayedSet},
};

const DB: &str = "again";
/// What the handshakes of the proxies under test contain.
const MARKER: &str = "reads-again";

/// A set whose nodes fail on demand, lent to one test at a time, because a node has one fail point for commands.
pub(crate) async fn nodes() -> (&'static RelayedSet, MutexGuard<'static, ()>) {
    static NODES: OnceLock<RelayedSet> = OnceLock::new();
    static LENT: Mutex<()> = Mutex::const_new(());
    let lent = LENT.lock().await;
    let start = || {
        let options = Options {
            mongod_arguments: vec!["--setParameter".to_owned(), "enableTestCommands=1".to_owned()],
            ..Options::default()
        };
        RelayedSet::start(options, MARKER, 1)
    };
    let nodes = tokio::task::spawn_blocking(move || NODES.get_or_init(start)).await;
    (nodes.unwrap(), lent)
}

/// A proxy that the faults of [`fail`] hit.
pub(crate) fn proxy(nodes: &RelayedSet) -> Proxy {
    let uri = format!("{}&appName={MARKER}&localThresholdMS=10000", nodes.uri());
    Proxy::start(&uri, "[pool]\nmin_size = 1")
}

/// Lets commands of the proxy fail on one node, the next `times` times.
async fn fail(nodes: &RelayedSet, node: usize, times: i32, mut data: Document) {
    data.insert("appName", MARKER);
    let mode = if times == 0 {
        "off".into()
    } else {
        bson::Bson::Document(doc! { "times": times })
    };
    let point = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
    nodes.set.command(node, point).await.unwrap();
}

fn closes(command: &str) -> Document {
    doc! { "failCommands": [command], "closeConnection": true }
}

fn sent_again(proxy: &Proxy) -> f64 {
    proxy.metric("tidegate_reads_sent_again_total")
}

async fn insert(client: &mut Client, collection: &str, count: i32) {
    let documents: Vec<_> = (0..count).map(|id| doc! { "_id": id }).collect();
    let concern = doc! { "w": 3 };
    client.run(DB, doc! { "drop": collection }).await;
    let insert = doc! { "insert": collection, "documents": documents, "writeConcern": concern };
    client.succeed(DB, insert).await;
}

#[tokio::test]
async fn reads_whose_connection_breaks_have_their_result_all_the_same() {
    let (nodes, _lent) = nodes().await;
    let primary = nodes.set.primary().await.unwrap();
    let proxy = proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    insert(&mut client, "tides", 3).await;
    let table = [
        doc! { "find": "tides", "singleBatch": true },
        doc! { "aggregate": "tides", "pipeline": [{ "$match": {} }], "cursor": {} },
        doc! { "distinct": "tides", "key": "_id" },
        doc! { "count": "tides" },
        doc! { "listCollections": 1 },
        doc! { "listIndexes": "tides" },
    ];
    let count = table.len() as f64;
    for command in table {
        let expected = client.succeed(DB, command.clone()).await;
        let name = command.keys().next().unwrap().clone();
        fail(nodes, primary, 1, closes(&name)).await;
        let found = client.succeed(DB, command).await;
        for key in ["cursor", "values", "n"] {
            assert_eq!(found.get(key), expected.get(key), "{name}");
        }
    }
    assert_eq!(sent_again(&proxy), count, "once each");
    assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);

    // A node that always fails is given up.
    fail(nodes, primary, 100, closes("find")).await;
    let failed = client.run(DB, doc! { "find": "tides" }).await;
    fail(nodes, primary, 0, closes("find")).await;
    assert_eq!(number(&failed, "code"), Some(6), "{failed}");
    assert_eq!(sent_again(&proxy), count + 2.0);
}

#[tokio::test]
async fn what_is_no_retryable_read_fails_with_its_connection() {
    let (nodes, _lent) = nodes().await;
    let primary = nodes.set.primary().await.unwrap();
    let proxy = proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    insert(&mut client, "kept", 5).await;
    let find = doc! { "find": "kept", "batchSize": 1 };
    let (_, cursor) = batch(&client.succeed(DB, find.clone()).await);
    let mut in_transaction = find.clone();
    in_transaction.extend(doc! {
        "lsid": { "id": Uuid::new() }, "txnNumber": 1i64, "autocommit": false, "startTransaction": true,
    });
    let mut late = find;
    late.insert("maxTimeMS", 300);
    let slow = doc! { "failCommands": ["find"], "closeConnection": true, "blockConnection": true, "blockTimeMS": 600 };
    let out = doc! { "aggregate": "kept", "pipeline": [{ "$out": "copied" }], "cursor": {} };
    let table = [
        (
            doc! { "getMore": cursor, "collection": "kept" },
            closes("getMore"),
        ),
        (in_transaction, closes("find")),
        (out, closes("aggregate")),
        (
            doc! { "update": "kept", "updates": [{ "q": {}, "u": { "$inc": { "x": 1 } }, "multi": true }] },
            closes("update"),
        ),
        // Its time is over when the connection breaks.
        (late, slow),
    ];
    for (command, fault) in table {
        fail(nodes, primary, 1, fault).await;
        let failed = client.run(DB, command.clone()).await;
        assert!(!is_ok(&failed), "{command}: {failed}");
        assert_eq!(number(&failed, "code"), Some(6), "{command}: {failed}");
        let is_statement = command.contains_key("txnNumber");
        assert_eq!(
            labels(&failed).contains(&"TransientTransactionError"),
            is_statement
        );
    }
    fail(nodes, primary, 0, closes("find")).await;
    assert_eq!(sent_again(&proxy), 0.0);
}

#[tokio::test]
async fn a_read_that_a_node_cannot_serve_just_then_goes_again_once() {
    let (nodes, _lent) = nodes().await;
    let primary = nodes.set.primary().await.unwrap();
    let proxy = proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    insert(&mut client, "states", 1).await;
    let errors = |code: i32| doc! { "failCommands": ["find"], "errorCode": code };
    let find = doc! { "find": "states", "singleBatch": true };
    // Not primary, stepped down, shutting down, the majority not known yet.
    for code in [10107, 189, 91, 134] {
        let before = sent_again(&proxy);
        fail(nodes, primary, 1, errors(code)).await;
        let found = client.succeed(DB, find.clone()).await;
        assert_eq!(batch(&found).0.len(), 1, "{code}");
        assert_eq!(sent_again(&proxy), before + 1.0, "{code}");
    }
    let before = sent_again(&proxy);
    fail(nodes, primary, 2, errors(134)).await;
    let failed = client.run(DB, find.clone()).await;
    assert_eq!(
        number(&failed, "code"),
        Some(134),
        "the second error is the client's"
    );
    assert_eq!(sent_again(&proxy), before + 1.0);
    // The read's own fault.
    fail(nodes, primary, 1, errors(2)).await;
    assert_eq!(number(&client.run(DB, find).await, "code"), Some(2));
    assert_eq!(sent_again(&proxy), before + 1.0);
}

/// The port of the node that serves a read: not its relay's.
fn served_by(reply: &Document) -> String {
    let (documents, _) = batch(reply);
    let host = documents[0].get_str("host").unwrap();
    host.rsplit_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_read_in_the_middle_of_which_its_secondary_is_lost_goes_to_the_other() {
    let (nodes, _lent) = nodes().await;
    let primary = nodes.set.primary().await.unwrap();
    let secondaries: Vec<_> = (0..3).filter(|node| *node != primary).collect();
    let [slow, other] = secondaries[..] else {
        panic!("three nodes")
    };
    let proxy = proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    let blocks = doc! { "failCommands": ["aggregate"], "blockConnection": true, "blockTimeMS": 20_000 };
    fail(nodes, slow, 1, blocks.clone()).await;
    let which = doc! { "$project": { "host": 1 } };
    let read = doc! {
        "aggregate": 1, "pipeline": [{ "$currentOp": {} }, { "$limit": 1 }, which], "cursor": {},
    };
    for _ in 0..200 {
        client
            .send("admin", prefer("secondary", read.clone()))
            .await
            .unwrap();
        let reply = timeout(Duration::from_secs(1), client.reply()).await;
        if let Ok(reply) = reply {
            assert_eq!(served_by(&reply.unwrap()), port(nodes, other));
            continue;
        }
        let cut = Instant::now();
        nodes.relays[slow].cut_all(Cut::Reset);
        let reply = client.reply().await.unwrap();
        assert!(cut.elapsed() < Duration::from_secs(10), "{:?}", cut.elapsed());
        assert_eq!(served_by(&reply), port(nodes, other));
        assert_eq!(sent_again(&proxy), 1.0);
        fail(nodes, slow, 0, blocks).await;
        return;
    }
    panic!("no read went to the secondary that is slow");
}

fn port(nodes: &RelayedSet, node: usize) -> String {
    let address = nodes.set.address(node);
    address.rsplit_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn reads_go_on_without_an_error_while_a_primary_steps_down() {
    let (nodes, _lent) = nodes().await;
    let proxy = proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    insert(&mut client, "elected", 3).await;
    let before = nodes.set.primary().await.unwrap();
    let mut done = pin!(async {
        nodes.set.step_down().await.unwrap();
        nodes.set.wait_ready().await.unwrap();
    });
    let (mut count, mut is_done) = (0, false);
    while count < 50 || !is_done {
        client.send(DB, doc! { "find": "elected" }).await.unwrap();
        let mut reply = pin!(client.reply());
        let found = loop {
            tokio::select! {
                found = &mut reply => break found.unwrap(),
                () = &mut done, if !is_done => is_done = true,
            }
        };
        assert_eq!(batch(&found).0.len(), 3);
        count += 1;
    }
    println!("{count} reads, {} sent again", sent_again(&proxy));
    assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);
    assert_ne!(nodes.set.primary().await.unwrap(), before);
}
