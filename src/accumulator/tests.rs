//! The ring, the batches and the pool together: what the appenders write is what the shard takes.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Accumulator;
use super::batch::SealedBatch;
use super::batch_ring::{Append, BatchRing, Entry, Head, Memory, SLOTS};
use super::buffer_pool::Need;
use crate::delivery::tags::NoTag;
use crate::delivery::{Delivery, Span};
use crate::ids::{ProducerIdentity, Sequence};
use crate::protocol::record_batch::HEADER_BYTES;
use crate::protocol::wire::Reader;

fn accumulator(memory: u64, batch_bytes: usize) -> Arc<Accumulator> {
    Accumulator::new(memory, batch_bytes, Duration::from_millis(5)).unwrap()
}

fn ring(accumulator: &Arc<Accumulator>) -> Arc<BatchRing> {
    accumulator.new_ring(&"t".into(), 0).unwrap()
}

pub(super) fn entry(value: &[u8], timestamp: i64) -> Entry<'_> {
    Entry { key: None, value: Some(value), headers: &[], timestamp }
}

fn append(ring: &BatchRing, value: &[u8]) -> Delivery {
    match ring.append(&entry(value, 1000), Memory::Try) {
        Append::Done { delivery, .. } => delivery,
        other => panic!("{other:?}"),
    }
}

