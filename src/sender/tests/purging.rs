//! Purges, paused topics, and the close that sends nothing more.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::super::PurgeOrder;
use super::rig::{Rig, config, ms};
use crate::accumulator::batch_ring::{Memory, Vacant};
use crate::clock;
use crate::protocol::error_code::ErrorCode;

fn order(rig: &Rig) -> PurgeOrder {
    let opened_before = clock::to_nanos(rig.now) + 1;
    PurgeOrder { topic: None, queued: false, in_flight: false, opened_before }
}

fn purge(rig: &mut Rig, number: u64, order: &PurgeOrder) {
    rig.sender.handle_ready(rig.now);
    rig.sender.handle_purge(number, order, rig.now);
    rig.run();
    // What comes now is later than the purge.
    rig.now += ms(1);
}

fn purge_queued(rig: &mut Rig, number: u64) {
    let order = PurgeOrder { queued: true, ..order(rig) };
    purge(rig, number, &order);
}

fn purge_in_flight(rig: &mut Rig, number: u64) {
    let order = PurgeOrder { in_flight: true, ..order(rig) };
    purge(rig, number, &order);
}

#[test]
fn queued_records_are_purged_wherever_they_wait_and_were_not_written() {
    let mut rig = Rig::new(config().linger(ms(60_000)).in_flight_max(1), &[1, 2]);
    let sent = rig.send("t-0", "in flight");
    let queued = rig.send("t-0", "queued behind it");
    let open = rig.append("t-0", "in the open batch");
    rig.stop_broker(2);
    let unsent = rig.send("t-1", "no broker");
    let unseen = rig.batch("t-1", &["not looked at yet"]);
    purge_queued(&mut rig, 7);
    assert_eq!(rig.done, [7]);
    for record in [queued, open, unsent, unseen] {
        assert_eq!(rig.verdict(record), "purged");
    }
    assert_eq!(rig.verdict(sent), "pending");
    let counters = rig.sender.counters();
    assert_eq!((counters.failed, counters.never_sent, counters.possibly_written), (4, 4, 0));
    rig.accept_next();
    assert_eq!(rig.verdict(sent), "offset 0");
    let next = rig.send("t-0", "next");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [next]", "no sequence was used up");
    assert_eq!(rig.verdict(next), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn a_purge_of_one_topic_leaves_the_others_alone() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1]);
    rig.world.add_topic("u", &[1]);
    rig.cluster.want(&rig.cluster.entry("u"), clock::to_nanos(rig.now));
    rig.run();
    let (t, u) = (rig.append("t-0", "t"), rig.append("u-0", "u"));
    let order = PurgeOrder { queued: true, topic: Some("u".into()), ..order(&rig) };
    purge(&mut rig, 1, &order);
    assert_eq!((rig.verdict(t), rig.verdict(u)), ("pending".into(), "purged".into()));
    let order = PurgeOrder { topic: Some("nobody".into()), ..order };
    purge(&mut rig, 2, &order);
    assert_eq!((rig.verdict(t), &rig.done[..]), ("pending".into(), &[1, 2][..]));
    rig.sender.handle_flush(3, rig.now);
    rig.run();
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn records_in_flight_are_purged_at_once_and_their_memory_comes_back_with_the_answer() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    purge_in_flight(&mut rig, 1);
    assert_eq!((rig.verdict(a), &rig.done[..]), ("purged, maybe written".into(), &[1][..]));
    rig.world.return_frames();
    rig.run();
    let pool = Arc::clone(rig.accumulator.pool());
    assert!(pool.available() < pool.total(), "the broker may still ask for it again");
    let b = rig.send("t-0", "b");
    rig.accept(&request);
    assert_eq!(rig.verdict(a), "purged, maybe written", "a late answer changes no verdict");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]", "and it settles the sequence");
    assert_eq!((rig.verdict(b), rig.log("t-0").len()), ("offset 1".into(), 2));
    rig.assert_nothing_left();
}

