//! How long things took: log-linear histograms of plain counters.
//!
//! A duration falls into one of eight buckets per power of two, so that what is read off is wrong by an eighth at most, from one
//! microsecond to two minutes, in 1.6 kB. Recording is two additions. What Prometheus sees are fewer buckets with round bounds.

use std::{sync::OnceLock, time::Duration};

use super::counters::{Counter, of_core};

/// Buckets per power of two.
const PARTS: u64 = 8;
/// Bits of [`PARTS`].
const PART_BITS: u32 = 3;
/// Longer ones count as this many microseconds: a bit more than two minutes.
const LONGEST: u64 = (1 << 27) - 1;
/// Buckets of a histogram.
const BUCKETS: usize = bucket_of(LONGEST) + 1;

/// The upper bounds of the buckets that Prometheus sees, in microseconds.
pub const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

const fn bucket_of(micros: u64) -> usize {
    if micros < PARTS {
        return micros as usize;
    }
    let exponent = micros.ilog2();
    let part = (micros >> (exponent - PART_BITS)) - PARTS;
    (PARTS * (exponent - PART_BITS + 1) as u64 + part) as usize
}

/// The least that is longer than all of a bucket, in microseconds.
const fn end_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket + 1;
    }
    (PARTS + bucket % PARTS + 1) << (bucket / PARTS - 1)
}

/// Counts durations. Only one thread records, as in a [`Counter`].
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { Counter::new() }; BUCKETS],
            micros: Counter::new(),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros.min(LONGEST))].one();
        self.micros.add(micros);
    }

    /// Adds what was counted so far to `sums`.
    pub fn add_to(&self, sums: &mut Durations) {
        for (sum, bucket) in sums.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        sums.micros += self.micros.get();
    }
}

/// What histograms counted, summed up at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    buckets: Box<[u64; BUCKETS]>,
    micros: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS]),
            micros: 0,
        }
    }
}

impl Durations {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *sum += more;
        }
        self.micros += other.micros;
    }

    /// What was counted since an `earlier` look at the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (now, then) in since.buckets.iter_mut().zip(earlier.buckets.iter()) {
            *now = now.saturating_sub(*then);
        }
        since.micros = self.micros.saturating_sub(earlier.micros);
        since
    }

    /// The time within which this part of them was done, from 0 to 1, in milliseconds; `None` if there were none.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((count as f64 * part).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        for (bucket, inside) in self.buckets.iter().enumerate() {
            if below + inside >= rank {
                let (start, end) = (bucket.checked_sub(1).map_or(0, end_of), end_of(bucket));
                // Within a bucket they are taken for evenly spread.
                let within = (rank - below) as f64 / *inside as f64;
                return Some((start as f64 + (end - start) as f64 * within) / 1e3);
            }
            below += inside;
        }
        None
    }

    /// For each of [`BOUNDS`], in seconds, how many were above the bound before it and not above this one; those above all come last, with
    /// infinity for a bound. One that is nearer to a bound than an eighth of it may stand one too high.
    #[must_use]
    pub fn by_bound(&self) -> Vec<(f64, u64)> {
        let mut counts = [0; BOUNDS.len() + 1];
        for (bucket, inside) in self.buckets.iter().enumerate() {
            // The last microsecond of it is what must not be longer.
            let bound = BOUNDS.partition_point(|bound| *bound < end_of(bucket) - 1);
            counts[bound] += inside;
        }
        let seconds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6);
        seconds.chain([f64::INFINITY]).zip(counts).collect()
    }
}

/// How long commands of one kind took, and how many failed.
#[derive(Debug, Default)]
pub struct Timing {
    /// Those whose duration says something.
    pub durations: Histogram,
    /// Those that ended with an error.
    pub errors: Counter,
}

/// What [`Timing`]s of all cores counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timed {
    /// How long they took.
    pub durations: Durations,
    /// How many ended with an error.
    pub errors: u64,
}

impl Timed {
    /// Whether nothing was counted yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.durations.count() == 0
    }
}

/// A timing that is allocated when it is first used.
type Cell = OnceLock<Box<Timing>>;

