//! What a record costs the application thread: claim, encode, commit, in one partition's ring.
//!
//! With one thread nobody contends; with two they fight for one claim word and one commit counter,
//! the worst that two threads can do to each other. The promise is made and dropped, as most
//! callers do. Choosing a partition, the metadata snapshot and the shard's work are not in it.
//!
//! `cargo bench --bench append`; `… -- count 100 1000000` only appends, for `tools/instructions`.
#![forbid(unsafe_code)]

mod measure;
mod one_ring;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kuring::accumulator::batch_ring::{Append, Entry, Memory};
use kuring::delivery::tags::NoTag;
use one_ring::OneRing;
use rustix::thread::{CpuSet, sched_setaffinity};

struct Partition {
    one: OneRing,
    timestamp: i64,
}

impl Partition {
    fn new() -> Self {
        Self { one: OneRing::new(), timestamp: 1_750_000_000_000 }
    }

    #[inline]
    fn append(&self, value: &[u8]) {
        // As a topic does: nearly always the open batch takes it.
        match self.one.ring.append_to_open(&self.entry(value), NoTag) {
            Some((delivery, _)) => drop(delivery),
            None => self.append_anew(value),
        }
    }

    #[inline(never)]
    fn append_anew(&self, value: &[u8]) {
        match self.one.ring.append(&self.entry(value), Memory::Try) {
            Append::Done { delivery, .. } => drop(delivery),
            other => panic!("the ring is emptied before it is full: {other:?}"),
        }
    }

    #[inline]
    fn entry<'a>(&self, value: &'a [u8]) -> Entry<'a> {
        Entry { key: None, value: Some(value), headers: &[], timestamp: self.timestamp }
    }
}

/// Where two threads meet without sleeping: a sleeper comes late, and then nobody contends.
#[derive(Default)]
struct Meeting(AtomicU64);

impl Meeting {
    fn wait(&self) {
        let others = self.0.fetch_add(1, Ordering::AcqRel) / 2 * 2 + 2;
        while self.0.load(Ordering::Acquire) < others {
            std::hint::spin_loop();
        }
    }
}

/// Two threads, one on each of the first two CPUs, append `count` records together; returns the
/// CPU time of both.
fn laps_of_two(partition: &Partition, value: &[u8], count: u64) -> Duration {
    let lap = OneRing::lap(value.len()) / 2;
    let laps = count / 2 / lap;
    let meeting = Meeting::default();
    let spent = AtomicU64::new(0);
    let thread = |cpu: usize| {
        pin(cpu);
        for _ in 0..laps {
            meeting.wait();
            let began = measure::thread_cpu();
            (0..lap).for_each(|_| partition.append(black_box(value)));
            let lasted = measure::thread_cpu() - began;
            spent.fetch_add(lasted.as_nanos() as u64, Ordering::Relaxed);
            // Both are done; the next lap starts only when the ring is empty again.
            meeting.wait();
            if cpu == 0 {
                partition.one.empty();
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| thread(0));
        scope.spawn(|| thread(1));
    });
    Duration::from_nanos(spent.into_inner())
}

/// Keeps the two threads apart. Where the CPU is not ours to use, the kernel places the thread.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("append: not pinned to CPU {cpu}: {error}");
    }
}

fn main() {
    let partition = Partition::new();
    if let Some((size, records)) = measure::asked_count::<usize>() {
        // The clock stays out: it would be counted, and it does not run under valgrind.
        let value = vec![b'x'; size];
        partition.one.laps(size, records, || partition.append(black_box(&value)), |_| {});
        return;
    }
    println!("{:>6}  {:>16}  {:>30}", "value", "one thread", "two threads, one partition");
    for size in [100, 1024] {
        let value = vec![b'x'; size];
        let one = measure::rounds(200_000, |count| {
            partition.one.spent(size, count, || partition.append(black_box(&value)))
        });
        let two = measure::rounds(200_000, |count| laps_of_two(&partition, &value, count));
        let cell = |cost: measure::Cost| format!("{:.1} ns ({:.1})", cost.median, cost.least);
        println!("{size:>6}  {:>16}  {:>30}", cell(one), cell(two));
    }
    println!("CPU time of a record: median of the rounds (least)");
}
