//! How a run went over time: one point for each stretch of it.
//!
//! Bounds:   at most [`POINTS_MAX`] points, whatever the run's length: when there are more, each
//!           two neighbours become one, and the stretches that follow are twice as long.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::stats::Collector;

/// More than a page has pixels for.
const POINTS_MAX: usize = 600;
/// The first stretches.
pub(super) const STRETCH: Duration = Duration::from_millis(250);

/// One stretch of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// When it began and ended, since the run's start.
    pub(super) from: Duration,
    /// See `from`.
    pub(super) to: Duration,
    /// Records acknowledged in it.
    pub(super) records: u64,
    /// Bytes of their values.
    pub(super) bytes: u64,
    /// Records that failed in it.
    pub(super) failed: u64,
    /// Median of the latencies of the records acknowledged in it; of stretches that were joined,
    /// the mean of their medians by records.
    pub(super) p50: Duration,
    /// The 99th percentile; of stretches that were joined, the larger one.
    pub(super) p99: Duration,
    /// The longest.
    pub(super) max: Duration,
}

impl Point {
    /// Records a second.
    pub(super) fn rate(&self) -> f64 {
        self.records as f64 / (self.to - self.from).as_secs_f64().max(1e-9)
    }

    /// Of the neighbours `self` and `next`.
    fn joined(self, next: Self) -> Self {
        let records = self.records + next.records;
        let weighted = self.p50.as_secs_f64() * self.records as f64
            + next.p50.as_secs_f64() * next.records as f64;
        Self {
            from: self.from,
            to: next.to,
            records,
            bytes: self.bytes + next.bytes,
            failed: self.failed + next.failed,
            p50: Duration::from_secs_f64(weighted / records.max(1) as f64),
            p99: self.p99.max(next.p99),
            max: self.max.max(next.max),
        }
    }
}

/// The points of a run so far.
#[derive(Debug)]
pub(super) struct Timeline {
    points: Vec<Point>,
    stretch: Duration,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { points: Vec::new(), stretch: STRETCH }
    }

    /// How long the next stretch is.
    pub(super) fn stretch(&self) -> Duration {
        self.stretch
    }

    /// Ends a stretch that began where the last one ended.
    pub(super) fn end_stretch(&mut self, to: Duration, window: &Collector, failed: u64) {
        let from = self.points.last().map_or(Duration::ZERO, |last| last.to);
        if to <= from {
            return;
        }
        if self.points.len() == POINTS_MAX {
            self.points = self.points.chunks(2).map(|pair| pair[0].joined(pair[1])).collect();
            self.stretch *= 2;
        }
        self.points.push(Point {
            from,
            to,
            records: window.count,
            bytes: window.bytes,
            failed,
            p50: window.quantile(0.5),
            p99: window.quantile(0.99),
            max: window.longest(),
        });
    }

    pub(super) fn into_points(self) -> Vec<Point> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(records: u64, latency: Duration) -> Collector {
        let mut window = Collector::new();
        window.add(records, records * 10);
        window.add_latency(latency);
        window
    }

    #[test]
    fn prf_9_a_run_of_any_length_is_a_bounded_number_of_points_that_add_up() {
        let mut timeline = Timeline::new();
        let stretches = 10 * POINTS_MAX as u32;
        let slow = Duration::from_millis(9);
        for index in 1..=stretches {
            let latency = if index == 77 { slow } else { Duration::from_millis(1) };
            timeline.end_stretch(STRETCH * index, &window(3, latency), 1);
        }
        assert!(timeline.stretch() > STRETCH);
        let points = timeline.into_points();
        assert!(points.len() <= POINTS_MAX, "{}", points.len());
        assert_eq!(points.iter().map(|point| point.records).sum::<u64>(), 3 * 6000);
        assert_eq!(points.iter().map(|point| point.failed).sum::<u64>(), 6000);
        assert!(points.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!(points.last().expect("some").to, STRETCH * stretches);
        assert_eq!(points.iter().map(|point| point.max).max(), Some(slow));
    }

    #[test]
    fn joined_stretches_have_the_larger_p99_and_the_median_between() {
        let point = |records, p50, p99| Point {
            from: Duration::ZERO,
            to: Duration::from_secs(1),
            records,
            p50: Duration::from_millis(p50),
            p99: Duration::from_millis(p99),
            ..Point::default()
        };
        let joined = point(1, 1, 10).joined(point(3, 5, 7));
        assert_eq!(joined.p50, Duration::from_millis(4));
        assert_eq!(joined.p99, Duration::from_millis(10));
        assert!((point(500, 1, 1).rate() - 500.0).abs() < 1e-6);
    }

    #[test]
    fn a_stretch_without_length_is_none() {
        let mut timeline = Timeline::new();
        timeline.end_stretch(Duration::ZERO, &window(1, STRETCH), 0);
        assert_eq!(timeline.into_points(), []);
    }
}
