//! What a record costs the application thread from `Topic::try_send` on: the topic's snapshot, the
//! choice of the partition, claim, encode, commit, and its share of opening batches.
//!
//! The producer is whole, but its shard stands still while records are sent, so nothing of it is in
//! the figure; and its clocks stand still, so reading them (some 6 ns a record) is not either.
//!
//! `cargo bench --features simulation --bench topic`; `… -- count 100 20000` only sends, for
//! `tools/instructions`.
#![forbid(unsafe_code)]

mod in_memory;
mod measure;

use std::hint::black_box;
use std::time::Duration;

use kuring::{ConfigBuilder, Record};

use in_memory::Rig;

const PARTITIONS: usize = 100;
/// Half of what all rings hold: no send finds its partition full.
const LAP_BYTES: usize = PARTITIONS / 2 * 64 * 16_384;

fn rig() -> Rig {
    let config = ConfigBuilder::new().buffer_memory(256 << 20).linger(Duration::ZERO);
    let mut rig = Rig::new(config, PARTITIONS);
    rig.touch(0..PARTITIONS);
    rig
}

fn send(rig: &Rig, value: &[u8]) {
    let sent = rig.topic.try_send(Record::new().value(black_box(value)));
    drop(sent.expect("the memory is enough for a lap"));
}

/// CPU time of `count` records, in laps: the shard sends them on between two laps.
fn laps(rig: &mut Rig, value: &[u8], count: u64) -> Duration {
    let lap = (LAP_BYTES / (value.len() + 16)) as u64;
    let (mut rest, mut spent) = (count, Duration::ZERO);
    while rest > 0 {
        let now = rest.min(lap);
        let began = measure::thread_cpu();
        (0..now).for_each(|_| send(rig, value));
        spent += measure::thread_cpu() - began;
        rest -= now;
        rig.settle();
    }
    spent
}

fn main() {
    let mut rig = rig();
    if let Some((size, records)) = measure::asked_count::<usize>() {
        // One lap, whose clock stays out: it does not run under valgrind.
        assert!(records as usize * (size + 16) < LAP_BYTES, "more than a lap");
        let value = vec![b'x'; size];
        (0..records).for_each(|_| send(&rig, &value));
        return;
    }
    println!("{:>6}  {:>18}", "value", "try_send");
    for size in [100, 1024] {
        let value = vec![b'x'; size];
        let cost = measure::rounds(100_000, |count| laps(&mut rig, &value, count));
        println!("{size:>6}  {:>18}", format!("{:.1} ns ({:.1})", cost.median, cost.least));
    }
    println!("CPU time of a record: median of the rounds (least)");
}
