//! The two shares of a node's connections, and who waits in each.
//!
//! A `getMore` on a cursor that awaits new documents holds its connection for as long as nothing happens. Were such waits
//! to draw on the connections of all other commands, a few hundred change streams would stop everything else. So they
//! have a share of their own; neither takes from the other, and what lies idle serves both.

use super::queue::Queue;

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

    /// Its place in [`Share::IN_ORDER`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Ordinary => 0,
            Self::Awaiting => 1,
        }
    }
}

/// One share, over all identities. Invariants: `lent` never exceeds `max`; `waiting` has exactly those who wait in the lanes.
#[derive(Debug)]
pub(super) struct Part {
    /// Most connections that may be lent.
    pub(super) max: usize,
    /// Lent connections.
    pub(super) lent: usize,
    /// Connections being made because of this share's waiters.
    pub(super) connecting: usize,
    /// Who waits.
    pub(super) waiting: Queue,
}

impl Part {
    /// A share of which nothing is lent.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            lent: 0,
            connecting: 0,
            waiting: Queue::default(),
        }
    }

    /// Whether one more may be lent.
    pub(super) fn has_room(&self) -> bool {
        self.lent < self.max
    }

    /// Whether one more connection may be made for those who wait.
    pub(super) fn has_room_for_new(&self) -> bool {
        self.lent + self.connecting < self.max
    }
}
