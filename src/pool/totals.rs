//! What happened in a pool so far.

use std::sync::atomic::AtomicU64;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Connections opened.
    pub opened: AtomicU64,
    /// Connections closed, for whatever reason.
    pub closed: AtomicU64,
    /// Attempts to connect that failed.
    pub connect_failures: AtomicU64,
    /// Logins of new connections that the node refused; they count as failed attempts, too.
    pub logins_refused: AtomicU64,
    /// Commands that had to wait for a connection.
    pub waits: AtomicU64,
    /// Microseconds that they waited, in sum.
    pub wait_micros: AtomicU64,
    /// Commands that waited in vain.
    pub wait_timeouts: AtomicU64,
}
