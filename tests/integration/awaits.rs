//! Cursors that wait for new documents have connections of their own: they starve nobody, and share those fairly.

use std::time::Duration;

use bson::{Document, doc};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    reads_again,
    support::{
        Client, Proxy,
        client::{batch, eventually, is_ok, labels, number},
        shared_set,
    },
};

const DB: &str = "awaits";
const LIMIT: Duration = Duration::from_secs(30);

/// A number of the awaits' share on the primary, as `/status` shows it.
fn awaits(proxy: &Proxy, key: &str) -> u64 {
    primary(proxy)["pool"]["awaits"][key].as_u64().unwrap()
}

fn primary(proxy: &Proxy) -> serde_json::Value {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap();
    nodes
        .iter()
        .find(|node| node["state"] == "primary")
        .unwrap()
        .clone()
}

fn insert(collection: &str, id: i32) -> Document {
    doc! { "insert": collection, "documents": [{ "_id": id }], "writeConcern": { "w": "majority" } }
}

/// Opens a change stream on a collection.
async fn watch(client: &mut Client, collection: &str) -> i64 {
    let watch = doc! { "aggregate": collection, "pipeline": [{ "$changeStream": {} }], "cursor": {} };
    let (_, cursor) = batch(&client.succeed(DB, watch).await);
    assert_ne!(cursor, 0);
    cursor
}

fn get_more(cursor: i64, collection: &str, millis: i64) -> Document {
    doc! { "getMore": cursor, "collection": collection, "maxTimeMS": millis }
}

/// A tailable cursor with `awaitData` on a capped collection of one document, which it has read.
async fn tail(client: &mut Client, collection: &str) -> i64 {
    let create = doc! { "create": collection, "capped": true, "size": 100_000 };
    client.run(DB, create).await;
    client.run(DB, insert(collection, 0)).await;
    let tail = doc! { "find": collection, "tailable": true, "awaitData": true };
    let (documents, cursor) = batch(&client.succeed(DB, tail).await);
    assert_eq!(documents.len(), 1);
    cursor
}

/// Goes on with a change stream until it brings something.
async fn next_event(client: &mut Client, cursor: i64, collection: &str) -> Document {
    loop {
        let reply = client.succeed(DB, get_more(cursor, collection, 3000)).await;
        let (mut events, same) = batch(&reply);
        assert_eq!(same, cursor);
        if !events.is_empty() {
            return events.remove(0);
        }
    }
}

#[tokio::test]
async fn two_hundred_change_streams_on_a_pool_of_five_keep_nobody_else_waiting() {
    const STREAMS: usize = 200;
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[pool]\nmax_size = 5\nmax_awaiting = 120\nmax_connecting = 8",
    );
    let mut client = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "create": "watched" }).await;
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let mut client = Client::connect(proxy.address).await;
        let cursor = watch(&mut client, "watched").await;
        streams.spawn(async move { next_event(&mut client, cursor, "watched").await });
    }
    eventually("all streams await, or wait to", LIMIT, async || {
        awaits(&proxy, "in_use") == 120 && awaits(&proxy, "waiting") == 80
    })
    .await;
    assert_eq!(proxy.metric("tidegate_pool_await_queue"), 80.0);
    assert_eq!(awaits(&proxy, "max"), 120);

    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let asked = Instant::now();
        client.succeed(DB, doc! { "find": "watched" }).await;
        slowest = slowest.max(asked.elapsed());
    }
    println!("the slowest find took {slowest:?} beside {STREAMS} change streams");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let pool = primary(&proxy)["pool"].clone();
    assert!(pool["in_use"].as_u64().unwrap() <= 5, "{pool}");

    client.succeed(DB, insert("watched", 7)).await;
    for event in streams.join_all().await {
        assert_eq!(event.get_document("documentKey").unwrap(), &doc! { "_id": 7 });
    }
    assert_eq!(awaits(&proxy, "in_use"), 0, "all connections came back");
    assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);
}

