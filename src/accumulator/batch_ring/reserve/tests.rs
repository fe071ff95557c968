//! Reserved records beside ordinary ones: what is committed is taken, and nothing else.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use super::*;
use crate::accumulator::Accumulator;
use crate::accumulator::tests::{acknowledge, entry, retire, values};
use crate::ids::{ProducerIdentity, Sequence};

const NOW: i64 = 1_000;

fn ring_of(memory: u64, batch_bytes: usize) -> Arc<BatchRing> {
    let accumulator = Accumulator::new(memory, batch_bytes, Duration::ZERO).unwrap();
    accumulator.new_ring(&"t".into(), 0).unwrap()
}

fn ring() -> Arc<BatchRing> {
    ring_of(1 << 16, 1_000)
}

fn reserve(ring: &BatchRing, value_bytes: usize) -> Held<'_> {
    let vacant = Vacant { key: None, value_bytes, headers: &[], timestamp: NOW };
    ring.reserve(&vacant, Memory::Try).expect("there is room").held
}

fn append(ring: &BatchRing, value: &[u8]) -> Delivery {
    match ring.append(&entry(value, NOW), Memory::Try) {
        Append::Done { delivery, .. } => delivery,
        other => panic!("{other:?}"),
    }
}

/// Writes this value and commits it.
fn commit(mut held: Held<'_>, value: &[u8]) -> Delivery {
    held.value_mut().copy_from_slice(value);
    assert_eq!(held.value(), value);
    held.commit().expect("it is not late")
}

fn commit_late(mut held: Held<'_>, value: &[u8]) -> Delivery {
    held.value_mut().copy_from_slice(value);
    assert!(held.commit().is_none() && held.is_evicted());
    match held.append() {
        Append::Done { delivery, .. } => delivery,
        other => panic!("{other:?}"),
    }
}

fn take(ring: &BatchRing, reservations: Reservations) -> SealedBatch {
    ring.seal_open();
    match ring.take_as(reservations) {
        Head::Sealed(batch) => batch,
        other => panic!("{other:?}"),
    }
}

fn take_values(ring: &BatchRing, batch: &SealedBatch) -> Vec<Vec<u8>> {
    values(ring.accumulator(), batch).into_iter().map(|(value, _)| value).collect()
}

fn offset(delivery: &Delivery) -> i64 {
    delivery.verdict().unwrap().unwrap().offset.unwrap()
}

fn assert_all_is_back(ring: &BatchRing) {
    let accumulator = ring.accumulator();
    assert_eq!(accumulator.unresolved(), 0);
    assert_eq!(accumulator.pool().available(), accumulator.pool().total());
}

fn held_bytes(ring: &BatchRing) -> u64 {
    ring.accumulator().pool().total() - ring.accumulator().pool().available()
}

#[test]
fn a_value_is_written_where_it_is_sent_from() {
    let ring = ring();
    let first = reserve(&ring, 3);
    let middle = append(&ring, b"two");
    let last = reserve(&ring, 0);
    // In any order: the place is that of the reservation.
    let last = commit(last, b"");
    let first = commit(first, b"one");
    let batch = take(&ring, Reservations::Awaited);
    assert!(!batch.has_holes());
    assert_eq!(take_values(&ring, &batch), [&b"one"[..], b"two", b""]);
    acknowledge(&batch, 10);
    assert_eq!([&first, &middle, &last].map(offset), [10, 11, 12]);
    ring.accumulator().resolved(&batch);
    ring.accumulator().release(&batch);
    assert_all_is_back(&ring);
}

#[test]
fn a_dropped_reservation_leaves_no_hole_and_offsets_stay_true() {
    for dropped in [&[0][..], &[3], &[6], &[0, 1, 2, 3, 4, 5], &[1, 3, 5], &[0, 6]] {
        let ring = ring();
        let mut kept = Vec::new();
        for number in 0..7 {
            match dropped.contains(&number) {
                true => drop(reserve(&ring, 20)),
                false if number % 2 == 0 => kept.push(commit(reserve(&ring, 1), &[number])),
                false => kept.push(append(&ring, &[number])),
            }
        }
        let batch = take(&ring, Reservations::Awaited);
        let expected: Vec<_> = (0..7).filter(|n| !dropped.contains(n)).map(|n| vec![n]).collect();
        assert_eq!(take_values(&ring, &batch), expected);
        assert_eq!(batch.records as usize, expected.len());
        acknowledge(&batch, 70);
        let offsets: Vec<_> = kept.iter().map(offset).collect();
        assert_eq!(offsets, (70..70 + expected.len() as i64).collect::<Vec<_>>());
        ring.accumulator().resolved(&batch);
        ring.accumulator().release(&batch);
        assert_all_is_back(&ring);
    }
}

