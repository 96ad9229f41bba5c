//! How many connections may be closed under abandoned commands.
//!
//! Closing is the quickest way to stop a read that nobody waits for. When a fleet of workers dies at once, though, closing
//! all their connections would make a storm of new ones; beyond the allowance the commands are left to finish.

use std::time::{Duration, Instant};

/// A bucket that holds up to `burst` and is filled at `burst` per second.
#[derive(Debug)]
pub(super) struct Allowance {
    burst: u32,
    left: u32,
    filled: Instant,
}

impl Allowance {
    /// A full bucket.
    #[must_use]
    pub(super) fn new(burst: u32, now: Instant) -> Self {
        Self {
            burst,
            left: burst,
            filled: now,
        }
    }

    /// Takes one out, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.filled) >= Duration::from_secs(1) {
            self.left = self.burst;
            self.filled = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_once_a_second() {
        let now = Instant::now();
        let mut allowance = Allowance::new(2, now);
        assert_eq!([0; 3].map(|_| allowance.take(now)), [true, true, false]);
        assert!(!allowance.take(now + Duration::from_millis(999)));
        assert!(allowance.take(now + Duration::from_secs(1)));
    }
}
