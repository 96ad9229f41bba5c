//! What happened in a pool so far.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::telemetry::{Histogram, Timings};

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
    /// Commands that had to wait for a connection.
    pub waits: AtomicU64,
    /// Microseconds that they waited, in sum.
    pub wait_micros: AtomicU64,
    /// Commands that waited in vain.
    pub wait_timeouts: AtomicU64,
    /// How long they waited, each.
    pub wait: Histogram,
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
            waits: AtomicU64::default(),
            wait_micros: AtomicU64::default(),
            wait_timeouts: AtomicU64::default(),
            wait: Histogram::default(),
            timings: Timings::new(cores, 1),
        }
    }

    /// Takes note of a command that has waited for a connection.
    pub(super) fn note_wait(&self, waited: Duration) {
        self.waits.fetch_add(1, Relaxed);
        self.wait_micros.fetch_add(waited.as_micros() as u64, Relaxed);
        self.wait.record(waited);
    }
}
