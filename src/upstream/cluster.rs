//! The replica set as one thing: a single writer takes in what the monitors see and publishes snapshots.
//!
//! Commands read the newest snapshot without a lock. Beside each node lives a resource (the pool, one layer up), which
//! is made when the node appears and told when it fails or leaves.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{mpsc, watch};

use super::{
    Options, Resolver,
    monitor::{self, Observation, Source, Watch},
    srv,
};
use crate::{
    shutdown::Shutdown,
    topology::{
        Address, Change, ClusterTime, Criteria, Event, Presented, SelectionError, SelectionOptions,
        ServerDescription, ServerKind, Topology, TopologyOptions, TopologyVersion, select, select_excluding,
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
    reports: mpsc::Sender<Observation>,
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
        let (sender, observations) = mpsc::channel(64);
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
            writer.run(Arc::clone(&cluster), observations, checks, srv_hosts),
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

    /// Reports that a node answered a command with a state-change error: it counts as Unknown until its monitor says what it
    /// is, so that commands wait for the new primary instead of asking the old one (Server Discovery and Monitoring
    /// specification, "not writable primary" errors). An error that is older than what is known changes nothing.
    pub fn report_state_change(&self, address: &Address, code: i32, version: Option<TopologyVersion>) {
        let error = format!("it answered a command with code {code}");
        let mut description = ServerDescription::unknown(address.clone(), Some(error));
        description.topology_version = version;
        // When the writer is behind, the check that follows tells the same.
        let _ = self.reports.try_send(Observation {
            description,
            from: Source::Command,
            cluster_time: None,
        });
        self.request_check();
    }

    /// Asks for an immediate check of every node; many requests within half a second are one.
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
    sender: mpsc::Sender<Observation>,
    make: MakeResource<R>,
    presented: Arc<Presented>,
    cluster_time: Option<Arc<ClusterTime>>,
}

impl<R: NodeResource> Writer<R> {
    async fn run(
        mut self,
        cluster: Arc<Cluster<R>>,
        mut observations: mpsc::Receiver<Observation>,
        mut checks: watch::Receiver<u64>,
        mut srv_hosts: mpsc::Receiver<Vec<Address>>,
    ) {
        loop {
            tokio::select! {
                observation = observations.recv() => match observation {
                    Some(observation) => self.take_in(observation, &cluster),
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

    fn take_in(&mut self, observation: Observation, cluster: &Cluster<R>) {
        let Observation {
            description,
            from,
            cluster_time,
        } = observation;
        self.advance(cluster_time);
        let version = description.topology_version.as_ref();
        if from == Source::Command && self.topology.is_stale_error(&description.address, version) {
            return;
        }
        let (address, failed) = (description.address.clone(), description.error.clone());
        let change = self.topology.apply(description);
        if !change.applied {
            return;
        }
        self.follow(&change);
        if let Some(member) = self.members.get(&address) {
            match failed {
                // A node that only changed its state keeps its connections.
                Some(_) if from == Source::Command => {}
                Some(reason) => member.resource.failed(&reason, from == Source::Silence),
                None => member.resource.ready(),
            }
        }
        self.publish(change.changed, cluster);
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
            monitor::measure_round_trips(Arc::clone(&watch), Arc::clone(&self.options)),
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
