//! Pooled connections to one node: a state machine without IO, and the thin shell that waits and connects.

mod allowance;
mod bounds;
mod error;
mod identity;
mod lane;
mod lease;
mod lent;
mod locked;
mod operate;
pub mod pooled;
mod queue;
mod share;
mod shell;
pub mod state;
mod totals;
mod turns;
mod wait;

pub use error::CheckOutError;
pub use identity::{Identities, Identity};
pub use lease::Lease;
pub use operate::{Part, Renewed};
pub use share::Share;
pub use shell::Pool;
pub use state::Counts;
pub use totals::Totals;

use std::time::Duration;

/// Bounds of one node's pool, over all identities and cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Most connections to one node that ordinary commands hold.
    pub max_size: usize,
    /// Most connections to one node beyond those that awaiting `getMore`s hold; 0 lets them draw on `max_size`.
    pub max_awaiting: usize,
    /// Most connections to one node that one user has; `None` sets no bound but those over all.
    pub max_per_user: Option<usize>,
    /// Connections to one node that a user keeps though others wait; one that has fewer comes first.
    pub min_per_user: usize,
    /// Connections of Tidegate itself kept warm.
    pub min_size: usize,
    /// Most connections being established at once.
    pub max_connecting: usize,
    /// Longest wait of a command for a connection.
    pub wait_timeout: Duration,
    /// An idle connection is closed after this; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// A connection is closed at this age (less up to a tenth, at random); `None` keeps it.
    pub max_lifetime: Option<Duration>,
}

impl Options {
    /// Most connections to one node, in use and idle, for whatever.
    #[must_use]
    pub fn most(&self) -> usize {
        self.max_size.saturating_add(self.max_awaiting)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_size: 100,
            max_awaiting: 100,
            max_per_user: None,
            min_per_user: 1,
            min_size: 0,
            max_connecting: 2,
            wait_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(600)),
            max_lifetime: Some(Duration::from_secs(3600)),
        }
    }
}
