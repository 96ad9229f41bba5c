//! What all sessions share.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use bson::oid::ObjectId;

use super::{
    ListenAddress, Settings,
    admission::Admission,
    drain::Drain,
    drivers::Drivers,
    fail_point::FailPoints,
    legacy::LegacyClients,
    login::{Logins, UnderWay},
    roster::Roster,
    slow::SlowLog,
};
use crate::{
    audit::Audit,
    command::table,
    failover::{Gate, ServerSessions},
    net::Budget,
    pool::{Identity, Pool},
    routing::{OpenTransactions, Pins, TransactionPins},
    telemetry::{Busiest, PerCore, Timings},
    topology::Address,
    upstream::{Cluster, Failure},
};

/// Most cursors, and most sessions with a transaction, whose node is remembered.
const MAX_PINS: usize = 100_000;

/// Everything that a session needs besides its own socket: what its commands reach, and what all sessions of the process share.
#[derive(Debug)]
pub struct Shared {
    /// The replica set, or the one member that a listener reaches.
    pub cluster: Arc<Cluster<Pool>>,
    /// Where cursors live.
    pub pins: Pins<Address>,
    /// Where transactions live; used only with several `mongos` upstream.
    pub transactions: TransactionPins<Address>,
    /// The listener that alone reaches this, if it reaches one member.
    pub listener: Option<ListenAddress>,
    /// For such a listener: the set that the member should belong to.
    pub(super) set: Option<Arc<Cluster<Pool>>>,
    /// It was said that the upstream is a sharded cluster.
    pub(super) told_of_mongos: AtomicBool,
    /// It was said that the one member belongs to another set.
    pub(super) told_of_stranger: AtomicBool,
    process: Arc<Process>,
}

/// What all sessions of the process share.
#[derive(Debug)]
pub struct Process {
    /// Room for requests above a small size.
    pub requests: Budget,
    /// Room for replies above a small size.
    pub replies: Budget,
    /// What all listeners have in common, as it is now. Sessions go by their listener's [`super::Terms`], which hold the same.
    settings: ArcSwap<Settings>,
    /// Where commands wait while the replica set changes.
    pub gate: Arc<Gate>,
    /// The proxy's own server sessions.
    pub sessions: ServerSessions<Identity>,
    /// How clients log in; `None` if they need not.
    pub(super) logins: Option<ArcSwap<Logins>>,
    /// Who is connected, and from where.
    pub admission: Admission,
    /// Whose logins are under way or failed lately.
    pub(super) attempts: UnderWay,
    /// What each of them is at.
    pub roster: Roster,
    /// By which drivers.
    pub drivers: Drivers,
    /// Those that use legacy opcodes.
    pub legacy_clients: LegacyClients,
    /// What happened so far.
    pub counters: PerCore,
    /// How long commands took, by their number in the table.
    pub timings: Timings,
    /// How many commands there were of each namespace.
    pub namespaces: Busiest,
    /// How many commands there were of each application.
    pub applications: Busiest,
    /// Those that took long.
    pub slow: SlowLog,
    /// Where it is written down who was let in and what was denied.
    pub audit: Audit,
    /// When this process started.
    pub started: Instant,
    /// How far the way down is.
    pub drain: Drain,
    /// Those that are under way, as far as this process has heard.
    pub open_transactions: OpenTransactions,
    /// The fail points that clients have set.
    pub(super) fail_points: FailPoints,
    /// Names this process in `topologyVersion`.
    pub(super) process_id: ObjectId,
    /// Names this process to clients that take it for a load balancer.
    pub(super) service_id: ObjectId,
    next_id: AtomicI32,
    /// What listeners reach that serve one member.
    members: Mutex<Vec<Weak<Shared>>>,
}

