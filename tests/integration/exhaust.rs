//! Exhaust cursors: one `getMore` answered by a chain of replies, each of which names the one before.

use std::time::Duration;

use bson::{Document, doc};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    Client, Proxy,
    client::{batch, eventually},
    raw::{CHECKSUM_PRESENT, EXHAUST_ALLOWED, MORE_TO_COME, Raw, Reply, body_section, msg},
    relay::{Cut, Relay},
    run_python, shared_set,
};

const DB: &str = "exhaust";
const LIMIT: Duration = Duration::from_secs(30);

async fn connect(proxy: &Proxy) -> Raw {
    Raw::connect(proxy.address.to_string()).await.unwrap()
}

async fn succeed(client: &mut Raw, mut command: Document) -> Document {
    command.insert("$db", DB);
    let reply = client.command(&command).await.unwrap();
    assert!(reply.ok(), "{command}: {reply:?}");
    reply.body
}

/// `count` documents of about `size` bytes, with ascending numbers.
async fn fill(client: &mut Raw, collection: &str, count: i32, size: usize) {
    let pad = "x".repeat(size);
    let documents: Vec<_> = (0..count)
        .map(|id| doc! { "_id": id, "pad": pad.as_str() })
        .collect();
    for some in documents.chunks(1 + (8 << 20) / (size + 1)) {
        let insert = doc! { "insert": collection, "documents": some };
        succeed(client, insert).await;
    }
}

/// A cursor over a collection that has been asked for nothing yet.
async fn open(client: &mut Raw, collection: &str) -> i64 {
    let find = doc! { "find": collection, "sort": { "_id": 1 }, "batchSize": 0 };
    batch(&succeed(client, find).await).1
}

/// Asks for a chain, and returns the number of the request.
async fn ask(client: &mut Raw, get_more: Document, flags: u32) -> i32 {
    let mut get_more = get_more;
    get_more.insert("$db", DB);
    let id = client.next_id();
    let message = msg(id, EXHAUST_ALLOWED | flags, &[body_section(&get_more)]);
    client.send(&message).await.unwrap();
    id
}

fn more(cursor: i64, collection: &str, size: i32) -> Document {
    doc! { "getMore": cursor, "collection": collection, "batchSize": size }
}

/// The next reply of a chain, which must name the one before.
async fn next(client: &mut Raw, previous: i32) -> Reply {
    let reply = client.receive().await.unwrap().expect("the chain has an end");
    assert_eq!(reply.response_to, previous, "{reply:?}");
    reply
}

/// A chain to its end: its replies but the last, and the last.
async fn chain(client: &mut Raw, request: i32) -> (Vec<Reply>, Reply) {
    let (mut before, mut previous) = (Vec::new(), request);
    loop {
        let reply = next(client, previous).await;
        if reply.flags & MORE_TO_COME == 0 {
            return (before, reply);
        }
        previous = reply.request_id;
        before.push(reply);
    }
}

fn ids(replies: &[Reply]) -> Vec<i32> {
    let documents = replies.iter().flat_map(|reply| batch(&reply.body).0);
    documents.map(|one| one.get_i32("_id").unwrap()).collect()
}

/// Connections that chains and awaits hold now.
fn held(proxy: &Proxy) -> u64 {
    let status = proxy.status();
    let nodes = status["topology"]["nodes"].as_array().unwrap().clone();
    let held = nodes
        .iter()
        .map(|node| node["pool"]["awaits"]["in_use"].as_u64().unwrap());
    held.sum()
}

#[tokio::test]
async fn a_cursor_is_exhausted_by_a_chain_of_replies_that_ends_with_it() {
    let proxy = Proxy::start(&shared_set().uri(), "[pool]\nmax_size = 1\nmax_awaiting = 1");
    let mut client = connect(&proxy).await;
    fill(&mut client, "chained", 1000, 10).await;
    for flags in [0, CHECKSUM_PRESENT] {
        let cursor = open(&mut client, "chained").await;
        let request = ask(&mut client, more(cursor, "chained", 90), flags).await;
        let (mut replies, last) = chain(&mut client, request).await;
        assert!(replies.iter().all(|reply| batch(&reply.body).1 == cursor));
        assert!(
            replies
                .iter()
                .all(|reply| reply.flags & CHECKSUM_PRESENT == flags)
        );
        assert_eq!(batch(&last.body).1, 0, "{last:?}");
        assert_eq!(replies.len(), 11);
        replies.push(last);
        assert_eq!(ids(&replies), (0..1000).collect::<Vec<_>>());
        // Every connection is fit for other use.
        succeed(&mut client, doc! { "count": "chained" }).await;
    }
    assert_eq!(proxy.metric("tidegate_exhaust_chains_total"), 2.0);
    assert_eq!(held(&proxy), 0);
    let opened = proxy.metric("tidegate_pool_connections_opened_total");
    assert!(opened <= 2.0, "connections stay open after a chain: {opened}");
}

