//! What a process has used: CPU time, memory, and the clock beside them.
//!
//! CPU comes from the process clock, in nanoseconds; the split into user and system comes from
//! /proc, in ticks of 10 ms, and is scaled to it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// /proc counts CPU time in ticks of this many nanoseconds (USER_HZ is 100 on Linux).
const TICK_NANOSECONDS: u64 = 10_000_000;

/// A moment of this process: wall clock and CPU used so far.
#[derive(Clone, Copy)]
pub struct Mark {
    at: Instant,
    cpu: Duration,
}

/// What passed between two marks.
#[derive(Clone, Copy)]
pub struct Spent {
    /// By the wall clock.
    pub wall: Duration,
    /// User and system time of all threads.
    pub cpu: Duration,
}

impl Mark {
    /// This moment.
    pub fn now() -> Self {
        Self { at: now(), cpu: process_cpu() }
    }

    /// What was spent since.
    pub fn spent(&self) -> Spent {
        Spent { wall: self.at.elapsed(), cpu: process_cpu().saturating_sub(self.cpu) }
    }
}

/// The only place that reads the wall clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; this is its one home")]
pub fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds of the monotonic clock, for schedules and latencies.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Milliseconds of the wall clock, as records carry them.
pub fn timestamp_ms() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

/// Sleeps until that moment of the monotonic clock.
pub fn sleep_until(moment_ns: u64) {
    let time = rustix::time::Timespec {
        tv_sec: (moment_ns / 1_000_000_000) as i64,
        tv_nsec: (moment_ns % 1_000_000_000) as i64,
    };
    // A signal wakes it early; its caller looks at the clock again anyway.
    let _ = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &time);
}

/// CPU time of all threads of this process, those that ended included.
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// User and system CPU of this process.
pub fn user_and_system() -> Outcome<(Duration, Duration)> {
    let (user, system) = ticks("/proc/self/stat")?;
    let total = process_cpu().as_secs_f64();
    let share = user as f64 / (user + system).max(1) as f64;
    Ok((Duration::from_secs_f64(total * share), Duration::from_secs_f64(total * (1.0 - share))))
}

/// CPU time of another process, to 10 ms.
pub fn cpu_of(process: u32) -> Outcome<Duration> {
    let (user, system) = ticks(&format!("/proc/{process}/stat"))?;
    Ok(Duration::from_nanos((user + system) * TICK_NANOSECONDS))
}

fn ticks(path: &str) -> Outcome<(u64, u64)> {
    let text = fs::read_to_string(path)?;
    // The command name, second field, may hold blanks and brackets; the rest does not.
    let rest = text.rsplit_once(')').ok_or("/proc/…/stat without a command name")?.1;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || -> Outcome<u64> { Ok(fields.next().ok_or("a short stat line")?.parse()?) };
    Ok((next()?, next()?))
}

/// CPU time that the whole machine has spent on anything but idling, stolen time included.
pub fn machine_busy() -> Outcome<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let fields = text.lines().next().ok_or("an empty /proc/stat")?.split_ascii_whitespace();
    let mut busy = 0;
    // cpu user nice system idle iowait irq softirq steal; guest time is in user already.
    for (index, field) in fields.skip(1).take(8).enumerate() {
        if index != 3 && index != 4 {
            busy += field.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(busy * TICK_NANOSECONDS))
}

/// The largest resident set this process has had, in bytes.
pub fn resident_bytes_max() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.split_ascii_whitespace().nth(1).ok_or("an empty VmHWM")?.parse()?;
    Ok(kib * 1024)
}

/// Pins this thread, and every thread it starts from now on, to one CPU.
pub fn pin(cpu: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
