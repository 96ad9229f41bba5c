//! Why no connection could be had.

use std::time::Duration;

use super::{Counts, Options, Share};
use crate::{topology::Address, upstream::Failure};

/// Why no connection could be had. Nothing was sent in any of these cases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckOutError {
    /// All connections stayed in use.
    #[error("no free connection to {node} within {waited:?} ({in_use} of {bound} in use, {waiting} waiting)")]
    Timeout {
        /// The node.
        node: Address,
        /// How long was waited.
        waited: Duration,
        /// Connections in use on the share at the end.
        in_use: usize,
        /// The bound, with its name.
        bound: String,
        /// Others that wait still.
        waiting: usize,
        /// No connection was given back meanwhile: the node may hang.
        stalled: bool,
    },
    /// A connection could not be made.
    #[error("{node}: {failure}")]
    Connect {
        /// The node.
        node: Address,
        /// Why.
        failure: Failure,
    },
    /// The node does not let the user in any more, or not yet.
    #[error("{node} does not let {user} in: {reason}")]
    LoginRefused {
        /// The node.
        node: Address,
        /// The user.
        user: String,
        /// What the node said.
        reason: String,
    },
    /// The node failed or left while its connection was waited for.
    #[error("{node} became unusable: {reason}")]
    Cleared {
        /// The node.
        node: Address,
        /// Why.
        reason: String,
    },
}

impl CheckOutError {
    /// The error of one who waited in vain on this share, while the pool holds what `counts` says; `stalled` if nobody got a
    /// connection meanwhile.
    pub(super) fn timed_out(
        node: &Address,
        (waited, stalled): (Duration, bool),
        share: Share,
        counts: &Counts,
        options: &Options,
    ) -> Self {
        let (in_use, bound, waiting) = match share {
            Share::Awaiting if options.max_awaiting > 0 => (
                counts.awaiting,
                format!("max_awaiting = {}", options.max_awaiting),
                counts.waiting_to_await,
            ),
            _ => (
                counts.in_use,
                format!("max_size = {}", options.max_size),
                counts.waiting,
            ),
        };
        Self::Timeout {
            node: node.clone(),
            waited,
            in_use,
            bound,
            waiting,
            stalled,
        }
    }
}
