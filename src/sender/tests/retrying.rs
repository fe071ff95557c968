//! Retries: how often, how soon, and when not at all.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::world::address_of;
use crate::error::SendError;
use crate::ids::Sequence;
use crate::protocol::error_code::ErrorCode;

#[test]
fn rty_3_each_attempt_waits_longer_from_its_own_failure() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    for (least, most) in [(80, 120), (160, 240), (320, 480), (640, 960), (1_000, 1_000)] {
        rig.refuse_next(ErrorCode::NotEnoughReplicas);
        rig.advance(ms(least - 1));
        assert!(rig.pending().is_empty(), "not before {least} ms");
        rig.advance(ms(most + 1 - least));
        assert_eq!(rig.pending().len(), 1, "at {most} ms at the latest");
    }
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    assert_eq!(rig.sender.counters().retries, 5);
    rig.assert_nothing_left();
}

#[test]
fn rty_3_attempts_are_counted_per_batch() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(120));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.send("t-1", "b");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(120));
    assert_eq!(rig.pending(), ["1: t-1 7000/0@0 [b]"], "b waits as for a first failure");
}

#[test]
fn rty_4_a_new_leader_is_tried_without_a_wait() {
    let mut rig = Rig::new(config().retry_backoff(ms(900)), &[1]);
    rig.advance(ms(2_000));
    rig.send("t-0", "a");
    rig.world.lead("t", 0, 2);
    // The answer has the metadata asked at once, and that names the new leader.
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    rig.assert_nothing_left();
}

#[test]
fn rty_4_a_leader_that_was_known_before_the_answer_is_tried_without_a_wait() {
    let mut rig = Rig::new(config().retry_backoff(ms(900)), &[1, 2]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    rig.world.lead("t", 0, 2);
    rig.cluster.mark_stale();
    rig.advance(ms(1_100));
    assert_eq!(rig.sender.partitions[1].leader_epoch, 1);
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@1 [b]");
    rig.assert_nothing_left();
}

#[test]
fn rty_4_the_wait_is_skipped_once_and_only_for_a_newer_epoch() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    rig.advance(ms(79));
    assert!(rig.pending().is_empty(), "the metadata brought nothing new");
    rig.advance(ms(41));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
}

#[test]
fn rty_5_when_the_retries_are_used_up_the_last_error_is_the_verdict() {
    let mut rig = Rig::new(config().retries(2), &[1]);
    let a = rig.send("t-0", "a");
    for _ in 0..3 {
        assert_eq!(rig.verdict(a), "pending");
        rig.refuse_next(ErrorCode::NotEnoughReplicas);
        rig.advance(ms(1_000));
    }
    assert_eq!(rig.verdict(a), "NOT_ENOUGH_REPLICAS");
    rig.assert_nothing_left();
}

#[test]
fn rty_5_an_attempt_that_may_have_been_written_is_remembered() {
    let mut rig = Rig::new(config().retries(1), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicasAfterAppend);
    rig.advance(ms(1_000));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    assert_eq!(rig.verdict(a), "NOT_ENOUGH_REPLICAS, maybe written");
}

#[test]
fn rty_5_what_cannot_be_retried_fails_at_once_and_the_producer_goes_on() {
    let refusals = [
        (ErrorCode::MessageTooLarge, "MESSAGE_TOO_LARGE"),
        (ErrorCode::InvalidRecord, "INVALID_RECORD"),
        (ErrorCode::TopicAuthorizationFailed, "denied"),
        (ErrorCode::InvalidTimestamp, "INVALID_TIMESTAMP"),
        (ErrorCode::UnknownServerError, "UNKNOWN_SERVER_ERROR, maybe written"),
    ];
    for (code, verdict) in refusals {
        let mut rig = Rig::new(config(), &[1]);
        let a = rig.send("t-0", "a");
        rig.refuse_next(code);
        assert_eq!(rig.verdict(a), verdict);
        let b = rig.send("t-0", "b");
        rig.accept_next();
        assert_eq!(rig.verdict(b), "offset 0");
        rig.assert_nothing_left();
    }
}

