//! The upkeep of a pool's connections, as the nodes see it: kept warm, closed, replaced, and tried before they are used.

use std::time::Duration;

use bson::doc;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::AbortHandle,
};

use crate::{
    sharing::{LIMIT, MONITORING, collection, connections, occupy, pool_of_primary, primary, proxy, release},
    support::{
        Client, Proxy,
        client::{eventually, is_ok},
        shared_set,
    },
};

#[tokio::test]
async fn connections_are_kept_warm_closed_when_idle_and_replaced_by_age() {
    let set = shared_set();
    let _warm = proxy("sharing-warm", "[pool]\nmin_size = 3");
    let idle = proxy("sharing-idle", "[pool]\nidle_timeout = \"1s\"");
    let aged = proxy(
        "sharing-aged",
        "[pool]\nmin_size = 1\nmax_size = 2\nmax_lifetime = \"1s\"",
    );
    let primary = primary().await;

    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(idle.address).await);
    }
    collection(&mut clients[0], "upkeep").await;
    for client in &mut clients {
        occupy(client, "upkeep").await;
    }
    eventually("five are in use", LIMIT, async || {
        connections(set, primary, "sharing-idle").await == 5 + MONITORING
    })
    .await;
    release("upkeep").await;
    for client in &mut clients {
        client.reply().await.unwrap();
    }

    for node in 0..3 {
        eventually(
            "three are warm on every node without traffic",
            LIMIT,
            async || connections(set, node, "sharing-warm").await == 3 + MONITORING,
        )
        .await;
    }
    eventually("the idle ones are closed", LIMIT, async || {
        connections(set, primary, "sharing-idle").await == MONITORING
    })
    .await;
    // On a slow machine one was idle for too long before all were in use.
    let closed = pool_of_primary(&idle, "closed");
    assert!(closed >= 5, "{closed} were closed");
    assert_eq!(pool_of_primary(&idle, "opened"), closed);
    // The pool opens new ones as before.
    clients[0].succeed("sharing", doc! { "find": "upkeep" }).await;

    let mut client = Client::connect(aged.address).await;
    eventually(
        "connections are replaced under a client that notices nothing",
        LIMIT,
        async || {
            client.succeed("sharing", doc! { "find": "upkeep" }).await;
            let within = connections(set, primary, "sharing-aged").await <= 2 + MONITORING;
            within && pool_of_primary(&aged, "closed") >= 2 && pool_of_primary(&aged, "opened") >= 3
        },
    )
    .await;
    // A monitor that looks again connects anew, and the node counts both for a moment.
    eventually("the warm ones are still three", LIMIT, async || {
        connections(set, primary, "sharing-warm").await == 3 + MONITORING
    })
    .await;
}

/// Passes connections on to `target`, and tells of each by what ends it: orderly, or by a reset.
async fn relay(target: String, reset: bool) -> (String, mpsc::UnboundedReceiver<AbortHandle>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let target = target.clone();
            let passing = tokio::spawn(async move {
                if reset {
                    socket2::SockRef::from(&from)
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                }
                let mut to = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
            if tell.send(passing.abort_handle()).is_err() {
                return;
            }
        }
    });
    (address, told)
}

#[tokio::test]
async fn a_pooled_connection_that_broke_is_noticed_before_a_command_goes_out_on_it() {
    for reset in [false, true] {
        let node = shared_set().address(primary().await).to_owned();
        let (address, mut connected) = relay(node, reset).await;
        let uri = format!("mongodb://{address}/?directConnection=true");
        // Its own thread: the relay runs on this one.
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(&uri, ""))
            .await
            .unwrap();
        for _ in 0..MONITORING {
            connected.recv().await.unwrap();
        }
        let mut client = Client::connect(proxy.address).await;
        let insert = doc! { "insert": format!("broken-{reset}"), "documents": [{}] };
        client.succeed("sharing", insert.clone()).await;
        let pooled = connected.recv().await.unwrap();
        pooled.abort();
        while !pooled.is_finished() {
            tokio::task::yield_now().await;
        }

        // Neither has a `txnNumber`, so a write that had gone out could not be sent again.
        client.succeed("sharing", insert).await;
        assert_eq!(pool_of_primary(&proxy, "opened"), 2, "reset: {reset}");
        assert_eq!(pool_of_primary(&proxy, "closed"), 1);
        assert_eq!(proxy.metric("tidegate_commands_sent_again_total"), 0.0);
        assert_eq!(proxy.metric("tidegate_commands_failed_total"), 0.0);
    }
}

/// A number of the only node's pool, whatever that node is just now.
fn pool(proxy: &Proxy, key: &str) -> u64 {
    proxy.status()["topology"]["nodes"][0]["pool"][key]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_command_clears_the_pool_and_ends_no_other_exchange() {
    let node = shared_set().address(primary().await).to_owned();
    let (address, mut connected) = relay(node, false).await;
    // Streamed answers count as checks, and just after a check nothing is cleared.
    let uri = format!("mongodb://{address}/?directConnection=true&heartbeatFrequencyMS=120000");
    let proxy = tokio::task::spawn_blocking(move || Proxy::start(&uri, ""))
        .await
        .unwrap();
    for _ in 0..MONITORING {
        connected.recv().await.unwrap();
    }
    let (mut broken, mut other, mut third) = (
        Client::connect(proxy.address).await,
        Client::connect(proxy.address).await,
        Client::connect(proxy.address).await,
    );
    occupy(&mut broken, "cleared-broken").await;
    let first = connected.recv().await.unwrap();
    eventually("one awaits", LIMIT, async || {
        proxy.status()["topology"]["nodes"][0]["pool"]["awaits"]["in_use"] == 1
    })
    .await;
    occupy(&mut other, "cleared-other").await;
    let insert = doc! { "insert": "cleared", "documents": [{}] };
    third.succeed("sharing", insert.clone()).await;
    assert_eq!((pool(&proxy, "opened"), pool(&proxy, "idle")), (3, 1));
    tokio::time::sleep(Duration::from_millis(600)).await;

    first.abort();
    let reply = broken.reply().await.unwrap();
    assert!(!is_ok(&reply), "{reply}");
    eventually("the pool is cleared of what was idle", LIMIT, async || {
        (pool(&proxy, "generation"), pool(&proxy, "closed")) == (1, 2)
    })
    .await;
    third.succeed("sharing", insert).await;
    assert_eq!(pool(&proxy, "opened"), 4);
    release("cleared-other").await;
    let reply = other.reply().await.unwrap();
    assert!(is_ok(&reply), "{reply}");
    eventually("its connection is of the old generation", LIMIT, async || {
        pool(&proxy, "closed") == 3
    })
    .await;
}