#[test]
fn a_batch_of_which_all_is_dropped_vanishes() {
    let ring = ring();
    drop([reserve(&ring, 10), reserve(&ring, 0), reserve(&ring, 5)]);
    ring.seal_open();
    assert!(matches!(ring.take(), Head::Vanished));
    assert!(matches!(ring.take(), Head::Empty));
    assert_all_is_back(&ring);
    let delivery = append(&ring, b"next");
    retire(ring.accumulator(), &take(&ring, Reservations::Awaited));
    assert_eq!(offset(&delivery), 0);
    assert_all_is_back(&ring);
}

#[test]
fn an_open_reservation_is_awaited_and_told_of() {
    let ring = ring();
    let delivery = append(&ring, b"one");
    let held = reserve(&ring, 3);
    ring.seal_open();
    let Head::Reserved { .. } = ring.take() else { panic!("it is open") };
    let mut told = Vec::new();
    let mut rings = Vec::new();
    ring.accumulator().take_ready(&mut rings, |_| {});
    let other = commit(held, b"two");
    ring.accumulator().take_ready(&mut rings, |index| told.push(index));
    assert_eq!(told, [ring.index()]);
    let batch = take(&ring, Reservations::Awaited);
    assert_eq!(take_values(&ring, &batch), [b"one", b"two"]);
    retire(ring.accumulator(), &batch);
    assert_eq!([&delivery, &other].map(offset), [0, 1]);
    assert_all_is_back(&ring);
}

#[test]
fn an_evicted_value_stays_its_callers_own() {
    let ring = ring();
    let first = append(&ring, b"first");
    let mut late = reserve(&ring, 4);
    let last = append(&ring, b"last");
    late.value_mut().copy_from_slice(b"la__");
    let batch = take(&ring, Reservations::Late);
    assert_eq!(take_values(&ring, &batch), [&b"first"[..], b"last"]);
    // While the copy is on its way, and when it is gone, the old buffer is the caller's.
    late.value_mut()[2] = b't';
    retire(ring.accumulator(), &batch);
    assert_eq!([&first, &last].map(offset), [0, 1]);
    assert_eq!(held_bytes(&ring), ring.accumulator().pool().cost(1));
    let filler: Vec<_> = (0..40).map(|_| append(&ring, &[0xff; 900])).collect();
    late.value_mut()[3] = b'e';
    assert_eq!(late.value(), b"late");
    loop {
        match ring.take() {
            Head::Sealed(batch) => retire(ring.accumulator(), &batch),
            Head::Open(_) => ring.seal_open(),
            _ => break,
        }
    }
    let again = commit_late(late, b"LATE");
    let batch = take(&ring, Reservations::Awaited);
    assert_eq!(take_values(&ring, &batch), [b"LATE"]);
    retire(ring.accumulator(), &batch);
    assert_eq!(offset(&again), 0);
    drop(filler);
    assert_all_is_back(&ring);
}

#[test]
fn an_evicted_record_keeps_its_key_headers_and_time() {
    let ring = ring();
    let headers = [Header { key: "h", value: Some(b"x") }, Header { key: "n", value: None }];
    let vacant = Vacant { key: Some(b"k"), value_bytes: 2, headers: &headers, timestamp: 77 };
    let late = ring.reserve(&vacant, Memory::Try).expect("there is room").held;
    let other = append(&ring, b"other");
    retire(ring.accumulator(), &take(&ring, Reservations::Late));
    let delivery = commit_late(late, b"ok");
    let entry = Entry { key: Some(b"k"), value: Some(b"ok"), headers: &headers, timestamp: 77 };
    let Append::Done { delivery: twin, .. } = ring.append(&entry, Memory::Try) else {
        panic!("there is room")
    };
    let batch = take(&ring, Reservations::Awaited);
    let accumulator = ring.accumulator();
    accumulator.stamp(&batch, ProducerIdentity::NONE, None::<Sequence>);
    {
        let loan = accumulator.lend(&batch);
        let records = &loan.bytes()[HEADER_BYTES..];
        let (mut late, mut twin) = {
            let (late, twin) = records.split_at(records.len() / 2);
            (late.to_vec(), twin.to_vec())
        };
        // All but their places: length, attributes, time, place.
        assert_eq!((late.remove(3), twin.remove(3)), (0, 2));
        assert_eq!(late, twin);
    }
    retire(accumulator, &batch);
    assert_eq!(delivery.verdict().unwrap().unwrap().timestamp, 77);
    drop((other, twin));
    assert_all_is_back(&ring);
}

