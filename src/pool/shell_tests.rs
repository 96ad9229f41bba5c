//! Tests of the pool's IO, with addresses that refuse or never answer.

use tokio::net::TcpListener;

use super::*;

/// A pool of the node at `address`, on the current runtime.
fn pool(address: Address, options: Options) -> (Arc<Pool>, Shutdown) {
    let shutdown = Shutdown::new();
    let cores = Arc::from([Handle::current()]);
    let pool = Pool::new(address, options, Arc::default(), cores, &shutdown);
    pool.ready();
    (pool, shutdown)
}

fn address_of(listener: &TcpListener) -> Address {
    let address = listener.local_addr().unwrap().to_string();
    address.parse().unwrap()
}

/// An address where nobody listens.
async fn refusing() -> Address {
    address_of(&TcpListener::bind("127.0.0.1:0").await.unwrap())
}

#[tokio::test]
async fn a_node_that_refuses_is_not_hammered_to_keep_connections_warm() {
    let options = Options {
        min_size: 2,
        ..Options::default()
    };
    let (pool, shutdown) = pool(refusing().await, options);
    let error = pool.wait(0, Share::Ordinary, None).await.unwrap_err();
    assert!(matches!(error, CheckOutError::Connect { .. }), "{error}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let failures = pool.totals.connect_failures.load(Relaxed);
    assert!(failures <= 4, "{failures} attempts");
    shutdown.begin();
}

/// A node that takes connections and never says a word.
async fn silent() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = address_of(&listener);
    (listener, address)
}

#[tokio::test]
async fn commands_that_wait_for_a_connection_count_as_load() {
    let (_listener, address) = silent().await;
    let (pool, shutdown) = pool(address, Options::default());
    let waiting = Arc::clone(&pool);
    let waiting = tokio::spawn(async move { waiting.wait(0, Share::Ordinary, None).await.map(drop) });
    tokio::task::yield_now().await;
    assert_eq!(pool.load(), 1, "else a node that answers nobody looks idle");
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(pool.load(), 0);
    shutdown.begin();
}

#[tokio::test]
async fn a_retired_pool_turns_commands_away_at_once() {
    let (_listener, address) = silent().await;
    let (pool, shutdown) = pool(address, Options::default());
    pool.retired();
    let outcome = tokio::time::timeout(Duration::from_secs(2), pool.wait(0, Share::Ordinary, None)).await;
    let error = outcome.expect("no wait").unwrap_err();
    assert!(matches!(error, CheckOutError::Cleared { .. }), "{error}");
    shutdown.begin();
}