#[tokio::test]
async fn a_chain_of_large_replies_waits_for_a_client_that_reads_slowly_and_loses_nothing() {
    const COUNT: i32 = 60;
    let proxy = Proxy::start(&shared_set().uri(), "[pool]\nmax_size = 1");
    let mut client = connect(&proxy).await;
    fill(&mut client, "large", COUNT, 1_000_000).await;
    let cursor = open(&mut client, "large").await;
    let sent = proxy.metric("tidegate_sent_bytes_total");
    let request = ask(&mut client, more(cursor, "large", 2), 0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let sent = proxy.metric("tidegate_sent_bytes_total") - sent;
    println!("{sent} bytes went out before the client read any");
    assert!(sent < 20e6, "the node's replies wait for the client: {sent}");
    // Nobody else waits.
    let mut other = connect(&proxy).await;
    let asked = Instant::now();
    succeed(&mut other, doc! { "count": "large" }).await;
    assert!(asked.elapsed() < Duration::from_secs(5));
    let (mut replies, last) = chain(&mut client, request).await;
    replies.push(last);
    assert_eq!(ids(&replies), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_leaves_a_chain_ends_it_and_the_nodes_connection_with_it() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy).await;
    let mut other = connect(&proxy).await;
    fill(&mut client, "left", 100, 500_000).await;
    let cursor = open(&mut client, "left").await;
    let request = ask(&mut client, more(cursor, "left", 1), 0).await;
    next(&mut client, request).await;
    assert_eq!(held(&proxy), 1);
    drop(client);
    eventually("nothing is held", LIMIT, async || held(&proxy) == 0).await;
    eventually("the cursor is closed", LIMIT, async || {
        let mut more = more(cursor, "left", 1);
        more.insert("$db", DB);
        other.command(&more).await.unwrap().code() == 43
    })
    .await;
}

#[tokio::test]
async fn a_chain_whose_node_fails_ends_with_an_error() {
    let primary = shared_set().primary().await.unwrap();
    let relay = Relay::start(shared_set().address(primary), "", 1);
    let proxy = Proxy::start(
        &format!("mongodb://{}/?directConnection=true", relay.address()),
        "",
    );
    let mut client = connect(&proxy).await;
    let create = doc! { "create": "tail", "capped": true, "size": 100_000, "$db": DB };
    client.command(&create).await.unwrap();
    succeed(
        &mut client,
        doc! { "insert": "tail", "documents": [{ "_id": 1 }] },
    )
    .await;
    let tail = doc! { "find": "tail", "tailable": true, "awaitData": true };
    let cursor = batch(&succeed(&mut client, tail).await).1;
    // It goes on for as long as nothing breaks.
    let more = doc! { "getMore": cursor, "collection": "tail", "maxTimeMS": 50 };
    let mut previous = ask(&mut client, more, 0).await;
    for round in 0..6 {
        let reply = next(&mut client, previous).await;
        assert!(reply.ok() && reply.flags & MORE_TO_COME != 0, "{reply:?}");
        previous = reply.request_id;
        if round == 2 {
            let mut other = Client::connect(proxy.address).await;
            other
                .succeed(DB, doc! { "insert": "tail", "documents": [{ "_id": 2 }] })
                .await;
        }
    }
    relay.cut_all(Cut::Close);
    let (_, last) = chain(&mut client, previous).await;
    assert_eq!((last.ok(), last.code()), (false, 6), "{last:?}");
    // The client's connection goes on.
    eventually("the node is back", LIMIT, async || {
        let ping = client.command(&doc! { "ping": 1, "$db": DB }).await;
        ping.unwrap().ok()
    })
    .await;
}

#[tokio::test]
async fn a_chain_ends_with_an_error_of_its_node_and_when_the_proxy_stops() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = connect(&proxy).await;
    let create = doc! { "create": "stopped", "capped": true, "size": 100_000, "$db": DB };
    client.command(&create).await.unwrap();
    succeed(&mut client, doc! { "insert": "stopped", "documents": [{}] }).await;
    let tail = doc! { "find": "stopped", "tailable": true, "awaitData": true };
    for ends_by_kill in [true, false] {
        let cursor = batch(&succeed(&mut client, tail.clone()).await).1;
        let more = doc! { "getMore": cursor, "collection": "stopped", "maxTimeMS": 100 };
        let request = ask(&mut client, more, 0).await;
        let first = next(&mut client, request).await;
        if ends_by_kill {
            let kill = doc! { "killCursors": "stopped", "cursors": [cursor] };
            Client::connect(proxy.address).await.succeed(DB, kill).await;
            let (_, last) = chain(&mut client, first.request_id).await;
            assert!(!last.ok() && [43, 237].contains(&last.code()), "{last:?}");
        } else {
            let started = Instant::now();
            let (status, log) = proxy.stop();
            assert!(
                status.success() && started.elapsed() < Duration::from_secs(5),
                "{log}"
            );
            let (_, last) = chain(&mut client, first.request_id).await;
            assert_eq!((last.ok(), last.code()), (false, 6), "{last:?}");
            break;
        }
    }
}

#[test]
fn pymongo_exhausts_its_cursors_where_it_does_not_take_the_proxy_for_a_mongos() {
    let listener = "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\n";
    let proxy = Proxy::start(&shared_set().uri(), listener);
    let status = proxy.status();
    let address = status["listeners"][1]["address"].as_str().unwrap();
    let uris = [
        format!(
            "mongodb://{address}/?replicaSet={}",
            shared_set().options().set_name
        ),
        format!("mongodb://{address}/?directConnection=true"),
        format!("mongodb://{address}/?directConnection=true&compressors=zlib"),
    ];
    let mut chains = 0.0;
    for uri in uris {
        let seen = run_python("python/exhaust.py", &[uri.as_str()]);
        let early: Vec<_> = (0..15).collect();
        let expected = json!({
            "small": 2000, "large": 2000, "ordered": true, "early": early,
            "together": [2000, 2000, 2000, 2000], "after": vec![2000; 10],
        });
        assert_eq!(seen, expected, "{uri}");
        let now = proxy.metric("tidegate_exhaust_chains_total");
        assert!(now >= chains + 5.0, "{uri}: {now} after {chains}");
        chains = now;
    }
}