#[tokio::test]
async fn an_await_that_finds_no_connection_in_time_brings_nothing_new_and_can_go_on() {
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[pool]\nmax_size = 2\nmax_awaiting = 1\nwait_timeout = \"400ms\"",
    );
    let mut one = Client::connect(proxy.address).await;
    let mut two = Client::connect(proxy.address).await;
    two.succeed(DB, doc! { "create": "queued" }).await;
    let long = tail(&mut one, "queued-capped").await;
    let stream = watch(&mut two, "queued").await;
    one.send(DB, get_more(long, "queued-capped", 60_000))
        .await
        .unwrap();
    eventually("one awaits", LIMIT, async || awaits(&proxy, "in_use") == 1).await;

    let asked = Instant::now();
    let nothing = two.succeed(DB, get_more(stream, "queued", 100)).await;
    assert!(asked.elapsed() >= Duration::from_millis(400));
    assert_eq!(batch(&nothing), (vec![], stream));
    let cursor = nothing.get_document("cursor").unwrap();
    assert_eq!(cursor.get_str("ns").unwrap(), "awaits.queued");
    assert_eq!(proxy.metric("tidegate_awaits_unserved_total"), 1.0);

    // Nobody knows whether this cursor exists.
    let unknown = two.run(DB, get_more(4711, "queued", 100)).await;
    assert_eq!(number(&unknown, "code"), Some(6), "{unknown}");
    assert!(labels(&unknown).contains(&"SystemOverloadedError"), "{unknown}");

    // The change that happened meanwhile is not lost.
    two.succeed(DB, insert("queued", 5)).await;
    two.succeed(DB, insert("queued-capped", 1)).await;
    let (documents, _) = batch(&one.reply().await.unwrap());
    assert_eq!(documents, [doc! { "_id": 1 }]);
    let event = next_event(&mut two, stream, "queued").await;
    assert_eq!(event.get_document("documentKey").unwrap(), &doc! { "_id": 5 });
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_await_and_one_that_waits_can_kill_its_cursor() {
    let proxy = Proxy::start(
        &shared_set().uri(),
        "[pool]\nmax_size = 2\nmax_awaiting = 1\nwait_timeout = \"20s\"",
    );
    let mut one = Client::connect(proxy.address).await;
    let mut two = Client::connect(proxy.address).await;
    let mut other = Client::connect(proxy.address).await;
    let held = tail(&mut one, "left").await;
    let queued = tail(&mut two, "left").await;
    one.send(DB, get_more(held, "left", 60_000)).await.unwrap();
    eventually("one awaits", LIMIT, async || awaits(&proxy, "in_use") == 1).await;
    two.send(DB, get_more(queued, "left", 60_000)).await.unwrap();
    eventually("the other waits to", LIMIT, async || {
        awaits(&proxy, "waiting") == 1
    })
    .await;

    let kill = doc! { "killCursors": "left", "cursors": [queued] };
    let killed = other.succeed(DB, kill).await;
    assert_eq!(killed.get_array("cursorsKilled").unwrap().len(), 1, "{killed}");
    drop(one);
    let reply = two.reply().await.unwrap();
    assert_eq!(number(&reply, "code"), Some(43), "it got the connection: {reply}");
    eventually("nothing is held any more", LIMIT, async || {
        awaits(&proxy, "in_use") == 0
    })
    .await;
}

#[tokio::test]
async fn a_tailable_cursor_is_known_to_await_without_a_limit_of_its_own() {
    let proxy = Proxy::start(&shared_set().uri(), "[pool]\nmax_size = 1");
    let mut client = Client::connect(proxy.address).await;
    let cursor = tail(&mut client, "unlimited").await;
    let more = doc! { "getMore": cursor, "collection": "unlimited" };
    // Servers wait for a second then.
    client.send(DB, more).await.unwrap();
    eventually("it awaits", LIMIT, async || awaits(&proxy, "in_use") == 1).await;
    let (nothing, same) = batch(&client.reply().await.unwrap());
    assert_eq!((nothing.len(), same), (0, cursor));
    sleep(Duration::from_millis(20)).await;
    assert_eq!(awaits(&proxy, "in_use"), 0);
}

#[tokio::test]
async fn a_change_stream_whose_node_is_lost_is_resumed_on_the_next_primary() {
    let (nodes, _lent) = reads_again::nodes().await;
    let proxy = reads_again::proxy(nodes);
    let mut client = Client::connect(proxy.address).await;
    let mut other = Client::connect(proxy.address).await;
    client.succeed(DB, doc! { "create": "lost" }).await;
    let stream = watch(&mut client, "lost").await;
    other.succeed(DB, insert("lost", 1)).await;
    let event = next_event(&mut client, stream, "lost").await;
    let token = event.get_document("_id").unwrap();

    client.send(DB, get_more(stream, "lost", 60_000)).await.unwrap();
    eventually("it awaits", LIMIT, async || awaits(&proxy, "in_use") == 1).await;
    let primary = nodes.set.primary().await.unwrap();
    nodes.set.kill(primary).unwrap();
    let lost = client.reply().await.unwrap();
    assert_eq!(number(&lost, "code"), Some(6), "{lost}");
    // What makes drivers resume.
    assert!(labels(&lost).contains(&"ResumableChangeStreamError"), "{lost}");
    eventually("the next primary takes writes", LIMIT, async || {
        is_ok(&other.run(DB, insert("lost", 2)).await)
    })
    .await;
    let resume = doc! { "$changeStream": { "resumeAfter": token.clone() } };
    let resume = doc! { "aggregate": "lost", "pipeline": [resume], "cursor": {} };
    let (mut events, stream) = batch(&client.succeed(DB, resume).await);
    if events.is_empty() {
        events.push(next_event(&mut client, stream, "lost").await);
    }
    assert_eq!(events[0].get_document("documentKey").unwrap(), &doc! { "_id": 2 });
    nodes.set.restart(primary).await.unwrap();
    nodes.set.wait_ready().await.unwrap();
}
