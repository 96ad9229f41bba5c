//! Clients that stop reading, and a node that hangs: neither may keep what others need.

use std::time::{Duration, Instant};

use bson::doc;
use tokio::time::timeout;

use crate::support::{Client, Proxy, client::number, shared_set, start_set};
use tidegate::sandbox::Options;

const DB: &str = "stuck";

#[tokio::test]
async fn clients_that_stop_reading_large_replies_do_not_keep_a_pools_connections() {
    // Half of the pool may stream at a time: two of the four clients.
    let proxy = Proxy::start(&shared_set().uri(), "[pool]\nmax_size = 4");
    let mut other = Client::connect(proxy.address).await;
    let pad = "x".repeat(1_000_000);
    for id in 0..15 {
        let insert = doc! { "insert": "large", "documents": [{ "_id": id, "pad": &pad }] };
        other.succeed(DB, insert).await;
    }
    let mut silent = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(proxy.address).await;
        client
            .send(DB, doc! { "find": "large", "batchSize": 100 })
            .await
            .unwrap();
        silent.push(client);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked = Instant::now();
    other
        .succeed(
            DB,
            doc! { "find": "large", "limit": 1, "projection": { "_id": 1 } },
        )
        .await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(
        proxy.metric("tidegate_streams_total") >= 2.0,
        "the replies are large enough to be streamed"
    );
    // Those who read late get everything all the same.
    for mut client in silent {
        let reply = client.reply().await.unwrap();
        let batch = reply
            .get_document("cursor")
            .unwrap()
            .get_array("firstBatch")
            .unwrap();
        assert_eq!(batch.len(), 15);
    }
}

#[tokio::test]
async fn a_command_on_a_node_that_hangs_ends_when_its_monitor_gives_the_node_up() {
    let set = start_set(Options::default());
    let uri = format!("{}&heartbeatFrequencyMS=1000&connectTimeoutMS=1000", set.uri());
    let proxy = Proxy::start(&uri, "");
    let mut client = Client::connect(proxy.address).await;
    client
        .succeed(DB, doc! { "insert": "hung", "documents": [{}] })
        .await;
    let primary = set.primary().await.unwrap();
    set.pause(primary).unwrap();
    let asked = Instant::now();
    // What could be executed twice is not sent again.
    let many = doc! { "q": {}, "u": { "$inc": { "x": 1 } }, "multi": true };
    let ended = timeout(
        Duration::from_secs(20),
        client.run(DB, doc! { "update": "hung", "updates": [many] }),
    )
    .await;
    set.resume(primary).unwrap();
    let reply = ended.expect("the command must not wait for the node to run again");
    println!("ended after {:?}: {reply}", asked.elapsed());
    assert_eq!(number(&reply, "code"), Some(6), "{reply}");
    let message = reply.get_str("errmsg").unwrap();
    assert!(message.contains("may have been executed"), "{reply}");
    // The connection to the proxy goes on, on the new primary.
    let again = doc! { "insert": "hung", "documents": [{}], "maxTimeMS": 20_000 };
    timeout(Duration::from_secs(20), client.succeed(DB, again))
        .await
        .unwrap();
}
