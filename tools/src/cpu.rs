//! CPU time of threads, the memory of the process, and pinning.
#![forbid(unsafe_code)]

use std::io;
use std::ops::Sub;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// CPU time spent, in the program and in the kernel for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user space.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// What the calling thread has spent.
    pub fn of_this_thread() -> Self {
        Self::read(ClockId::ThreadCPUTime, "/proc/thread-self/stat")
    }

    /// What all threads of the process have spent, ended ones included.
    pub fn of_process() -> Self {
        Self::read(ClockId::ProcessCPUTime, "/proc/self/stat")
    }

    /// Both together.
    pub fn total(&self) -> Duration {
        self.user + self.system
    }

    /// The clock gives the sum to the nanosecond; how it divides is known in ticks of 10 ms, and
    /// for the sum of a few seconds that is good enough.
    fn read(clock: ClockId, stat: &str) -> Self {
        let time = clock_gettime(clock);
        let total = Duration::try_from(time).unwrap_or_default();
        let (user, system) =
            std::fs::read_to_string(stat).ok().and_then(|text| ticks(&text)).unwrap_or((1, 0));
        let share = user as f64 / (user + system).max(1) as f64;
        let user = total.mul_f64(share).min(total);
        Self { user, system: total - user }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Fields 14 and 15 of a stat file; the second field may hold any character, so counting starts
/// behind its closing bracket.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The most memory that was resident for this process at one time; 0 where nobody says.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    high_water_kib(&status).unwrap_or(0) * 1024
}

fn high_water_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no CPU {cpu}")));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .map_err(|error| io::Error::other(format!("pin to CPU {cpu}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) (b) c) S 1 2 3 4 5 6 7 8 9 10 250 33 0 0";
        assert_eq!(ticks(stat), Some((250, 33)));
        assert_eq!(ticks("nonsense"), None);
    }

    #[test]
    fn the_peak_memory_is_read_from_its_line() {
        assert_eq!(high_water_kib("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\nVmRSS: 7 kB"), Some(1234));
        assert_eq!(high_water_kib("nonsense"), None);
        assert!(peak_rss_bytes() > 100_000);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error() {
        assert!(pin(1 << 20).is_err());
    }
}
