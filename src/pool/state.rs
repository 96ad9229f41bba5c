//! The pool of one node as a state machine: no sockets, no clock.
//!
//! Invariants: ordinary commands never hold more than `max_size` connections, awaiting ones never more than `max_awaiting`,
//! and all that are idle, lent or being made are never more than both together; at most `max_connecting` are being made;
//! no connection is idle while somebody waits whose share has room; each share's waiters are served in the order of their
//! arrival; a connection of an older generation is never lent. A pool starts paused and is paused again when it is cleared; a paused
//! one holds nothing idle and connects nowhere, until its node is seen (Connection Monitoring and Pooling specification, "paused").

use std::time::{Duration, Instant};

use super::{
    Identity, Options,
    idle::IdleStacks,
    share::{Part, Share},
};

/// A connection and what the pool knows of it.
#[derive(Debug)]
pub struct Pooled<C> {
    /// The connection.
    pub connection: C,
    /// Whose it is.
    pub identity: Identity,
    /// The core whose runtime drives it.
    pub core: usize,
    /// The pool's generation when it was made.
    pub generation: u64,
    /// When it is too old to be lent again.
    pub expires: Option<Instant>,
    /// On which share it is lent, or for which it was made.
    pub share: Share,
}

/// A connection to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
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
    /// To the one who waited longest. If that one is gone by now, place it again.
    Waiter(W, Pooled<C>),
    /// Nowhere: it is of an older generation or too old, and no longer counted.
    Unwanted(Pooled<C>),
}

/// The state. `C` is a connection, `W` a way to reach somebody who waits.
#[derive(Debug)]
pub struct State<C, W> {
    options: Options,
    generation: u64,
    idle: IdleStacks<C>,
    ordinary: Part<W>,
    awaiting: Part<W>,
    next_ticket: u64,
    paused: bool,
    retired: bool,
}

impl<C, W> State<C, W> {
    /// An empty pool, paused.
    pub fn new(options: Options) -> Self {
        Self {
            generation: 0,
            idle: IdleStacks::new(),
            ordinary: Part::new(options.max_size),
            awaiting: Part::new(options.max_awaiting),
            next_ticket: 0,
            paused: true,
            retired: false,
            options,
        }
    }

    /// Lends the most recently used idle connection, if the share has room: one of this core first, else another's.
    pub fn check_out(&mut self, identity: Identity, core: usize, share: Share) -> Option<Pooled<C>> {
        let share = self.in_force(share);
        if !self.part(share).has_room() {
            return None;
        }
        let mut pooled = self.idle.take(identity, core)?;
        pooled.share = share;
        self.part(share).lent += 1;
        Some(pooled)
    }

    /// Lends an idle connection after all, or takes a place in the queue: one step, as between two a connection could
    /// come back and lie idle beside somebody who waits.
    ///
    /// # Errors
    /// The ticket of the place in the queue.
    pub fn check_out_or_wait(
        &mut self,
        identity: Identity,
        core: usize,
        share: Share,
        waiter: W,
    ) -> Result<Pooled<C>, u64> {
        self.check_out(identity, core, share)
            .ok_or_else(|| self.enqueue(share, waiter))
    }

    pub(super) fn enqueue(&mut self, share: Share, waiter: W) -> u64 {
        self.next_ticket += 1;
        let (share, ticket) = (self.in_force(share), self.next_ticket);
        self.part(share).enqueue(ticket, waiter);
        ticket
    }

    /// Leaves the queue; does nothing for somebody who has been served.
    pub fn leave(&mut self, ticket: u64) {
        for share in Share::IN_ORDER {
            self.part(share).leave(ticket);
        }
    }

    /// Whether a connection should be made now; if so, it is counted.
    ///
    /// Ordinary commands come first: many change streams that come at once must not delay them by their handshakes. Only
    /// with `keep_warm` does `min_size` count as a demand: asked for after each failure, it would never let a node that
    /// refuses rest.
    pub fn begin_connect(&mut self, keep_warm: bool) -> Option<Making> {
        let wanted = Share::IN_ORDER
            .into_iter()
            .find(|share| self.part(*share).wants_connection());
        let too_few = keep_warm && self.total() < self.options.min_size;
        if self.is_paused() {
            return None;
        }
        let share = wanted.or(too_few.then_some(Share::Ordinary))?;
        let room = self.total() < self.options.most() && self.connecting() < self.options.max_connecting;
        if !room {
            return None;
        }
        self.part(share).connecting += 1;
        Some(Making {
            generation: self.generation,
            share,
        })
    }

