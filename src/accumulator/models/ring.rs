//! Models of the batch ring: claim, commit, seal, take, release, close, flush.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Shard, TURN_NANOS, append, send};
use crate::accumulator::batch_ring::{Append, Head, Memory};
use crate::accumulator::buffer_pool::Need;
use crate::accumulator::tests::entry;
use crate::accumulator::waiters::Waited;
use crate::sync::{explore, thread};

/// Two records of one sender.
const RUN: [u8; 2] = [0x00, 0x01];

#[test]
fn two_claims_in_one_batch_share_no_byte_and_both_are_taken() {
    explore(|| {
        let mut shard = Shard::new(1, 3);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let other = send(&ring, 0, 1);
        let own = append(&ring, 0x10);
        let deliveries = other.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(3);
        drop((first, own, deliveries));
    });
}

#[test]
fn two_appenders_race_for_the_opening_and_one_batch_results() {
    explore(|| {
        let mut shard = Shard::new(2, 2);
        let ring = shard.ring();
        let other = send(&ring, 0, 1);
        let own = append(&ring, 0x10);
        let deliveries = other.join().unwrap();
        let Head::Open(_) = ring.take() else { panic!("the batch is open") };
        shard.take_all(&ring);
        shard.assert_whole(2);
        drop((own, deliveries));
    });
}

#[test]
fn a_full_batch_is_sealed_once_and_the_next_ones_opened() {
    explore(|| {
        let mut shard = Shard::new(2, 2);
        let ring = shard.ring();
        let first = [append(&ring, 0x20), append(&ring, 0x21)];
        let other = send(&ring, 0, 1);
        let own = append(&ring, 0x10);
        let deliveries = other.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(4);
        drop((first, own, deliveries));
    });
}

#[test]
fn the_shard_seals_and_takes_while_records_are_claimed_and_written() {
    explore(|| {
        let mut shard = Shard::new(1, 3);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        // Appenders that may not open a batch: those of the next model do.
        let others = [0x00, 0x10].map(|record| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || match ring.append(&entry(&[record], 1000), Memory::None) {
                Append::Done { delivery, .. } => Some(delivery),
                _ => None,
            })
        });
        shard.take_all(&ring);
        let deliveries = others.map(|other| other.join().unwrap());
        shard.take_all(&ring);
        shard.assert_whole(1 + deliveries.iter().flatten().count());
        drop((first, deliveries));
    });
}

#[test]
fn a_run_of_records_is_claimed_as_one_while_another_is_claimed_and_the_shard_seals() {
    explore(|| {
        let mut shard = Shard::new(2, 4);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let run = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut deliveries = Vec::new();
                let (taken, _) =
                    ring.append_run(2, |at| entry(&RUN[at..=at], 1000), &mut deliveries);
                assert_eq!(taken, deliveries.len());
                deliveries
            })
        };
        let other = send(&ring, 1, 1);
        shard.take_all(&ring);
        let deliveries = [run.join().unwrap(), other.join().unwrap()];
        shard.take_all(&ring);
        shard.assert_whole(1 + deliveries.iter().flatten().count());
        drop((first, deliveries));
    });
}

#[test]
fn the_shard_seals_and_takes_while_the_next_batch_is_opened_and_filled() {
    explore(|| {
        let mut shard = Shard::new(2, 2);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let other = send(&ring, 0, 2);
        shard.take_all(&ring);
        let deliveries = other.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(3);
        drop((first, deliveries));
    });
}

#[test]
fn the_ring_turns_over_and_buffers_go_round_while_records_are_appended() {
    explore(|| {
        // One buffer, two slots, batches of one record: each record takes what the shard gave back.
        let mut shard = Shard::new(1, 1);
        let ring = shard.ring();
        let other = send(&ring, 0, 3);
        while shard.seen.len() < 3 {
            shard.take_all(&ring);
            thread::yield_now();
        }
        let deliveries = other.join().unwrap();
        shard.assert_whole(3);
        drop(deliveries);
    });
}

#[test]
fn cls_1_a_close_decides_for_each_record_and_every_accepted_one_is_taken() {
    explore(|| {
        let mut shard = Shard::new(2, 2);
        let ring = shard.ring();
        let first = append(&ring, 0x20);
        let others = [send(&ring, 0, 1), send(&ring, 1, 1)];
        ring.close();
        shard.take_all(&ring);
        let deliveries: Vec<_> =
            others.into_iter().flat_map(|other| other.join().unwrap()).collect();
        shard.take_all(&ring);
        shard.assert_whole(1 + deliveries.len());
        assert!(deliveries.iter().all(crate::Delivery::is_done));
        drop(first);
    });
}

#[test]
fn cls_1_a_close_is_over_when_nothing_is_unresolved_and_nothing_comes_after() {
    explore(|| {
        let mut shard = Shard::new(2, 1);
        let ring = shard.ring();
        let other = send(&ring, 0, 2);
        ring.close();
        // `poll_ending`, and the sleep in between.
        while shard.accumulator.unresolved() > 0 {
            shard.turn();
            if shard.accumulator.unresolved() > 0 {
                shard.sleep();
            }
        }
        let deliveries = other.join().unwrap();
        assert!(deliveries.iter().all(crate::Delivery::is_done));
        shard.assert_whole(deliveries.len());
    });
}

#[test]
fn a_record_sent_before_a_flush_is_counted_by_it() {
    explore(|| {
        let mut shard = Shard::new(1, 1);
        let ring = shard.ring();
        let other = send(&ring, 0, 1);
        let accumulator = Arc::clone(&shard.accumulator);
        let earlier = accumulator.start_flush();
        let is_over = accumulator.unresolved_in(earlier) == 0;
        let deliveries = other.join().unwrap();
        // The record was sent before this flush. It counts, or the earlier one still waits for it.
        if is_over || accumulator.unresolved_in(earlier) == 0 {
            assert_eq!(accumulator.unresolved_in(accumulator.start_flush()), 1);
        }
        shard.take_all(&ring);
        shard.assert_whole(1);
        drop(deliveries);
    });
}

#[test]
fn buf_3_memory_of_a_batch_that_was_never_opened_wakes_who_waits_for_it() {
    explore(|| {
        let mut shard = Shard::new(1, 1);
        let ring = shard.ring();
        let other = send(&ring, 0, 1);
        ring.close();
        let accumulator = Arc::clone(&shard.accumulator);
        let cost = accumulator.pool().cost(1);
        let ticket = accumulator.waiters.enqueue(Need::new(cost, false), u64::MAX);
        let mut context = Context::from_waker(Waker::noop());
        let mut now = 0;
        loop {
            shard.turn();
            now += TURN_NANOS;
            let again_at = accumulator.serve_waiters(0, now);
            if let Poll::Ready(waited) = accumulator.waiters.poll(ticket, &mut context) {
                assert_eq!(waited, Waited::Granted);
                break;
            }
            if again_at.is_none() {
                shard.sleep();
            }
        }
        accumulator.pool().unreserve(cost);
        let deliveries = other.join().unwrap();
        shard.take_all(&ring);
        shard.assert_whole(deliveries.len());
    });
}
