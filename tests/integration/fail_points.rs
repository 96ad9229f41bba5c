//! The fail point `failCommand`, played by a listener that permits it.

use std::time::{Duration, Instant};

use bson::{Document, doc};

use tidegate::sandbox::free_ports;

use crate::support::{
    Client, Proxy,
    raw::{EXHAUST_ALLOWED, MORE_TO_COME, Raw, body_section, msg},
    shared_set,
};

const DB: &str = "fail_points";

fn set_point(mode: &str, data: Document) -> Document {
    let mode = match mode.parse::<i32>() {
        Ok(times) => doc! { "mode": { "times": times } },
        Err(_) => doc! { "mode": mode },
    };
    let mut command = doc! { "configureFailPoint": "failCommand" };
    command.extend(mode);
    command.insert("data", data);
    command
}

#[tokio::test]
async fn a_fail_point_strikes_the_clients_and_no_pooled_connection() {
    let proxy = Proxy::start_with(&shared_set().uri(), "", "fail_points = \"on\"", "");
    let mut client = Client::connect(proxy.address).await;
    let find = || doc! { "find": "c" };
    let error = doc! { "failCommands": ["find"], "errorCode": 10107, "errorLabels": ["Own"] };
    client.succeed("admin", set_point("1", error)).await;
    let reply = client.run(DB, find()).await;
    // Not masked: it is the listener that says so, as a mongos would of itself.
    assert_eq!(
        (
            reply.get_i32("code").unwrap(),
            reply.get_array("errorLabels").unwrap().len()
        ),
        (10107, 1),
        "{reply}"
    );
    client.succeed(DB, find()).await;

    let close = doc! { "failCommands": ["find"], "closeConnection": true };
    client.succeed("admin", set_point("alwaysOn", close)).await;
    assert!(
        client.try_run(DB, find()).await.is_err(),
        "the connection is closed"
    );
    let mut client = Client::connect(proxy.address).await;
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    client.succeed("admin", off).await;
    client.succeed(DB, find()).await;

    let block = doc! { "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 300 };
    client.succeed("admin", set_point("1", block)).await;
    let start = Instant::now();
    client.succeed(DB, find()).await;
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );

    // All of this was between the clients and the proxy.
    let text = proxy.status().to_string();
    assert!(!text.contains("\"unknown\""), "{text}");
}

#[tokio::test]
async fn a_fail_point_strikes_the_named_application_alone() {
    let proxy = Proxy::start_with(&shared_set().uri(), "", "fail_points = \"on\"", "");
    let named = |name: &str| {
        doc! {
            "hello": 1,
            "client": {
                "application": { "name": name },
                "driver": { "name": "test", "version": "1" },
                "os": { "type": "test" },
            },
        }
    };
    let mut till = Client::connect(proxy.address).await;
    till.succeed("admin", named("till")).await;
    let mut other = Client::connect(proxy.address).await;
    other.succeed("admin", named("other")).await;
    let error = doc! { "failCommands": ["find"], "errorCode": 2, "appName": "till" };
    other.succeed("admin", set_point("alwaysOn", error)).await;
    other.succeed(DB, doc! { "find": "c" }).await;
    let reply = till.run(DB, doc! { "find": "c" }).await;
    assert_eq!(reply.get_i32("code").unwrap(), 2, "{reply}");
}

#[tokio::test]
async fn a_listener_that_does_not_permit_fail_points_leaves_them_to_the_nodes() {
    let nowhere = format!(
        "mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=300",
        free_ports(1).unwrap()[0]
    );
    let proxy = Proxy::start_unready(&nowhere, "");
    let mut client = Client::connect(proxy.address).await;
    let error = doc! { "failCommands": ["find"], "errorCode": 2 };
    let reply = client.run("admin", set_point("alwaysOn", error)).await;
    assert_eq!(
        reply.get_i32("code").unwrap(),
        6,
        "no node is there to ask: {reply}"
    );
}

#[tokio::test]
async fn a_fail_point_strikes_the_next_reply_of_a_streamed_hello() {
    let proxy = Proxy::start_with(&shared_set().uri(), "", "fail_points = \"on\"", "");
    let mut monitor = Raw::connect(proxy.address.to_string()).await.unwrap();
    let shown = monitor
        .command(&doc! { "hello": 1, "$db": "admin" })
        .await
        .unwrap();
    let version = shown.body.get_document("topologyVersion").unwrap().clone();
    let hello = doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 100, "$db": "admin" };
    let id = monitor.next_id();
    let stream = msg(id, EXHAUST_ALLOWED, &[body_section(&hello)]);
    monitor.send(&stream).await.unwrap();
    let mut previous = monitor.reply_to(id).await.unwrap();

    let mut client = Client::connect(proxy.address).await;
    let error = doc! { "failCommands": ["hello"], "errorCode": 11600 };
    client.succeed("admin", set_point("1", error)).await;
    let struck = loop {
        let reply = monitor.reply_to(previous.request_id).await.unwrap();
        if !reply.ok() {
            break reply;
        }
        previous = reply;
    };
    assert_eq!(struck.code(), 11600, "{struck:?}");
    assert_eq!(struck.flags & MORE_TO_COME, 0, "an error ends the stream");
    assert!(
        monitor
            .command(&doc! { "hello": 1, "$db": "admin" })
            .await
            .unwrap()
            .ok()
    );
}

#[tokio::test]
async fn what_is_answered_here_tells_the_clusters_time_as_nodes_do() {
    let proxy = Proxy::start(&shared_set().uri(), "");
    let mut client = Client::connect(proxy.address).await;
    for command in [doc! { "hello": 1 }, doc! { "ping": 1 }, doc! { "whatsmyuri": 1 }] {
        let reply = client.succeed("admin", command.clone()).await;
        let time = reply.get_document("$clusterTime").unwrap();
        assert!(time.get_timestamp("clusterTime").unwrap().time > 0, "{command}");
        assert!(reply.get_timestamp("operationTime").is_ok(), "{command}");
        // It is signed by the nodes, and so accepted by them.
        let find = doc! { "find": "c", "$clusterTime": time.clone() };
        client.succeed(DB, find).await;
    }
}
