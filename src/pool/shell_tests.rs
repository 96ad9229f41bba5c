//! Tests of the pool's IO, with addresses that refuse or never answer.

use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

use super::*;
use crate::{
    failover::Sent,
    upstream::{
        Failure, Reason,
        testing::{Node, WhenAwaited, streaming},
    },
};

/// A pool of the node at `address`, on the current runtime.
fn pool(address: Address, options: Options) -> (Arc<Pool>, Shutdown) {
    let shutdown = Shutdown::new();
    let cores = Arc::from([Handle::current()]);
    let upstream = upstream::Options {
        connect_timeout: Duration::from_secs(1),
        ..upstream::Options::default()
    };
    let pool = Pool::new(address, options, Arc::new(upstream), cores, &shutdown);
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
    let error = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap_err();
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
    let waiting = tokio::spawn(async move {
        waiting
            .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .map(drop)
    });
    tokio::task::yield_now().await;
    assert_eq!(pool.load(), 1, "else a node that answers nobody looks idle");
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(pool.load(), 0);
    shutdown.begin();
}

#[tokio::test]
async fn each_wait_ends_in_its_own_time_whichever_began_first() {
    let (_listener, address) = silent().await;
    let options = Options {
        wait_timeout: Duration::from_millis(600),
        ..Options::default()
    };
    let (pool, shutdown) = pool(address, options);
    let millis = Duration::from_millis;
    // How long a wait lasts that begins after so long, with this limit of its own.
    let wait = async |after: u64, limit: Option<u64>| {
        tokio::time::sleep(millis(after)).await;
        let begun = Instant::now();
        let outcome = pool
            .wait(&Identity::SERVICE, 0, Share::Ordinary, begun, limit.map(millis))
            .await;
        let error = outcome.unwrap_err();
        assert!(matches!(error, CheckOutError::Timeout { .. }), "{error}");
        begun.elapsed()
    };
    let (by_pool, longer, shorter) = tokio::join!(wait(0, None), wait(30, Some(300)), wait(60, Some(100)));
    for (waited, limit) in [(by_pool, 600), (longer, 300), (shorter, 100)] {
        assert!(
            waited >= millis(limit) && waited < millis(limit + 190),
            "{waited:?}"
        );
    }
    assert_eq!(pool.counts().waiting, 0);
    assert_eq!(pool.totals.wait_timeouts.load(Relaxed), 3);
    shutdown.begin();
}

#[tokio::test]
async fn a_wait_that_is_over_tells_how_many_others_wait_still() {
    let (_listener, address) = silent().await;
    let (pool, shutdown) = pool(address, Options::default());
    let wait = |limit| {
        let limit = Some(Duration::from_millis(limit));
        pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), limit)
    };
    let told = tokio::select! {
        _ = wait(5_000) => panic!("nobody is served"),
        _ = wait(5_000) => panic!("nobody is served"),
        told = wait(50) => told.unwrap_err(),
    };
    assert!(
        matches!(told, CheckOutError::Timeout { waiting: 2, .. }),
        "{told}"
    );
    shutdown.begin();
}

#[tokio::test]
async fn who_waits_is_told_when_nothing_serves_the_pool_any_more() {
    let (_listener, address) = silent().await;
    let (pool, shutdown) = pool(address, Options::default());
    let wait = || pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None);
    let ends = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        shutdown.begin();
    };
    let (told, ()) = timeout(Duration::from_secs(2), async { tokio::join!(wait(), ends) })
        .await
        .expect("nobody would end the wait");
    let told = told.unwrap_err();
    assert!(matches!(told, CheckOutError::Cleared { .. }), "{told}");
    let late = timeout(Duration::from_secs(2), wait()).await.expect("no wait");
    assert!(matches!(late, Err(CheckOutError::Cleared { .. })));
}

