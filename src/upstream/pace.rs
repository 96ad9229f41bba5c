//! How often a node is asked.
//!
//! Checks of one node are [`MIN_HEARTBEAT`] apart, and [`HASTY`] while the primary has been missing for a moment only: then the
//! answers decide how long commands wait. A node that cannot be reached is asked again by itself, the more rarely the longer it has
//! been away, so that one that restarts is not missed for a heartbeat.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// The shortest pause between two checks of one node (`minHeartbeatFrequencyMS` of the Server Monitoring specification).
pub(super) const MIN_HEARTBEAT: Duration = Duration::from_millis(500);
/// The same while the primary is missing.
const HASTY: Duration = Duration::from_millis(100);
/// How long there is haste: longer than an election takes by the defaults (`electionTimeoutMillis`), and then no more.
const HASTE_LASTS: Duration = Duration::from_secs(15);
/// How far into a pause haste is noticed.
const STEP: Duration = Duration::from_millis(50);
/// A node that has been away for so many pauses is asked again after one more.
const PATIENCE: u32 = 4;

/// Since when the set has been without the primary that it had.
#[derive(Debug, Default)]
pub(super) struct Haste(Mutex<Option<Instant>>);

impl Haste {
    /// Takes note of whether the primary is missing.
    pub(super) fn set(&self, is_missing: bool) {
        let mut since = self.since();
        match (is_missing, *since) {
            (true, None) => *since = Some(Instant::now()),
            (false, Some(_)) => *since = None,
            _ => {}
        }
    }

    /// Keeps checks of one node apart that asks for the next while there may be haste.
    pub(super) async fn pause_since(&self, then: Instant) {
        loop {
            let left = self.shortest_pause().saturating_sub(then.elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left.min(STEP)).await;
        }
    }

    fn shortest_pause(&self) -> Duration {
        let is_short = |since: Instant| since.elapsed() < HASTE_LASTS;
        if self.since().is_some_and(is_short) {
            HASTY
        } else {
            MIN_HEARTBEAT
        }
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a node that has been away for so long is asked again unasked.
pub(super) fn retry_after(away: Duration, heartbeat: Duration) -> Duration {
    (away / PATIENCE).max(MIN_HEARTBEAT).min(heartbeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_the_more_rarely_the_longer_it_has_been_away() {
        for (away, millis) in [
            (0, 500),
            (1_000, 500),
            (4_000, 1_000),
            (30_000, 7_500),
            (60_000, 10_000),
        ] {
            let found = retry_after(Duration::from_millis(away), Duration::from_secs(10));
            assert_eq!(found.as_millis(), millis, "{away}");
        }
        let short = Duration::from_millis(200);
        assert_eq!(retry_after(Duration::from_secs(9), short), short);
    }

    #[tokio::test]
    async fn pauses_are_short_while_the_primary_is_missing_even_those_that_have_begun() {
        let haste = Haste::default();
        let then = Instant::now();
        let missing = async {
            sleep(STEP).await;
            haste.set(true);
        };
        tokio::join!(haste.pause_since(then), missing);
        assert!((HASTY..MIN_HEARTBEAT).contains(&then.elapsed()));
        haste.set(false);
        haste.pause_since(then).await;
        assert!(then.elapsed() >= MIN_HEARTBEAT);
        // One that has been missing for long is no reason to hurry.
        *haste.since() = Instant::now().checked_sub(HASTE_LASTS);
        haste.set(true);
        assert_eq!(haste.shortest_pause(), MIN_HEARTBEAT);
    }
}