#[test]
fn several_late_reservations_of_a_batch_share_its_buffer_with_the_copy() {
    for copy_first in [true, false] {
        let ring = ring();
        let late = [reserve(&ring, 10), reserve(&ring, 10)];
        let delivery = append(&ring, b"one");
        let dropped = reserve(&ring, 10);
        drop(dropped);
        let batch = take(&ring, Reservations::Late);
        assert_eq!(take_values(&ring, &batch), [b"one"]);
        let cost = ring.accumulator().pool().cost(1);
        assert_eq!(held_bytes(&ring), cost);
        let [one, other] = late;
        drop(one);
        if copy_first {
            retire(ring.accumulator(), &batch);
            assert_eq!(held_bytes(&ring), cost);
            drop(other);
        } else {
            drop(other);
            assert_eq!(held_bytes(&ring), cost);
            retire(ring.accumulator(), &batch);
        }
        assert_eq!(offset(&delivery), 0);
        assert_all_is_back(&ring);
    }
}

#[test]
fn a_batch_that_is_not_to_be_sent_needs_no_copy() {
    let ring = ring();
    let late = reserve(&ring, 10);
    let delivery = append(&ring, b"one");
    drop(reserve(&ring, 10));
    let (bytes, alone) = (held_bytes(&ring), reserve(&ring, 2_000));
    let batch = take(&ring, Reservations::Ended);
    assert_eq!((batch.records, batch.has_holes()), (1, true));
    retire(ring.accumulator(), &batch);
    assert_eq!(offset(&delivery), 0);
    // Nobody else is in the next one.
    assert!(matches!(ring.take_as(Reservations::Ended), Head::Vanished));
    assert_eq!(ring.accumulator().unresolved(), 0);
    drop(alone);
    assert_eq!(held_bytes(&ring), bytes);
    drop(late);
    assert_all_is_back(&ring);
}

#[test]
fn a_batch_waits_for_the_memory_of_its_copy_and_then_goes() {
    let ring = ring_of(1 << 16, 1_000);
    let pool = Arc::clone(ring.accumulator().pool());
    let taken: Vec<_> = std::iter::from_fn(|| pool.claim_own(1)).collect();
    let late = reserve(&ring, 10);
    let delivery = append(&ring, b"one");
    ring.seal_open();
    for _ in 0..2 {
        assert!(matches!(ring.take_as(Reservations::Late), Head::Incomplete));
    }
    drop(late);
    for index in taken {
        pool.release(index);
    }
    let batch = take(&ring, Reservations::Awaited);
    assert_eq!(take_values(&ring, &batch), [b"one"]);
    retire(ring.accumulator(), &batch);
    assert_eq!(offset(&delivery), 0);
    assert_all_is_back(&ring);
}

#[test]
fn a_value_larger_than_a_batch_is_reserved_in_memory_of_its_own() {
    let ring = ring();
    let value = vec![7; 5_000];
    let mut committed = reserve(&ring, value.len());
    assert!(committed.value().iter().all(|byte| *byte == 0), "initialised");
    committed.value_mut().copy_from_slice(&value);
    let delivery = committed.commit().unwrap();
    // It is over, and has no bytes any more.
    assert!(committed.value().is_empty() && committed.value_mut().is_empty());
    let batch = take(&ring, Reservations::Awaited);
    assert_eq!(take_values(&ring, &batch), [&value[..]]);
    retire(ring.accumulator(), &batch);
    assert_eq!(offset(&delivery), 0);
    drop(committed);
    let dropped = reserve(&ring, value.len());
    drop(dropped);
    assert!(matches!(ring.take(), Head::Vanished));
    let late = reserve(&ring, value.len());
    assert!(matches!(ring.take_as(Reservations::Late), Head::Vanished));
    let again = commit_late(late, &value);
    let batch = take(&ring, Reservations::Awaited);
    assert_eq!(take_values(&ring, &batch), [&value[..]]);
    retire(ring.accumulator(), &batch);
    assert_eq!(offset(&again), 0);
    assert_all_is_back(&ring);
}

#[test]
fn cls_1_a_closed_ring_takes_no_reservation_and_no_late_one() {
    let ring = ring();
    let late = reserve(&ring, 4);
    ring.close();
    let vacant = Vacant { key: None, value_bytes: 1, headers: &[], timestamp: NOW };
    assert!(matches!(ring.reserve(&vacant, Memory::Try), Err(Append::Closed)));
    assert!(matches!(ring.take_as(Reservations::Ended), Head::Vanished));
    let mut late = late;
    assert!(late.commit().is_none());
    assert!(matches!(late.append(), Append::Closed));
    drop(late);
    assert_all_is_back(&ring);
}

