//! Why no connection could be had.

use std::time::Duration;

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
    },
    /// A connection could not be made.
    #[error("{node}: {failure}")]
    Connect {
        /// The node.
        node: Address,
        /// Why.
        failure: Failure,
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