    /// A connection was made.
    pub fn connected(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        self.part(pooled.share).connecting -= 1;
        self.hand_on(pooled, now)
    }

    /// A connection could not be made. Returns the one to tell: the one who waited longest of those that it was for.
    pub fn connect_failed(&mut self, share: Share) -> Option<W> {
        let part = self.part(share);
        part.connecting -= 1;
        part.dismiss()
    }

    /// The pool was cleared while a connection was being made, which nobody waits for any more.
    pub fn connect_abandoned(&mut self, share: Share) {
        self.part(share).connecting -= 1;
    }

    /// A lent connection came back, or the waiter that it was for is gone.
    pub fn place(&mut self, pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        self.part(pooled.share).lent -= 1;
        self.hand_on(pooled, now)
    }

    fn hand_on(&mut self, mut pooled: Pooled<C>, now: Instant) -> Placed<C, W> {
        let expired = pooled.expires.is_some_and(|expires| expires <= now);
        if self.is_paused() || pooled.generation != self.generation || expired {
            return Placed::Unwanted(pooled);
        }
        for share in Share::IN_ORDER {
            if let Some(waiter) = self.part(share).serve() {
                pooled.share = share;
                return Placed::Waiter(waiter, pooled);
            }
        }
        self.idle.put(pooled, now);
        Placed::Idle
    }

    /// A lent connection was closed. Those who waited for room in its share are served by [`State::serve_idle`].
    pub fn discard(&mut self, share: Share) {
        self.part(share).lent -= 1;
    }

    /// Lends an idle connection to somebody who waits, when a share has got room without a connection coming back. What
    /// `is_stale` finds unusable on the way is put to `stale`, and no longer counted.
    pub fn serve_idle(
        &mut self,
        mut is_stale: impl FnMut(&mut C) -> bool,
        stale: &mut Vec<Pooled<C>>,
    ) -> Option<(W, Pooled<C>)> {
        let share = Share::IN_ORDER
            .into_iter()
            .find(|share| self.part(*share).is_wanted())?;
        loop {
            let mut pooled = self.idle.take(Identity::Service, 0)?;
            if is_stale(&mut pooled.connection) {
                stale.push(pooled);
                continue;
            }
            pooled.share = share;
            return self.part(share).serve().map(|waiter| (waiter, pooled));
        }
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
        let mut waiters = Vec::new();
        for share in Share::IN_ORDER {
            waiters.extend(std::iter::from_fn(|| self.part(share).dismiss()));
        }
        (self.idle.drain(), waiters)
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
        let spare = self.total().saturating_sub(self.options.min_size);
        self.idle.reap(now, spare, self.options.idle_timeout)
    }

    /// The bounds in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Counts of now.
    pub fn counts(&self) -> Counts {
        Counts {
            in_use: self.ordinary.lent,
            awaiting: self.awaiting.lent,
            idle: self.idle.count(),
            connecting: self.connecting(),
            waiting: self.ordinary.waiting(),
            waiting_to_await: self.awaiting.waiting(),
            generation: self.generation,
        }
    }

    /// Without a share of their own, awaiting commands draw on the ordinary one.
    fn in_force(&self, share: Share) -> Share {
        if self.awaiting.max == 0 {
            Share::Ordinary
        } else {
            share
        }
    }

    fn part(&mut self, share: Share) -> &mut Part<W> {
        match share {
            Share::Ordinary => &mut self.ordinary,
            Share::Awaiting => &mut self.awaiting,
        }
    }

    fn connecting(&self) -> usize {
        self.ordinary.connecting + self.awaiting.connecting
    }

    fn total(&self) -> usize {
        self.idle.count() + self.ordinary.lent + self.awaiting.lent + self.connecting()
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
