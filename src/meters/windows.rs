//! The last few windows of a group of counters: what rates, averages and maxima are made of.
//!
//! The shard closes a window in the first turn after its end, so a window ends with the last turn
//! in it and nothing is lost between two. A shard that sleeps closes none, and needs to: nothing
//! happens meanwhile, and the reader knows by the time of the last turn which windows are too old.
//!
//! Source:   `SampledStat`, `Rate` and `MetricConfig` of the Java client.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

/// How many windows there are, and how long each is.
#[derive(Clone, Copy, Debug)]
pub struct WindowSpec {
    /// `metrics.num.samples`, at least 1.
    pub samples: usize,
    /// `metrics.sample.window.ms`.
    pub length: Duration,
}

/// Kafka's defaults.
impl Default for WindowSpec {
    fn default() -> Self {
        Self { samples: 2, length: Duration::from_secs(30) }
    }
}

impl WindowSpec {
    pub(super) fn nanos(self) -> u64 {
        super::nanos(self.length).max(1)
    }
}

/// Counters that were read together.
pub trait Reading: Copy + Default {
    /// What was counted since; peaks stay as they are.
    #[must_use]
    fn since(&self, start: &Self) -> Self;
    /// The sum of both; of peaks the larger one.
    fn merge(&mut self, other: &Self);
}

/// Counters since the start, and over the windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured<R> {
    /// Since the start. Peaks are those of the open window.
    pub total: R,
    /// Over the windows.
    pub recent: R,
}

impl<R: Reading> Measured<R> {
    /// The sum of both.
    pub fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        self.recent.merge(&other.recent);
    }
}

/// From when to when, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The time at which windows are looked at, and where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) spec: WindowSpec,
    pub(super) now: u64,
    pub(super) open: Span,
    pub(super) closed: &'a VecDeque<Span>,
}

impl View<'_> {
    /// Java's rule: a window counts until so many windows' time after its last event.
    fn counts(&self, span: Span) -> bool {
        let all = self.spec.nanos().saturating_mul(self.spec.samples as u64);
        self.now.saturating_sub(span.end) < all
    }

    /// The time that rates divide by: since the oldest window that counts began, or as much as all
    /// windows but one last, if that is more. So the first records after a start do not look like
    /// a flood.
    pub(super) fn elapsed(&self) -> Duration {
        let mut all = self.closed.iter().copied().chain([self.open]);
        let oldest = all.find(|span| self.counts(*span));
        let start = oldest.map_or(self.now, |span| span.start);
        let window = self.spec.nanos();
        let elapsed = self.now.saturating_sub(start);
        let missing = (self.spec.samples as u64 - 1).saturating_sub(elapsed / window);
        let elapsed = elapsed.saturating_add(missing.saturating_mul(window));
        // With one window there may be none that is whole.
        Duration::from_nanos(if elapsed == 0 { window } else { elapsed })
    }
}

/// What one group counted in each window.
#[derive(Debug, Default)]
pub(super) struct Windows<R> {
    /// The counters at the start.
    start: R,
    /// The counters when the open window began.
    opening: R,
    /// The closed windows, the latest at the end. Fewer than the shard's if the group is younger.
    closed: VecDeque<R>,
}

impl<R: Reading> Windows<R> {
    /// The first window begins, with counters that are not 0.
    pub(super) fn begin(&mut self, now: R) {
        self.start = now;
        self.opening = now;
    }

    /// Closes the open window; the next one begins with `now`.
    pub(super) fn close(&mut self, now: R, kept: usize) {
        self.closed.push_back(now.since(&self.opening));
        while self.closed.len() > kept {
            self.closed.pop_front();
        }
        self.opening = now;
    }

    /// The counters, whose present reading is `live`, since the start and over the windows.
    pub(super) fn measure(&self, live: R, view: &View<'_>) -> Measured<R> {
        let mut recent = R::default();
        // The latest of both lists belong together.
        for (sums, span) in self.closed.iter().rev().zip(view.closed.iter().rev()) {
            if view.counts(*span) {
                recent.merge(sums);
            }
        }
        if view.counts(view.open) {
            recent.merge(&live.since(&self.opening));
        }
        Measured { total: live.since(&self.start), recent }
    }
}
