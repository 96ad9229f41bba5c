//! The pool's IO: connecting, waiting, keeping warm.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
};

use super::{
    Identity, Options,
    allowance::Allowance,
    error::CheckOutError,
    lease::Lease,
    lent::Lent,
    locked::{Locked, Told},
    pooled::{About, Pooled},
    share::Share,
    state::{Counts, Making, Placed, State, lifetime},
    totals::Totals,
};
use crate::{
    shutdown::Shutdown,
    topology::Address,
    upstream::{self, Connection, Failure, Interruption, NodeResource, Opened},
};

/// Connections that may be closed under abandoned commands, per second.
const ABANDON_BURST: u32 = 16;
/// How often idle connections are looked through.
const MAINTENANCE: Duration = Duration::from_secs(1);
/// How often a node that is gone is asked whether it is there, as long as exchanges run on it.
const FAREWELL: Duration = Duration::from_secs(5);
/// Why a node that is gone has no connections.
pub(super) const LEFT: &str = "it left the replica set";
/// Why one has none that was the primary, and has not told what it is since another one is.
const SUPERSEDED: &str = "another node has become the primary";
/// Why one has none that nothing serves any more.
pub(super) const CLOSED: &str = "its pool is closed";
/// Why a paused pool has none.
pub(super) const UNSEEN: &str = "its monitor does not reach it";

/// What those who wait are told; small, for it is allocated with each wait.
pub(super) type Outcome = Result<Lease, Box<CheckOutError>>;

/// The state of a pool whose connections are real, and whose waiters are tasks.
pub(super) type PoolState = State<Box<Connection>, oneshot::Sender<Outcome>>;

/// A connection to be made, and one that gives way to it.
type Begun = (Making, Option<Pooled<Box<Connection>>>);

/// The pool of one node.
#[derive(Debug)]
pub struct Pool {
    address: Address,
    upstream: Arc<upstream::Options>,
    /// The runtimes that drive connections, one per core.
    cores: Arc<[Handle]>,
    state: Mutex<PoolState>,
    allowance: Mutex<Allowance>,
    lent: Lent,
    /// Told when a wait may be over sooner than was known.
    pub(super) sooner: Notify,
    /// The generation in force: connections that are being made for an older one are given up.
    pub(super) generation: watch::Sender<u64>,
    told: Told,
    most_streams: AtomicUsize,
    /// Connections whose reply goes to its client as it comes, at the client's speed.
    pub(super) streams: AtomicUsize,
    /// Ends what serves the pool while its node is there.
    pub(super) stopped: Shutdown,
    process: Shutdown,
    /// What happened so far.
    pub totals: Totals,
}

