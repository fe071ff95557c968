//! How the benches measure: CPU time of this thread, several rounds, the least and the median.
//!
//! CPU time leaves out what other processes took; the least round leaves out most of what they
//! did to the caches.
#![forbid(unsafe_code)]

use std::str::FromStr;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Rounds of each measurement.
const ROUNDS: usize = 15;

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Nanoseconds for one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Of the fastest round.
    pub(crate) least: f64,
    /// Of the middle round.
    pub(crate) median: f64,
}

/// Runs `operations`, which does `count` of them and returns the CPU time they took, in rounds.
pub(crate) fn rounds(count: u64, mut operations: impl FnMut(u64) -> Duration) -> Cost {
    operations(count);
    let round = |_| operations(count).as_nanos() as f64 / count as f64;
    let mut costs: Vec<f64> = (0..ROUNDS).map(round).collect();
    costs.sort_by(f64::total_cmp);
    Cost { least: costs[0], median: costs[ROUNDS / 2] }
}

/// The same for operations on the calling thread alone, told one by one which they are.
#[allow(dead_code, reason = "each bench takes in this file for itself, and not all use this")]
pub(crate) fn each(count: u64, mut operation: impl FnMut(u64)) -> Cost {
    rounds(count, |count| {
        let began = thread_cpu();
        (0..count).for_each(&mut operation);
        thread_cpu() - began
    })
}

/// `count SIZE TIMES` on the command line: do exactly so much, for an instruction counter. What a
/// size is, and what is done so many times, is the bench's own.
#[allow(dead_code, reason = "each bench takes in this file for itself, and not all use this")]
pub(crate) fn asked_count<Size: FromStr>() -> Option<(Size, u64)> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "count").skip(1);
    Some((arguments.next()?.parse().ok()?, arguments.next()?.parse().ok()?))
}
