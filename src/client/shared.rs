//! What all sessions share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
    },
    time::Instant,
};

use super::{Limits, admission::Admission, fail_point::FailPoints};
use crate::{
    net::Budget,
    pool::Pool,
    routing::{Pins, TransactionPins},
    telemetry::PerCore,
    topology::Address,
    upstream::Cluster,
};

/// Most cursors, and most sessions with a transaction, whose node is remembered.
const MAX_PINS: usize = 100_000;

/// Everything that a session needs besides its own socket.
#[derive(Debug)]
pub struct Shared {
    /// The replica set.
    pub cluster: Arc<Cluster<Pool>>,
    /// Where cursors live.
    pub pins: Pins<Address>,
    /// Where transactions live; used only with several `mongos` upstream.
    pub transactions: TransactionPins<Address>,
    /// Room for requests above a small size.
    pub requests: Budget,
    /// Room for replies above a small size.
    pub replies: Budget,
    /// The bounds in force.
    pub limits: Limits,
    /// Who is connected, and from where.
    pub admission: Admission,
    /// What happened so far.
    pub counters: PerCore,
    /// When this process started.
    pub started: Instant,
    /// Set when sessions should end at their next command boundary. Set it before waking them.
    pub stopping: AtomicBool,
    /// The fail points that clients have set.
    pub(super) fail_points: FailPoints,
    next_id: AtomicI32,
}

impl Shared {
    /// Shares `cluster` among the sessions of `cores` cores.
    #[must_use]
    pub fn new(cluster: Arc<Cluster<Pool>>, limits: Limits, cores: usize) -> Self {
        Self {
            cluster,
            pins: Pins::new(MAX_PINS),
            transactions: TransactionPins::new(MAX_PINS),
            requests: Budget::new(limits.buffer_bytes / 2),
            replies: Budget::new(limits.buffer_bytes / 2),
            admission: Admission::new(limits.max_clients, limits.max_clients_per_address),
            limits,
            counters: PerCore::new(cores),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            fail_points: FailPoints::default(),
            next_id: AtomicI32::new(1),
        }
    }

    /// A number for a client connection or a message, positive and unique for a long while.
    pub(super) fn next_id(&self) -> i32 {
        self.next_id.fetch_add(1, Relaxed) & i32::MAX
    }
}
