//! Latencies in buckets: any thread adds one, and the percentiles are read at the end.
//!
//! A bucket is at most 1/128 of its value wide. Bounds: about 8,000 buckets, whatever comes.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::cost;

/// Buckets of one power of two.
const STEPS: u64 = 128;

/// Bits of a bucket's number within its power of two.
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Latencies of the records that were due after the warm-up.
pub struct Latencies {
    buckets: Vec<AtomicU64>,
    largest: AtomicU64,
    /// When the last of them ended.
    last: AtomicU64,
    /// Records due before this moment are the warm-up's.
    from: u64,
}

impl Latencies {
    /// Counts what is due at `from`, in nanoseconds of the monotonic clock, or later.
    pub fn since(from: u64) -> Self {
        let count = (64 - STEP_BITS as usize + 1) * STEPS as usize;
        Self {
            buckets: (0..count).map(|_| AtomicU64::new(0)).collect(),
            largest: AtomicU64::new(0),
            last: AtomicU64::new(0),
            from,
        }
    }

    /// What began, or should have begun, at `due` ends now.
    pub fn ends(&self, due: u64) {
        self.spans(due, cost::now_ns());
    }

    /// What was due at `due` ended at `end`.
    pub fn spans(&self, due: u64, end: u64) {
        if due < self.from {
            return;
        }
        let nanoseconds = end.saturating_sub(due);
        // Relaxed: figures of independent records, read after everyone has stopped.
        self.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(nanoseconds, Ordering::Relaxed);
        self.last.fetch_max(end, Ordering::Relaxed);
    }

    /// Sums up. `offered` is the schedule's rate, if there was one.
    pub fn percentiles(&self, offered: Option<u64>) -> Percentiles {
        let counts: Vec<u64> =
            self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let largest = self.largest.load(Ordering::Relaxed);
        let at = |share: f64| {
            let rank = (share * count as f64).ceil() as u64;
            let mut seen = 0;
            let reached = counts.iter().position(|bucket| {
                seen += bucket;
                seen >= rank.max(1)
            });
            let nanoseconds = reached.map_or(0, |index| upper_edge(index).min(largest));
            nanoseconds as f64 / 1e3
        };
        let seconds = self.last.load(Ordering::Relaxed).saturating_sub(self.from) as f64 / 1e9;
        let achieved = count as f64 / seconds.max(1e-9);
        Percentiles {
            count,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: largest as f64 / 1e3,
            offered_per_sec: offered,
            achieved_per_sec: achieved,
            behind: offered.is_some_and(|offered| achieved < offered as f64 * 0.995),
        }
    }
}

/// What a run's latencies were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Percentiles {
    /// Records that these are of.
    pub count: u64,
    /// Half took at most this, in microseconds; and so on.
    pub p50_us: f64,
    /// Nine of ten.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// The largest.
    pub max_us: f64,
    /// Records a second that the schedule asked for.
    pub offered_per_sec: Option<u64>,
    /// Records a second that were done, up to the last one's end.
    pub achieved_per_sec: f64,
    /// Less than 99.5 % of what was offered was done.
    pub behind: bool,
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    ((u64::from(shift) + 1) * STEPS + (value >> shift) - STEPS) as usize
}

fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let step = u128::from(bucket % STEPS + STEPS + 1);
    u64::try_from((step << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_value_and_is_narrow() {
        for value in [0, 1, 127, 128, 129, 255, 256, 1_000, 65_537, 1 << 40, u64::MAX] {
            let edge = upper_edge(bucket(value));
            assert!(edge >= value, "{value}: {edge}");
            assert!(edge - value <= value / STEPS, "{value}: {edge}");
        }
    }

    #[test]
    fn percentiles_are_of_what_was_due_after_the_warm_up() {
        let latencies = Latencies::since(1_000);
        latencies.spans(999, 9_000_000);
        for micros in 1..=100 {
            latencies.spans(1_000, 1_000 + micros * 1_000);
        }
        let found = latencies.percentiles(None);
        assert_eq!((found.count, found.max_us), (100, 100.0));
        assert!((found.p50_us - 50.0).abs() < 0.5, "{}", found.p50_us);
        assert!((found.p99_us - 99.0).abs() < 1.0, "{}", found.p99_us);
        assert!(!found.behind);
    }
}
