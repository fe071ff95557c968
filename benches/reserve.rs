//! What a record costs that its caller writes in place: reserve, encode, commit.
//!
//! The same ring as in `append`, and the same promise, made and dropped. The value is written once,
//! by a fill, so that the comparison with `append` is that of one copy against none: there the
//! value was encoded before, somewhere else, which is not in its figures.
//!
//! `cargo bench --bench reserve`; `… -- count 100 1000000` only reserves and commits, for
//! `tools/instructions reserve 100`.
#![forbid(unsafe_code)]

mod measure;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use kuring::accumulator::Accumulator;
use kuring::accumulator::batch_ring::{BatchRing, Head, Memory, SLOTS, Vacant};

/// The default batch.size.
const BATCH_BYTES: usize = 16_384;

/// Bytes reserved before the ring is emptied, outside the clock: it never fills.
const LAP_BYTES: usize = BATCH_BYTES * SLOTS / 2;

/// One partition, and the shard's part of it.
struct Partition {
    accumulator: Arc<Accumulator>,
    ring: Arc<BatchRing>,
}

impl Partition {
    fn new() -> Self {
        let linger = Duration::from_millis(5);
        let accumulator = Accumulator::new(32 << 20, BATCH_BYTES, linger)
            .expect("the kernel has 32 MiB for the arena");
        let ring = accumulator.new_ring(&"bench".into(), 0).expect("the shard is open");
        Self { accumulator, ring }
    }

    #[inline]
    fn write(&self, value_bytes: usize) {
        let timestamp = 1_750_000_000_000;
        let vacant = Vacant { key: None, value_bytes, headers: &[], timestamp };
        let hold = self.ring.reserve(&vacant, Memory::Try);
        let mut held = hold.expect("the ring is emptied before it is full").held;
        held.value_mut().fill(black_box(b'x'));
        drop(held.commit().expect("nobody evicts it"));
    }

    /// What the shard does with it, without sending: takes each batch and acknowledges it.
    fn empty(&self) {
        let mut wakers = Vec::new();
        self.ring.seal_open();
        loop {
            match self.ring.take() {
                Head::Sealed(batch) => {
                    batch.cell.acknowledge(0, -1, batch.records, &mut wakers);
                    self.accumulator.resolved(&batch);
                    self.accumulator.release(&batch);
                }
                Head::Empty => return,
                other => panic!("nobody is writing: {other:?}"),
            }
        }
    }
}

/// Writes `count` records in laps, calling `around` before and after those of each.
fn laps(partition: &Partition, size: usize, count: u64, mut around: impl FnMut(bool)) {
    let lap = (LAP_BYTES / (size + 16)) as u64;
    let mut rest = count;
    while rest > 0 {
        let now = rest.min(lap);
        around(true);
        (0..now).for_each(|_| partition.write(black_box(size)));
        around(false);
        partition.empty();
        rest -= now;
    }
}

/// The CPU time of the records alone.
fn spent(partition: &Partition, size: usize, count: u64) -> Duration {
    let (mut spent, mut began) = (Duration::ZERO, Duration::ZERO);
    laps(partition, size, count, |begins| match begins {
        true => began = measure::thread_cpu(),
        false => spent += measure::thread_cpu() - began,
    });
    spent
}

fn main() {
    let partition = Partition::new();
    if let Some((size, records)) = measure::asked_count() {
        // The clock stays out: it would be counted, and it does not run under valgrind.
        laps(&partition, size, records, |_| {});
        return;
    }
    println!("{:>6}  {:>16}", "value", "one thread");
    for size in [100, 1024, 10_240] {
        let cost = measure::rounds(200_000, |count| spent(&partition, size, count));
        println!("{size:>6}  {:>16}", format!("{:.1} ns ({:.1})", cost.median, cost.least));
    }
    println!("CPU time of a record: median of the rounds (least)");
}
