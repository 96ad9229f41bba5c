//! The two shares of a node's connections, and who waits in each.
//!
//! A `getMore` on a cursor that awaits new documents holds its connection for as long as nothing happens. Were such waits
//! to draw on the connections of all other commands, a few hundred change streams would stop everything else. So they
//! have a share of their own; neither takes from the other, and what lies idle serves both.

use std::collections::VecDeque;

/// On which share a connection is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Commands that end by themselves.
    Ordinary,
    /// A `getMore` that awaits new documents.
    Awaiting,
}

impl Share {
    /// Both, in the order in which they are served.
    pub(super) const IN_ORDER: [Self; 2] = [Self::Ordinary, Self::Awaiting];
}

/// One share. Invariants: `lent` never exceeds `max`; waiters are served in the order of their arrival.
#[derive(Debug)]
pub(super) struct Part<W> {
    /// Most connections that may be lent.
    pub(super) max: usize,
    /// Lent connections.
    pub(super) lent: usize,
    /// Connections being made because of this share's waiters.
    pub(super) connecting: usize,
    waiters: VecDeque<(u64, W)>,
}

impl<W> Part<W> {
    /// A share of which nothing is lent.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            lent: 0,
            connecting: 0,
            waiters: VecDeque::new(),
        }
    }

    /// Whether one more may be lent.
    pub(super) fn has_room(&self) -> bool {
        self.lent < self.max
    }

    /// Whether somebody waits who could be served.
    pub(super) fn is_wanted(&self) -> bool {
        self.has_room() && !self.waiters.is_empty()
    }

    /// Whether a connection should be made for those who wait.
    pub(super) fn wants_connection(&self) -> bool {
        self.waiters.len() > self.connecting && self.lent + self.connecting < self.max
    }

    /// Takes the one who waited longest out of the queue, if a connection may be lent; it counts as lent then.
    pub(super) fn serve(&mut self) -> Option<W> {
        if !self.has_room() {
            return None;
        }
        let (_, waiter) = self.waiters.pop_front()?;
        self.lent += 1;
        Some(waiter)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Takes a place at the end of the queue. Tickets must ascend.
    pub(super) fn enqueue(&mut self, ticket: u64, waiter: W) {
        self.waiters.push_back((ticket, waiter));
    }

    /// Leaves the queue; does nothing for somebody who is not in it.
    pub(super) fn leave(&mut self, ticket: u64) {
        // Tickets ascend, so that the queue is sorted by them.
        if let Ok(at) = self.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
            self.waiters.remove(at);
        }
    }

    /// Takes the one who waited longest out of the queue, to be told that there is nothing.
    pub(super) fn dismiss(&mut self) -> Option<W> {
        self.waiters.pop_front().map(|(_, waiter)| waiter)
    }
}