#[test]
fn a_purged_batch_that_the_broker_refuses_is_not_sent_again() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    purge_in_flight(&mut rig, 1);
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty());
    let b = rig.send("t-0", "b");
    assert_eq!(rig.accept_next(), "1: t-0 7000/1@0 [b]", "its sequence is gone: a new epoch");
    assert_eq!(rig.verdict(b), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn spl_8_a_purged_batch_that_is_too_large_is_not_split() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.batch("t-0", &["a", "b"]);
    rig.run();
    purge_in_flight(&mut rig, 1);
    rig.refuse_next(ErrorCode::MessageTooLarge);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty());
    assert_eq!(rig.verdict(a), "purged, maybe written");
    let c = rig.send("t-0", "c");
    rig.accept_all();
    assert_eq!(rig.verdict(c), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn a_batch_that_waits_for_another_attempt_says_whether_the_first_may_have_been_written() {
    for (cut, verdict) in [(false, "purged"), (true, "purged, maybe written")] {
        let mut rig = Rig::new(config(), &[1]);
        let a = rig.send("t-0", "a");
        if cut {
            let request = rig.produce();
            rig.cut(request.connection);
        } else {
            rig.refuse_next(ErrorCode::NotEnoughReplicas);
        }
        purge_queued(&mut rig, 1);
        assert_eq!(rig.verdict(a), verdict);
        let b = rig.send("t-0", "b");
        rig.accept_all();
        assert_eq!(rig.verdict(b), "offset 0", "the partition goes on");
        rig.assert_nothing_left();
    }
}

#[test]
fn what_is_behind_a_purged_retry_is_sent_and_stays_in_order() {
    let mut rig = Rig::new(config(), &[1]);
    let sent: Vec<_> = ["a", "b", "c"].iter().map(|value| rig.send("t-0", value)).collect();
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    purge_queued(&mut rig, 1);
    assert_eq!(rig.verdict(sent[0]), "purged");
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["b", "c"]);
    assert_eq!(
        (rig.verdict(sent[1]), rig.verdict(sent[2])),
        ("offset 0".into(), "offset 1".into())
    );
    rig.assert_nothing_left();
}

#[test]
fn records_that_are_accepted_after_the_purge_stay() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[2]);
    rig.stop_broker(2);
    let old = rig.send("t-0", "old");
    let asked = order(&rig);
    rig.advance(ms(1));
    let new = rig.send("t-0", "new");
    purge(&mut rig, 1, &PurgeOrder { queued: true, ..asked });
    assert_eq!((rig.verdict(old), rig.verdict(new)), ("purged".into(), "pending".into()));
    rig.start_broker(2);
    rig.advance(ms(3_000));
    rig.accept_next();
    assert_eq!(rig.verdict(new), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn a_purge_waits_for_no_reservation_and_the_reserved_record_is_still_sent() {
    let mut rig = Rig::new(config().linger(ms(60_000)).reserve_max(ms(10_000)), &[1]);
    let ring = rig.ring("t-0");
    let a = rig.append("t-0", "a");
    let vacant = Vacant { key: None, value_bytes: 4, headers: &[], timestamp: 1000 };
    let mut held = ring.reserve(&vacant, Memory::Try).expect("there is room").held;
    held.value_mut().copy_from_slice(b"held");
    purge_queued(&mut rig, 1);
    assert_eq!((rig.verdict(a), &rig.done[..]), ("purged".into(), &[1][..]));
    assert!(held.commit().is_none() && held.is_evicted());
    let _ = held.append();
    drop(held);
    rig.sender.handle_flush(2, rig.now);
    rig.run();
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [held]");
    rig.assert_nothing_left();
}

#[test]
fn pieces_of_a_split_batch_are_purged_too() {
    let mut rig = Rig::new(config(), &[1]);
    let first = rig.batch("t-0", &["a", "b", "c", "d"]);
    rig.run();
    rig.refuse_next(ErrorCode::MessageTooLarge);
    rig.accept_next();
    purge_in_flight(&mut rig, 1);
    purge_queued(&mut rig, 2);
    let verdicts: Vec<_> = (first..first + 4).map(|record| rig.verdict(record)).collect();
    assert!(verdicts.iter().all(|verdict| verdict != "pending"), "{verdicts:?}");
    assert!(verdicts.iter().any(|verdict| verdict.starts_with("purged")), "{verdicts:?}");
    rig.accept_all();
    rig.assert_nothing_left();
}

#[test]
fn a_purge_ends_a_flush() {
    let mut rig = Rig::new(config(), &[2]);
    rig.stop_broker(2);
    rig.send("t-0", "a");
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    assert!(rig.done.is_empty());
    purge_queued(&mut rig, 2);
    assert!(rig.done.contains(&1) && rig.done.contains(&2));
    rig.assert_nothing_left();
}

#[test]
fn a_paused_topic_sends_nothing_and_goes_on_in_order() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "in flight");
    rig.cluster.entry("t").set_paused(true);
    let held = [rig.send("t-0", "a"), rig.send("t-0", "b")];
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [in flight]");
    rig.advance(ms(10_000));
    assert!(rig.pending().is_empty(), "what was sent before the pause goes on, and no more");
    rig.cluster.entry("t").set_paused(false);
    rig.sender.handle_resume("other", rig.now);
    rig.run();
    assert!(rig.pending().is_empty(), "resumed is what was resumed");
    rig.sender.handle_resume("t", rig.now);
    rig.run();
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["in flight", "a", "b"]);
    assert_eq!(
        (rig.verdict(held[0]), rig.verdict(held[1])),
        ("offset 1".into(), "offset 2".into())
    );
    rig.assert_nothing_left();
}

