//! The round trip time of one server, smoothed.
//!
//! Source: "Calculation of Average Round Trip Times" of the Server Selection specification, and "Measuring
//! RTT" of the Server Monitoring specification.

use std::time::Duration;

/// The weight of the newest sample.
const ALPHA: f64 = 0.2;

/// How many samples the minimum looks back.
const RECENT: usize = 10;

/// The exponentially weighted average (alpha 0.2) and the minimum of the last ten samples.
#[derive(Debug, Clone, Default)]
pub struct RttAverage {
    average: Option<Duration>,
    recent: [Duration; RECENT],
    /// How many samples were recorded; the newest is at `(count - 1) % RECENT`.
    count: usize,
}

impl RttAverage {
    /// Without samples.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one measured round trip.
    pub fn record(&mut self, sample: Duration) {
        self.average = Some(match self.average {
            None => sample,
            // Fails only where rounding lifts the longest possible durations out of range.
            Some(old) => {
                Duration::try_from_secs_f64(ALPHA * sample.as_secs_f64() + (1.0 - ALPHA) * old.as_secs_f64())
                    .unwrap_or(sample)
            }
        });
        self.recent[self.count % RECENT] = sample;
        self.count = self.count.wrapping_add(1);
    }

    /// The average; `None` before the first sample.
    #[must_use]
    pub fn average(&self) -> Option<Duration> {
        self.average
    }

    /// The least of the last ten samples; zero until there are two.
    #[must_use]
    pub fn minimum(&self) -> Duration {
        if self.count < 2 {
            return Duration::ZERO;
        }
        self.recent[..self.count.min(RECENT)]
            .iter()
            .min()
            .copied()
            .unwrap_or_default()
    }

    /// Forgets everything, as must be done when the server becomes Unknown.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_sample_is_the_average_and_later_ones_weigh_a_fifth() {
        let mut rtt = RttAverage::new();
        assert_eq!(rtt.average(), None);
        rtt.record(ms(10));
        assert_eq!(rtt.average(), Some(ms(10)));
        rtt.record(ms(20));
        assert_eq!(rtt.average(), Some(ms(12)));
        rtt.record(ms(2));
        assert_eq!(rtt.average(), Some(ms(10)));
        rtt.reset();
        assert_eq!((rtt.average(), rtt.minimum()), (None, Duration::ZERO));
    }

    #[test]
    fn the_minimum_needs_two_samples_and_looks_back_ten() {
        let mut rtt = RttAverage::new();
        rtt.record(ms(1));
        assert_eq!(rtt.minimum(), Duration::ZERO);
        rtt.record(ms(5));
        assert_eq!(rtt.minimum(), ms(1));
        for _ in 0..8 {
            rtt.record(ms(7));
            assert_eq!(rtt.minimum(), ms(1));
        }
        rtt.record(ms(7));
        assert_eq!(rtt.minimum(), ms(5));
        rtt.record(ms(9));
        assert_eq!(rtt.minimum(), ms(7));
    }

    #[test]
    fn extreme_samples_do_not_panic() {
        let mut rtt = RttAverage::new();
        for sample in [Duration::MAX, Duration::MAX, Duration::ZERO, Duration::MAX] {
            rtt.record(sample);
        }
        assert!(rtt.average().is_some());
    }
}
