//! Batches with reservations in them: how long they are waited for.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::rig::{Rig, config, ms};
use crate::accumulator::batch_ring::{BatchRing, Held, Memory, Vacant};
use crate::clock;

/// Reserves a record at the rig's time.
fn reserve<'a>(rig: &Rig, ring: &'a Arc<BatchRing>) -> Held<'a> {
    let vacant = Vacant { key: None, value_bytes: 4, headers: &[], timestamp: 1000 };
    let hold = ring.reserve(&vacant, Memory::Try).expect("there is room");
    if hold.opened {
        ring.set_opened_at(clock::to_nanos(rig.now));
    }
    let mut held = hold.held;
    ring.set_reserved_at(clock::to_nanos(rig.now));
    held.value_mut().copy_from_slice(b"held");
    held
}

#[test]
fn a_batch_waits_for_its_last_reservation_and_no_longer_than_the_bound() {
    let mut rig = Rig::new(config().reserve_max(ms(10)), &[1]);
    let ring = rig.ring("t-0");
    rig.append("t-0", "a");
    let _early = reserve(&rig, &ring);
    rig.now += ms(4);
    let _last = reserve(&rig, &ring);
    rig.append("t-0", "b");
    rig.advance(ms(9));
    assert!(rig.pending().is_empty());
    rig.advance(ms(1));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a b]");
    assert_eq!((rig.verdict(0), rig.verdict(1)), ("offset 0".into(), "offset 1".into()));
}

#[test]
fn a_batch_goes_when_its_last_reservation_is_settled() {
    let mut rig = Rig::new(config().reserve_max(ms(10)), &[1]);
    let ring = rig.ring("t-0");
    let (mut first, second) = (reserve(&rig, &ring), reserve(&rig, &ring));
    rig.append("t-0", "a");
    rig.advance(ms(3));
    let delivery = first.commit().unwrap();
    rig.run();
    assert!(rig.pending().is_empty());
    drop(second);
    rig.run();
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [held a]");
    assert!(delivery.is_done());
    assert_eq!(rig.verdict(0), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn open_reservations_of_many_batches_are_waited_for_at_the_same_time() {
    let mut rig = Rig::new(config().reserve_max(ms(10)), &[1]);
    let ring = rig.ring("t-0");
    let mut open = Vec::new();
    for value in ["a", "b", "c", "d"] {
        rig.append("t-0", value);
        open.push(reserve(&rig, &ring));
        ring.seal_open();
    }
    rig.append("t-0", "e");
    rig.advance(ms(10));
    rig.accept_all();
    assert_eq!(rig.verdict(4), "offset 4");
    drop(open);
    rig.assert_nothing_left();
}

#[test]
fn a_flush_is_over_when_what_was_accepted_has_its_verdict() {
    let mut rig = Rig::new(config().linger(ms(500)).reserve_max(ms(10)), &[1]);
    let ring = rig.ring("t-0");
    let held = reserve(&rig, &ring);
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.advance(ms(9));
    assert!(rig.done.is_empty());
    rig.advance(ms(1));
    assert_eq!(rig.done, [1], "there was nothing but a reservation");
    assert!(rig.pending().is_empty());
    drop(held);
    rig.assert_nothing_left();
}

#[test]
fn exp_1_a_reservation_keeps_no_record_from_its_expiry() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(500));
    let mut rig = Rig::new(config.reserve_max(ms(60_000)), &[1]);
    let ring = rig.ring("t-0");
    let a = rig.append("t-0", "a");
    let held = reserve(&rig, &ring);
    rig.advance(ms(999));
    assert_eq!(rig.verdict(a), "pending");
    rig.advance(ms(1));
    assert_eq!(rig.verdict(a), "timed-out");
    drop(held);
    rig.assert_nothing_left();
}

#[test]
fn cls_3_the_end_of_a_close_waits_for_no_reservation() {
    let mut rig = Rig::new(config().reserve_max(ms(60_000)), &[1]);
    let ring = rig.ring("t-0");
    let a = rig.append("t-0", "a");
    let mut held = reserve(&rig, &ring);
    rig.sender.handle_close(rig.now + ms(50), rig.now);
    rig.advance(ms(49));
    assert!(!rig.ended);
    rig.advance(ms(1));
    assert!(rig.ended);
    assert_eq!(rig.verdict(a), "closed");
    assert!(held.commit().is_none(), "it is late");
    drop(held);
    rig.assert_nothing_left();
}
