//! The pool of one node as a state machine: no sockets, no clock.
//!
//! Invariants: ordinary commands never hold more than `max_size` connections, awaiting ones never more than `max_awaiting`,
//! and all that are idle, lent or being made are never more than both together; at most `max_connecting` are being made;
//! a connection is lent to its own identity alone; no connection is idle while somebody of its identity waits whose share has room,
//! unless that room is kept for another identity whose turn has long come; each identity's waiters are served in the order of their
//! arrival; a connection of an older generation or epoch is never lent. A pool starts paused and is paused again when it is cleared; a
//! paused one holds nothing idle and connects nowhere, until its node is seen (Connection Monitoring and Pooling specification,
//! "paused").

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Identity, Options,
    lane::Lane,
    pooled::Pooled,
    share::{Part, Share},
};

/// A connection to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Making {
    /// As whom.
    pub identity: Identity,
    /// The generation that it will belong to.
    pub generation: u64,
    /// The share whose waiters want it.
    pub share: Share,
}

/// Where a connection went.
#[derive(Debug)]
pub enum Placed<C, W> {
    /// To the stack of idle ones.
    Idle,
    /// To one who waited. If that one is gone by now, place it again.
    Waiter(W, Pooled<C>),
    /// Nowhere: it is of an older generation or too old, and no longer counted.
    Unwanted(Pooled<C>),
}

/// The state. `C` is a connection, `W` a way to reach somebody who waits.
#[derive(Debug)]
pub struct State<C, W> {
    pub(super) options: Options,
    pub(super) generation: u64,
    pub(super) lanes: BTreeMap<Identity, Lane<C, W>>,
    /// Over all lanes.
    pub(super) idle: usize,
    pub(super) ordinary: Part,
    pub(super) awaiting: Part,
    pub(super) next_ticket: u64,
    /// Nobody's wait is over before this; `None` if nobody waits.
    pub(super) due: Option<Instant>,
    /// Connections that came back in order.
    pub(super) returned: u64,
    paused: bool,
    retired: bool,
    /// There are more connections than there may be now: some are closed as they come back.
    pub(super) shrinks: bool,
}

impl<C, W> State<C, W> {
    /// An empty pool, paused.
    pub fn new(options: Options) -> Self {
        Self {
            generation: 0,
            lanes: BTreeMap::new(),
            idle: 0,
            ordinary: Part::new(options.max_size),
            awaiting: Part::new(options.max_awaiting),
            next_ticket: 0,
            due: None,
            returned: 0,
            paused: true,
            retired: false,
            shrinks: false,
            options,
        }
    }

    /// Lends the most recently used idle connection of this identity, if the share has room: one of this core first, else another's.
    pub fn check_out(&mut self, identity: &Identity, core: usize, share: Share) -> Option<Pooled<C>> {
        let share = self.in_force(share);
        if !self.part(share).has_room() {
            return None;
        }
        self.take_idle(identity, core, share)
    }

    /// Lends an idle connection after all, or takes a place in the queue: one step, as between two a connection could
    /// come back and lie idle beside somebody who waits.
    ///
    /// # Errors
    /// The ticket of the place in the queue.
    pub fn check_out_or_wait(
        &mut self,
        identity: &Identity,
        core: usize,
        share: Share,
        waiter: W,
        times: (Instant, Instant),
    ) -> Result<Pooled<C>, u64> {
        self.check_out(identity, core, share)
            .ok_or_else(|| self.enqueue(identity, share, waiter, times))
    }

    /// Whether a connection should be made now; if so, it is counted. With it may come an idle one of another identity, to be closed,
    /// which gives its place up and is no longer counted.
    ///
    /// Ordinary commands come first: many change streams that come at once must not delay them by their handshakes. Only
    /// with `keep_warm` does `min_size` count as a demand: asked for after each failure, it would never let a node that
    /// refuses rest.
    pub fn begin_connect(&mut self, keep_warm: bool) -> Option<(Making, Option<Pooled<C>>)> {
        if self.is_paused() || self.connecting() >= self.options.max_connecting {
            return None;
        }
        let warm = keep_warm && self.total() < self.options.min_size;
        let is_full = self.total() >= self.options.most();
        let wanted = Share::IN_ORDER.into_iter().find_map(|share| {
            let identity = self.first_to_connect(share)?;
            // One for whom nobody gives way is not in the way of the other share.
            let victim = match is_full {
                true => Some(self.victim(&identity)?.clone()),
                false => None,
            };
            Some((identity, share, victim))
        });
        let (identity, share, victim) =
            wanted.or(warm.then_some((Identity::SERVICE, Share::Ordinary, None)))?;
        let given_up = match victim {
            Some(victim) => Some(self.give_up_idle(&victim)?),
            None => None,
        };
        self.part(share).connecting += 1;
        self.lane(&identity).hold(share).connecting += 1;
        let making = Making {
            identity,
            generation: self.generation,
            share,
        };
        Some((making, given_up))
    }

    /// A connection was made.
    pub fn connected(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        self.end_connecting(&pooled.identity, pooled.share);
        self.lane(&pooled.identity).is_refused = false;
        self.hand_on(pooled, now)
    }

