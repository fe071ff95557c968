//! One partition's ring and the shard's part of it, for the benches of a record's way in.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use kuring::accumulator::Accumulator;
use kuring::accumulator::batch_ring::{BatchRing, Head, SLOTS};

use crate::measure;

/// The default batch.size.
const BATCH_BYTES: usize = 16_384;

/// Bytes written before the ring is emptied, outside the clock: it never fills.
const LAP_BYTES: usize = BATCH_BYTES * SLOTS / 2;

/// A partition of its own.
pub(crate) struct OneRing {
    accumulator: Arc<Accumulator>,
    pub(crate) ring: Arc<BatchRing>,
}

impl OneRing {
    pub(crate) fn new() -> Self {
        let linger = Duration::from_millis(5);
        let accumulator = Accumulator::new(32 << 20, BATCH_BYTES, linger)
            .expect("the kernel has 32 MiB for the arena");
        let ring = accumulator.new_ring(&"bench".into(), 0).expect("the shard is open");
        Self { accumulator, ring }
    }

    /// Records of this size that the ring takes between two times it is emptied.
    pub(crate) fn lap(size: usize) -> u64 {
        (LAP_BYTES / (size + 16)) as u64
    }

    /// What the shard does, without sending: takes each batch and acknowledges it.
    pub(crate) fn empty(&self) {
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

    /// Writes `count` records of this size in laps; calls `around` before and after those of each.
    pub(crate) fn laps(
        &self,
        size: usize,
        count: u64,
        write: impl Fn(),
        mut around: impl FnMut(bool),
    ) {
        let mut rest = count;
        while rest > 0 {
            let now = rest.min(Self::lap(size));
            around(true);
            (0..now).for_each(|_| write());
            around(false);
            self.empty();
            rest -= now;
        }
    }

    /// The CPU time of `count` records alone.
    pub(crate) fn spent(&self, size: usize, count: u64, write: impl Fn()) -> Duration {
        let (mut spent, mut began) = (Duration::ZERO, Duration::ZERO);
        self.laps(size, count, write, |begins| match begins {
            true => began = measure::thread_cpu(),
            false => spent += measure::thread_cpu() - began,
        });
        spent
    }
}
