//! The replica set as one thing: a single writer takes in what the monitors see and publishes snapshots.
//!
//! Commands read the newest snapshot without a lock. Beside each node lives a resource (the pool, one layer up), which
//! is made when the node appears and told when it fails or leaves.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, watch};

use super::{
    Options, Resolver,
    failure::Failure,
    monitor::{self, MIN_HEARTBEAT, Observation, Watch},
    round_trips, srv,
};
use crate::{
    shutdown::Shutdown,
    topology::{
        Address, ApplicationError, Change, ClusterTime, Criteria, ErrorCause, Event, Presented,
        SelectionError, SelectionOptions, ServerDescription, ServerKind, Topology, TopologyOptions, select,
        select_excluding,
    },
};

/// What lives beside a node.
pub trait NodeResource: Send + Sync + 'static {
    /// The node answered as a usable member.
    fn ready(&self);
    /// The node cannot be reached, or answered with nonsense: what was connected to it is of no use. If it `hangs`, what waits for
    /// it must be woken.
    fn failed(&self, reason: &str, hangs: bool);
    /// The node is no longer part of the cluster.
    fn retired(&self);
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
    reports: mpsc::Sender<Report>,
    selection: SelectionOptions,
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
        let (sender, received) = mpsc::channel(64);
        let reports = sender.clone();
        let (check_all, checks) = watch::channel(0);
        let mut writer = Writer {
            options: Arc::new(options.clone()),
            shutdown: shutdown.clone(),
            members: HashMap::new(),
            topology,
            sender,
            make: Box::new(make),
            presented: Arc::default(),
            cluster_time: None,
        };
        writer.match_members();
        let cluster = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(writer.snapshot()),
            version: watch::channel(0).0,
            news: watch::channel(0).0,
            check_all,
            reports,
            selection: SelectionOptions {
                local_threshold: options.local_threshold,
                heartbeat: options.heartbeat,
            },
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

    /// Reports an error that a command met: the node counts as Unknown until its monitor says what it is, so that commands wait
    /// for another instead of asking it (Server Discovery and Monitoring specification, "Application errors"). If a connection
    /// broke or the node shuts down, its resource is told that it failed. An error that is older than what is known changes nothing.
    pub fn report_error(&self, address: &Address, error: ApplicationError) {
        // When the writer is behind, others have reported the same.
        let _ = self.reports.try_send(Report::Error(address.clone(), error));
    }

    /// Reports a failed exchange on a connection of this generation. That the connection broke is an error of the node's; of what
    /// else failed it is asked.
    pub fn report_failure(&self, address: &Address, generation: u64, failure: &Failure) {
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

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Report {
    /// What a monitor saw.
    Check(Box<Observation>),
    /// What a command met.
    Error(Address, ApplicationError),
    /// A node that may not be there.
    Doubt(Address),
}

struct Member<R> {
    watch: Arc<Watch>,
    resource: Arc<R>,
    tasks: Shutdown,
}

/// Makes the resource of a node that appears.
type MakeResource<R> = Box<dyn Fn(&Address) -> Arc<R> + Send>;

struct Writer<R> {
    options: Arc<Options>,
    shutdown: Shutdown,
    members: HashMap<Address, Member<R>>,
    topology: Topology,
    sender: mpsc::Sender<Report>,
    make: MakeResource<R>,
    presented: Arc<Presented>,
    cluster_time: Option<Arc<ClusterTime>>,
}

impl<R: NodeResource> Writer<R> {
    async fn run(
        mut self,
        cluster: Arc<Cluster<R>>,
        mut reports: mpsc::Receiver<Report>,
        mut checks: watch::Receiver<u64>,
        mut srv_hosts: mpsc::Receiver<Vec<Address>>,
    ) {
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some(Report::Check(observation)) => self.take_in(observation, &cluster),
                    Some(Report::Error(address, error)) => self.demote(&address, &error, &cluster),
                    Some(Report::Doubt(address)) => self.doubt(&address),
                    None => return,
                },
                asked = checks.changed() => match asked {
                    Ok(()) => self.members.values().for_each(|member| member.watch.check_now.notify_one()),
                    Err(_) => return,
                },
                Some(hosts) = srv_hosts.recv() => self.take_in_srv(&hosts, &cluster),
            }
        }
    }

    fn take_in(&mut self, observation: Box<Observation>, cluster: &Cluster<R>) {
        let Observation {
            description,
            silent,
            cluster_time,
        } = *observation;
        self.advance(cluster_time);
        let (address, failed) = (description.address.clone(), description.error.clone());
        let Some(changed) = self.apply(description) else {
            return;
        };
        if let Some(member) = self.members.get(&address) {
            match failed {
                Some(reason) => member.resource.failed(&reason, silent),
                None => member.resource.ready(),
            }
        }
        self.publish(changed, cluster);
    }

    /// A node that only changed its state keeps its connections; one that shuts down does not.
    ///
    /// A node that was just checked cannot be asked again for a moment, and is not lost for everybody because of one connection:
    /// else a client whose message makes nodes close connections could keep it Unknown.
    fn demote(&mut self, address: &Address, error: &ApplicationError, cluster: &Cluster<R>) {
        let Some(member) = self.members.get(address) else {
            return;
        };
        let generation = member.resource.generation();
        let Some(demotion) = self.topology.demotion(address, error, generation) else {
            return;
        };
        let is_network = matches!(error.cause, ErrorCause::Network(_));
        if is_network && self.was_just_checked(address) {
            return self.doubt(address);
        }
        let tells_version = demotion.description.topology_version.is_some();
        let reason = demotion.description.error.clone().unwrap_or_default();
        let Some(changed) = self.apply(demotion.description) else {
            return;
        };
        if let Some(member) = self.members.get(address) {
            if demotion.clears_pool {
                member.resource.failed(&reason, false);
            }
            member.watch.check_now.notify_one();
            // A streaming monitor hears of every new version. If the error told none, it may have heard of this state already.
            if !tells_version {
                member.watch.doubt.notify_one();
            }
        }
        self.publish(changed, cluster);
    }

    fn was_just_checked(&self, address: &Address) -> bool {
        let checked = self.topology.get(address).and_then(|server| server.last_update);
        checked.is_some_and(|checked| checked.elapsed() < MIN_HEARTBEAT)
    }

    fn doubt(&self, address: &Address) {
        if let Some(member) = self.members.get(address) {
            member.watch.check_now.notify_one();
            member.watch.doubt.notify_one();
        }
    }

    /// Takes a description in, and follows the changes that it brings. Says whether anything but measurements changed; `None` if the
    /// description was ignored.
    fn apply(&mut self, description: ServerDescription) -> Option<bool> {
        let change = self.topology.apply(description);
        if !change.applied {
            return None;
        }
        self.follow(&change);
        Some(change.changed)
    }

    fn take_in_srv(&mut self, hosts: &[Address], cluster: &Cluster<R>) {
        let most = self.options.srv.as_ref().map_or(0, |srv| srv.max_hosts);
        let change = self.topology.update_srv_hosts(hosts, most, srv::random);
        if change.changed {
            self.follow(&change);
            self.publish(true, cluster);
        }
    }

    fn follow(&mut self, change: &Change) {
        self.match_members();
        for event in &change.events {
            self.tell(event);
        }
    }

    /// Lets commands see what is now, and wakes those that wait for news if something has `changed`.
    fn publish(&mut self, changed: bool, cluster: &Cluster<R>) {
        let presented = self.presented.next(&self.topology);
        let has_news = changed || presented.counter != self.presented.counter;
        self.presented = Arc::new(presented);
        cluster.snapshot.store(Arc::new(self.snapshot()));
        cluster.version.send_modify(|version| *version += 1);
        if has_news {
            cluster.news.send_modify(|version| *version += 1);
        }
    }

    /// Keeps the later of the cluster times: nodes lag behind each other.
    fn advance(&mut self, seen: Option<ClusterTime>) {
        if let Some(seen) = seen
            && self
                .cluster_time
                .as_ref()
                .is_none_or(|known| seen.is_after(known))
        {
            self.cluster_time = Some(Arc::new(seen));
        }
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::NewPrimary(_) | Event::MemberAdded(_) | Event::MemberRemoved { .. } => {
                tracing::info!("{event}")
            }
            Event::PossiblePrimary(address) => {
                if let Some(member) = self.members.get(address) {
                    member.watch.check_now.notify_one();
                }
            }
            Event::KindChanged { error: None, .. } | Event::TopologyKindChanged { .. } => {
                tracing::debug!("{event}")
            }
            _ => tracing::warn!("{event}"),
        }
    }

    /// Starts and stops monitors so that there is exactly one member for each server; snapshots rely on it.
    fn match_members(&mut self) {
        let servers: Vec<Address> = self
            .topology
            .servers()
            .iter()
            .map(|server| server.address.clone())
            .collect();
        let gone: Vec<Address> = self
            .members
            .keys()
            .filter(|address| !servers.contains(address))
            .cloned()
            .collect();
        for address in &gone {
            self.remove(address);
        }
        for address in &servers {
            if !self.members.contains_key(address) {
                self.add(address);
            }
        }
    }

    fn add(&mut self, address: &Address) {
        let tasks = self.shutdown.child();
        let watch = Arc::new(Watch::new(address.clone()));
        tasks.spawn(
            "monitor",
            monitor::run(Arc::clone(&watch), Arc::clone(&self.options), self.sender.clone()),
        );
        tasks.spawn(
            "rtt",
            round_trips::measure(Arc::clone(&watch), Arc::clone(&self.options)),
        );
        let resource = (self.make)(address);
        self.members.insert(
            address.clone(),
            Member {
                watch,
                resource,
                tasks,
            },
        );
    }

    fn remove(&mut self, address: &Address) {
        if let Some(member) = self.members.remove(address) {
            member.tasks.begin();
            member.resource.retired();
        }
    }

    fn snapshot(&self) -> Snapshot<R> {
        let nodes = self
            .topology
            .servers()
            .iter()
            .filter_map(|server| self.members.get(&server.address));
        Snapshot {
            topology: self.topology.clone(),
            nodes: nodes.map(|member| Arc::clone(&member.resource)).collect(),
            presented: Arc::clone(&self.presented),
            cluster_time: self.cluster_time.clone(),
        }
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
