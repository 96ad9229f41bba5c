//! A `hello` that waits for news, once or as a stream, as drivers' monitors ask for it.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use tokio::io::AsyncReadExt;

use crate::{
    presentation::fixture,
    support::{
        Proxy,
        raw::{EXHAUST_ALLOWED, MORE_TO_COME, Raw, body_section, msg},
        shared_set,
    },
};

const LIMIT: Duration = Duration::from_secs(30);

/// A hello that waits on from this reply.
pub(crate) fn wait_on(reply: &Document, millis: i32) -> Document {
    let version = reply.get_document("topologyVersion").unwrap().clone();
    doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": millis, "$db": "admin" }
}

#[tokio::test]
async fn awaitable_hello_waits_for_its_time_and_for_no_other_process() {
    let fixture = fixture();
    for address in [
        fixture.proxy.address.to_string(),
        fixture.primary.clone(),
        fixture.node.clone(),
    ] {
        let mut client = Raw::connect(address.as_str()).await.unwrap();
        let shown = client
            .command(&doc! { "hello": 1, "$db": "admin" })
            .await
            .unwrap()
            .body;
        let started = Instant::now();
        let reply = client.command(&wait_on(&shown, 300)).await.unwrap();
        assert!(
            reply.ok() && started.elapsed() >= Duration::from_millis(290),
            "{address}"
        );
        assert_eq!(reply.body.get("topologyVersion"), shown.get("topologyVersion"));
        for (key, value) in [
            ("processId", bson::Bson::ObjectId(bson::oid::ObjectId::new())),
            ("counter", bson::Bson::Int64(0)),
        ] {
            let mut hello = wait_on(&shown, 60_000);
            hello
                .get_document_mut("topologyVersion")
                .unwrap()
                .insert(key, value);
            let started = Instant::now();
            assert!(client.command(&hello).await.unwrap().ok());
            assert!(started.elapsed() < Duration::from_secs(20), "{address}: {key}");
        }
        let half = doc! { "hello": 1, "maxAwaitTimeMS": 1, "$db": "admin" };
        assert_eq!(client.command(&half).await.unwrap().code(), 31368);
    }
}

#[tokio::test]
async fn streamed_hello_chains_its_replies_and_ends_for_another_command_and_at_stop() {
    let sections = "[[listener]]\naddress = '127.0.0.1:0'\npresents_as = 'replica_set'\n";
    let proxy = Proxy::start(&shared_set().uri(), sections);
    let mut client = Raw::connect(proxy.address.to_string()).await.unwrap();
    let shown = client
        .command(&doc! { "hello": 1, "$db": "admin" })
        .await
        .unwrap()
        .body;
    let id = client.next_id();
    let stream = msg(id, EXHAUST_ALLOWED, &[body_section(&wait_on(&shown, 100))]);
    client.send(&stream).await.unwrap();
    let mut previous = id;
    for _ in 0..3 {
        let reply = client.receive().await.unwrap().unwrap();
        assert!(reply.ok() && reply.flags & MORE_TO_COME != 0);
        assert_eq!(reply.response_to, previous);
        previous = reply.request_id;
    }
    // Another command ends the stream, after a last reply that says so.
    let ping = client.next_id();
    let command = msg(ping, 0, &[body_section(&doc! { "ping": 1, "$db": "admin" })]);
    client.send(&command).await.unwrap();
    let last = loop {
        let reply = client.receive().await.unwrap().unwrap();
        if reply.flags & MORE_TO_COME == 0 {
            break reply;
        }
    };
    assert!(last.body.contains_key("topologyVersion"));
    assert_eq!(client.receive().await.unwrap().unwrap().response_to, ping);

    let id = client.next_id();
    let stream = msg(id, EXHAUST_ALLOWED, &[body_section(&wait_on(&shown, 600_000))]);
    client.send(&stream).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let (status, log) = proxy.stop();
    assert!(status.success(), "{log}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn streams_without_a_wait_starve_nobody_and_end_at_stop() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let address = proxy.address.to_string();
    let mut client = Raw::connect(address.as_str()).await.unwrap();
    let hello = doc! { "hello": 1, "$db": "admin" };
    let shown = client.command(&hello).await.unwrap().body;
    let mut readers = Vec::new();
    // One for each core that serves clients, and more.
    for _ in 0..=std::thread::available_parallelism().map_or(1, usize::from) {
        let mut greedy = Raw::connect(address.as_str()).await.unwrap();
        let id = greedy.next_id();
        let stream = msg(id, EXHAUST_ALLOWED, &[body_section(&wait_on(&shown, 0))]);
        greedy.send(&stream).await.unwrap();
        readers.push(tokio::spawn(async move {
            let mut room = vec![0; 1 << 20];
            while greedy.stream.read(&mut room).await.is_ok_and(|read| read > 0) {}
        }));
    }
    let started = Instant::now();
    for _ in 0..20 {
        let mut other = Raw::connect(address.as_str()).await.unwrap();
        assert!(other.command(&hello).await.unwrap().ok());
    }
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    let started = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || proxy.stop());
    let (status, log) = stopped.await.unwrap();
    assert!(status.success(), "{log}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    for reader in readers {
        reader.await.unwrap();
    }
}
