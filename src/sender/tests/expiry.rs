//! Delivery timeout: batches that were not acknowledged in time.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use crate::config::ConfigBuilder;
use crate::protocol::error_code::ErrorCode;

/// A second to deliver, half of it for a request.
fn hurried() -> ConfigBuilder {
    config().delivery_timeout(ms(1_000)).request_timeout(ms(500))
}

#[test]
fn exp_1_a_batch_expires_when_its_time_is_up_counted_from_its_opening() {
    let mut rig = Rig::new(hurried().linger(ms(400)), &[2]);
    rig.world.silent.insert(2);
    let early = rig.append("t-0", "early");
    rig.advance(ms(300));
    let late = rig.append("t-0", "late");
    rig.advance(ms(699));
    assert_eq!(rig.verdict(early), "pending");
    rig.advance(ms(1));
    assert_eq!(rig.verdict(early), "timed-out");
    assert_eq!(rig.verdict(late), "timed-out", "late records of a batch get less");
    rig.assert_nothing_left();
}

#[test]
fn exp_2_queued_batches_and_batches_in_flight_expire_alike() {
    let config = hurried().request_timeout(ms(1_000)).in_flight_max(1);
    let mut rig = Rig::new(config, &[1]);
    let a = rig.send("t-0", "in flight");
    rig.advance(ms(10));
    let b = rig.send("t-0", "queued");
    rig.advance(ms(10));
    let c = rig.send("t-0", "queued, too");
    rig.advance(ms(980));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    assert_eq!(rig.verdict(b), "pending");
    rig.advance(ms(10));
    assert_eq!(rig.verdict(b), "timed-out");
    assert_eq!(rig.verdict(c), "pending");
    rig.advance(ms(10));
    assert_eq!(rig.verdict(c), "timed-out");
}

#[test]
fn exp_3_the_error_says_how_long_it_took_and_whether_the_record_left() {
    let mut rig = Rig::new(hurried(), &[2]);
    rig.world.silent.insert(2);
    let a = rig.send("t-0", "a");
    rig.advance(ms(1_000));
    let error = rig.records[a].2.verdict().unwrap().unwrap_err().to_string();
    assert!(error.contains("1s") && error.contains("was not written"), "{error}");
}

#[test]
fn exp_4_a_batch_past_its_deadline_is_not_retried() {
    let mut rig = Rig::new(hurried().request_timeout(ms(1_000)), &[1]);
    rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(600));
    let request = rig.produce();
    // The answer and the deadline come together, the answer first.
    rig.now += ms(400);
    let said = super::wire::Said::refused(ErrorCode::NotEnoughReplicas);
    let answer = super::wire::produce_answer(&request, &[said], 0);
    rig.world.answer(&request, answer);
    assert!(rig.step());
    rig.perform();
    assert_eq!(rig.verdict(0), "timed-out");
    rig.advance(ms(2_000));
    assert!(rig.pending().is_empty());
    rig.assert_nothing_left();
}

#[test]
fn exp_5_nothing_of_an_expired_batch_is_sent_later() {
    let mut rig = Rig::new(hurried(), &[2]);
    rig.stop_broker(2);
    let a = rig.send("t-0", "a");
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(a), "timed-out");
    rig.start_broker(2);
    rig.advance(ms(10_000));
    assert!(rig.pending().is_empty());
    rig.assert_nothing_left();
}

#[test]
fn exp_6_the_late_answer_of_an_expired_batch_changes_nothing_and_the_connection_stays() {
    let mut rig = Rig::new(hurried().request_timeout(ms(1_000)), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(700));
    let request = rig.produce();
    rig.advance(ms(300));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    let connects = rig.world.connects.len();
    rig.accept(&request);
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    let b = rig.send("t-0", "b");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]", "the late answer settled the sequence");
    assert_eq!(rig.verdict(b), "offset 1");
    assert_eq!(rig.world.connects.len(), connects);
    rig.assert_nothing_left();
}

#[test]
fn exp_7_when_a_retry_expires_in_the_queue_what_follows_goes_on_at_once() {
    let mut rig = Rig::new(hurried(), &[1]);
    let a = rig.send("t-0", "a");
    rig.advance(ms(450));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(200));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    // The next retry comes in 160 ms at least, and so on: the last one not before the deadline.
    rig.advance(ms(230));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    let b = rig.send("t-0", "b");
    assert!(rig.pending().is_empty());
    let left = ms(1_000 - 450 - 200 - 230);
    rig.advance(left);
    assert_eq!(rig.verdict(a), "timed-out");
    assert_eq!(rig.pending(), ["1: t-0 7000/1@0 [b]"], "a used up a sequence of the old epoch");
    rig.accept_next();
    assert_eq!(rig.verdict(b), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn exp_8_a_batch_that_expires_on_its_first_attempt_may_leave_no_gap_behind() {
    let mut rig = Rig::new(hurried().request_timeout(ms(1_000)), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    rig.now += ms(999);
    let b = rig.send("t-0", "b");
    rig.now += ms(1);
    rig.run();
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    // Its request is too late as well; the broker never saw it.
    rig.advance(ms(300));
    assert!(!rig.world.open.contains_key(&request.connection));
    for _ in 0..5 {
        rig.advance(ms(150));
        while !rig.pending().is_empty() {
            rig.accept_next();
        }
    }
    // Nobody can tell that the lost request of `b` will not be written yet; what follows goes on.
    assert_eq!(rig.verdict(b), "OUT_OF_ORDER_SEQUENCE_NUMBER, maybe written");
    let c = rig.send("t-0", "c");
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["c"]);
    assert_eq!(rig.verdict(c), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn exp_9_a_muted_partition_expires_too() {
    let config = hurried().request_timeout(ms(1_000)).idempotence(false).in_flight_max(1);
    let mut rig = Rig::new(config, &[1]);
    rig.send("t-0", "mutes");
    rig.advance(ms(1));
    let b = rig.send("t-0", "b");
    rig.now += ms(500);
    // The first one is answered with an error, and its retry holds the partition.
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(500));
    assert_eq!(rig.verdict(b), "timed-out");
}

#[test]
fn exp_10_a_delivery_timeout_without_an_end_never_expires() {
    let mut rig = Rig::new(config().delivery_timeout(ms(i32::MAX as u64)), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(a), "pending");
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn net_6_batches_of_a_throttled_connection_expire() {
    let mut rig = Rig::new(hurried(), &[1]);
    rig.send("t-0", "a");
    rig.world.throttle_ms = 60_000;
    rig.accept_next();
    let b = rig.send("t-0", "b");
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(b), "timed-out");
    rig.assert_nothing_left();
}