fn take(ring: &BatchRing) -> SealedBatch {
    match ring.take() {
        Head::Sealed(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// The values and timestamps in a batch, read by a second implementation of the format.
pub(super) fn values(accumulator: &Arc<Accumulator>, batch: &SealedBatch) -> Vec<(Vec<u8>, i64)> {
    accumulator.stamp(batch, ProducerIdentity { id: 1, epoch: 0 }, Some(Sequence::ZERO));
    let loan = accumulator.lend(batch);
    let bytes = loan.bytes();
    let base = i64::from_be_bytes(bytes[27..35].try_into().unwrap());
    let count = u32::from_be_bytes(bytes[57..61].try_into().unwrap());
    assert_eq!(count, batch.records);
    let mut reader = Reader::new(&bytes[HEADER_BYTES..], false);
    let read = |ordinal: u32| {
        let length = reader.varint("length").unwrap();
        let end = reader.remaining() - length as usize;
        assert_eq!(reader.i8("attributes").unwrap(), 0);
        let timestamp = base + reader.varlong("delta").unwrap();
        assert_eq!(reader.varint("ordinal").unwrap(), ordinal as i32);
        assert_eq!(reader.varint("key").unwrap(), -1);
        let length = reader.varint("value").unwrap();
        let value = reader.take(length as usize, "value").unwrap().to_vec();
        assert_eq!(reader.varint("headers").unwrap(), 0);
        assert_eq!(reader.remaining(), end);
        (value, timestamp)
    };
    (0..count).map(read).collect()
}

/// The verdict of a batch whose first record is at this offset.
pub(super) fn acknowledge(batch: &SealedBatch, offset: i64) {
    let (span, wakers) = (Span::whole(batch.records), &mut Vec::new());
    match batch.has_holes() {
        true => batch.cell.acknowledge_part(span, offset, -1, wakers),
        false => batch.cell.acknowledge(offset, -1, batch.records, wakers),
    }
}

pub(super) fn retire(accumulator: &Arc<Accumulator>, batch: &SealedBatch) {
    acknowledge(batch, 0);
    accumulator.resolved(batch);
    accumulator.release(batch);
}

#[test]
fn records_come_out_in_the_order_in_which_they_went_in() {
    let accumulator = accumulator(1 << 20, 1000);
    let ring = ring(&accumulator);
    assert!(matches!(ring.take(), Head::Empty));
    let sent: Vec<Vec<u8>> = (0..200_u32).map(|i| vec![i as u8; i as usize % 90]).collect();
    sent.iter().for_each(|value| drop(append(&ring, value)));
    let mut got = Vec::new();
    loop {
        match ring.take() {
            Head::Sealed(batch) => {
                got.extend(values(&accumulator, &batch).into_iter().map(|(value, _)| value));
                retire(&accumulator, &batch);
            }
            Head::Open(_) => ring.seal_open(),
            _ => break,
        }
    }
    assert_eq!(got, sent);
    assert_eq!(accumulator.pool().available(), accumulator.pool().total());
    assert_eq!(accumulator.unresolved(), 0);
}

#[test]
fn the_open_batch_takes_records_of_each_width_in_its_quick_ways() {
    let accumulator = accumulator(1 << 20, 100_000);
    let ring = ring(&accumulator);
    let quick = |entry: &Entry<'_>| ring.append_to_open(entry, NoTag);
    assert!(quick(&entry(b"nothing is open", 0)).is_none());
    drop(append(&ring, b"the first one"));
    let mut sent = vec![(b"the first one".to_vec(), 1000)];
    let deltas = [0, 1, -1, 63, 64, -64, -65, 8191, -8192, 8192, -8193];
    for (number, length) in (0..1000).zip([7, 8, 62, 63, 64, 65, 100, 8000].into_iter().cycle()) {
        let (value, time) = (vec![number as u8; length], 1000 + deltas[number % deltas.len()]);
        let is_quick = (-8192..8192).contains(&(time - 1000));
        match quick(&entry(&value, time)) {
            Some((delivery, bytes)) => {
                drop(delivery);
                assert!(is_quick && bytes > length);
                sent.push((value, time));
            }
            None if is_quick => break,
            None => {}
        }
    }
    assert!(sent.len() > 50, "{}", sent.len());
    ring.seal_open();
    assert!(quick(&entry(b"nothing is open", 0)).is_none());
    let batch = take(&ring);
    assert!(values(&accumulator, &batch) == sent);
    retire(&accumulator, &batch);
}

#[test]
fn app_3_a_record_larger_than_the_batch_size_travels_alone() {
    let accumulator = accumulator(1 << 20, 1000);
    let ring = ring(&accumulator);
    drop(append(&ring, b"small"));
    let big = vec![7; 100_000];
    drop(append(&ring, &big));
    drop(append(&ring, b"after"));
    ring.seal_open();
    let sizes: Vec<_> = (0..3)
        .map(|_| {
            let batch = take(&ring);
            let found = values(&accumulator, &batch);
            retire(&accumulator, &batch);
            (found.len(), found[0].0.len())
        })
        .collect();
    assert_eq!(sizes, [(1, 5), (1, 100_000), (1, 5)]);
    assert_eq!(accumulator.pool().available(), accumulator.pool().total());
}

#[test]
fn rbf_6_timestamps_before_and_after_the_first_survive() {
    let accumulator = accumulator(1 << 20, 4000);
    let ring = ring(&accumulator);
    let times = [5000, 4000, 0, 1 << 40, 5001];
    for time in times {
        assert!(matches!(ring.append(&entry(b"x", time), Memory::Try), Append::Done { .. }));
    }
    ring.seal_open();
    let batch = take(&ring);
    let found: Vec<_> = values(&accumulator, &batch).into_iter().map(|(_, time)| time).collect();
    assert_eq!(found, times);
    let max = accumulator.lend(&batch).bytes()[35..43].to_vec();
    assert_eq!(max, (1_i64 << 40).to_be_bytes());
    retire(&accumulator, &batch);
}

#[test]
fn a_full_ring_and_an_empty_pool_say_so_and_lose_nothing() {
    let accumulator = accumulator(1 << 20, 1);
    let ring = ring(&accumulator);
    let deliveries: Vec<_> = (0..SLOTS).map(|_| append(&ring, b"x")).collect();
    assert!(matches!(ring.append(&entry(b"x", 0), Memory::Try), Append::NoSlot));
    let pool = accumulator.pool();
    let need = Need::new(pool.cost(1), true);
    while pool.try_take(need) {}
    assert!(matches!(ring.append(&entry(b"x", 0), Memory::Try), Append::NoSlot));
    retire(&accumulator, &take(&ring));
    let Append::Done { .. } = ring.append(&entry(b"y", 0), Memory::Try) else {
        panic!("the buffer that came back is enough for one more");
    };
    retire(&accumulator, &take(&ring));
    assert!(pool.try_take(need));
    let Append::NoMemory(found) = ring.append(&entry(b"z", 0), Memory::Try) else {
        panic!("there is none but what is left to others");
    };
    assert_eq!((found, deliveries.len()), (need, SLOTS));
}

#[test]
fn cls_1_a_closed_ring_refuses_appends_and_keeps_what_it_has() {
    let accumulator = accumulator(1 << 20, 1000);
    let ring = ring(&accumulator);
    drop(append(&ring, b"kept"));
    ring.close();
    assert!(matches!(ring.append(&entry(b"late", 0), Memory::Try), Append::Closed));
    let batch = take(&ring);
    assert_eq!(values(&accumulator, &batch)[0].0, b"kept");
    retire(&accumulator, &batch);
    assert!(matches!(ring.take(), Head::Empty));
    assert_eq!(accumulator.pool().available(), accumulator.pool().total());
}

#[test]
fn k19012_4_a_lent_batch_cannot_be_stamped_again() {
    let accumulator = accumulator(1 << 20, 1000);
    let ring = ring(&accumulator);
    drop(append(&ring, b"x"));
    ring.seal_open();
    let batch = take(&ring);
    accumulator.stamp(&batch, ProducerIdentity { id: 1, epoch: 0 }, Some(Sequence::ZERO));
    let loan = accumulator.lend(&batch);
    let again = std::panic::AssertUnwindSafe(|| {
        accumulator.stamp(&batch, ProducerIdentity { id: 2, epoch: 0 }, Some(Sequence::ZERO));
    });
    assert!(std::panic::catch_unwind(again).is_err());
    drop(loan);
    retire(&accumulator, &batch);
}

/// Many threads append stamped values while this thread takes, seals and recycles: every value
/// comes out once, each thread's in order. Small memory, so that buffers are reused all the time.
fn hammer(batch_bytes: usize, each: u64) {
    let accumulator = accumulator(64 * 1500, batch_bytes);
    let ring = ring(&accumulator);
    let threads = 3_u64;
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ring, done) = (&ring, &done);
            scope.spawn(move || {
                for number in 0..each {
                    let mut value = [0_u8; 40];
                    value[..8].copy_from_slice(&thread.to_le_bytes());
                    value[8..16].copy_from_slice(&number.to_le_bytes());
                    let value = &value[..16 + number as usize % 24];
                    let entry = entry(value, number as i64);
                    while !matches!(ring.append(&entry, Memory::Try), Append::Done { .. }) {
                        std::thread::yield_now();
                    }
                }
                done.fetch_add(1, Relaxed);
            });
        }
        let mut next = vec![0_u64; threads as usize];
        loop {
            let over = done.load(Relaxed) == threads;
            match ring.take() {
                Head::Sealed(batch) => {
                    for (value, time) in values(&accumulator, &batch) {
                        let thread = u64::from_le_bytes(value[..8].try_into().unwrap());
                        let number = u64::from_le_bytes(value[8..16].try_into().unwrap());
                        assert_eq!(number, next[thread as usize], "thread {thread}");
                        assert_eq!(time, number as i64);
                        assert_eq!(value.len(), 16 + number as usize % 24);
                        next[thread as usize] += 1;
                    }
                    retire(&accumulator, &batch);
                }
                Head::Open(_) => ring.seal_open(),
                Head::Empty if over => break,
                Head::Empty | Head::Incomplete => std::thread::yield_now(),
                Head::Reserved { .. } | Head::Vanished => panic!("nothing is reserved"),
            }
        }
        assert_eq!(next, vec![each; threads as usize]);
    });
    assert_eq!(accumulator.pool().available(), accumulator.pool().total());
    assert_eq!(accumulator.unresolved(), 0);
}

