//! The log of slow commands: a line and a place among those that are kept, with the shape of what was asked and no value of it.
//!
//! Bounded in every way: some lines a second, a fixed number kept, a bounded shape. What is left out is counted.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{inbound::Inbound, session::Session};
use crate::{
    command::{shape::shape, table},
    pool::Pool,
};

/// How many are kept.
const MOST_KEPT: usize = 100;
/// Most that are written down in a second.
const MOST_IN_A_SECOND: u32 = 10;

/// A command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowCommand {
    /// When it was done.
    pub at: SystemTime,
    /// Its name, as the command table has it.
    pub command: &'static str,
    /// What it ran on: a database, or a collection of it.
    pub namespace: String,
    /// The node that answered, if one did.
    pub node: Option<String>,
    /// How long it took in all.
    pub took: Duration,
    /// How long of that it waited within the proxy, for a node or a connection.
    pub waited: Duration,
    /// Whether it ended with an error.
    pub has_failed: bool,
    /// Where the client is.
    pub client: String,
    /// The number of its connection.
    pub connection: i32,
    /// What the application calls itself.
    pub application: Option<String>,
    /// What it selected by, without values; empty if it has no filter.
    pub filter: String,
}

/// Those that took long lately.
#[derive(Debug)]
pub struct SlowLog {
    /// In microseconds; what takes so long is slow.
    threshold: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<SlowCommand>,
    /// When the second began in which lines are counted.
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Kept {
    /// Whether one more may be written down now; how many were left out before it.
    fn begin(&mut self, now: Instant) -> Option<u64> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(is_over) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= MOST_IN_A_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }

    fn keep(&mut self, slow: SlowCommand) {
        if self.last.len() >= MOST_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(slow);
    }
}

impl Default for SlowLog {
    fn default() -> Self {
        Self {
            threshold: AtomicU64::new(u64::MAX),
            kept: Mutex::default(),
        }
    }
}

impl SlowLog {
    /// Calls those slow from now on that take as long as this; none if it is `None`.
    pub fn set_threshold(&self, threshold: Option<Duration>) {
        let micros = threshold.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        self.threshold.store(micros.unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether this is slow.
    #[inline]
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        took.as_micros() >= u128::from(self.threshold.load(Relaxed))
    }

    /// Those that are kept, the newest first.
    #[must_use]
    pub fn list(&self) -> Vec<SlowCommand> {
        self.kept().last.iter().rev().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a slow command down.
#[cold]
pub(super) fn note(
    session: &Session,
    inbound: &Inbound,
    node: Option<&Pool>,
    took: Duration,
    has_failed: bool,
) {
    session.counters().commands_slow.one();
    let log = &session.shared.slow;
    let Some(left_out) = log.kept().begin(Instant::now()) else {
        return;
    };
    let (request, message) = (&inbound.request, inbound.frame.bytes());
    let mut namespace = String::new();
    request.write_namespace(message, &mut namespace);
    let application = session.driver.as_ref().and_then(|driver| driver.application());
    let slow = SlowCommand {
        at: SystemTime::now(),
        command: table::name_of(table::number_of(request.row)),
        namespace,
        node: node.map(|pool| pool.address().to_string()),
        took,
        waited: session.waited,
        has_failed,
        client: session.peer.to_string(),
        connection: session.id,
        application: application.map(str::to_owned),
        filter: shape(message, &request.layout),
    };
    tracing::warn!(
        command = slow.command,
        namespace = slow.namespace,
        node = slow.node,
        took_ms = slow.took.as_millis() as u64,
        waited_ms = slow.waited.as_millis() as u64,
        failed = slow.has_failed,
        client = slow.client,
        connection = slow.connection,
        application = slow.application,
        filter = slow.filter,
        left_out = (left_out > 0).then_some(left_out),
        "slow command"
    );
    log.kept().keep(slow);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_each_second_and_what_is_left_out_is_told() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for _ in 0..MOST_IN_A_SECOND {
            assert_eq!(kept.begin(now), Some(0));
        }
        assert_eq!((kept.begin(now), kept.begin(now)), (None, None));
        assert_eq!(kept.begin(now + Duration::from_secs(1)), Some(2));
        assert_eq!(kept.begin(now + Duration::from_secs(1)), Some(0));
    }

    #[test]
    fn nothing_is_slow_without_a_threshold() {
        let log = SlowLog::default();
        assert!(!log.is_slow(Duration::from_secs(1 << 20)));
        log.set_threshold(Some(Duration::from_millis(500)));
        assert!(log.is_slow(Duration::from_millis(500)) && !log.is_slow(Duration::from_millis(499)));
    }
}
