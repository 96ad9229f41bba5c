//! The bound on bytes that held messages take together (`[limits] buffer_bytes`).
//!
//! Requests and replies have half each. A request holds its share while it waits for a connection; were replies to
//! draw on the same half, requests could hold all of it while those with a connection wait for room for their reply,
//! and nobody would move. A reply waits for nothing but its node and its client, and both must keep
//! a minimum speed while others wait.
//!
//! Messages up to [`SMALL`] are not counted: they are bounded by the number of clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::Instant,
};

/// Messages up to this many bytes take nothing from the budget.
pub const SMALL: usize = 16 << 10;
/// The unit of account: permits are counted in `u32`.
const UNIT: usize = 1 << 10;
/// Large messages are timed in parts of this many bytes.
pub const PART: usize = 256 << 10;
/// The slowest transfer of a counted message that is waited for, in bytes per second.
const MIN_RATE: u64 = 64 << 10;
/// What any transfer may take, however short the message.
const GRACE: Duration = Duration::from_secs(30);

/// One direction's half.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    total: u32,
}

/// Room for one message; given back on drop.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            free: Arc::new(Semaphore::new(total as usize)),
            waiting: Arc::default(),
            total,
        }
    }

    /// Waits for room for `bytes`, first come first served; a message above the whole budget takes all of it.
    ///
    /// Returns `None` for a message that is not counted. Cancel safe: a cancelled wait leaves the queue.
    pub async fn acquire(&self, bytes: usize) -> Option<Permit> {
        if let Ok(room) = self.try_acquire(bytes) {
            return room;
        }
        let _waiting = Waiting::new(&self.waiting);
        // The semaphore is never closed, so this never fails.
        Arc::clone(&self.free)
            .acquire_many_owned(self.units(bytes))
            .await
            .ok()
            .map(Permit)
    }

    /// Whether somebody waits for room.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Takes room for `bytes` if there is some now; `Ok(None)` for a message that is not counted.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_acquire(&self, bytes: usize) -> Result<Option<Permit>, TryAcquireError> {
        if bytes <= SMALL {
            return Ok(None);
        }
        Arc::clone(&self.free)
            .try_acquire_many_owned(self.units(bytes))
            .map(|permit| Some(Permit(permit)))
    }

    fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.total)
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        (self.total as usize - self.free.available_permits()) * UNIT
    }

    /// Bytes in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total as usize * UNIT
    }
}

/// Somebody who waits for room, until drop.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// By when the part of a large message must be through that ends at byte `end`: the whole must keep the slowest rate, and no
/// part may stall for longer than it may take on its own, however fast those before it were.
#[must_use]
pub fn part_deadline(since: Instant, end: usize) -> Instant {
    (since + transfer_time(end)).min(Instant::now() + transfer_time(PART))
}

/// How long the transfer of `bytes` may take before the peer counts as too slow.
///
/// Asked with the bytes that have moved so far, not with those that were announced: a peer that stops is then given up
/// after the grace, however long its message would have been.
#[must_use]
pub fn transfer_time(bytes: usize) -> Duration {
    GRACE + Duration::from_millis(bytes as u64 * 1000 / MIN_RATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_and_small_messages_need_none() {
        let budget = Budget::new(1 << 20);
        assert!(budget.acquire(SMALL).await.is_none());
        let half = budget.acquire(600 << 10).await.unwrap();
        assert_eq!(budget.used(), 600 << 10);
        let second = tokio::time::timeout(Duration::from_millis(10), budget.acquire(600 << 10)).await;
        assert!(second.is_err(), "there is no room for both");
        drop(half);
        assert!(budget.acquire(600 << 10).await.is_some());
    }

    #[tokio::test]
    async fn a_message_above_the_whole_budget_takes_all_of_it() {
        let budget = Budget::new(1 << 20);
        let _all = budget.acquire(48 << 20).await.unwrap();
        assert_eq!(budget.used(), budget.total());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_noticed_however_fast_the_transfer_was_before() {
        let since = Instant::now();
        assert_eq!(part_deadline(since, PART) - since, GRACE + Duration::from_secs(4));
        assert_eq!(
            part_deadline(since, 40 << 20) - since,
            GRACE + Duration::from_secs(4)
        );
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(
            part_deadline(since, 2 * PART) - since,
            GRACE + Duration::from_secs(8),
            "too slow on the whole"
        );
    }

    #[test]
    fn a_large_message_may_take_longer() {
        assert_eq!(transfer_time(0), GRACE);
        assert_eq!(transfer_time(640 << 10), GRACE + Duration::from_secs(10));
    }
}