#[test]
fn concurrent_claims_never_overlap() {
    hammer(1000, 40_000);
}

#[test]
fn every_claim_lies_inside_its_batch() {
    // Debug builds assert it at each claim; batches of one record turn the ring over fastest.
    hammer(1, 20_000);
}

#[test]
fn a_partition_without_a_backlog_does_not_wait_for_one_that_has_one() {
    let accumulator = accumulator(32 << 20, 16384);
    let rings: Vec<_> =
        (0..200).map(|partition| accumulator.new_ring(&"t".into(), partition).unwrap()).collect();
    for (filled, ring) in rings.iter().enumerate() {
        let (is_far, is_calm_far) =
            (accumulator.is_too_far_ahead(0, || true), accumulator.is_too_far_ahead(0, || false));
        let held = accumulator.ahead_bytes();
        assert_eq!(is_far, held > accumulator.ahead_least, "{filled} batches");
        assert_eq!(is_calm_far, held > 2 * accumulator.ahead_least, "{filled} batches");
        drop(append(ring, b"x"));
    }
    assert!(accumulator.is_too_far_ahead(0, || false), "there is a limit for it too");
}

/// Where a broker has stopped there is always too much ahead, and each look whether it still is
/// costs a caller a wait.
#[test]
fn a_shard_that_cannot_catch_up_looks_ever_more_rarely_whether_it_can() {
    let accumulator = accumulator(32 << 20, 16384);
    let rings: Vec<_> =
        (0..400).map(|partition| accumulator.new_ring(&"t".into(), partition).unwrap()).collect();
    let mut rings_left = rings.iter();
    let mut fill = |batches| {
        for ring in rings_left.by_ref().take(batches) {
            drop(append(ring, b"x"));
        }
    };
    fill(200);
    let mut now = 0;
    let mut free_for = Vec::new();
    for _ in 0..6 {
        fill(1);
        assert!(accumulator.is_too_far_ahead(0, || true));
        let ticket = accumulator.waiters.enqueue(Need::default(), u64::MAX);
        now = accumulator.serve_waiters(0, now).expect("it waits a moment");
        accumulator.serve_waiters(0, now);
        accumulator.waiters.leave(ticket, accumulator.pool());
        fill(1);
        assert!(!accumulator.is_too_far_ahead(0, || true), "all memory may be used");
        let until = accumulator.unpaced_until.load(Relaxed);
        free_for.push((until - now) / 1_000_000);
        now = until;
        accumulator.serve_waiters(0, now);
    }
    assert_eq!(free_for, [20, 80, 320, 1000, 1000, 1000]);

    // What is ahead is in flight, so the shard has caught up: the next moment is a short one again.
    accumulator.serve_waiters(accumulator.ahead_bytes(), now);
    assert_eq!(accumulator.unpaced_nanos.load(Relaxed), 20_000_000);
}
