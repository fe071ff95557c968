//! Flush, warm-up and close.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

#[test]
fn a_flush_of_nothing_is_over_at_once() {
    let mut rig = Rig::new(config(), &[1]);
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    assert_eq!(rig.done, [1]);
}

#[test]
fn a_flush_waits_for_verdicts_good_or_bad_and_for_retries() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1, 2]);
    let (a, b) = (rig.append("t-0", "a"), rig.append("t-1", "b"));
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    let mut requests = [rig.produce(), rig.produce()];
    requests.sort_by_key(|request| request.broker);
    rig.refuse(&requests[0], ErrorCode::InvalidRecord);
    rig.refuse(&requests[1], ErrorCode::NotEnoughReplicas);
    assert!(rig.done.is_empty());
    rig.advance(ms(120));
    assert_eq!(rig.verdict(a), "INVALID_RECORD");
    rig.accept_next();
    assert_eq!((rig.verdict(b), &rig.done[..]), ("offset 0".into(), &[1][..]));
}

#[test]
fn flushes_that_come_during_a_flush_share_the_next_one() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1]);
    rig.append("t-0", "a");
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    rig.append("t-0", "b");
    rig.run();
    rig.sender.handle_flush(2, rig.now);
    rig.sender.handle_flush(3, rig.now);
    rig.run();
    rig.accept_next();
    assert_eq!(rig.done, [1]);
    rig.accept_next();
    assert_eq!(rig.done, [1, 2, 3]);
    rig.assert_nothing_left();
}

#[test]
fn a_warm_up_connects_the_leaders_and_has_the_producer_id() {
    let mut rig = Rig::new(config(), &[2, 3]);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.sender.handle_warm_up(1, vec![("t".into(), 0), ("t".into(), 1)], rig.now);
    rig.run();
    assert_eq!((rig.connects_to(2), rig.connects_to(3)), (1, 1));
    for _ in 0..2 {
        assert!(rig.done.is_empty());
        let request = rig.request(ApiKey::ApiVersions);
        let answer = rig.world.versions_answer(&request);
        rig.world.answer(&request, answer);
        rig.run();
    }
    assert_eq!(rig.done, [1]);
}

#[test]
fn a_warm_up_goes_on_over_a_broker_that_comes_late() {
    let mut rig = Rig::new(config(), &[2]);
    rig.stop_broker(2);
    rig.sender.handle_warm_up(1, vec![("t".into(), 0)], rig.now);
    rig.advance(ms(3_000));
    assert!(rig.done.is_empty());
    rig.start_broker(2);
    rig.advance(ms(1_500));
    assert_eq!(rig.done, [1]);
}

#[test]
fn cls_1_a_close_refuses_appends_and_sends_what_is_there() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1, 2]);
    let sent = [rig.append("t-0", "a"), rig.append("t-1", "b")];
    rig.run();
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.run();
    assert_eq!(rig.try_append("t-0", "late"), None);
    assert!(!rig.ended);
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.accept_next();
    rig.advance(ms(120));
    rig.accept_next();
    assert!(sent.iter().all(|record| rig.verdict(*record) == "offset 0"));
    assert!(rig.ended && rig.world.open.is_empty());
    rig.assert_nothing_left();
}

#[test]
fn cls_1_a_partition_that_is_made_in_the_close_is_refused() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.append("t-0", "made, and never looked at before the close");
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    assert!(rig.accumulator.new_ring(&"t".into(), 1).is_none());
    rig.run();
    rig.accept_next();
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_3_when_the_time_for_a_close_is_over_everything_fails() {
    let config = config().in_flight_max(1).idempotence(false);
    let mut rig = Rig::new(config.linger(ms(60_000)), &[1, -1]);
    let a = rig.batch("t-0", &["in flight"]);
    rig.run();
    let b = rig.batch("t-0", &["queued"]);
    let c = rig.append("t-1", "lingers, and has no leader");
    rig.run();
    rig.sender.handle_close(rig.now + ms(500), rig.now);
    rig.advance(ms(499));
    assert_eq!(rig.verdict(b), "pending");
    rig.advance(ms(1));
    assert_eq!(rig.verdict(a), "closed, maybe written");
    assert_eq!((rig.verdict(b), rig.verdict(c)), ("closed".into(), "closed".into()));
    assert!(rig.ended);
    let counters = rig.sender.counters();
    assert_eq!((counters.possibly_written, counters.failed, counters.never_sent), (1, 2, 2));
    rig.assert_nothing_left();
}

#[test]
fn cls_3_batches_that_wait_for_a_retry_fail_as_well() {
    let mut rig = Rig::new(config(), &[1]);
    let sent: Vec<_> = ["a", "b", "c"].iter().map(|value| rig.send("t-0", value)).collect();
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    let verdicts: Vec<_> = sent.iter().map(|record| rig.verdict(*record)).collect();
    assert_eq!(verdicts, ["closed", "closed", "closed, maybe written"]);
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_4_a_second_close_may_shorten_the_first_and_nothing_else() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    rig.sender.handle_close(rig.now + ms(1_000), rig.now);
    rig.sender.handle_close(rig.now + ms(60_000), rig.now);
    rig.advance(ms(10));
    rig.sender.handle_close(rig.now + ms(100), rig.now);
    rig.advance(ms(99));
    assert_eq!(rig.verdict(a), "pending");
    rig.advance(ms(1));
    assert_eq!(rig.verdict(a), "closed, maybe written");
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    assert!(rig.ended);
}

#[test]
fn cls_4_a_close_without_a_broker_ends_at_its_deadline() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.silent.insert(1);
    let a = rig.send("t-0", "a");
    rig.sender.handle_close(rig.now + ms(200), rig.now);
    rig.advance(ms(200));
    assert_eq!(rig.verdict(a), "closed");
    assert!(rig.ended);
    rig.advance(ms(100_000));
    rig.assert_nothing_left();
}

#[test]
fn an_idle_producer_closes_at_once() {
    let mut rig = Rig::new(config(), &[1]);
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.run();
    assert!(rig.ended && rig.world.open.is_empty());
    let connects = rig.world.connects.len();
    rig.advance(ms(600_000));
    assert_eq!(rig.world.connects.len(), connects, "nobody connects after the end");
}

#[test]
fn the_answers_that_come_after_a_forced_close_change_nothing() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    rig.world.keeps_closes = true;
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    let said = wire::Said::written(0);
    rig.world.receive(request.connection, wire::produce_answer(&request, &[said], 0));
    rig.run();
    assert_eq!(rig.verdict(a), "closed, maybe written");
    rig.world.finish_closes();
    rig.run();
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn a_sender_that_is_abandoned_gives_every_record_a_verdict() {
    let mut rig = Rig::new(config().in_flight_max(1).linger(ms(60_000)), &[1, 1]);
    let a = rig.batch("t-0", &["in flight"]);
    rig.run();
    let b = rig.batch("t-0", &["queued"]);
    rig.run();
    let c = rig.append("t-1", "open");
    rig.sender.abandon();
    rig.perform();
    assert_eq!(rig.verdict(a), "sender-failed, maybe written");
    assert_eq!((rig.verdict(b), rig.verdict(c)), ("sender-failed".into(), "sender-failed".into()));
    assert_eq!(rig.accumulator.unresolved(), 0);
}
