//! The HTTP admin endpoint: health, status and metrics.

use std::net::SocketAddr;

/// Where the admin endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The socket address to bind.
    pub address: SocketAddr,
}