#[tokio::test]
async fn what_the_proxy_asks_on_its_own_is_no_command_that_waited() {
    let node = Node::start(streaming(), WhenAwaited::Waits).await;
    let options = Options {
        max_size: 1,
        ..Options::default()
    };
    let (pool, shutdown) = pool(node.address.clone(), options);
    let wait = |limit| {
        let limit = Some(Duration::from_millis(limit));
        pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), limit)
    };
    let waits = || pool.totals.waits.sum(0).durations.count();
    let only = wait(9_000).uncounted().await.unwrap();
    assert!(wait(50).uncounted().await.is_err());
    assert_eq!((waits(), pool.totals.wait_timeouts.load(Relaxed)), (0, 0));
    assert!(wait(50).await.is_err());
    assert_eq!((waits(), pool.totals.wait_timeouts.load(Relaxed)), (1, 1));
    drop(only);
    assert!(wait(9_000).await.is_ok());
    shutdown.begin();
}

#[tokio::test]
async fn what_was_handed_over_counts_though_the_time_is_over_and_goes_to_the_next_if_that_one_has_left() {
    let node = Node::start(streaming(), WhenAwaited::Waits).await;
    let options = Options {
        max_size: 1,
        ..Options::default()
    };
    let (pool, shutdown) = pool(node.address.clone(), options);
    let wait = |limit| {
        let limit = Some(Duration::from_millis(limit));
        Box::pin(pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), limit))
    };
    let only = wait(9_000).await.unwrap();
    let (mut first, mut second, mut third) = (wait(9_000), wait(200), wait(9_000));
    for waits in [&mut first, &mut second, &mut third] {
        assert!(timeout(Duration::ZERO, waits).await.is_err());
    }
    drop(only);
    let newcomer = pool.try_check_out(&Identity::SERVICE, 0, Share::Ordinary);
    assert!(
        newcomer.is_none(),
        "it is the first one's, who has not looked yet"
    );
    assert_eq!(pool.load(), 3, "who was handed one counts once");
    drop(first);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let lease = second.await.unwrap();
    assert_eq!(
        (pool.counts().in_use, pool.counts().waiting, pool.load()),
        (1, 1, 2)
    );
    drop(lease);
    drop(third.await.unwrap());
    assert_eq!((pool.counts().idle, pool.load()), (1, 0));
    shutdown.begin();
}

#[tokio::test]
async fn a_retired_pool_turns_commands_away_at_once() {
    let (_listener, address) = silent().await;
    let (pool, shutdown) = pool(address, Options::default());
    Arc::clone(&pool).retired();
    let outcome = tokio::time::timeout(
        Duration::from_secs(2),
        pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None),
    )
    .await;
    let error = outcome.expect("no wait").unwrap_err();
    assert!(matches!(error, CheckOutError::Cleared { .. }), "{error}");
    shutdown.begin();
}

/// A node whose commands hang, and two connections to it on which one does: a read and a write.
async fn hanging() -> (Node, Arc<Pool>, Shutdown, [Lease; 2]) {
    let node = Node::start(streaming(), WhenAwaited::Waits).await;
    let options = Options {
        max_size: 3,
        ..Options::default()
    };
    let (pool, shutdown) = pool(node.address.clone(), options);
    let mut read = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap();
    let mut write = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap();
    write.set_write(true);
    for lease in [&mut read, &mut write] {
        lease.start(&rawdoc! { "topologyVersion": 1 }, 0).await.unwrap();
    }
    (node, pool, shutdown, [read, write])
}

/// The reply, if it comes or fails at once.
async fn at_once(lease: &mut Lease) -> Option<Result<RawDocumentBuf, Failure>> {
    timeout(Duration::from_millis(200), lease.next()).await.ok()
}

fn is_rescued(outcome: Option<Result<RawDocumentBuf, Failure>>) -> bool {
    let Some(Err(failure)) = outcome else {
        return false;
    };
    assert_eq!(failure.sent, Sent::MaybeSent);
    matches!(failure.reason, Reason::Interrupted(Interruption::Superseded))
}

