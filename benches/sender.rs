//! What a turn of a shard costs, and whether it depends on how many partitions lie idle.
//!
//! In a turn some partitions have a new record each: the shard takes their batches, stamps them,
//! sends one request, and gives the verdicts of the request before. Everything but the driver is
//! real, the appends are in it, and the driver's answer is made in memory.
//!
//! `cargo bench --features simulation --bench sender`; `… -- count 10+1000 5000` only does so many
//! turns with 10 busy partitions and 1000 idle ones, for `tools/instructions`.
#![forbid(unsafe_code)]

mod in_memory;
mod measure;

use std::str::FromStr;
use std::time::Duration;

use kuring::{ConfigBuilder, Record};

use in_memory::Rig;

const VALUE: [u8; 100] = [b'x'; 100];

/// `BUSY` or `BUSY+IDLE` partitions.
#[derive(Clone, Copy)]
struct Size {
    busy: usize,
    idle: usize,
}

impl FromStr for Size {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (busy, idle) = text.split_once('+').unwrap_or((text, "0"));
        Ok(Self { busy: busy.parse()?, idle: idle.parse()? })
    }
}

fn rig(size: Size) -> Rig {
    let partitions = size.busy + size.idle;
    let config = ConfigBuilder::new().linger(Duration::ZERO);
    let mut rig = Rig::new(config, partitions);
    rig.touch(0..partitions);
    // Lists grow to what they need.
    (0..100).for_each(|_| turn(&mut rig, size));
    rig
}

fn turn(rig: &mut Rig, size: Size) {
    for partition in 0..size.busy {
        let record = Record::new().partition(partition as i32).value(&VALUE);
        drop(rig.topic.try_send(record).expect("one record a partition fits"));
    }
    rig.step();
}

fn main() {
    if let Some((size, turns)) = measure::asked_count::<Size>() {
        let mut rig = rig(size);
        (0..turns).for_each(|_| turn(&mut rig, size));
        return;
    }
    println!("{:>9}  {:>9}  {:>20}", "busy", "idle", "a turn");
    let busy = |busy| Size { busy, idle: 0 };
    let idle = |idle| Size { busy: 10, idle };
    let sizes = [busy(1), busy(10), busy(100), idle(10), idle(100), idle(1000), idle(10_000)];
    for size in sizes.into_iter().chain([idle(100_000)]) {
        let mut rig = rig(size);
        let cost = measure::each(2000, |_| turn(&mut rig, size));
        let cell = format!("{:.0} ns ({:.0})", cost.median, cost.least);
        println!("{:>9}  {:>9}  {cell:>20}", size.busy, size.idle);
    }
    println!("CPU time of a turn with one record a busy partition: median of the rounds (least)");
}
