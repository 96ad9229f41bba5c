//! The replica set as one thing, published as snapshots by a single writer ([`super::writer`]).
//!
//! Commands read the newest snapshot without a lock. Beside each node lives a resource (the pool, one layer up), which
//! is made when the node appears and told when it fails or leaves.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    Avoided, Options, Resolver,
    failure::Failure,
    srv,
    writer::{Report, Writer},
};
use crate::{
    shutdown::Shutdown,
    topology::{
        Address, ApplicationError, ClusterTime, Criteria, ErrorCause, Event, Presented, SelectionError,
        SelectionOptions, ServerKind, Topology, TopologyOptions, select, select_excluding, select_without,
    },
};

/// What lives beside a node.
pub trait NodeResource: Send + Sync + 'static {
    /// The node answered as a usable member.
    fn ready(&self);
    /// The node cannot be reached, or answered with nonsense: what was connected to it is of no use. If it `hangs`, what waits for
    /// it must be woken.
    fn failed(&self, reason: &str, hangs: bool);
    /// The node was the primary, and another one is now: what waits for it here as the primary must be woken. If the node itself
    /// `knows`, it answers as what it is now, and reads go on there; else nothing on it can be trusted.
    fn superseded(&self, knows: bool);
    /// The node is no longer part of the cluster.
    fn retired(self: Arc<Self>);
    /// Operations in flight, for the choice between equally near nodes.
    fn load(&self) -> usize;
    /// How often it failed: an error that came on a connection from before the last time is old news.
    fn generation(&self) -> u64;
}

/// The cluster at one moment. `nodes[i]` belongs to `topology.servers()[i]`.
#[derive(Debug)]
pub struct Snapshot<R> {
    /// What is known of the servers.
    pub topology: Topology,
    /// The resource beside each server.
    pub nodes: Vec<Arc<R>>,
    /// The same as one server, for clients that are told of no others.
    pub presented: Arc<Presented>,
    /// The latest cluster time that a monitor was told; commands may be ahead of it.
    pub cluster_time: Option<Arc<ClusterTime>>,
}

impl<R: NodeResource> Snapshot<R> {
    /// Finds a node for an operation, with what it is at this moment; `None` if none fits now.
    ///
    /// # Errors
    /// If waiting cannot help.
    pub fn select(
        &self,
        criteria: &Criteria<'_>,
        options: &SelectionOptions,
    ) -> Result<Option<(&Arc<R>, ServerKind)>, SelectionError> {
        let index = select(&self.topology, criteria, options, self.load(), random)?;
        Ok(self.found(index))
    }

    /// As [`Snapshot::select`], but `avoid` is taken only if no other node fits.
    ///
    /// # Errors
    /// If waiting cannot help.
    pub fn select_avoiding(
        &self,
        criteria: &Criteria<'_>,
        options: &SelectionOptions,
        avoid: &Address,
    ) -> Result<Option<(&Arc<R>, ServerKind)>, SelectionError> {
        let failed = self.topology.index_of(avoid);
        let exclude = |index| Some(index) == failed;
        let index = select_excluding(&self.topology, criteria, options, exclude, self.load(), random)?;
        Ok(self.found(index))
    }

    /// As the two above, but nodes that the operator has reads pass over are taken only if no other fits; of them and the one that has
    /// just failed, if any, rather they.
    ///
    /// # Errors
    /// If waiting cannot help.
    #[cold]
    pub fn select_sparing(
        &self,
        criteria: &Criteria<'_>,
        options: &SelectionOptions,
        failed: Option<&Address>,
        avoided: &Avoided,
    ) -> Result<Option<(&Arc<R>, ServerKind)>, SelectionError> {
        let exclude = |index: usize| {
            let server = self.topology.servers().get(index);
            server.is_some_and(|server| {
                Some(&server.address) == failed || avoided.left(&server.address).is_some()
            })
        };
        let found = select_without(&self.topology, criteria, options, exclude, self.load(), random)?;
        match (found, failed) {
            (Some(_), _) => Ok(self.found(found)),
            (None, Some(failed)) => self.select_avoiding(criteria, options, failed),
            (None, None) => self.select(criteria, options),
        }
    }

    fn load(&self) -> impl Fn(usize) -> usize {
        |index| self.nodes.get(index).map_or(usize::MAX, |node| node.load())
    }

    fn found(&self, index: Option<usize>) -> Option<(&Arc<R>, ServerKind)> {
        let index = index?;
        Some((self.nodes.get(index)?, self.topology.servers().get(index)?.kind))
    }
}

fn random(bound: usize) -> usize {
    fastrand::usize(..bound)
}