#[tokio::test]
async fn only_writes_end_on_a_primary_that_knows_that_it_is_none_any_more() {
    let (node, pool, shutdown, [mut read, mut write]) = hanging().await;
    pool.superseded(true);
    assert!(is_rescued(at_once(&mut write).await));
    assert!(at_once(&mut read).await.is_none(), "it goes on");
    node.say(streaming());
    assert!(at_once(&mut read).await.unwrap().is_ok());
    drop((read, write));
    assert_eq!(pool.counts().idle, 1, "the read's connection is of use");
    // What carried a write before carries a read now, and the other way round.
    let mut other = pool
        .try_check_out(&Identity::SERVICE, 0, Share::Ordinary)
        .unwrap();
    other.start(&rawdoc! { "topologyVersion": 1 }, 0).await.unwrap();
    pool.superseded(true);
    assert!(at_once(&mut other).await.is_none());
    shutdown.begin();
}

#[tokio::test]
async fn everything_ends_on_a_primary_that_does_not_know_and_nothing_new_begins() {
    let (_node, pool, shutdown, [mut read, mut write]) = hanging().await;
    let unsent = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap();
    pool.superseded(false);
    assert!(is_rescued(at_once(&mut write).await));
    assert!(is_rescued(at_once(&mut read).await));
    let mut unsent = unsent;
    let failure = unsent.run(&rawdoc! { "ping": 1 }).await.unwrap_err();
    assert!(failure.is_interruption(), "{failure}");
    drop((read, write, unsent));
    assert!(
        pool.try_check_out(&Identity::SERVICE, 0, Share::Ordinary)
            .is_none()
    );
    let refused = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap_err();
    assert!(matches!(refused, CheckOutError::Cleared { .. }), "{refused}");
    // Until its monitor sees it again.
    pool.ready();
    assert!(
        pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .is_ok()
    );
    shutdown.begin();
}

#[tokio::test]
async fn a_reply_that_came_before_its_connection_was_ended_counts_but_the_connection_does_not() {
    let (node, pool, shutdown, [_read, mut write]) = hanging().await;
    let _third = pool
        .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
        .await
        .unwrap();
    node.say(streaming());
    // The bytes lie in the socket by then, unread.
    tokio::time::sleep(Duration::from_millis(100)).await;
    pool.superseded(true);
    assert!(at_once(&mut write).await.unwrap().is_ok());
    let waiting = Arc::clone(&pool);
    let waiting = tokio::spawn(async move {
        waiting
            .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .unwrap()
            .generation()
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pool.counts().waiting, 1);
    drop(write);
    waiting.await.unwrap();
    assert_eq!(pool.totals.opened.load(Relaxed), 4, "it is lent to nobody");
    shutdown.begin();
}

#[tokio::test]
async fn exchanges_on_a_node_that_left_go_on_while_it_answers_and_end_when_it_does_not() {
    let (node, pool, shutdown, [mut read, _write]) = hanging().await;
    Arc::clone(&pool).retired();
    assert!(at_once(&mut read).await.is_none(), "the node is there");
    node.say(streaming());
    assert!(at_once(&mut read).await.unwrap().is_ok());
    shutdown.begin();

    // One that hangs.
    let (node, pool, shutdown, [mut read, _write]) = hanging().await;
    node.hang();
    pool.retired();
    let ended = timeout(Duration::from_secs(5), read.next()).await;
    let failure = ended.expect("nobody else would end it").unwrap_err();
    let is_left = matches!(failure.reason, Reason::Interrupted(Interruption::Left));
    assert!(is_left, "{failure}");
    shutdown.begin();
}

#[tokio::test]
async fn connections_that_hang_in_the_making_do_not_keep_the_place_of_others_once_the_pool_is_cleared() {
    let node = Node::silent().await;
    let (pool, shutdown) = pool(node.address.clone(), Options::default());
    let waiting = Arc::clone(&pool);
    let waiting = tokio::spawn(async move {
        waiting
            .wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .map(drop)
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pool.counts().connecting, 1);
    pool.failed("it hangs", true);
    assert!(matches!(
        waiting.await.unwrap(),
        Err(CheckOutError::Cleared { .. })
    ));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pool.counts().connecting, 0);
    assert_eq!(pool.totals.connect_failures.load(Relaxed), 0, "it was given up");
    node.say(streaming());
    pool.ready();
    assert!(
        pool.wait(&Identity::SERVICE, 0, Share::Ordinary, Instant::now(), None)
            .await
            .is_ok()
    );
    shutdown.begin();
}
