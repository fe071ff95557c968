//! What a sending thread has seen: counts, bytes, latencies, failures by kind.
//!
//! Bounds:   two or three histograms of a few hundred KiB, whatever the number of records (PRF-9).
//! Never:    allocates after `new`, but for the first failure of each kind.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies above ten minutes count as ten minutes.
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;
/// Three digits: p99.9 of 1.234 ms is told from 1.235 ms.
const DIGITS: u8 = 3;

/// Records that succeeded, and how long some of them took.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    pub(super) count: u64,
    /// Bytes of values (PRF-1).
    pub(super) bytes: u64,
    latencies: Histogram<u64>,
    nanos: u128,
    nanos_max: u64,
}

impl Collector {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, DIGITS)
            .expect("the bounds are constants in the right order");
        Self { count: 0, bytes: 0, latencies, nanos: 0, nanos_max: 0 }
    }

    pub(super) fn add(&mut self, count: u64, bytes: u64) {
        self.count += count;
        self.bytes += bytes;
    }

    pub(super) fn add_latency(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos.max(1));
        self.nanos += u128::from(nanos);
        self.nanos_max = self.nanos_max.max(nanos);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.latencies.add(&other.latencies).expect("all histograms have the same bounds");
        self.nanos += other.nanos;
        self.nanos_max = self.nanos_max.max(other.nanos_max);
    }

    pub(super) fn reset(&mut self) {
        self.latencies.reset();
        (self.count, self.bytes, self.nanos, self.nanos_max) = (0, 0, 0, 0);
    }

    /// A quantile of the latencies, 0 without any.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        if self.latencies.is_empty() {
            return Duration::ZERO;
        }
        // The histogram rounds up within its digits; no latency is above the largest.
        Duration::from_nanos(self.latencies.value_at_quantile(quantile).min(self.nanos_max))
    }

    /// How many latencies shaped the quantiles.
    pub(super) fn latencies_counted(&self) -> u64 {
        self.latencies.len()
    }

    pub(super) fn longest(&self) -> Duration {
        Duration::from_nanos(self.nanos_max)
    }

    pub(super) fn average(&self) -> Duration {
        let average = self.nanos / u128::from(self.latencies.len().max(1));
        Duration::from_nanos(u64::try_from(average).unwrap_or(u64::MAX))
    }

    pub(super) fn megabytes(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }
}

/// Everything one sending thread counts, under one lock that it takes once in some hundred records.
#[derive(Debug, Clone)]
pub(super) struct Stats {
    pub(super) all: Collector,
    /// Without the warm-up records (PRF-5).
    pub(super) steady: Collector,
    /// Since the last progress line.
    pub(super) window: Collector,
    pub(super) failures: BTreeMap<&'static str, u64>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            all: Collector::new(),
            steady: Collector::new(),
            window: Collector::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Counts records that succeeded, some of whose latencies are added besides.
    pub(super) fn add(&mut self, count: u64, bytes: u64, is_steady: bool) {
        self.all.add(count, bytes);
        self.window.add(count, bytes);
        if is_steady {
            self.steady.add(count, bytes);
        }
    }

    pub(super) fn add_latency(&mut self, latency: Duration, is_steady: bool) {
        self.all.add_latency(latency);
        self.window.add_latency(latency);
        if is_steady {
            self.steady.add_latency(latency);
        }
    }

    pub(super) fn fail(&mut self, kind: &'static str) {
        *self.failures.entry(kind).or_insert(0) += 1;
    }

    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        self.steady.merge(&other.steady);
        self.window.merge(&other.window);
        for (kind, count) in &other.failures {
            *self.failures.entry(kind).or_insert(0) += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prf_2_only_timed_records_shape_the_latencies_but_all_are_counted() {
        let mut collector = Collector::new();
        for nanos in 1..=1000 {
            collector.add(2, 200);
            collector.add_latency(Duration::from_nanos(nanos * 1000));
        }
        assert_eq!((collector.count, collector.bytes), (2000, 200_000));
        assert_eq!(collector.longest(), Duration::from_millis(1));
        assert_eq!(collector.average(), Duration::from_nanos(500_500));
        let median = collector.quantile(0.5).as_nanos();
        assert!((499_000..=501_000).contains(&median), "{median}");
        assert!(collector.quantile(0.999) <= collector.longest());
    }

    #[test]
    fn merging_adds_counts_latencies_and_failures() {
        let mut first = Stats::new();
        first.add(1, 10, false);
        first.add_latency(Duration::from_micros(5), false);
        first.fail("timed-out");
        let mut second = first.clone();
        second.add(1, 10, true);
        second.add_latency(Duration::from_micros(50), true);
        second.fail("closed");
        first.merge(&second);
        assert_eq!((first.all.count, first.steady.count, first.failed()), (3, 1, 3));
        assert_eq!(first.failures["timed-out"], 2);
        assert_eq!(first.all.longest(), Duration::from_micros(50));
    }
}
