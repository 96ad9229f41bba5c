//! How soon a new primary is known: counted from the moment when it says in its own log that it is one.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bson::DateTime;
use tidegate::{
    sandbox::{Options, ReplicaSet},
    shutdown::Shutdown,
    topology::Address,
    upstream::{self, Cluster},
};
use tokio::time::timeout;

use crate::support::{client::eventually, nothing::Nothing, start_set};

/// "Transition to primary complete; database writes are now permitted".
const PRIMARY_COMPLETE: &str = "\"id\":21331,";
/// Far longer than an election takes.
const LIMIT: Duration = Duration::from_secs(40);
/// Mostly it takes one or two milliseconds; a machine may be busy.
const SOON: Duration = Duration::from_secs(1);

/// A set, and the cluster as the proxy sees it.
struct Seen {
    set: ReplicaSet,
    cluster: Arc<Cluster<Nothing>>,
    shutdown: Shutdown,
}

impl Seen {
    fn start() -> Self {
        let set = start_set(Options::default());
        let shutdown = Shutdown::new();
        let seeds = set
            .addresses()
            .into_iter()
            .map(|address| address.parse().unwrap());
        let options = upstream::Options {
            seeds: seeds.collect(),
            set_name: Some(set.options().set_name.clone()),
            ..upstream::Options::default()
        };
        let cluster = Cluster::start(options, &shutdown, |_| Arc::new(Nothing));
        Self {
            set,
            cluster,
            shutdown,
        }
    }

    fn primary(&self) -> Option<Address> {
        let snapshot = self.cluster.load();
        snapshot
            .topology
            .primary()
            .map(|(_, server)| server.address.clone())
    }

    /// Waits until the cluster's primary is one of which `is_wanted` holds; its number in the set, and when it was published.
    async fn until(&self, is_wanted: impl Fn(usize) -> bool) -> (usize, SystemTime) {
        let mut changes = self.cluster.subscribe();
        let wanted = async {
            loop {
                let addresses = self.set.addresses();
                let number = |primary: Address| {
                    addresses
                        .iter()
                        .position(|address| *address == primary.to_string())
                };
                if let Some(node) = self.primary().and_then(number)
                    && is_wanted(node)
                {
                    return (node, SystemTime::now());
                }
                changes.changed().await.unwrap();
            }
        };
        timeout(LIMIT, wanted).await.expect("no other primary is seen")
    }

    /// Waits for another primary than `old` after a fault, which must be seen soon after it has become one.
    async fn expect_another(&self, old: usize, fault: &str, since: SystemTime) {
        let (new, seen) = self.until(|node| node != old).await;
        let mut became = None;
        eventually("the new primary has written its log", LIMIT, async || {
            became = became_primary(&self.set, new).filter(|became| *became >= since);
            became.is_some()
        })
        .await;
        // A moment before it wrote so, it may have answered so.
        let delay = seen.duration_since(became.unwrap()).unwrap_or_default();
        println!("{fault}: seen after {delay:?}");
        assert!(delay < SOON, "{fault}: {delay:?}");
    }
}

/// When a member became primary last, since it was started.
fn became_primary(set: &ReplicaSet, node: usize) -> Option<SystemTime> {
    let log = set.folder().join(format!("node-{node}")).join("mongod.log");
    let log = fs::read_to_string(log).unwrap();
    let line = log.lines().rfind(|line| line.contains(PRIMARY_COMPLETE))?;
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let date = DateTime::parse_rfc3339_str(line["t"]["$date"].as_str()?);
    Some(date.unwrap().into())
}

/// Now, as a log would tell it.
fn now() -> SystemTime {
    DateTime::now().into()
}

#[tokio::test]
async fn a_new_primary_is_known_as_soon_as_it_is_one() {
    let seen = Seen::start();
    let set = &seen.set;
    seen.until(|_| true).await;

    set.wait_ready().await.unwrap();
    let (old, since) = (set.primary().await.unwrap(), now());
    set.step_down().await.unwrap();
    seen.expect_another(old, "a stepdown", since).await;

    set.wait_ready().await.unwrap();
    let (killed, since) = (set.primary().await.unwrap(), now());
    set.kill(killed).unwrap();
    seen.expect_another(killed, "a crash", since).await;

    // One of those that may become primary now has just come back. Nobody else asks for it, and the old primary hangs.
    set.restart(killed).await.unwrap();
    let (old, since) = (set.primary().await.unwrap(), now());
    set.pause(old).unwrap();
    seen.expect_another(old, "a primary that hangs", since).await;
    set.resume(old).unwrap();
    seen.shutdown.begin();
}
