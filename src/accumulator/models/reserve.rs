//! Models of reservations: reserve, commit and drop against seal, eviction and release.
//!
//! Loom does not see a record's mark, which lies in the arena. It sees an operation in front of
//! each use of one (`note_mark`), so both orders are tried; what loom cannot try is an old value of
//! a mark, and no compare-exchange sees one.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};

use super::{Shard, append, send};
use crate::accumulator::batch_ring::{Append, BatchRing, Head, Memory, Reservations, Vacant};
use crate::accumulator::tests::retire;
use crate::delivery::Delivery;
use crate::sync::{explore, thread};

/// Set when a reservation was late in some execution of any model.
static LATE: OnceLock<()> = OnceLock::new();

#[derive(Clone, Copy)]
enum Then {
    Commit,
    Drop,
}

/// Reserves a record, writes it, and commits or drops it. None: it was not sent.
fn reserve(ring: &BatchRing, record: u8, then: Then) -> Option<Delivery> {
    let vacant = Vacant { key: None, value_bytes: 1, headers: &[], timestamp: 1000 };
    let mut held = ring.reserve(&vacant, Memory::None).ok()?.held;
    held.value_mut()[0] = record;
    if let Then::Drop = then {
        return None;
    }
    if let Some(delivery) = held.commit() {
        return Some(delivery);
    }
    LATE.get_or_init(|| ());
    loop {
        match held.append() {
            Append::Done { delivery, .. } => return Some(delivery),
            Append::Closed => return None,
            _ => thread::yield_now(),
        }
    }
}

fn reserving(
    ring: &Arc<BatchRing>,
    record: u8,
    then: Then,
) -> thread::JoinHandle<Option<Delivery>> {
    let ring = Arc::clone(ring);
    thread::spawn(move || reserve(&ring, record, then))
}

#[test]
fn a_reservation_is_committed_while_the_shard_seals_and_waits_for_it() {
    explore(|| {
        let mut shard = Shard::new(1, 3);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let other = reserving(&ring, 0x00, Then::Commit);
        ring.seal_open();
        while shard.seen.is_empty() {
            shard.turn();
            if shard.seen.is_empty() {
                shard.sleep();
            }
        }
        let delivery = other.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(1 + delivery.iter().count());
        drop((first, delivery));
    });
}

#[test]
fn a_reservation_is_dropped_while_the_shard_seals_and_waits_for_it() {
    explore(|| {
        let mut shard = Shard::new(1, 3);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let other = reserving(&ring, 0x00, Then::Drop);
        ring.seal_open();
        while shard.seen.is_empty() {
            shard.turn();
            if shard.seen.is_empty() {
                shard.sleep();
            }
        }
        assert!(other.join().unwrap().is_none());
        shard.assert_whole(1);
        drop(first);
    });
}

#[test]
fn a_reservation_is_committed_or_dropped_while_it_is_evicted() {
    for then in [Then::Commit, Then::Drop] {
        explore(move || {
            let mut shard = Shard::new(2, 3);
            shard.reservations = Reservations::Late;
            let ring = shard.ring();
            let first = append(&ring, 0x20);
            let other = reserving(&ring, 0x00, then);
            shard.take_all(&ring);
            let delivery = other.join().unwrap();
            shard.take_all(&ring);
            shard.assert_whole(1 + delivery.iter().count());
            drop((first, delivery));
        });
    }
    assert!(LATE.get().is_some(), "no order was tried in which the shard comes first");
}

#[test]
fn a_reservation_is_committed_or_dropped_while_everything_ends() {
    for then in [Then::Commit, Then::Drop] {
        explore(move || {
            let mut shard = Shard::new(1, 2);
            let ring = shard.ring();
            let first = append(&ring, 0x20);
            let other = reserving(&ring, 0x00, then);
            ring.close();
            let mut records = fail_all(&shard, &ring);
            let delivery = other.join().unwrap();
            records += fail_all(&shard, &ring);
            assert_eq!(records as usize, 1 + delivery.iter().count());
            shard.assert_whole(0);
            drop((first, delivery));
        });
    }
}

/// Takes what can be taken, to fail it: it is not read. Returns how many records it was.
fn fail_all(shard: &Shard, ring: &BatchRing) -> u32 {
    let mut records = 0;
    loop {
        match ring.take_as(Reservations::Ended) {
            Head::Sealed(batch) => {
                records += batch.records;
                retire(&shard.accumulator, &batch);
            }
            Head::Vanished => {}
            _ => return records,
        }
    }
}

#[test]
fn the_buffer_of_a_late_reservation_goes_to_others_only_when_it_is_given_up() {
    explore(|| {
        // One buffer: the next record waits for it, and then writes there.
        let mut shard = Shard::new(1, 2);
        shard.reservations = Reservations::Late;
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let vacant = Vacant { key: None, value_bytes: 1, headers: &[], timestamp: 1000 };
        let mut held = ring.reserve(&vacant, Memory::None).unwrap().held;
        let next = send(&ring, 1, 1);
        shard.take_all(&ring);
        held.value_mut()[0] = 0x00;
        drop(held);
        let next = next.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(2);
        drop((first, next));
    });
}
