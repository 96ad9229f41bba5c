//! Exchanges that hang on a node end once it is known that nothing comes of them, long before any timeout.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use tidegate::sandbox::{MemberOptions, Options, ReplicaSet};
use tokio::time::timeout;

use crate::support::{
    Client, Proxy,
    client::{batch, eventually, is_ok, number},
    start_set,
};

const DB: &str = "rescue";
/// The monitor of a node that hangs gives it up after twice ten seconds at the soonest, by the defaults.
const BY_THE_MONITOR: Duration = Duration::from_secs(20);

/// A set whose members can be told apart by their tags.
fn tagged_set() -> ReplicaSet {
    let member = |name: &str| MemberOptions {
        tags: [("member".to_owned(), name.to_owned())].into(),
        ..MemberOptions::default()
    };
    start_set(Options {
        members: vec![member("0"), member("1"), member("2")],
        ..Options::default()
    })
}

/// Idle connections to a node.
fn idle(proxy: &Proxy, address: &str) -> u64 {
    let status = proxy.status();
    let mut nodes = status["topology"]["nodes"].as_array().unwrap().iter();
    let node = nodes.find(|node| node["address"] == address).unwrap();
    node["pool"]["idle"].as_u64().unwrap()
}

#[tokio::test]
async fn what_hangs_on_a_stopped_primary_ends_when_another_is_elected() {
    let set = tagged_set();
    let proxy = Proxy::start(&set.uri(), "[pool]\nmin_size = 3");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(proxy.address).await);
    }
    let [reader, goes_on, counter] = &mut clients[..] else {
        panic!("three clients")
    };
    let documents: Vec<Document> = (0..5).map(|id| doc! { "_id": id }).collect();
    let insert = doc! { "insert": "tides", "documents": documents, "writeConcern": { "w": 3 } };
    reader.succeed(DB, insert).await;
    // On a busy machine a set may hold an election of its own.
    let (primary, cursor) = loop {
        let primary = set.primary().await.unwrap();
        let find = doc! { "find": "tides", "batchSize": 2 };
        let cursor = batch(&goes_on.succeed(DB, find).await).1;
        if set.primary().await.unwrap() == primary {
            break (primary, cursor);
        }
    };
    let warm = async || idle(&proxy, set.address(primary)) >= 3;
    eventually(
        "each has a connection to the primary",
        Duration::from_secs(10),
        warm,
    )
    .await;
    set.pause(primary).unwrap();
    let paused = Instant::now();
    reader.send(DB, doc! { "find": "tides" }).await.unwrap();
    goes_on
        .send(DB, doc! { "getMore": cursor, "collection": "tides" })
        .await
        .unwrap();
    let count = doc! { "count": "tides" };
    counter.send(DB, count).await.unwrap();
    let ended = timeout(BY_THE_MONITOR / 2, async {
        let found = reader.reply().await.unwrap();
        let more = goes_on.reply().await.unwrap();
        (found, more, counter.reply().await.unwrap())
    });
    let ended = ended.await;
    println!("ended after {:?}", paused.elapsed());
    let rescued = proxy.metric("tidegate_commands_rescued_total");
    set.resume(primary).unwrap();
    let (found, more, count) = ended.expect("no exchange waits for the monitor's timeouts");
    assert_eq!(batch(&found).0.len(), 5, "a read goes again on the new primary");
    assert_eq!(number(&count, "n"), Some(5));
    assert!(!is_ok(&more), "its cursor is out of reach: {more}");
    assert_eq!(number(&more, "code"), Some(6), "{more}");
    // One that was without a connection for a moment waits for one instead, and ends with the queue for it.
    assert!(rescued >= 1.0, "{rescued}");
}

/// Leaves a member out of the set's configuration.
async fn remove(set: &ReplicaSet, member: usize) {
    let primary = set.primary().await.unwrap();
    let told = set
        .command(primary, doc! { "replSetGetConfig": 1 })
        .await
        .unwrap();
    let mut config = told.get_document("config").unwrap().clone();
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    let members = config.get_array_mut("members").unwrap();
    members.retain(|entry| entry.as_document().unwrap().get_str("host").unwrap() != set.address(member));
    set.command(primary, doc! { "replSetReconfig": config })
        .await
        .unwrap();
}

#[tokio::test]
async fn reads_on_a_member_that_hangs_go_elsewhere_once_it_is_removed_from_the_set() {
    let set = tagged_set();
    let uri = format!("{}&connectTimeoutMS=1000", set.uri());
    let proxy = Proxy::start(&uri, "");
    let mut client = Client::connect(proxy.address).await;
    let insert = doc! { "insert": "tides", "documents": [{}, {}], "writeConcern": { "w": 3 } };
    client.succeed(DB, insert).await;
    let primary = set.primary().await.unwrap();
    let removed = (primary + 1) % 3;
    let tags = doc! { "mode": "secondary", "tags": [{ "member": removed.to_string() }, {}] };
    let read = doc! { "find": "tides", "$readPreference": tags };
    client.succeed(DB, read.clone()).await;

    set.pause(removed).unwrap();
    client.send(DB, read).await.unwrap();
    remove(&set, removed).await;
    let asked = Instant::now();
    let ended = timeout(BY_THE_MONITOR / 2, client.reply()).await;
    println!("ended after {:?}", asked.elapsed());
    set.resume(removed).unwrap();
    let found = ended.expect("nobody watches a member that was removed").unwrap();
    assert_eq!(batch(&found).0.len(), 2, "{found}");
    assert_eq!(proxy.metric("tidegate_commands_rescued_total"), 1.0);
}
