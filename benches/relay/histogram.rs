//! Latencies in logarithmic buckets: fixed memory, a few instructions per record, an error of at most 3%.

/// Buckets per power of two.
const STEPS: usize = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Covers every `u64` of nanoseconds.
const BUCKETS: usize = STEPS * (64 - STEP_BITS as usize + 1);

/// A histogram of durations in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// How many durations were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The duration in nanoseconds that `share` (0 to 1) of all records stay within; 0 when nothing was recorded.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index);
            }
        }
        0
    }
}

/// Values below `STEPS` have a bucket each; above, the highest set bit picks the group and the bits after it the
/// step.
fn bucket(nanos: u64) -> usize {
    let group = (63 - (nanos | 1).leading_zeros()).saturating_sub(STEP_BITS);
    (group as usize) * STEPS + (nanos >> group) as usize
}

/// The largest value that falls into the bucket at `index`.
fn upper(index: usize) -> u64 {
    if index < 2 * STEPS {
        return index as u64;
    }
    let group = (index / STEPS - 1) as u32;
    let step = (index % STEPS + STEPS) as u64;
    (step << group) + ((1 << group) - 1)
}
