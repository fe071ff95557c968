//! What a record costs the application thread from `Topic::try_send` on: the topic's snapshot, the
//! choice of the partition, claim, encode, commit, and its share of opening batches.
//!
//! The producer is whole, but its shard stands still while records are sent, so nothing of it is in
//! the figure; and its clocks stand still, so reading them (some 6 ns a record) is not either.
//!
//! The second table is of eight threads that send unkeyed records to ten partitions together: the
//! CPU time of them all for a record, other threads' lines in their caches included.
//!
//! `cargo bench --features simulation --bench topic`; `… -- count 100 20000` only sends, for
//! `tools/instructions`.
#![forbid(unsafe_code)]

mod in_memory;
mod measure;

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kuring::simulation::{application_thread, clock};
use kuring::{ConfigBuilder, Record, Topic};

use in_memory::Rig;

const PARTITIONS: usize = 100;
/// A third of what all rings hold: which of them is filled next is drawn, and none may be full.
const LAP_BYTES: usize = PARTITIONS / 3 * 64 * 16_384;

const THREADS: usize = 8;
/// What the eight threads share.
const FEW: usize = 10;
/// As above.
const FEW_LAP_BYTES: usize = FEW / 3 * 64 * 16_384;

fn rig(partitions: usize) -> Rig {
    let config = ConfigBuilder::new().buffer_memory(256 << 20).linger(Duration::ZERO);
    let mut rig = Rig::new(config, partitions);
    rig.touch(0..partitions);
    rig
}

fn send(topic: &Topic, value: &[u8]) {
    let sent = topic.try_send(Record::new().value(black_box(value)));
    drop(sent.expect("the memory is enough for a lap"));
}

/// CPU time of `count` records, in laps: the shard sends them on between two laps.
fn laps(rig: &mut Rig, value: &[u8], count: u64) -> Duration {
    let lap = (LAP_BYTES / (value.len() + 16)) as u64;
    let (mut rest, mut spent) = (count, Duration::ZERO);
    while rest > 0 {
        let now = rest.min(lap);
        let began = measure::thread_cpu();
        (0..now).for_each(|_| send(&rig.topic, value));
        spent += measure::thread_cpu() - began;
        rest -= now;
        rig.settle();
    }
    spent
}

/// CPU time of `count` records that eight threads send, in laps as above.
fn laps_of_eight(rig: &mut Rig, value: &[u8], count: u64) -> Duration {
    let lap = FEW_LAP_BYTES / (value.len() + 16) / THREADS;
    let laps = count as usize / THREADS / lap;
    let time = clock::time();
    let (meeting, spent) = (Barrier::new(THREADS + 1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 1..=THREADS {
            let (topic, meeting, spent) = (rig.topic.clone(), &meeting, &spent);
            scope.spawn(move || {
                clock::set(time);
                application_thread(number as u32, number as u64);
                for _ in 0..laps {
                    meeting.wait();
                    let began = measure::thread_cpu();
                    (0..lap).for_each(|_| send(&topic, value));
                    let lasted = measure::thread_cpu() - began;
                    spent.fetch_add(lasted.as_nanos() as u64, Ordering::Relaxed);
                    meeting.wait();
                }
            });
        }
        for _ in 0..laps {
            meeting.wait();
            meeting.wait();
            rig.settle();
        }
    });
    // Of whole laps; the caller divides by what it asked for.
    Duration::from_nanos(spent.into_inner() * count / (laps * lap * THREADS) as u64)
}

fn main() {
    let mut rig = self::rig(PARTITIONS);
    if let Some((size, records)) = measure::asked_count::<usize>() {
        // One lap, whose clock stays out: it does not run under valgrind.
        assert!(records as usize * (size + 16) < LAP_BYTES, "more than a lap");
        let value = vec![b'x'; size];
        (0..records).for_each(|_| send(&rig.topic, &value));
        return;
    }
    let cell = |cost: measure::Cost| format!("{:.1} ns ({:.1})", cost.median, cost.least);
    println!("{:>6}  {:>18}", "value", "try_send");
    for size in [100, 1024] {
        let value = vec![b'x'; size];
        let cost = measure::rounds(100_000, |count| laps(&mut rig, &value, count));
        println!("{size:>6}  {:>18}", cell(cost));
    }
    drop(rig);
    let mut rig = self::rig(FEW);
    println!("{:>6}  {:>32}", "value", "eight threads, ten partitions");
    for size in [100, 1024] {
        let value = vec![b'x'; size];
        let cost = measure::rounds(400_000, |count| laps_of_eight(&mut rig, &value, count));
        println!("{size:>6}  {:>32}", cell(cost));
    }
    println!("CPU time of a record: median of the rounds (least)");
}
