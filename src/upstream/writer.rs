//! The single writer of a cluster: takes in what the monitors see and what commands meet, and publishes snapshots.
//!
//! Invariants: there is one member, with its monitor and its resource, for each server of the topology. What hangs on a primary is
//! ended once another is published, so that whoever is woken by it finds the new one.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{broadcast, mpsc, watch};

use super::{
    Options,
    cluster::{Cluster, NodeResource, Snapshot},
    monitor::{self, Observation, Watch},
    pace::{Haste, MIN_HEARTBEAT},
    round_trips, srv,
};
use crate::{
    shutdown::Shutdown,
    topology::{
        Address, ApplicationError, Change, ClusterTime, ErrorCause, Event, Presented, ServerDescription,
        Topology,
    },
};

/// Events that wait at most for who listens slowly.
const EVENTS: usize = 256;

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

/// The newest primary, be it lost meanwhile.
struct LastPrimary {
    address: Address,
    /// It answered a command as one that is no primary any more.
    has_resigned: bool,
}

/// Makes the resource of a node that appears.
pub(super) type MakeResource<R> = Box<dyn Fn(&Address) -> Arc<R> + Send>;

pub(super) struct Writer<R> {
    options: Arc<Options>,
    shutdown: Shutdown,
    members: HashMap<Address, Member<R>>,
    topology: Topology,
    sender: mpsc::Sender<Report>,
    events: broadcast::Sender<Event>,
    make: MakeResource<R>,
    presented: Arc<Presented>,
    cluster_time: Option<Arc<ClusterTime>>,
    haste: Arc<Haste>,
    last_primary: Option<LastPrimary>,
    /// The one before it and whether it knows, until that is published.
    superseded: Option<(Arc<R>, bool)>,
}

impl<R: NodeResource> Writer<R> {
    /// A writer of this topology, without members yet. What they see comes through `sender`.
    pub(super) fn new(
        options: &Options,
        shutdown: &Shutdown,
        topology: Topology,
        sender: mpsc::Sender<Report>,
        make: MakeResource<R>,
    ) -> Self {
        Self {
            options: Arc::new(options.clone()),
            shutdown: shutdown.clone(),
            members: HashMap::new(),
            topology,
            sender,
            events: broadcast::channel(EVENTS).0,
            make,
            presented: Arc::default(),
            cluster_time: None,
            haste: Arc::default(),
            last_primary: None,
            superseded: None,
        }
    }

    /// Tells what happens.
    pub(super) fn events(&self) -> broadcast::Sender<Event> {
        self.events.clone()
    }

    /// Takes in what comes, until nobody listens.
    pub(super) async fn run(
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
        if let Some(last) = &mut self.last_primary
            && last.address == *address
        {
            last.has_resigned |= !is_network;
        }
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
        // First, for a member that left is forgotten then.
        self.note_primary();
        self.match_members();
        for event in &change.events {
            self.tell(event);
            // It fails if nobody listens.
            let _ = self.events.send(event.clone());
        }
    }

    /// Remembers the primary, and which one it takes the place of.
    fn note_primary(&mut self) {
        let primary = self.topology.primary();
        self.haste.set(primary.is_none() && self.last_primary.is_some());
        let Some((_, primary)) = primary else {
            return;
        };
        let newest = LastPrimary {
            address: primary.address.clone(),
            has_resigned: false,
        };
        let is_same = |last: &LastPrimary| last.address == newest.address;
        if self.last_primary.as_ref().is_some_and(is_same) {
            self.last_primary = Some(newest);
            return;
        }
        let Some(old) = self.last_primary.replace(newest) else {
            return;
        };
        let Some(member) = self.members.get(&old.address) else {
            return;
        };
        let is_reachable = |server: &Arc<ServerDescription>| server.is_reachable();
        let knows = old.has_resigned || self.topology.get(&old.address).is_some_and(is_reachable);
        if !knows {
            // What it streams has not told, so that it is asked on a new connection.
            member.watch.doubt.notify_one();
        }
        self.superseded = Some((Arc::clone(&member.resource), knows));
    }

    /// Lets commands see what is now, and wakes those that wait for news if something has `changed`.
    fn publish(&mut self, changed: bool, cluster: &Cluster<R>) {
        let presented = self.presented.next(&self.topology);
        let has_news = changed || presented.counter != self.presented.counter;
        self.presented = Arc::new(presented);
        cluster.publish(self.snapshot(), has_news);
        // Whoever is woken by it finds the new primary.
        if let Some((old, knows)) = self.superseded.take() {
            old.superseded(knows);
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
    pub(super) fn match_members(&mut self) {
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
        let watch = Arc::new(Watch::new(address.clone(), Arc::clone(&self.haste)));
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
            Arc::clone(&member.resource).retired();
        }
    }

    /// What is known now.
    pub(super) fn snapshot(&self) -> Snapshot<R> {
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