impl Shared {
    /// Shares `cluster` among the sessions of `cores` cores.
    #[must_use]
    pub fn new(
        cluster: Arc<Cluster<Pool>>,
        settings: Arc<Settings>,
        audit: Audit,
        logins: Option<Arc<Logins>>,
        cores: usize,
    ) -> Self {
        let limits = &settings.limits;
        let process = Process {
            gate: Arc::new(Gate::new(&settings.failover)),
            sessions: ServerSessions::new(cores),
            logins: logins.map(ArcSwap::new),
            requests: Budget::new(limits.buffer_bytes / 2),
            replies: Budget::new(limits.buffer_bytes / 2),
            admission: Admission::new(
                limits.max_clients,
                limits.max_clients_per_address,
                limits.max_unauthenticated,
            ),
            attempts: UnderWay::new(limits.login_delay_max),
            settings: ArcSwap::new(settings),
            roster: Roster::default(),
            drivers: Drivers::default(),
            legacy_clients: LegacyClients::default(),
            counters: PerCore::new(cores),
            timings: Timings::new(cores, table::numbers()),
            namespaces: Busiest::new(cores),
            applications: Busiest::new(cores),
            slow: SlowLog::default(),
            audit,
            started: Instant::now(),
            drain: Drain::default(),
            open_transactions: OpenTransactions::new(MAX_PINS),
            fail_points: FailPoints::default(),
            process_id: ObjectId::new(),
            service_id: ObjectId::new(),
            next_id: AtomicI32::new(1),
            members: Mutex::default(),
        };
        Self::reaching(cluster, Arc::new(process))
    }

    /// For sessions of a listener that reach `member` alone, and share all else with these.
    #[must_use]
    pub fn for_member(&self, member: Arc<Cluster<Pool>>, listener: &ListenAddress) -> Arc<Self> {
        let shared = Arc::new(Self {
            listener: Some(listener.clone()),
            set: Some(Arc::clone(&self.cluster)),
            ..Self::reaching(member, Arc::clone(&self.process))
        });
        let mut members = self.process.lock_members();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&shared));
        shared
    }

    fn reaching(cluster: Arc<Cluster<Pool>>, process: Arc<Process>) -> Self {
        Self {
            cluster,
            pins: Pins::new(MAX_PINS),
            transactions: TransactionPins::new(MAX_PINS),
            listener: None,
            set: None,
            told_of_mongos: AtomicBool::new(false),
            told_of_stranger: AtomicBool::new(false),
            process,
        }
    }

    /// Makes use of a failed exchange on a connection of this generation, which served a client of this core.
    pub(super) fn note_failure(&self, core: usize, node: &Address, generation: u64, failure: &Failure) {
        if failure.is_interruption() {
            self.counters.core(core).commands_rescued.one();
        }
        self.cluster.report_failure(node, generation, failure);
    }

    /// A number for a client connection or a message, positive and unique for a long while.
    pub(super) fn next_id(&self) -> i32 {
        self.next_id.fetch_add(1, Relaxed) & i32::MAX
    }
}

impl Deref for Shared {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl Process {
    /// What all listeners have in common, as it is now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// How clients log in; `None` if they need not.
    #[must_use]
    pub fn logins(&self) -> Option<Arc<Logins>> {
        self.logins.as_ref().map(ArcSwap::load_full)
    }

    /// What each listener reaches that serves one member, for as long as it has clients.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Shared>> {
        self.lock_members().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock_members(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has logins that begin from now on judged by these. Whether clients must log in at all stays as it is.
    pub fn set_logins(&self, logins: Arc<Logins>) {
        if let Some(current) = &self.logins {
            current.store(logins);
        }
    }

    /// Puts other settings in force, for all but the sessions: those go by their listener's [`super::Terms`]. Clients that are connected, and
    /// commands that wait, keep their places beyond a lower bound.
    pub fn set(&self, settings: Arc<Settings>) {
        let limits = &settings.limits;
        self.admission.set_bounds(
            limits.max_clients,
            limits.max_clients_per_address,
            limits.max_unauthenticated,
        );
        self.requests.resize(limits.buffer_bytes / 2);
        self.replies.resize(limits.buffer_bytes / 2);
        self.attempts.set_longest_delay(limits.login_delay_max);
        self.gate.set_bounds(&settings.failover);
        self.settings.store(settings);
    }
}