/// The published cluster.
#[derive(Debug)]
pub struct Cluster<R> {
    snapshot: ArcSwap<Snapshot<R>>,
    version: watch::Sender<u64>,
    /// Woken by the snapshots that say something new, which measurements alone do not.
    news: watch::Sender<u64>,
    check_all: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
    reports: mpsc::Sender<Report>,
    selection: SelectionOptions,
    avoided: Avoided,
    server_selection_timeout: Duration,
    compresses: bool,
}

impl<R: NodeResource> Cluster<R> {
    /// Starts monitoring on the current runtime. `make` makes the resource of a node that appears.
    pub fn start(
        options: Options,
        shutdown: &Shutdown,
        make: impl Fn(&Address) -> Arc<R> + Send + 'static,
    ) -> Arc<Self> {
        let topology = Topology::new(TopologyOptions {
            seeds: options.seeds.clone(),
            set_name: options.set_name.clone(),
            direct: options.direct,
            ..TopologyOptions::default()
        });
        let (reports, received) = mpsc::channel(64);
        let (check_all, checks) = watch::channel(0);
        let mut writer = Writer::new(&options, shutdown, topology, reports.clone(), Box::new(make));
        writer.match_members();
        let cluster = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(writer.snapshot()),
            version: watch::channel(0).0,
            news: watch::channel(0).0,
            check_all,
            events: writer.events(),
            reports,
            selection: SelectionOptions {
                local_threshold: options.local_threshold,
                heartbeat: options.heartbeat,
            },
            avoided: Avoided::default(),
            server_selection_timeout: options.server_selection_timeout,
            compresses: !options.compressors.is_empty(),
        });
        let (records, srv_hosts) = mpsc::channel(1);
        if let Some(srv) = options.srv.clone() {
            let (resolver, watched) = (Resolver::new(options.nameserver), Arc::clone(&cluster));
            let follows = move || watched.load().topology.follows_srv_records();
            let poll = srv::poll(srv, resolver, options.heartbeat, follows, records);
            shutdown.spawn("srv", poll);
        }
        shutdown.spawn(
            "cluster",
            writer.run(Arc::clone(&cluster), received, checks, srv_hosts),
        );
        cluster
    }

    /// Publishes the next snapshot; `has_news` if it says more than measurements do.
    pub(super) fn publish(&self, snapshot: Snapshot<R>, has_news: bool) {
        self.snapshot.store(Arc::new(snapshot));
        self.version.send_modify(|version| *version += 1);
        if has_news {
            self.news.send_modify(|version| *version += 1);
        }
    }

    /// The newest snapshot. Hold it only between two awaits.
    pub fn load(&self) -> Guard<Arc<Snapshot<R>>> {
        self.snapshot.load()
    }

    /// A receiver that is woken by each new snapshot; subscribe before looking, so that none is missed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A receiver that is woken only by snapshots in which something has changed that clients can notice, so that many may
    /// wait on it for long; subscribe before looking.
    pub fn subscribe_news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// A receiver of what happens to the servers, one by one; who is slow misses the oldest.
    pub fn subscribe_events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Reports an error that a command met: the node counts as Unknown until its monitor says what it is, so that commands wait
    /// for another instead of asking it (Server Discovery and Monitoring specification, "Application errors"). If a connection
    /// broke or the node shuts down, its resource is told that it failed. An error that is older than what is known changes nothing.
    pub fn report_error(&self, address: &Address, error: ApplicationError) {
        // When the writer is behind, others have reported the same.
        let _ = self.reports.try_send(Report::Error(address.clone(), error));
    }

    /// Reports a failed exchange on a connection of this generation. That the connection broke is an error of the node's; of what
    /// else failed it is asked. That the exchange was ended from here is no news.
    pub fn report_failure(&self, address: &Address, generation: u64, failure: &Failure) {
        if failure.is_interruption() {
            return;
        }
        if failure.is_network_error() {
            let cause = ErrorCause::Network(failure.to_string());
            self.report_error(address, ApplicationError { cause, generation });
        } else {
            self.doubt(address);
        }
    }

    /// Asks for a check of this node on a new connection: what it streams does not prove that it is there.
    pub fn doubt(&self, address: &Address) {
        // When the writer is behind, others have asked the same.
        let _ = self.reports.try_send(Report::Doubt(address.clone()));
    }

    /// Asks for an immediate check of every node; many requests within half a second are one. A monitor that is being streamed to
    /// heeds it not: its node tells of a change unasked.
    pub fn request_check(&self) {
        self.check_all.send_modify(|count| *count += 1);
    }

    /// The options for [`Snapshot::select`].
    #[must_use]
    pub fn selection(&self) -> &SelectionOptions {
        &self.selection
    }

    /// The nodes that reads are to pass over.
    #[must_use]
    pub fn avoided(&self) -> &Avoided {
        &self.avoided
    }

    /// Whether requests may go to the nodes compressed.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.compresses
    }

    /// How long a command may wait for a node.
    #[must_use]
    pub fn server_selection_timeout(&self) -> Duration {
        self.server_selection_timeout
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