/// Note c: the codes after which an idempotent producer is of no use; note d: the others go on.
#[test]
fn a_fatal_code_ends_the_writing_of_an_idempotent_producer_and_of_no_other() {
    for code in [ErrorCode::ClusterAuthorizationFailed, ErrorCode::InvalidProducerIdMapping] {
        for idempotence in [true, false] {
            let mut rig = Rig::new(config().idempotence(idempotence), &[1, 1]);
            let waiting = rig.send("t-0", "waiting");
            rig.refuse_next(ErrorCode::NotEnoughReplicas);
            let requests = ["x", "y", "z"].map(|value| (rig.send("t-1", value), rig.produce()));
            rig.refuse(&requests[0].1, code);
            let first = if idempotence { code.name() } else { "denied" };
            assert!([first, code.name()].contains(&rig.verdict(requests[0].0).as_str()));
            rig.accept(&requests[1].1);
            rig.cut(requests[2].1.connection);
            let later = rig.send("t-0", "later");
            rig.accept_all();
            let verdicts = [waiting, requests[2].0, later].map(|record| rig.verdict(record));
            if idempotence {
                // What was out counts as it was answered.
                assert_eq!(
                    verdicts,
                    [code.name(), "NETWORK_EXCEPTION, maybe written", code.name()]
                );
                let error = rig.records[later].2.verdict().unwrap().unwrap_err();
                assert!(matches!(error, SendError::Fatal { .. }), "{error}");
            } else {
                assert_eq!(verdicts, ["offset 0", "offset 1", "offset 1"]);
                assert_eq!(rig.verdict(requests[1].0), "offset 0");
            }
            rig.assert_nothing_left();
        }
    }
}

#[test]
fn exp_6_a_fatal_answer_to_an_expired_batch_ends_the_writing_too() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(1_000));
    let mut rig = Rig::new(config, &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(150));
    let request = rig.produce();
    rig.advance(ms(870));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    rig.refuse(&request, ErrorCode::ProducerFenced);
    let b = rig.send("t-0", "b");
    assert_eq!(rig.verdict(b), "PRODUCER_FENCED");
    rig.assert_nothing_left();
}

/// Milliseconds until the next connect to a broker.
fn until_connect(rig: &mut Rig, broker: i32) -> u64 {
    let before = rig.connects_to(broker);
    let mut waited = 0;
    while rig.connects_to(broker) == before {
        rig.advance(ms(1));
        waited += 1;
    }
    waited
}

#[test]
fn rty_8_a_broker_that_is_down_is_tried_ever_more_rarely() {
    let mut rig = Rig::new(config(), &[2]);
    rig.world.refused.insert(address_of(2));
    rig.send("t-0", "a");
    assert_eq!(rig.connects_to(2), 1);
    let longest = (1_000, 1_000);
    for (least, most) in [(40, 60), (80, 120), (160, 240), (320, 480), (640, 960), longest, longest]
    {
        let waited = until_connect(&mut rig, 2);
        assert!((least..=most + 1).contains(&waited), "{least} to {most}: {waited}");
    }
}

#[test]
fn rty_8_a_connection_that_was_up_starts_the_waits_anew() {
    let mut rig = Rig::new(config(), &[2]);
    rig.world.refused.insert(address_of(2));
    rig.send("t-0", "a");
    rig.advance(ms(3_000));
    rig.world.refused.clear();
    rig.advance(ms(1_000));
    let request = rig.produce();
    let before = rig.connects_to(2);
    rig.cut(request.connection);
    rig.advance(ms(39));
    assert_eq!(rig.connects_to(2), before, "a lost connection is not made again at once");
    rig.advance(ms(500));
    assert_eq!(rig.connects_to(2), before + 1);
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn rty_8_other_batches_do_not_hurry_a_lost_connection() {
    let config = config().idempotence(false).retries(0).in_flight_max(1);
    let mut rig = Rig::new(config, &[2]);
    let a = rig.send("t-0", "a");
    rig.send("t-0", "b");
    let request = rig.produce();
    let before = rig.connects_to(2);
    rig.cut(request.connection);
    assert_eq!(rig.verdict(a), "NETWORK_EXCEPTION, maybe written");
    assert_eq!(rig.connects_to(2), before, "b is ready, and waits as well");
    rig.advance(ms(61));
    assert_eq!(rig.connects_to(2), before + 1);
}

#[test]
fn rty_8_the_time_for_a_connect_doubles_with_each_failure() {
    let config = config()
        .connection_setup_timeout(ms(1_000))
        .connection_setup_timeout_max(ms(60_000))
        .reconnect_backoff(ms(1))
        .reconnect_backoff_max(ms(1));
    let mut rig = Rig::new(config, &[2]);
    rig.world.silent.insert(2);
    rig.send("t-0", "a");
    for (least, most) in [(800, 1_200), (1_600, 2_400), (3_200, 4_800)] {
        let waited = until_connect(&mut rig, 2);
        assert!((least..=most + 3).contains(&waited), "{least} to {most}: {waited}");
    }
}

#[test]
fn seq_4_a_retry_has_the_same_bytes() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    let first = rig.produce();
    rig.refuse(&first, ErrorCode::NotEnoughReplicas);
    rig.send("t-0", "c");
    assert_eq!(rig.sender.partitions[0].next_sequence, Sequence::new(2), "c is not drained yet");
    rig.advance(ms(120));
    let again = rig.produce();
    assert_eq!(first.batches(), again.batches());
    assert_eq!(again.correlation, first.correlation + 1);
    rig.accept(&again);
    rig.accept_next();
    rig.assert_nothing_left();
}