#[test]
fn what_was_ready_when_its_topic_was_paused_is_held_back() {
    let mut rig = Rig::new(config().in_flight_max(1), &[1, 1]);
    let first = rig.send("t-0", "in flight");
    let second = rig.send("t-1", "ready, and the connection is at its limit");
    rig.cluster.entry("t").set_paused(true);
    rig.accept_next();
    assert_eq!((rig.verdict(first), rig.verdict(second)), ("offset 0".into(), "pending".into()));
    assert!(rig.pending().is_empty());
    rig.cluster.entry("t").set_paused(false);
    rig.sender.handle_resume("t", rig.now);
    rig.run();
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn a_retry_of_a_paused_topic_is_held_back() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    rig.cluster.entry("t").set_paused(true);
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty());
    rig.cluster.entry("t").set_paused(false);
    rig.sender.handle_resume("t", rig.now);
    rig.run();
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn records_of_a_paused_topic_expire_and_a_flush_ends_with_them() {
    let mut rig = Rig::new(config().request_timeout(ms(500)).delivery_timeout(ms(1_000)), &[1]);
    rig.cluster.entry("t").set_paused(true);
    let a = rig.send("t-0", "a");
    rig.sender.handle_flush(1, rig.now);
    rig.advance(ms(999));
    assert!(rig.done.is_empty() && rig.verdict(a) == "pending");
    rig.advance(ms(1));
    assert_eq!((rig.verdict(a), &rig.done[..]), ("timed-out".into(), &[1][..]));
    rig.assert_nothing_left();
}

#[test]
fn a_paused_topic_costs_no_turns_while_nothing_happens() {
    let mut rig = Rig::new(config(), &[1]);
    rig.cluster.entry("t").set_paused(true);
    rig.send("t-0", "a");
    // What was set before the pause, for a connect, fires for the last time.
    rig.advance(ms(20_000));
    let next = rig.sender.poll_timeout().expect("its expiry at least");
    assert!(next > rig.now + ms(50_000), "something ticks: {:?}", next - rig.now);
    rig.advance(ms(100_000));
    rig.assert_nothing_left();
}

#[test]
fn cls_1_a_close_sends_what_was_paused() {
    let mut rig = Rig::new(config(), &[1]);
    rig.cluster.entry("t").set_paused(true);
    let a = rig.send("t-0", "a");
    rig.sender.handle_close(rig.now + ms(1_000), rig.now);
    rig.run();
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_3_at_the_deadline_of_a_close_what_was_paused_fails() {
    let mut rig = Rig::new(config(), &[2]);
    rig.stop_broker(2);
    rig.cluster.entry("t").set_paused(true);
    let a = rig.send("t-0", "a");
    rig.sender.handle_close(rig.now + ms(200), rig.now);
    rig.advance(ms(200));
    assert_eq!(rig.verdict(a), "closed");
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_3_an_abort_sends_nothing_more_and_gives_every_record_its_verdict() {
    let mut rig = Rig::new(config().linger(ms(60_000)).in_flight_max(1), &[1, 1]);
    let sent = rig.send("t-0", "in flight");
    let queued = rig.send("t-0", "queued");
    let ready = rig.batch("t-1", &["ready and not looked at"]);
    let open = rig.append("t-1", "open");
    let requests = rig.count(crate::protocol::api::ApiKey::Produce);
    rig.sender.handle_abort(rig.now);
    rig.run();
    assert_eq!(rig.verdict(sent), "closed, maybe written");
    for record in [queued, ready, open] {
        assert_eq!(rig.verdict(record), "closed", "definitely not written");
    }
    assert_eq!(rig.count(crate::protocol::api::ApiKey::Produce), requests);
    assert_eq!(rig.try_append("t-0", "late"), None);
    assert!(rig.ended && rig.world.open.is_empty());
    rig.assert_nothing_left();
}

#[test]
fn cls_4_an_abort_ends_a_close_that_waits() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    rig.sender.handle_close(rig.now + ms(60_000), rig.now);
    rig.run();
    assert!(!rig.ended);
    rig.sender.handle_abort(rig.now);
    rig.run();
    rig.sender.handle_abort(rig.now);
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    assert_eq!(rig.verdict(a), "closed, maybe written");
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn a_purge_at_the_end_of_a_producer_is_over_at_once() {
    let mut rig = Rig::new(config(), &[1]);
    rig.sender.handle_abort(rig.now);
    rig.run();
    let all = PurgeOrder { queued: true, in_flight: true, ..order(&rig) };
    rig.sender.handle_purge(9, &all, rig.now);
    rig.run();
    assert_eq!(rig.done, [9]);
}
