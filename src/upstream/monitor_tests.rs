//! Monitors of nodes that answer by a script, on loopback.

use bson::{Document, doc};
use tokio::{net::TcpSocket, task::JoinSet, time::sleep};

use super::{
    super::{
        pace::MIN_HEARTBEAT,
        round_trips,
        testing::{Node, WhenAwaited, standalone, streaming},
    },
    *,
};

/// A node, its monitor, and what that reports. All of it ends with this value.
struct Watched {
    watch: Arc<Watch>,
    reports: mpsc::Receiver<Report>,
    node: Node,
    tasks: JoinSet<()>,
}

impl Watched {
    async fn start(hello: Document, when_awaited: WhenAwaited, heartbeat: Duration) -> Self {
        Self::watch(Node::start(hello, when_awaited).await, heartbeat)
    }

    fn watch(node: Node, heartbeat: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let watch = Arc::new(Watch::new(node.address.clone(), Arc::default()));
        let options = Arc::new(Options {
            heartbeat,
            ..Options::default()
        });
        let (sender, reports) = mpsc::channel(8);
        tasks.spawn(run(Arc::clone(&watch), Arc::clone(&options), sender));
        tasks.spawn(round_trips::measure(Arc::clone(&watch), options));
        Self {
            watch,
            reports,
            node,
            tasks,
        }
    }

    /// The kind of the node by the next report, which must come soon.
    async fn next(&mut self) -> ServerKind {
        match timeout(Duration::from_secs(5), self.reports.recv()).await {
            Ok(Some(Report::Check(observation))) => observation.description.kind,
            other => panic!("no check is reported: {other:?}"),
        }
    }

    /// How many connections there were so far, after whatever is under way.
    async fn connections_after(&self, millis: u64) -> usize {
        sleep(Duration::from_millis(millis)).await;
        self.node.connections()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_node_that_has_to_be_asked_is_asked_when_it_is_wanted_on_the_one_connection() {
    let mut node = Watched::start(standalone(), WhenAwaited::Waits, LONG).await;
    assert_eq!(node.next().await, ServerKind::Standalone);
    let first = Instant::now();
    node.watch.check_now.notify_one();
    assert_eq!(node.next().await, ServerKind::Standalone);
    // A little less, as the report came a little later than the answer.
    assert!(
        first.elapsed() > MIN_HEARTBEAT - Duration::from_millis(100),
        "checks are apart"
    );
    assert_eq!(
        node.connections_after(0).await,
        1,
        "round trips are measured by the checks"
    );
    assert!(node.watch.average().is_some());
    node.tasks.shutdown().await;
}

#[tokio::test]
async fn a_stream_outlasts_a_wanted_check_but_no_doubt() {
    let mut node = Watched::start(streaming(), WhenAwaited::Waits, LONG).await;
    assert_eq!(node.next().await, ServerKind::Standalone);
    node.watch.check_now.notify_one();
    let count = node.connections_after(700).await;
    assert_eq!(count, 2, "one streams, one measures round trips");
    node.watch.doubt.notify_one();
    assert_eq!(
        node.next().await,
        ServerKind::Standalone,
        "it was asked on a new connection"
    );
    assert_eq!(node.connections_after(0).await, 3);
    node.tasks.shutdown().await;
}

#[tokio::test]
async fn a_node_that_was_there_is_asked_again_at_once() {
    let mut node = Watched::start(streaming(), WhenAwaited::ClosesLater, LONG).await;
    let seen = [node.next().await, node.next().await, node.next().await];
    assert_eq!(
        seen,
        [
            ServerKind::Standalone,
            ServerKind::Unknown,
            ServerKind::Standalone
        ]
    );
    node.tasks.shutdown().await;
}

#[tokio::test]
async fn a_node_that_refuses_is_asked_again_at_the_next_heartbeat_or_when_it_is_wanted() {
    let mut node = Watched::start(doc! { "ok": 0, "errmsg": "no" }, WhenAwaited::Waits, LONG).await;
    assert_eq!(node.next().await, ServerKind::Unknown);
    assert_eq!(node.connections_after(1200).await, 1);
    node.watch.check_now.notify_one();
    assert_eq!(node.next().await, ServerKind::Unknown);
    assert_eq!(node.connections_after(0).await, 2);
    node.tasks.shutdown().await;
}

#[tokio::test]
async fn a_node_that_was_away_for_a_moment_is_not_missed_for_a_heartbeat() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut node = Watched::watch(Node::absent(address), LONG);
    for _ in 0..3 {
        assert_eq!(
            node.next().await,
            ServerKind::Unknown,
            "it is asked again unasked"
        );
    }
    node.node.arrive(socket.listen(16).unwrap(), streaming());
    let back = Instant::now();
    while node.next().await == ServerKind::Unknown {}
    assert!(back.elapsed() < Duration::from_secs(4), "{:?}", back.elapsed());
    node.tasks.shutdown().await;
}
