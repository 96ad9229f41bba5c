//! What one identity has of a pool: its idle connections, what it holds on each share, and its clients that wait.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{pooled::Pooled, share::Share};

/// A connection that lies idle.
#[derive(Debug)]
struct Idle<C> {
    pooled: Pooled<C>,
    since: Instant,
}

/// Somebody who waits.
#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    waiter: W,
}

/// What an identity has of one share.
#[derive(Debug)]
pub(super) struct Hold<W> {
    /// Lent connections.
    pub(super) lent: usize,
    /// Connections being made because of its waiters.
    pub(super) connecting: usize,
    waiters: VecDeque<Waiter<W>>,
}

/// One identity's part. Invariants: waiters are in the order of their arrival; the least recently used of a core's idle connections
/// lies first.
#[derive(Debug)]
pub(super) struct Lane<C, W> {
    /// By core.
    idle: Vec<VecDeque<Idle<C>>>,
    idle_count: usize,
    holds: [Hold<W>; 2],
    /// A node refused its login: no connection is made for those who wait, as long as there are others for them.
    pub(super) is_refused: bool,
}

impl<C, W> Lane<C, W> {
    /// Nothing.
    pub(super) fn new() -> Self {
        let hold = || Hold {
            lent: 0,
            connecting: 0,
            waiters: VecDeque::new(),
        };
        Self {
            idle: Vec::new(),
            idle_count: 0,
            holds: [hold(), hold()],
            is_refused: false,
        }
    }

    /// Its part of a share.
    pub(super) fn hold(&mut self, share: Share) -> &mut Hold<W> {
        &mut self.holds[share.index()]
    }

    /// The same, to look at.
    pub(super) fn holds(&self, share: Share) -> &Hold<W> {
        &self.holds[share.index()]
    }

    /// Idle connections.
    pub(super) fn idle_count(&self) -> usize {
        self.idle_count
    }

    /// Has those who wait on either share wait on the ordinary one.
    pub(super) fn wait_together(&mut self) {
        let [ordinary, awaiting] = &mut self.holds;
        ordinary.waiters.append(&mut awaiting.waiters);
        let waiters = ordinary.waiters.make_contiguous();
        waiters.sort_unstable_by_key(|waiter| waiter.ticket);
    }

    /// Connections of every kind.
    pub(super) fn total(&self) -> usize {
        let held = self.holds.iter().map(|hold| hold.lent + hold.connecting);
        self.idle_count + held.sum::<usize>()
    }

    /// Lent connections.
    pub(super) fn lent(&self) -> usize {
        self.holds.iter().map(|hold| hold.lent).sum()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.total() == 0 && self.holds.iter().all(|hold| hold.waiters.is_empty())
    }

    /// Takes the most recently used idle connection: of this core first, else of another.
    pub(super) fn take_idle(&mut self, core: usize) -> Option<Pooled<C>> {
        if self.idle_count == 0 {
            return None;
        }
        let own = self.idle.get_mut(core).and_then(VecDeque::pop_back);
        let found = own.or_else(|| self.idle.iter_mut().find_map(VecDeque::pop_back))?;
        self.idle_count -= 1;
        Some(found.pooled)
    }

    /// Lays a connection down.
    pub(super) fn put_idle(&mut self, pooled: Pooled<C>, now: Instant) {
        let core = pooled.core;
        if self.idle.len() <= core {
            self.idle.resize_with(core + 1, VecDeque::new);
        }
        self.idle[core].push_back(Idle { pooled, since: now });
        self.idle_count += 1;
    }

    /// Since when the connection lies there that was used least recently.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let first = self.idle.iter().filter_map(VecDeque::front);
        first.map(|idle| idle.since).min()
    }

    /// Takes the idle connection that was used least recently.
    pub(super) fn take_oldest(&mut self) -> Option<Pooled<C>> {
        let since = self.idle_since()?;
        let stack = self
            .idle
            .iter_mut()
            .find(|stack| stack.front().is_some_and(|idle| idle.since == since))?;
        self.idle_count -= 1;
        stack.pop_front().map(|idle| idle.pooled)
    }

    /// Takes all idle connections.
    pub(super) fn drain_idle(&mut self) -> impl Iterator<Item = Pooled<C>> + use<C, W> {
        self.idle_count = 0;
        std::mem::take(&mut self.idle)
            .into_iter()
            .flatten()
            .map(|idle| idle.pooled)
    }

    /// Takes those that may not be lent again, and up to `spare` in all of those that were idle for `idle_timeout`.
    pub(super) fn reap(
        &mut self,
        now: Instant,
        spare: &mut usize,
        idle_timeout: Option<Duration>,
        reaped: &mut Vec<Pooled<C>>,
    ) {
        let before = reaped.len();
        for stack in &mut self.idle {
            let mut at = 0;
            while let Some(idle) = stack.get(at) {
                let waited = now.saturating_duration_since(idle.since);
                let too_long = idle_timeout.is_some_and(|limit| waited >= limit);
                if idle.pooled.is_over(now) || (*spare > 0 && too_long) {
                    *spare = spare.saturating_sub(1);
                    reaped.extend(stack.remove(at).map(|idle| idle.pooled));
                } else {
                    at += 1;
                }
            }
        }
        self.idle_count -= reaped.len() - before;
    }
}

impl<W> Hold<W> {
    /// Whether a connection should be made for those who wait.
    pub(super) fn wants_connection(&self) -> bool {
        self.waiters.len() > self.connecting
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// The ticket of the one who waited longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiters.front().map(|waiter| waiter.ticket)
    }

    /// Takes a place at the end of the queue. Tickets must ascend.
    pub(super) fn enqueue(&mut self, ticket: u64, waiter: W) {
        self.waiters.push_back(Waiter { ticket, waiter });
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        // Tickets ascend, so that the queue is sorted by them.
        let at = self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket);
        self.waiters.remove(at.ok()?).map(|waiter| waiter.waiter)
    }

    /// Takes the one who waited longest out of the queue, with the ticket.
    pub(super) fn pop(&mut self) -> Option<(u64, W)> {
        let first = self.waiters.pop_front()?;
        Some((first.ticket, first.waiter))
    }
}
