//! A fixed schedule: when each record is due, whether or not the client keeps up.
//!
//! The thread that sends hands over everything that is due, then sleeps until the next record is,
//! but not for less than [`NAP_NS`]: it must not hold the core that the client's own threads need.

use crate::cost;
use crate::plan::Plan;

/// Shortest sleep between two bursts.
const NAP_NS: u64 = 50_000;

/// Time from making the schedule to its first record.
const LEAD_NS: u64 = 1_000_000;

/// When each record of a run is due.
#[derive(Clone)]
pub struct Schedule {
    start: u64,
    now: u64,
    next: u64,
    warm_up: u64,
    count: u64,
    rate: u64,
}

impl Schedule {
    /// The plan's schedule; it starts now.
    pub fn begin(plan: &Plan) -> Self {
        // The default slack of 50 us would be in every latency. Without the file it is.
        drop(std::fs::write("/proc/self/timerslack_ns", "1"));
        let now = cost::now_ns();
        let (warm_up, count) = (plan.warm_up(), plan.records());
        Self { start: now + LEAD_NS, now, next: 0, warm_up, count, rate: plan.rate }
    }

    /// When the first record after the warm-up is due.
    pub fn measured_from(&self) -> u64 {
        self.due(self.warm_up)
    }

    fn due(&self, index: u64) -> u64 {
        self.start + (u128::from(index) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// Waits until the next record is due and says when that was; none when all were. Calls
    /// `rest` before each sleep.
    pub fn wait(&mut self, mut rest: impl FnMut()) -> Option<u64> {
        if self.next == self.count {
            return None;
        }
        let due = self.due(self.next);
        while due > self.now {
            self.now = cost::now_ns();
            if due > self.now {
                rest();
                cost::sleep_until(due.max(self.now + NAP_NS));
            }
        }
        self.next += 1;
        Some(due)
    }
}