/// Timings by core and kind. One is allocated when the first of its kind ends on its core, and stays.
#[derive(Debug)]
pub struct Timings {
    cores: Box<[Box<[Cell]>]>,
}

impl Timings {
    /// Timings of so many kinds for `cores` cores, at least one of each.
    #[must_use]
    pub fn new(cores: usize, kinds: usize) -> Self {
        let of_core = |_| (0..kinds.max(1)).map(|_| OnceLock::new()).collect();
        Self {
            cores: (0..cores.max(1)).map(of_core).collect(),
        }
    }

    /// Where a core counts a kind. A kind that is none counts as the last.
    #[inline]
    #[must_use]
    pub fn of(&self, core: usize, kind: usize) -> &Timing {
        let kinds = of_core(&self.cores, core);
        kinds[kind.min(kinds.len() - 1)].get_or_init(Box::default)
    }

    /// What all cores counted of a kind.
    #[must_use]
    pub fn sum(&self, kind: usize) -> Timed {
        let mut sum = Timed::default();
        for timing in self.cores.iter().filter_map(|kinds| kinds.get(kind)?.get()) {
            timing.durations.add_to(&mut sum.durations);
            sum.errors += timing.errors.get();
        }
        sum
    }

    /// The kinds of which something was counted.
    #[must_use]
    pub fn sums(&self) -> Vec<(usize, Timed)> {
        let kinds = 0..self.cores[0].len();
        let is_begun = |kind: &usize| self.cores.iter().any(|kinds| kinds[*kind].get().is_some());
        kinds
            .filter(is_begun)
            .map(|kind| (kind, self.sum(kind)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn durations(micros: &[u64]) -> Durations {
        let histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(*micros));
        }
        let mut sums = Durations::default();
        histogram.add_to(&mut sums);
        sums
    }

    #[test]
    fn buckets_lie_one_behind_the_other_without_gaps() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(end_of(bucket) - 1), bucket);
            assert_eq!(bucket_of(end_of(bucket)), bucket + 1);
        }
        assert_eq!(end_of(BUCKETS - 1), LONGEST + 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let each: Vec<u64> = (1..=1000).map(|millis| millis * 1000).collect();
        let counted = durations(&each);
        for (part, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = counted.quantile_ms(part).unwrap();
            assert!((found / expected - 1.0).abs() < 0.07, "{part}: {found}");
        }
        assert_eq!(durations(&[]).quantile_ms(0.5), None);
        assert_eq!((counted.count(), counted.seconds()), (1000, 500.5));
    }

    #[test]
    fn what_is_longer_than_all_bounds_counts_and_adds_up() {
        let counted = durations(&[0, 90, 95_000, 10_000_000_000]);
        let by_bound = counted.by_bound();
        assert_eq!(by_bound[0], (0.0001, 2));
        assert_eq!(by_bound.iter().find(|(bound, _)| *bound == 0.1), Some(&(0.1, 1)));
        assert_eq!(by_bound.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!(by_bound.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!(
            counted.since(&durations(&[0, 90])),
            durations(&[95_000, 10_000_000_000])
        );
    }

    #[test]
    fn timings_of_all_cores_are_summed_and_take_memory_only_once_used() {
        let timings = Timings::new(2, 3);
        assert!(timings.sums().is_empty());
        timings.of(0, 1).durations.record(Duration::from_millis(1));
        timings.of(1, 1).durations.record(Duration::from_millis(2));
        timings.of(1, 1).errors.one();
        let sums = timings.sums();
        let counted: Vec<_> = sums
            .iter()
            .map(|(kind, timed)| (*kind, timed.durations.count(), timed.errors))
            .collect();
        assert_eq!(counted, [(1, 2, 1)]);
        let allocated = timings.cores.iter().flatten().filter(|cell| cell.get().is_some());
        assert_eq!(allocated.count(), 2);
    }

    proptest! {
        #[test]
        fn a_duration_stands_at_most_an_eighth_below_its_buckets_end(micros in 8..LONGEST) {
            let end = end_of(bucket_of(micros));
            prop_assert!(micros < end && end - micros <= micros / 8 + 1);
        }
    }
}
