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
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch},
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
pub struct Budget(Arc<Half>);

#[derive(Debug)]
struct Half {
    /// What may be taken. Together with what is taken it is the total and the debt.
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Messages that had to wait so far.
    waits: AtomicU64,
    /// Wakes those that wait when it changes.
    total: watch::Sender<u32>,
    /// What a smaller total still has to take out of what comes back.
    debt: AtomicUsize,
}

/// Room for one message; given back on drop.
#[derive(Debug)]
pub struct Permit {
    taken: Option<OwnedSemaphorePermit>,
    half: Arc<Half>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(mut taken) = self.taken.take() else {
            return;
        };
        if self.half.debt.load(Relaxed) > 0 {
            let owed = self.half.pay(taken.num_permits());
            let _ = taken.split(owed).map(OwnedSemaphorePermit::forget);
        }
    }
}

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let total = total_of(bytes);
        Self(Arc::new(Half {
            free: Arc::new(Semaphore::new(total as usize)),
            waiting: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            total: watch::channel(total).0,
            debt: AtomicUsize::new(0),
        }))
    }

    /// Makes it a budget of `bytes`. More room is there at once; of less, what is taken counts until it comes back, and takes nothing from
    /// others before.
    pub fn resize(&self, bytes: usize) {
        let (half, new) = (&self.0, total_of(bytes));
        // Under the channel's lock, so that two calls do not mix.
        half.total.send_if_modified(|total| {
            let old = std::mem::replace(total, new);
            if new > old {
                let more = (new - old) as usize;
                half.free.add_permits(more - half.pay(more));
            } else {
                let less = (old - new) as usize;
                half.debt
                    .fetch_add(less - half.free.forget_permits(less), Relaxed);
            }
            new != old
        });
    }

    /// Waits for room for `bytes`, first come first served; a message above the whole budget takes all of it.
    ///
    /// Returns `None` for a message that is not counted. Cancel safe: a cancelled wait leaves the queue.
    pub async fn acquire(&self, bytes: usize) -> Option<Permit> {
        if let Ok(room) = self.try_acquire(bytes) {
            return room;
        }
        self.0.waits.fetch_add(1, Relaxed);
        let _waiting = Waiting::new(&self.0.waiting);
        let mut total = self.0.total.subscribe();
        loop {
            total.mark_unchanged();
            self.0.settle();
            let units = units(bytes, *total.borrow_and_update());
            let room = Arc::clone(&self.0.free).acquire_many_owned(units);
            tokio::select! {
                biased;
                // The semaphore is never closed, so this never fails.
                room = room => return room.ok().map(|room| self.permit(room)),
                // What is waited for may be more than there will ever be now.
                _ = total.changed() => {}
            }
        }
    }

    fn permit(&self, taken: OwnedSemaphorePermit) -> Permit {
        Permit {
            taken: Some(taken),
            half: Arc::clone(&self.0),
        }
    }

    /// How many messages had to wait for room so far.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.0.waits.load(Relaxed)
    }

    /// Whether somebody waits for room.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.0.waiting.load(Relaxed) > 0
    }

    /// Takes room for `bytes` if there is some now; `Ok(None)` for a message that is not counted.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_acquire(&self, bytes: usize) -> Result<Option<Permit>, TryAcquireError> {
        if bytes <= SMALL {
            return Ok(None);
        }
        self.0.settle();
        Arc::clone(&self.0.free)
            .try_acquire_many_owned(units(bytes, *self.0.total.borrow()))
            .map(|room| Some(self.permit(room)))
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        let (half, total) = (&self.0, *self.0.total.borrow() as usize);
        (total + half.debt.load(Relaxed)).saturating_sub(half.free.available_permits()) * UNIT
    }

    /// Bytes in all.
    #[must_use]
    pub fn total(&self) -> usize {
        *self.0.total.borrow() as usize * UNIT
    }
}

impl Half {
    /// Takes the debt out of what is free: somebody who waited, and had a part of the room already, has left it.
    fn settle(&self) {
        if self.debt.load(Relaxed) > 0 {
            let owed = self.pay(usize::MAX);
            let left = owed - self.free.forget_permits(owed);
            self.debt.fetch_add(left, Relaxed);
        }
    }

    /// Takes up to `units` out of the debt; how many.
    fn pay(&self, units: usize) -> usize {
        let left = |debt: usize| Some(debt.saturating_sub(units));
        let before = self.debt.fetch_update(Relaxed, Relaxed, left);
        before.unwrap_or_default().min(units)
    }
}

fn total_of(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1)
}

fn units(bytes: usize, total: u32) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(total)
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

    #[tokio::test]
    async fn it_grows_at_once_and_shrinks_as_room_comes_back() {
        const MIB: usize = 1 << 20;
        let budget = Budget::new(4 * MIB);
        let taken = [budget.acquire(MIB).await, budget.acquire(2 * MIB).await];
        budget.resize(2 * MIB);
        assert_eq!((budget.used(), budget.total()), (3 * MIB, 2 * MIB));
        assert!(budget.try_acquire(MIB).is_err(), "there is less than nothing");
        let [first, second] = taken;
        drop(first);
        assert_eq!(budget.used(), 2 * MIB);
        assert!(budget.try_acquire(MIB).is_err(), "what came back is gone");
        budget.resize(3 * MIB);
        assert!(budget.try_acquire(MIB).is_ok(), "there is more");
        drop(second);
        assert_eq!(budget.used(), 0);
        assert!(budget.try_acquire(3 * MIB).unwrap().is_some());
        // Up while there is a debt: that is paid first.
        let all = budget.acquire(3 * MIB).await;
        budget.resize(MIB);
        budget.resize(2 * MIB);
        assert!(budget.try_acquire(MIB).is_err());
        drop(all);
        let _two = budget.try_acquire(2 * MIB).unwrap();
        assert!(budget.try_acquire(MIB).is_err());
    }

    #[tokio::test]
    async fn who_waits_for_more_than_there_will_be_gets_all_that_there_is() {
        let budget = Budget::new(4 << 20);
        let first = budget.acquire(1 << 20).await;
        let waits = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(4 << 20).await.is_some() }
        });
        tokio::task::yield_now().await;
        budget.resize(2 << 20);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished(), "a half of all is taken");
        drop(first);
        let served = tokio::time::timeout(Duration::from_secs(5), waits).await;
        assert!(served.expect("it waits for what never comes").unwrap());
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