impl Pool {
    /// A pool without connections. It keeps `min_size` warm once the node is seen to be up.
    #[must_use]
    pub fn new(
        address: Address,
        options: Options,
        upstream: Arc<upstream::Options>,
        cores: Arc<[Handle]>,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            most_streams: AtomicUsize::new(most_streams(&options)),
            address,
            upstream,
            totals: Totals::new(cores.len()),
            cores,
            state: Mutex::new(State::new(options)),
            allowance: Mutex::new(Allowance::new(ABANDON_BURST, Instant::now())),
            lent: Lent::default(),
            sooner: Notify::new(),
            generation: watch::channel(0).0,
            told: Told::default(),
            streams: AtomicUsize::new(0),
            stopped: shutdown.child(),
            process: shutdown.clone(),
        });
        pool.stopped.spawn("pool", Arc::clone(&pool).maintain());
        pool.stopped.spawn_to_end(Arc::clone(&pool).end_waits());
        pool
    }

    /// The node.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The bounds in force.
    #[must_use]
    pub fn options(&self) -> Options {
        self.lock().options().clone()
    }

    /// Puts other bounds in force. What is lent is not disturbed: where there are more connections than there may be now, they are closed as
    /// they come back.
    pub fn set_options(self: &Arc<Self>, options: Options) {
        self.most_streams.store(most_streams(&options), Relaxed);
        let given_up = self.lock().set_options(options);
        self.serve_waiting(0, given_up);
    }

    /// What the pool holds now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// Lends an idle connection, if there is one that the node has not closed meanwhile.
    pub fn try_check_out(self: &Arc<Self>, identity: &Identity, core: usize, share: Share) -> Option<Lease> {
        // Where all are lent, as with many clients, that can be seen from outside; whoever waits then looks again.
        if self.told.has_none_idle() {
            return None;
        }
        loop {
            let mut pooled = self.lock().check_out(identity, core, share)?;
            if pooled.is_forgotten() || pooled.connection.is_stale() {
                self.close_lent(pooled);
            } else {
                return Some(self.lend(pooled));
            }
        }
    }

    /// Whether somebody waits for a connection on this share.
    pub(super) fn is_waited_for(&self, share: Share) -> bool {
        self.lock().is_share_waited_for(share)
    }

    /// Takes one of the places for connections that go at their client's speed: half of the pool, so that slow clients cannot hold all of it.
    pub(super) fn begin_stream(&self) -> bool {
        let one_more = |streams| (streams < self.most_streams.load(Relaxed)).then_some(streams + 1);
        self.streams.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }

    /// Whether one more connection may be closed under an abandoned command.
    pub fn may_abandon(&self) -> bool {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now())
    }

    /// Takes a connection whose exchange was over at `done`.
    pub(super) fn take_back(self: &Arc<Self>, mut pooled: Pooled<Box<Connection>>, done: Instant) {
        if std::mem::take(&mut pooled.streams) {
            self.streams.fetch_sub(1, Relaxed);
        }
        // One that was ended just when its reply had come is clean, and of no use.
        if pooled.connection.is_clean() && !pooled.connection.is_interrupted() {
            pooled.connection.set_write(false);
            self.place(pooled, done);
        } else {
            self.close_lent(pooled);
        }
    }

    pub(super) fn lend(self: &Arc<Self>, pooled: Pooled<Box<Connection>>) -> Lease {
        Lease::new(pooled, Arc::clone(self))
    }

    fn place(self: &Arc<Self>, pooled: Pooled<Box<Connection>>, now: Instant) {
        let core = pooled.core;
        let (placed, may_serve) = {
            let mut state = self.lock();
            let placed = state.place(pooled, now);
            (placed, state.may_serve())
        };
        self.settle(placed);
        if may_serve {
            self.serve_waiting(core, Vec::new());
        }
    }

    /// Hands a placed connection on. A waiter that is gone gives it back through the lease's drop.
    fn settle(self: &Arc<Self>, placed: Placed<Box<Connection>, oneshot::Sender<Outcome>>) {
        match placed {
            Placed::Idle => {}
            Placed::Waiter(waiter, pooled) => drop(waiter.send(Ok(self.lend(pooled)))),
            Placed::Unwanted(pooled) => {
                self.closed(pooled);
            }
        }
    }

    pub(super) fn close_lent(self: &Arc<Self>, pooled: Pooled<Box<Connection>>) {
        self.lock().discard(&pooled.identity, pooled.share);
        self.closed(pooled);
    }

    /// Closes a connection that is no longer counted, and lets those who waited for the room in its share have it.
    fn closed(self: &Arc<Self>, pooled: Pooled<Box<Connection>>) {
        self.serve_waiting(pooled.core, vec![pooled]);
    }

    /// Lets those who wait have what lies idle, as far as there is room, or its place; `closed` are connections that are not counted.
    pub(super) fn serve_waiting(self: &Arc<Self>, core: usize, mut closed: Vec<Pooled<Box<Connection>>>) {
        loop {
            let served =
                self.lock()
                    .serve_idle(|connection| connection.is_stale(), Instant::now(), &mut closed);
            let Some((waiter, pooled)) = served else { break };
            drop(waiter.send(Ok(self.lend(pooled))));
        }
        self.totals.closed.fetch_add(closed.len() as u64, Relaxed);
        drop(closed);
        self.connect_if_wanted(core, false);
    }

    pub(super) fn connect_if_wanted(self: &Arc<Self>, core: usize, keep_warm: bool) {
        while let Some(begun) = self.begin_connect(keep_warm) {
            self.spawn_connect(begun, core);
        }
    }

    fn begin_connect(&self, keep_warm: bool) -> Option<Begun> {
        self.lock().begin_connect(keep_warm)
    }

    /// Makes a connection that is counted already.
    pub(super) fn spawn_connect(self: &Arc<Self>, (making, given_up): Begun, core: usize) {
        self.totals.closed.fetch_add(given_up.is_some().into(), Relaxed);
        drop(given_up);
        let pool = Arc::clone(self);
        let task = self.stopped.clone();
        if let Some(runtime) = self.cores.get(core).or(self.cores.first()) {
            let _entered = runtime.enter();
            task.spawn("connect", async move { pool.connect(making, core).await });
        }
    }

    async fn connect(self: Arc<Self>, making: Making, core: usize) {
        let mut generation = self.generation.subscribe();
        let epoch = making.identity.epoch();
        let login = match &making.identity {
            service if service.is_service() => self.upstream.service.as_ref(),
            other => other.login(),
        };
        let connected = tokio::select! {
            connected = upstream::connect_as(&self.address, &self.upstream, login) => connected,
            // The node hangs, perhaps, and the attempt with it, in the place of one that would succeed once the node is seen again.
            _ = generation.wait_for(|generation| *generation != making.generation) => {
                self.lock().connect_abandoned(&making.identity, making.share);
                return self.serve_waiting(core, Vec::new());
            }
        };
        // A node that refused is asked again for those who wait; what is kept warm waits for the next round of upkeep.
        let keep_warm = connected.is_ok();
        match connected {
            Ok(Opened { connection, .. }) => {
                self.totals.opened.fetch_add(1, Relaxed);
                self.lent.add(connection.interrupter());
                let max_lifetime = self.options().max_lifetime;
                let expires =
                    max_lifetime.map(|limit| connection.opened() + lifetime(limit, fastrand::f64()));
                let about = About {
                    identity: making.identity,
                    epoch,
                    core,
                    generation: making.generation,
                    expires,
                };
                let pooled = Pooled::new(Box::new(connection), making.share, about);
                let placed = self.lock().connected(pooled, Instant::now());
                self.settle(placed);
            }
            Err(failure) => self.not_connected(&making, failure),
        }
        self.serve_waiting(core, Vec::new());
        self.connect_if_wanted(core, keep_warm);
    }

    /// Tells those who waited for a connection that could not be made.
    fn not_connected(&self, making: &Making, failure: Failure) {
        self.totals.connect_failures.fetch_add(1, Relaxed);
        tracing::debug!(node = %self.address, error = %failure, "connection not made");
        let node = self.address.clone();
        let service = self.upstream.service.as_ref();
        let user = making.identity.user().or(service.map(|login| login.user()));
        if failure.is_login_refused()
            && let Some(user) = user
        {
            self.totals.logins_refused.fetch_add(1, Relaxed);
            let told = self.lock().login_refused(&making.identity, making.share);
            let (user, reason) = (user.to_string(), failure.to_string());
            for waiter in told {
                let (node, user, reason) = (node.clone(), user.clone(), reason.clone());
                drop(waiter.send(Err(Box::new(CheckOutError::LoginRefused { node, user, reason }))));
            }
            return;
        }
        let told = self.lock().connect_failed(&making.identity, making.share);
        if let Some(waiter) = told {
            drop(waiter.send(Err(Box::new(CheckOutError::Connect { node, failure }))));
        }
    }

    async fn maintain(self: Arc<Self>) {
        let mut core = 0;
        loop {
            tokio::time::sleep(MAINTENANCE).await;
            let reaped = self.lock().reap(Instant::now());
            self.totals.closed.fetch_add(reaped.len() as u64, Relaxed);
            drop(reaped);
            core = (core + 1) % self.cores.len().max(1);
            self.connect_if_wanted(core, true);
        }
    }

    /// Nobody watches a node that has left: if it cannot be reached, or hangs, the exchanges on it are ended.
    async fn outlast(self: Arc<Self>) {
        while self.lent.is_any_open() {
            if upstream::connect(&self.address, &self.upstream).await.is_err() {
                return self.lent.interrupt_all(Interruption::Left);
            }
            tokio::time::sleep(FAREWELL).await;
        }
    }

    pub(super) fn empty(&self, reason: &str, retire: bool) {
        let (idle, waiters) = {
            let mut state = self.lock();
            let emptied = if retire { state.retire() } else { state.clear() };
            self.generation.send_replace(state.counts().generation);
            emptied
        };
        self.totals.closed.fetch_add(idle.len() as u64, Relaxed);
        for waiter in waiters {
            drop(waiter.send(Err(Box::new(self.cleared(reason)))));
        }
    }

    pub(super) fn cleared(&self, reason: &str) -> CheckOutError {
        CheckOutError::Cleared {
            node: self.address.clone(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        Locked::new(&self.state, &self.told)
    }
}

impl NodeResource for Pool {
    fn ready(&self) {
        self.lock().ready();
    }

    fn failed(&self, reason: &str, hangs: bool) {
        self.empty(reason, false);
        if hangs {
            // Idle ones are closed by now: these are lent, to exchanges that would wait for as long as the node hangs.
            self.lent.interrupt_all(Interruption::Hangs);
        }
    }

    fn superseded(&self, knows: bool) {
        if knows {
            self.lent.interrupt_writes(Interruption::Superseded);
        } else {
            self.empty(SUPERSEDED, false);
            self.lent.interrupt_all(Interruption::Superseded);
        }
    }

    fn retired(self: Arc<Self>) {
        self.empty(LEFT, true);
        self.stopped.begin();
        let process = self.process.clone();
        process.spawn("farewell", self.outlast());
    }

    fn load(&self) -> usize {
        self.told.load()
    }

    fn generation(&self) -> u64 {
        self.counts().generation
    }
}

/// Half of the pool: slow clients shall not hold all of it.
fn most_streams(options: &Options) -> usize {
    (options.max_size / 2).max(1)
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