    /// A connection could not be made. Returns the one to tell: the one who waited longest of those that it was for.
    pub fn connect_failed(&mut self, identity: &Identity, share: Share) -> Option<W> {
        self.end_connecting(identity, share);
        let told = self.dismiss(identity, share);
        self.drop_if_empty(identity);
        told
    }

    /// The node refused the identity's login. Returns those to tell: all who wait, unless there are connections that serve them.
    pub fn login_refused(&mut self, identity: &Identity, share: Share) -> Vec<W> {
        self.end_connecting(identity, share);
        let lane = self.lane(identity);
        lane.is_refused = true;
        let mut told = Vec::new();
        if lane.lent() == 0 {
            for share in Share::IN_ORDER {
                told.extend(std::iter::from_fn(|| self.dismiss(identity, share)));
            }
        }
        self.drop_if_empty(identity);
        told
    }

    /// The pool was cleared while a connection was being made, which nobody waits for any more.
    pub fn connect_abandoned(&mut self, identity: &Identity, share: Share) {
        self.end_connecting(identity, share);
        self.drop_if_empty(identity);
    }

    fn end_connecting(&mut self, identity: &Identity, share: Share) {
        self.part(share).connecting -= 1;
        self.lane(identity).hold(share).connecting -= 1;
    }

    /// A lent connection came back, or the waiter that it was for is gone.
    pub fn place(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        self.returned += 1;
        self.part(pooled.share).lent -= 1;
        // Its lane is there: a connection keeps it until it is closed.
        if let Some(lane) = self.lanes.get_mut(&pooled.identity) {
            lane.hold(pooled.share).lent -= 1;
        }
        self.hand_on(pooled, now)
    }

    fn hand_on(&mut self, mut pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        // It is not counted any more, or not yet.
        self.shrinks = self.shrinks && self.total() + 1 > self.options.most();
        if self.is_paused() || pooled.generation != self.generation || pooled.is_over(now) || self.shrinks {
            self.drop_if_empty(&pooled.identity);
            return Placed::Unwanted(pooled);
        }
        if let Some(waiter) = self.dismiss_first(&pooled.identity) {
            pooled.share = Share::Ordinary;
            return Placed::Waiter(waiter, pooled);
        }
        self.idle += 1;
        if let Some(lane) = self.lanes.get_mut(&pooled.identity) {
            lane.put_idle(pooled, now);
        }
        if !self.is_waited_for() {
            return Placed::Idle;
        }
        match self.serve(now) {
            Some((waiter, pooled)) => Placed::Waiter(waiter, pooled),
            None => Placed::Idle,
        }
    }

    /// Lends an idle connection to one who waits for it.
    fn serve(&mut self, now: Instant) -> Option<(W, Pooled<C>)> {
        Share::IN_ORDER.into_iter().find_map(|share| {
            let identity = self.next_served(share, now)?;
            let pooled = self.take_idle(&identity, 0, share)?;
            let waiter = self.dismiss(&identity, share)?;
            Some((waiter, pooled))
        })
    }

    /// Whether somebody waits while connections lie idle: others of another identity's, mostly.
    pub fn may_serve(&self) -> bool {
        self.idle > 0 && self.is_waited_for()
    }

    /// Whether somebody waits.
    pub fn is_waited_for(&self) -> bool {
        !self.ordinary.waiting.is_empty() || !self.awaiting.waiting.is_empty()
    }

    /// Whether somebody waits on this share who may have any connection that comes back: strangers have a few of their own.
    pub fn is_share_waited_for(&self, share: Share) -> bool {
        let mut waiting = self.share(self.in_force(share)).waiting.iter();
        waiting.any(|queued| !queued.identity.is_nobody())
    }

    /// A lent connection was closed. Those who waited for room in its share are served by [`State::serve_idle`].
    pub fn discard(&mut self, identity: &Identity, share: Share) {
        self.part(share).lent -= 1;
        self.lane(identity).hold(share).lent -= 1;
        self.drop_if_empty(identity);
    }

    /// Lends an idle connection to somebody who waits, when a share has got room without a connection coming back. What
    /// `is_stale` finds unusable on the way is put to `stale`, and no longer counted.
    pub fn serve_idle(
        &mut self,
        mut is_stale: impl FnMut(&mut C) -> bool,
        now: Instant,
        stale: &mut Vec<Pooled<C>>,
    ) -> Option<(W, Pooled<C>)> {
        for share in Share::IN_ORDER {
            while let Some(identity) = self.next_served(share, now) {
                let Some(mut pooled) = self.take_idle(&identity, 0, share) else {
                    break;
                };
                if pooled.is_forgotten() || is_stale(&mut pooled.connection) {
                    self.discard(&identity, share);
                    stale.push(pooled);
                    continue;
                }
                return self.dismiss(&identity, share).map(|waiter| (waiter, pooled));
            }
        }
        None
    }