#[test]
fn a_batch_with_holes_is_split_like_any_other() {
    let ring = ring();
    drop(reserve(&ring, 10));
    let deliveries: Vec<_> = (0..6).map(|n| append(&ring, &[n; 60])).collect();
    let late = reserve(&ring, 10);
    for reservations in [Reservations::Late, Reservations::Awaited] {
        let batch = match reservations {
            Reservations::Late => take(&ring, reservations),
            _ => break,
        };
        let accumulator = ring.accumulator();
        accumulator.stamp(&batch, ProducerIdentity { id: 1, epoch: 0 }, Some(Sequence::ZERO));
        let cost = accumulator.pool().cost(batch.bytes as usize);
        let pieces = accumulator.split(&batch).unwrap();
        let found: Vec<_> = pieces.iter().flat_map(|piece| take_values(&ring, piece)).collect();
        assert_eq!(found, (0..6).map(|n| vec![n; 60]).collect::<Vec<_>>());
        pieces.iter().for_each(|piece| accumulator.release_piece(piece));
        acknowledge(&batch, 5);
        accumulator.resolved(&batch);
        accumulator.release_budget(&pieces[0], cost);
    }
    assert_eq!(deliveries.iter().map(offset).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    drop(late);
    assert_all_is_back(&ring);
}

#[test]
fn threads_that_reserve_append_commit_and_drop_lose_and_double_nothing() {
    const THREADS: u8 = 3;
    const EACH: u32 = if cfg!(miri) { 50 } else { 4_000 };
    let ring = ring_of(1 << 20, 1_000);
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let shard = scope.spawn(|| take_until(&ring, &over));
        let appenders: Vec<_> = (0..THREADS)
            .map(|thread| {
                let ring = &ring;
                scope.spawn(move || reserve_some(ring, thread, EACH))
            })
            .collect();
        let sent: Vec<_> = appenders.into_iter().map(|thread| thread.join().unwrap()).collect();
        over.store(true, Release);
        let seen = shard.join().unwrap();
        for (thread, sent) in sent.iter().enumerate() {
            let own: Vec<u32> =
                seen.iter().filter(|(from, _)| *from == thread as u8).map(|(_, n)| *n).collect();
            let mut sorted = own.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, *sent, "all that was committed, once");
        }
        seen
    });
    assert!(seen.len() > EACH as usize);
    assert_all_is_back(&ring);
}

/// What a shard does, which finds every third sealed batch late.
fn take_until(ring: &BatchRing, over: &AtomicBool) -> Vec<(u8, u32)> {
    let (mut seen, mut turn) = (Vec::new(), 0_u32);
    loop {
        let done = over.load(Acquire);
        turn += 1;
        let is_late = turn % 3 == 0;
        let reservations = if is_late { Reservations::Late } else { Reservations::Awaited };
        match ring.take_as(reservations) {
            Head::Sealed(batch) => {
                for value in take_values(ring, &batch) {
                    seen.push((value[0], u32::from_be_bytes(value[1..5].try_into().unwrap())));
                }
                retire(ring.accumulator(), &batch);
            }
            Head::Open(_) => ring.seal_open(),
            Head::Empty if done => return seen,
            Head::Empty | Head::Incomplete | Head::Reserved { .. } | Head::Vanished => {
                std::thread::yield_now();
            }
        }
    }
}

/// Sends numbers in one way and another; returns those that were committed, in order.
fn reserve_some(ring: &BatchRing, thread: u8, count: u32) -> Vec<u32> {
    let mut sent = Vec::new();
    let mut held: Vec<(Held<'_>, u32)> = Vec::new();
    for number in 0..count {
        let mut value = vec![thread; 5 + (number % 90) as usize];
        value[1..5].copy_from_slice(&number.to_be_bytes());
        if number % 5 == 0 {
            let done = loop {
                if let done @ Append::Done { .. } = ring.append(&entry(&value, NOW), Memory::Try) {
                    break done;
                }
                std::thread::yield_now();
            };
            drop(done);
            sent.push(number);
            continue;
        }
        let vacant = Vacant { key: None, value_bytes: value.len(), headers: &[], timestamp: NOW };
        let mut new = loop {
            match ring.reserve(&vacant, Memory::Try) {
                Ok(hold) => break hold.held,
                Err(_) => std::thread::yield_now(),
            }
            // Nobody waits for memory that only this thread can give back.
            held.pop();
        };
        new.value_mut().copy_from_slice(&value);
        held.push((new, number));
        if number % 7 == 0 {
            held.pop();
        }
        if held.len() > 4 {
            sent.extend(held.drain(..).map(|(held, number)| {
                commit_any(held);
                number
            }));
        }
    }
    sent.extend(held.drain(..).map(|(held, number)| {
        commit_any(held);
        number
    }));
    sent.sort_unstable();
    sent
}

fn commit_any(mut held: Held<'_>) {
    if held.commit().is_some() {
        return;
    }
    while !matches!(held.append(), Append::Done { .. }) {
        std::thread::yield_now();
    }
}
