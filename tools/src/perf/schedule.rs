//! When each record is meant to be sent, at a given rate.
//!
//! The schedule is absolute: a record that is sent late, because the one before it was held up,
//! keeps its time, and its latency counts from there. So a stalled producer cannot hide the stall
//! by being asked less (coordinated omission).
//!
//! Source:   PRF-8: the reference tool sleeps only when 2 ms have built up, so that its rate does
//!           not depend on the timer's resolution. Here records are meant for ticks of 2 ms; slower
//!           rates have a tick for each record.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Instant,
    records_per_second: f64,
}

impl Schedule {
    pub(super) fn new(start: Instant, records_per_second: f64) -> Self {
        Self { start, records_per_second }
    }

    /// When record `index` of the run is meant to be sent: never later than its even place.
    pub(super) fn intended(&self, index: u64) -> Instant {
        let even = index as f64 / self.records_per_second;
        let tick = TICK.as_secs_f64();
        let is_slow = self.records_per_second * tick <= 1.0;
        // The small addition keeps a record whose even place is a tick from landing before it.
        let seconds = if is_slow { even } else { (even / tick + 1e-6).floor() * tick };
        self.start + Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prf_8_records_are_due_in_ticks_of_two_milliseconds() {
        let start = crate::clock::now();
        let schedule = Schedule::new(start, 10_000.0);
        let due = |index| (schedule.intended(index) - start).as_millis();
        assert_eq!([due(0), due(19), due(20), due(39), due(40)], [0, 0, 2, 2, 4]);
        assert_eq!(due(10_000 * 3600), 3_600_000);
    }

    #[test]
    fn slow_rates_have_a_time_for_each_record() {
        let start = crate::clock::now();
        let schedule = Schedule::new(start, 0.5);
        assert_eq!(schedule.intended(0), start);
        assert_eq!(schedule.intended(3) - start, Duration::from_secs(6));
    }
}
