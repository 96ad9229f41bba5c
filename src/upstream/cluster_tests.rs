//! What a cluster makes of errors that commands meet, with a node on loopback.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::time::{sleep, timeout};

use super::{
    super::{
        failure::Reason,
        testing::{Node, WhenAwaited, streaming},
    },
    *,
};

/// What the node's resource was told.
#[derive(Debug, Default)]
struct Told {
    failed: AtomicU64,
    interrupted: AtomicU64,
}

impl NodeResource for Told {
    fn ready(&self) {}

    fn failed(&self, _: &str, hangs: bool) {
        self.failed.fetch_add(1, SeqCst);
        self.interrupted.fetch_add(u64::from(hangs), SeqCst);
    }

    fn retired(&self) {}

    fn load(&self) -> usize {
        0
    }

    fn generation(&self) -> u64 {
        self.failed.load(SeqCst)
    }
}

/// A node that streams, seen by a cluster.
struct Seen {
    node: Node,
    cluster: Arc<Cluster<Told>>,
    changes: watch::Receiver<u64>,
    shutdown: Shutdown,
}

impl Seen {
    async fn start() -> Self {
        let node = Node::start(streaming(), WhenAwaited::Waits).await;
        let shutdown = Shutdown::new();
        let options = Options {
            seeds: vec![node.address.clone()],
            direct: true,
            ..Options::default()
        };
        let cluster = Cluster::start(options, &shutdown, |_| Arc::default());
        let changes = cluster.subscribe();
        let mut seen = Self {
            node,
            cluster,
            changes,
            shutdown,
        };
        assert_eq!(seen.next().await, ServerKind::Standalone);
        seen
    }

    /// The node's kind in the next snapshot, which must come soon.
    async fn next(&mut self) -> ServerKind {
        let changed = timeout(Duration::from_secs(5), self.changes.changed()).await;
        changed.expect("nothing changes").unwrap();
        self.cluster.load().topology.servers()[0].kind
    }

    fn failures(&self) -> u64 {
        self.cluster.load().nodes[0].failed.load(SeqCst)
    }

    fn report(&self, generation: u64, reason: Reason) {
        let failure = Failure::maybe_sent(reason);
        self.cluster
            .report_failure(&self.node.address, generation, &failure);
    }
}

fn reset() -> Reason {
    Reason::Io(io::ErrorKind::ConnectionReset.into())
}

#[tokio::test]
async fn a_broken_connection_demotes_its_node_until_it_has_answered_on_a_new_one() {
    let mut seen = Seen::start().await;
    sleep(MIN_HEARTBEAT).await;
    let before = seen.node.connections();
    seen.report(0, reset());
    assert_eq!(seen.next().await, ServerKind::Unknown);
    assert_eq!(seen.next().await, ServerKind::Standalone);
    assert!(seen.node.connections() > before, "the stream proves nothing");
    assert_eq!(seen.failures(), 1);
    let lent = &seen.cluster.load().nodes[0].interrupted;
    assert_eq!(lent.load(SeqCst), 0, "exchanges on other connections go on");
    seen.shutdown.begin();
}

#[tokio::test]
async fn errors_of_older_generations_and_late_replies_demote_nothing() {
    let mut seen = Seen::start().await;
    sleep(MIN_HEARTBEAT).await;
    seen.report(0, reset());
    assert_eq!(seen.next().await, ServerKind::Unknown);
    assert_eq!(seen.next().await, ServerKind::Standalone);
    sleep(MIN_HEARTBEAT).await;
    seen.report(0, reset());
    seen.report(1, Reason::ReplyTimeout(MIN_HEARTBEAT));
    let kind = seen.next().await;
    assert_eq!(kind, ServerKind::Standalone, "it was only asked anew");
    assert_eq!(seen.failures(), 1);
    seen.shutdown.begin();
}

#[tokio::test]
async fn a_node_that_was_just_checked_is_not_lost_for_one_broken_connection() {
    let mut seen = Seen::start().await;
    seen.report(0, reset());
    let kind = seen.next().await;
    assert_eq!(kind, ServerKind::Standalone, "it was asked anew");
    assert_eq!(seen.failures(), 0);
    seen.shutdown.begin();
}
