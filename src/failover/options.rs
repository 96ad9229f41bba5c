//! The settings of `[failover]`.

use std::time::Duration;

/// How commands are kept from failing while the replica set changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a command may wait, in sum, for a node that can take it; zero lets it fail at once.
    pub hold: Duration,
    /// Most commands that wait at once.
    pub hold_commands: usize,
    /// Most bytes that their messages take together.
    pub hold_bytes: usize,
    /// Writes that come without a transaction number get one of the proxy's own, by which a server recognises a second attempt.
    pub exactly_once: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(30),
            hold_commands: 10_000,
            hold_bytes: 128 << 20,
            exactly_once: true,
        }
    }
}
