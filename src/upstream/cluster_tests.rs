//! What a cluster makes of errors that commands meet, and of a new primary, with nodes on loopback.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::time::{sleep, timeout};

use super::{
    super::{
        Interruption,
        failure::Reason,
        pace::MIN_HEARTBEAT,
        testing::{Node, WhenAwaited, member, streaming},
    },
    *,
};

/// What the node's resource was told.
#[derive(Debug, Default)]
struct Told {
    failed: AtomicU64,
    interrupted: AtomicU64,
    writes: AtomicU64,
    everything: AtomicU64,
}

impl NodeResource for Told {
    fn ready(&self) {}

    fn failed(&self, _: &str, hangs: bool) {
        self.failed.fetch_add(1, SeqCst);
        self.interrupted.fetch_add(u64::from(hangs), SeqCst);
    }

    fn superseded(&self, knows: bool) {
        let told = if knows { &self.writes } else { &self.everything };
        told.fetch_add(1, SeqCst);
    }

    fn retired(self: Arc<Self>) {}

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

/// Two members of a set, the first of which is the primary, seen by a cluster.
struct Pair {
    old: Node,
    new: Node,
    cluster: Arc<Cluster<Told>>,
    changes: watch::Receiver<u64>,
    shutdown: Shutdown,
}

impl Pair {
    async fn start() -> Self {
        let (old, new) = (Node::silent().await, Node::silent().await);
        let hosts = [&old.address, &new.address];
        old.say(member(&hosts, &old.address, Some(1)));
        new.say(member(&hosts, &new.address, None));
        let shutdown = Shutdown::new();
        let options = Options {
            seeds: vec![old.address.clone(), new.address.clone()],
            set_name: Some("rs".to_owned()),
            ..Options::default()
        };
        let cluster = Cluster::start(options, &shutdown, |_| Arc::default());
        let changes = cluster.subscribe();
        let mut pair = Self {
            old,
            new,
            cluster,
            changes,
            shutdown,
        };
        let (old, new) = (pair.old.address.clone(), pair.new.address.clone());
        pair.until(&old, ServerKind::RsPrimary).await;
        pair.until(&new, ServerKind::RsSecondary).await;
        pair
    }

    /// Waits until a member counts as this.
    async fn until(&mut self, address: &Address, kind: ServerKind) {
        let is = |cluster: &Cluster<Told>| {
            let snapshot = cluster.load();
            snapshot
                .topology
                .get(address)
                .is_some_and(|server| server.kind == kind)
        };
        let reached = async {
            while !is(&self.cluster) {
                self.changes.changed().await.unwrap();
            }
        };
        let reached = timeout(Duration::from_secs(5), reached).await;
        reached.unwrap_or_else(|_| panic!("{address} is no {kind}: {:?}", self.cluster.load().topology));
    }

    /// The second member becomes primary; `hosts` are its members then.
    async fn elect(&mut self, hosts: &[&Address]) {
        let new = self.new.address.clone();
        self.new.say(member(hosts, &new, Some(2)));
        self.until(&new, ServerKind::RsPrimary).await;
    }

    /// What the resource of the first member has been told.
    fn told(&self) -> Arc<Told> {
        let snapshot = self.cluster.load();
        let at = snapshot.topology.index_of(&self.old.address).unwrap();
        Arc::clone(&snapshot.nodes[at])
    }
}

/// How often writes alone, and how often everything, was to end.
fn ended(told: &Told) -> (u64, u64) {
    (told.writes.load(SeqCst), told.everything.load(SeqCst))
}

#[tokio::test]
async fn everything_ends_on_a_primary_that_hangs_while_another_takes_its_place() {
    let mut pair = Pair::start().await;
    let (old, told) = (pair.old.address.clone(), pair.told());
    let before = pair.old.connections();
    pair.old.hang();
    pair.elect(&[&old, &pair.new.address.clone()]).await;
    // It is told after all can see the new primary.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(ended(&told), (0, 1));
    assert!(pair.old.connections() > before, "it is asked on a new connection");
    let new = pair
        .cluster
        .load()
        .nodes
        .iter()
        .map(|node| ended(node))
        .fold((0, 0), |sum, node| (sum.0 + node.0, sum.1 + node.1));
    assert_eq!(new, (0, 1), "of the new primary nothing ends");
    pair.shutdown.begin();
}

#[tokio::test]
async fn writes_alone_end_on_a_primary_that_said_itself_that_it_is_none() {
    for says_in_an_error in [false, true] {
        let mut pair = Pair::start().await;
        let (old, new) = (pair.old.address.clone(), pair.new.address.clone());
        let told = pair.told();
        if says_in_an_error {
            let cause = ErrorCause::StateChange {
                code: 11602,
                topology_version: None,
            };
            pair.old.hang();
            let error = ApplicationError { cause, generation: 0 };
            pair.cluster.report_error(&old, error);
            pair.until(&old, ServerKind::Unknown).await;
        } else {
            pair.old.say(member(&[&old, &new], &old, None));
            pair.until(&old, ServerKind::RsSecondary).await;
        }
        pair.elect(&[&old, &new]).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(ended(&told), (1, 0), "{says_in_an_error}");
        pair.shutdown.begin();
    }
}

#[tokio::test]
async fn everything_ends_on_a_primary_that_was_lost_or_left_before_another_was_seen() {
    for leaves in [false, true] {
        let mut pair = Pair::start().await;
        let (old, new) = (pair.old.address.clone(), pair.new.address.clone());
        let told = pair.told();
        sleep(MIN_HEARTBEAT).await;
        pair.old.hang();
        let failure = Failure::maybe_sent(reset());
        pair.cluster.report_failure(&old, 0, &failure);
        pair.until(&old, ServerKind::Unknown).await;
        let both = [&new, &old];
        pair.elect(if leaves { &both[..1] } else { &both }).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(ended(&told), (0, 1), "{leaves}");
        pair.shutdown.begin();
    }
}

#[tokio::test]
async fn a_primary_that_comes_back_as_such_is_superseded_by_none() {
    let mut pair = Pair::start().await;
    let (old, new) = (pair.old.address.clone(), pair.new.address.clone());
    let told = pair.told();
    pair.old.say(member(&[&old, &new], &old, None));
    pair.until(&old, ServerKind::RsSecondary).await;
    pair.old.say(member(&[&old, &new], &old, Some(2)));
    pair.until(&old, ServerKind::RsPrimary).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(ended(&told), (0, 0));
    pair.shutdown.begin();
}

#[tokio::test]
async fn an_exchange_that_was_ended_from_here_says_nothing_of_its_node() {
    let mut seen = Seen::start().await;
    sleep(MIN_HEARTBEAT).await;
    let before = seen.node.connections();
    seen.report(0, Reason::Interrupted(Interruption::Superseded));
    let told = timeout(Duration::from_millis(300), seen.changes.changed()).await;
    assert!(told.is_err(), "nothing changes");
    assert_eq!(seen.node.connections(), before, "it is not asked either");
    seen.shutdown.begin();
}