    /// Takes an idle connection, and counts it as lent.
    fn take_idle(&mut self, identity: &Identity, core: usize, share: Share) -> Option<Pooled<C>> {
        let lane = self.lanes.get_mut(identity)?;
        let mut pooled = lane.take_idle(core)?;
        pooled.share = share;
        lane.hold(share).lent += 1;
        self.idle -= 1;
        self.part(share).lent += 1;
        Some(pooled)
    }

    /// The node was seen: connections are made again. Does nothing to a ready pool, nor once the node is gone.
    pub fn ready(&mut self) {
        self.paused = false;
    }

    /// Starts a new generation and pauses: returns what is idle, to be closed, and all who wait, to be told. Does nothing to a
    /// paused pool.
    pub fn clear(&mut self) -> (Vec<Pooled<C>>, Vec<W>) {
        if self.is_paused() {
            return (Vec::new(), Vec::new());
        }
        self.paused = true;
        self.generation += 1;
        self.idle = 0;
        let (mut idle, mut waiters) = (Vec::new(), Vec::new());
        for share in Share::IN_ORDER {
            for queued in self.part(share).waiting.take() {
                let first = self
                    .lanes
                    .get_mut(&queued.identity)
                    .and_then(|lane| lane.hold(share).pop());
                waiters.extend(first.map(|(_, waiter)| waiter));
            }
        }
        for lane in self.lanes.values_mut() {
            idle.extend(lane.drain_idle());
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        (idle, waiters)
    }

    /// The node is gone: as [`State::clear`], and nothing is lent or made any more.
    pub fn retire(&mut self) -> (Vec<Pooled<C>>, Vec<W>) {
        let cleared = self.clear();
        self.retired = true;
        cleared
    }

    /// Whether the node is not seen, or gone: nobody who queues now would be served.
    pub fn is_paused(&self) -> bool {
        self.paused || self.retired
    }

    /// Whether the node is gone.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// Takes out idle connections that are too old or were idle for too long, the latter down to `min_size`.
    pub fn reap(&mut self, now: Instant) -> Vec<Pooled<C>> {
        let mut spare = self.total().saturating_sub(self.options.min_size);
        let mut reaped = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.reap(now, &mut spare, self.options.idle_timeout, &mut reaped);
        }
        self.idle -= reaped.len();
        self.lanes.retain(|_, lane| !lane.is_empty());
        reaped
    }

    /// Counts of now.
    pub fn counts(&self) -> Counts {
        Counts {
            in_use: self.ordinary.lent,
            awaiting: self.awaiting.lent,
            idle: self.idle,
            connecting: self.connecting(),
            waiting: self.ordinary.waiting.len(),
            waiting_to_await: self.awaiting.waiting.len(),
            generation: self.generation,
            identities: self.lanes.len(),
        }
    }

    /// Commands that hold a connection or wait for one: by its connections alone, a node that has stopped to answer would look like the idlest of
    /// all. Those that await new documents cost it next to nothing, and do not count where they have a share of their own.
    pub(super) fn load(&self) -> usize {
        self.ordinary.lent + self.ordinary.waiting.len()
    }

    /// Without a share of their own, awaiting commands draw on the ordinary one.
    pub(super) fn in_force(&self, share: Share) -> Share {
        if self.awaiting.max == 0 {
            Share::Ordinary
        } else {
            share
        }
    }

    pub(super) fn share(&self, share: Share) -> &Part {
        match share {
            Share::Ordinary => &self.ordinary,
            Share::Awaiting => &self.awaiting,
        }
    }

    pub(super) fn part(&mut self, share: Share) -> &mut Part {
        match share {
            Share::Ordinary => &mut self.ordinary,
            Share::Awaiting => &mut self.awaiting,
        }
    }

    pub(super) fn lane(&mut self, identity: &Identity) -> &mut Lane<C, W> {
        self.lanes.entry(identity.clone()).or_insert_with(Lane::new)
    }

    pub(super) fn drop_if_empty(&mut self, identity: &Identity) {
        if self.lanes.get(identity).is_some_and(Lane::is_empty) {
            self.lanes.remove(identity);
        }
    }

    pub(super) fn connecting(&self) -> usize {
        self.ordinary.connecting + self.awaiting.connecting
    }

    pub(super) fn total(&self) -> usize {
        self.idle + self.ordinary.lent + self.awaiting.lent + self.connecting()
    }
}

/// What a pool holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections lent to ordinary commands.
    pub in_use: usize,
    /// Connections lent to awaiting ones.
    pub awaiting: usize,
    /// Idle connections.
    pub idle: usize,
    /// Connections being made.
    pub connecting: usize,
    /// Ordinary commands that wait for one.
    pub waiting: usize,
    /// Awaiting commands that wait for one.
    pub waiting_to_await: usize,
    /// How often the pool was cleared.
    pub generation: u64,
    /// As whom connections are there or wanted: how many users, Tidegate itself among them.
    pub identities: usize,
}

/// The age at which one connection ends: `max_lifetime` less up to a tenth of it, so that connections which were made
/// together do not all end together. `jitter` is within 0..1.
#[must_use]
pub fn lifetime(max_lifetime: Duration, jitter: f64) -> Duration {
    max_lifetime.mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
