//! Models of the accumulator: the real code in every order that loom finds (`tools/loom`).
//!
//! A ring has two slots here, and a buffer room for a few records of eight bytes: small enough to
//! be explored whole, and everything turns over. Loom watches the bytes of the arena (`Watched`),
//! and fails where all threads wait for ever, so where a wake is lost.
#![forbid(unsafe_code)]

mod memory;
mod reserve;
mod ring;
mod sleep;

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Notify;

use super::Accumulator;
use super::batch::SealedBatch;
use super::batch_ring::{Append, BatchRing, Head, Memory, Reservations};
use super::buffer_pool::{BATCH_AREA_BYTES_MIN, HEAD_ROOM_BYTES, TAIL_ROOM_BYTES};
use super::tests::{entry, retire, values};
use crate::delivery::Delivery;
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::thread;

/// A record with a value of one byte: what `Watched` needs.
const RECORD_BYTES: usize = 8;
/// Bytes of a buffer, rooms included: a pool of `n` times as many has `n` buffers.
const BUFFER_BYTES: usize = HEAD_ROOM_BYTES + BATCH_AREA_BYTES_MIN + TAIL_ROOM_BYTES;
/// Between two turns: longer than anybody is held back for more memory to come.
const TURN_NANOS: u64 = 1_000_000;

/// A shard's side of an accumulator: what `shard.rs` and `sender/drain.rs` do with it.
struct Shard {
    accumulator: Arc<Accumulator>,
    rings: Vec<Arc<BatchRing>>,
    wakes: Arc<Notify>,
    seen: Vec<u8>,
    reservations: Reservations,
}

impl Shard {
    /// With room for `buffers` batches of `records` records.
    fn new(buffers: usize, records: usize) -> Self {
        let limit = HEADER_BYTES + records * RECORD_BYTES;
        let memory = (buffers * BUFFER_BYTES) as u64;
        let accumulator = Accumulator::new(memory, limit, Duration::ZERO).unwrap();
        assert_eq!(accumulator.pool().pooled_count(), buffers);
        let wakes = Arc::new(Notify::new());
        let wake = Arc::clone(&wakes);
        accumulator.set_wake(Box::new(move || wake.notify()));
        let reservations = Reservations::Awaited;
        Self { accumulator, rings: Vec::new(), wakes, seen: Vec::new(), reservations }
    }

    fn ring(&mut self) -> Arc<BatchRing> {
        let ring = self.accumulator.new_ring(&"t".into(), 0).unwrap();
        self.accumulator.take_arrivals(&mut self.rings);
        ring
    }

    /// Reads a batch, resolves it and gives its memory back.
    fn finish(&mut self, batch: &SealedBatch) {
        let found = values(&self.accumulator, batch);
        self.seen.extend(found.into_iter().map(|(value, _)| value[0]));
        retire(&self.accumulator, batch);
    }

    /// Takes what can be taken, sealing what is open.
    fn take_all(&mut self, ring: &BatchRing) {
        loop {
            match ring.take_as(self.reservations) {
                Head::Sealed(batch) => self.finish(&batch),
                Head::Open(_) => ring.seal_open(),
                Head::Vanished => {}
                Head::Empty | Head::Incomplete | Head::Reserved { .. } => return,
            }
        }
    }

    /// Takes what rings tell of, and sleeps in between, until `count` records came.
    fn run_until(&mut self, count: usize) {
        loop {
            self.turn();
            if self.seen.len() >= count {
                return self.assert_whole(count);
            }
            self.sleep();
        }
    }

    fn turn(&mut self) {
        let mut told = Vec::new();
        self.accumulator.awake();
        self.accumulator.take_ready(&mut self.rings, |index| told.push(index));
        for index in told {
            let ring = Arc::clone(&self.rings[index as usize]);
            self.take_all(&ring);
        }
    }

    fn sleep(&self) {
        if self.accumulator.fall_asleep(u64::MAX, false) {
            self.wakes.wait();
        }
    }

    /// Records are `sender << 4 | number`: all numbers of each sender came once and in order, and
    /// everything that they took was given back.
    fn assert_whole(&self, count: usize) {
        assert_eq!(self.seen.len(), count, "{:?}", self.seen);
        let mut next = [0; 4];
        for record in &self.seen {
            let sender = usize::from(record >> 4);
            assert_eq!(record & 15, next[sender], "{:?}", self.seen);
            next[sender] += 1;
        }
        assert!(self.rings.iter().all(|ring| matches!(ring.take(), Head::Empty)));
        assert_eq!(self.accumulator.pool().available(), self.accumulator.pool().total());
        assert_eq!(self.accumulator.unresolved(), 0);
    }
}

fn try_append(ring: &BatchRing, record: u8) -> Append {
    ring.append(&entry(&[record], 1000), Memory::Try)
}

/// None: the ring is closed. Waits where memory or a slot is missing.
fn append(ring: &BatchRing, record: u8) -> Option<Delivery> {
    loop {
        match try_append(ring, record) {
            Append::Done { delivery, .. } => return Some(delivery),
            Append::Closed => return None,
            Append::NoMemory(_) | Append::NoSlot => thread::yield_now(),
            Append::Full => unreachable!("the append may take memory"),
        }
    }
}

/// A thread that appends `count` records as `sender`, and keeps what they were promised.
fn send(ring: &Arc<BatchRing>, sender: u8, count: u8) -> thread::JoinHandle<Vec<Delivery>> {
    let ring = Arc::clone(ring);
    let numbers = (0..count).map(move |number| sender << 4 | number);
    thread::spawn(move || numbers.map_while(|record| append(&ring, record)).collect())
}
