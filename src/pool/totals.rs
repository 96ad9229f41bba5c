//! What happened in a pool so far.

use std::{sync::atomic::AtomicU64, time::Duration};

use crate::telemetry::Timings;

/// Counters since the start.
#[derive(Debug)]
pub struct Totals {
    /// Connections opened.
    pub opened: AtomicU64,
    /// Connections closed, for whatever reason.
    pub closed: AtomicU64,
    /// Attempts to connect that failed.
    pub connect_failures: AtomicU64,
    /// Logins of new connections that the node refused; they count as failed attempts, too.
    pub logins_refused: AtomicU64,
    /// Commands that waited in vain.
    pub wait_timeouts: AtomicU64,
    /// How long commands waited that had to, each; one kind, by core.
    pub waits: Timings,
    /// How long the node, or the way to it, took for commands; one kind, by core. Its errors are replies that carry one, and exchanges
    /// that broke.
    pub timings: Timings,
}

impl Totals {
    /// Nothing happened yet, to connections of so many cores.
    pub(super) fn new(cores: usize) -> Self {
        Self {
            opened: AtomicU64::default(),
            closed: AtomicU64::default(),
            connect_failures: AtomicU64::default(),
            logins_refused: AtomicU64::default(),
            wait_timeouts: AtomicU64::default(),
            waits: Timings::new(cores, 1),
            timings: Timings::new(cores, 1),
        }
    }

    /// Takes note of a command of this core that has waited for a connection.
    pub(super) fn note_wait(&self, core: usize, waited: Duration) {
        self.waits.of(core, 0).durations.record(waited);
    }
}
