//! Telemetry: who is asked, when it is pushed, and what ends it (KIP-714).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::super::telemetry::{MeasureError, Payload};
use super::super::{Sender, SenderOptions};
use super::rig::{Rig, config, ms};
use super::wire::{self, Arrived, Pushed, Wants};
use crate::config::ConfigBuilder;
use crate::ids::ClientInstanceId;
use crate::protocol::api::ApiKey;
use crate::protocol::compression::Codec;
use crate::protocol::error_code::ErrorCode;

const ASK: ApiKey = ApiKey::GetTelemetrySubscriptions;
const PUSH: ApiKey = ApiKey::PushTelemetry;

/// What a broker speaks that has a plug-in for telemetry.
fn everything() -> Vec<(ApiKey, i16, i16)> {
    let range = |api: ApiKey| (api, api.versions().min, api.versions().max);
    ApiKey::ALL.into_iter().map(range).collect()
}

/// A sender that has done nothing; these brokers have telemetry.
fn cold(config: ConfigBuilder, leaders: &[i32], speakers: &[i32]) -> Rig {
    let mut rig = Rig::cold(config, leaders);
    for broker in speakers {
        rig.world.ranges.insert(*broker, everything());
    }
    rig
}

/// A sender whose brokers all have telemetry, and that has asked one of them.
fn asked() -> Rig {
    let mut rig = cold(config(), &[1], &[1, 2, 3]);
    rig.advance(ms(200));
    assert_eq!(rig.count(ASK), 1);
    rig
}

/// Answers what is to be measured.
fn measured(rig: &mut Rig) {
    let _ = rig.measuring.pop().expect("metrics are asked for");
    let payload = Payload { codec: Codec::Zstd, bytes: b"metrics".to_vec() };
    rig.sender.handle_measured(Ok(payload), rig.now);
    rig.run();
}

/// Lets time pass until metrics are asked for, at most so long; how long it was.
fn until_measured(rig: &mut Rig, limit: Duration) -> Option<Duration> {
    let start = rig.now;
    while rig.measuring.is_empty() {
        if rig.now >= start + limit {
            return None;
        }
        rig.advance(ms(10));
    }
    Some(rig.now - start)
}

/// The first push has arrived, and nobody has answered it.
fn pushing() -> Rig {
    let mut rig = asked();
    rig.world.held.push(PUSH);
    until_measured(&mut rig, ms(15_100)).expect("the first push");
    measured(&mut rig);
    rig
}

fn answer_push(rig: &mut Rig, error: ErrorCode) -> Arrived {
    let request = rig.request(PUSH);
    rig.world.answer(&request, wire::push_answer(&request, error));
    rig.run();
    request
}

fn answer_question(rig: &mut Rig, wants: &Wants) -> Arrived {
    let request = rig.request(ASK);
    rig.world.answer(&request, wire::subscriptions_answer(&request, wants));
    rig.run();
    request
}

#[test]
fn tel_1_nothing_is_asked_where_it_is_switched_off() {
    let mut rig = cold(config().metrics_push(false), &[1], &[1, 2, 3]);
    rig.advance(ms(1_000_000));
    assert_eq!((rig.count(ASK), rig.count(PUSH)), (0, 0));
}

#[test]
fn tel_1_brokers_without_both_requests_are_not_asked_and_no_timer_is_set_for_them() {
    let without = |left_out: ApiKey| {
        let mut ranges = everything();
        ranges.retain(|(api, ..)| *api != left_out);
        ranges
    };
    for left_out in [ASK, PUSH] {
        let mut rig = Rig::cold(config(), &[1]);
        (1..=3).for_each(|broker| drop(rig.world.ranges.insert(broker, without(left_out))));
        rig.advance(ms(1_000));
        assert_eq!(rig.count(ASK), 0);
        let mut plain = Rig::cold(config(), &[1]);
        plain.advance(ms(1_000));
        let waits = |rig: &Rig| rig.sender.poll_timeout().map(|at| at - rig.now);
        assert_eq!(waits(&rig), waits(&plain), "as where nothing of it is known");
    }
}

#[test]
fn tel_1_the_first_question_has_a_zero_id_and_the_id_given_is_kept_for_life() {
    let mut rig = cold(config(), &[1], &[1, 2, 3]);
    rig.world.held.extend([ASK, PUSH]);
    rig.advance(ms(200));
    let wants = rig.world.wants.clone();
    assert_eq!(rig.cluster.instance(), None);
    let first = answer_question(&mut rig, &wants);
    assert_eq!(first.instance(), [0; 16]);
    assert_eq!(rig.cluster.instance(), Some(ClientInstanceId([7; 16])));
    until_measured(&mut rig, ms(15_100)).expect("the first push");
    measured(&mut rig);
    let push = answer_push(&mut rig, ErrorCode::UnknownSubscriptionId);
    assert_eq!((push.pushed().instance, push.pushed().subscription), ([7; 16], 70));
    // Another broker might give another id.
    let wants = Wants { instance: [8; 16], subscription: 71, ..wants };
    assert_eq!(answer_question(&mut rig, &wants).instance(), [7; 16]);
    until_measured(&mut rig, ms(15_100)).expect("another push");
    measured(&mut rig);
    let push = rig.request(PUSH);
    assert_eq!((push.pushed().instance, push.pushed().subscription), ([7; 16], 71));
    assert_eq!(rig.cluster.instance(), Some(ClientInstanceId([7; 16])));
}

#[test]
fn tel_1_a_cluster_that_gives_no_id_with_its_answer_may_give_one_later() {
    let mut rig = cold(config(), &[1], &[1, 2, 3]);
    rig.world.held.push(ASK);
    rig.advance(ms(200));
    let wants = Wants { instance: [0; 16], requested: Vec::new(), ..rig.world.wants.clone() };
    answer_question(&mut rig, &wants);
    assert_eq!(rig.cluster.instance(), None, "a zero is none");
    rig.advance(ms(11_000));
    answer_question(&mut rig, &Wants { instance: [7; 16], ..wants });
    assert_eq!(rig.cluster.instance(), Some(ClientInstanceId([7; 16])), "also with nothing wanted");
}

#[test]
fn tel_1_only_the_shard_that_writes_the_metadata_asks() {
    let first = asked();
    let mut rig = cold(config(), &[1], &[1, 2, 3]);
    let settings = Arc::new(config().settings().unwrap());
    rig.cluster = Arc::clone(&first.cluster);
    let (cluster, memory) = (Arc::clone(&rig.cluster), Arc::clone(&rig.accumulator));
    // The other shards have no bootstrap servers.
    let options =
        SenderOptions { settings, bootstrap: Vec::new(), seed: 7, meters: Arc::default() };
    rig.sender = Sender::new(options, memory, cluster, rig.now);
    rig.advance(ms(30_000));
    assert_eq!((rig.count(ApiKey::InitProducerId), rig.count(ASK)), (1, 0));
}

#[test]
fn tel_2_where_nothing_is_wanted_the_question_is_put_again_after_the_interval() {
    let mut rig = cold(config(), &[1], &[1, 2, 3]);
    rig.world.wants.requested.clear();
    rig.advance(ms(200));
    rig.advance(ms(9_700));
    assert_eq!(rig.count(ASK), 1);
    rig.advance(ms(300));
    assert_eq!(rig.count(ASK), 2);
    assert!(rig.measuring.is_empty());
    rig.world.wants.requested = vec!["org.apache.kafka.producer.".to_owned()];
    rig.advance(ms(10_100));
    assert_eq!(rig.count(ASK), 3);
    until_measured(&mut rig, ms(15_100)).expect("now something is wanted");
    assert_eq!(rig.measuring[0].requested, ["org.apache.kafka.producer."]);
}

#[test]
fn tel_3_the_first_push_comes_after_half_to_one_and_a_half_intervals_then_one_each() {
    let mut rig = asked();
    let first = until_measured(&mut rig, ms(15_100)).expect("the first push");
    assert!(first >= ms(4_700), "{first:?}");
    for pushes in 1..5 {
        measured(&mut rig);
        assert_eq!(rig.count(PUSH), pushes);
        let next = until_measured(&mut rig, ms(10_100)).expect("the next push");
        assert!(next >= ms(9_900), "{next:?}");
    }
    assert_eq!(rig.count(ASK), 1);
}

#[test]
fn tel_3_what_was_measured_arrives() {
    let mut rig = pushing();
    let pushed = Pushed {
        instance: [7; 16],
        subscription: 70,
        terminating: false,
        codec: Codec::Zstd as i8,
        metrics: b"metrics".to_vec(),
    };
    assert_eq!(*rig.request(PUSH).pushed(), pushed);
}

#[test]
fn tel_3_an_interval_that_is_none_is_five_minutes_and_one_too_short_is_kafka_s_shortest() {
    for (asked_ms, interval) in [(0, ms(300_000)), (-5, ms(300_000)), (1, ms(100))] {
        let mut rig = cold(config(), &[1], &[1, 2, 3]);
        rig.world.wants.interval_ms = asked_ms;
        rig.advance(ms(40));
        until_measured(&mut rig, interval * 2).expect("the first push");
        measured(&mut rig);
        let next = until_measured(&mut rig, interval + ms(100)).expect("the next push");
        assert!(next >= interval - ms(10), "{next:?}");
    }
}

#[test]
fn tel_4_the_same_broker_is_asked_while_it_works_and_another_one_then() {
    let mut rig = asked();
    let of_telemetry = |rig: &Rig| {
        let seen = rig.world.seen.iter().filter(|(_, api)| [ASK, PUSH].contains(api));
        seen.map(|(broker, _)| *broker).collect::<Vec<_>>()
    };
    let first = of_telemetry(&rig)[0];
    rig.sender.handle_warm_up(1, vec![("t".into(), 0)], rig.now);
    for _ in 0..4 {
        until_measured(&mut rig, ms(15_100)).expect("a push");
        measured(&mut rig);
    }
    assert_eq!(of_telemetry(&rig), [first; 5]);
    // An idle connection that was closed is made again.
    let of = |rig: &Rig, id| rig.world.open.iter().find(|(_, at)| **at == id).map(|(at, _)| *at);
    let connection = of(&rig, first).expect("it is up");
    rig.cut(connection);
    until_measured(&mut rig, ms(15_100)).expect("a push");
    measured(&mut rig);
    assert_eq!(of_telemetry(&rig), [first; 6]);
    rig.stop_broker(first);
    until_measured(&mut rig, ms(15_100)).expect("a push");
    measured(&mut rig);
    assert_ne!(of_telemetry(&rig)[6], first);
}

#[test]
fn tel_5_a_refused_push_has_the_subscription_asked_for_at_once_or_later_or_never() {
    use ErrorCode as E;
    for (error, from, to) in [
        (E::UnknownSubscriptionId, 0, 100),
        (E::UnsupportedCompressionType, 0, 100),
        (E::TelemetryTooLarge, 9_900, 10_200),
        (E::ThrottlingQuotaExceeded, 9_900, 10_200),
    ] {
        let mut rig = pushing();
        answer_push(&mut rig, error);
        if from > 0 {
            rig.advance(ms(from));
            assert_eq!(rig.count(ASK), 1, "{error}");
        }
        rig.advance(ms(to - from));
        assert_eq!(rig.count(ASK), 2, "{error}");
    }
    for error in [
        E::InvalidRequest,
        E::InvalidRecord,
        E::UnsupportedVersion,
        E::ClusterAuthorizationFailed,
        E::UnknownServerError,
    ] {
        let mut rig = pushing();
        answer_push(&mut rig, error);
        rig.advance(ms(700_000));
        assert_eq!((rig.count(ASK), rig.count(PUSH)), (1, 1), "{error}");
    }
}

#[test]
fn tel_5_a_refused_question_is_put_again_later_or_never_but_not_for_ever_at_once() {
    use ErrorCode as E;
    for (error, questions) in [
        (E::InvalidRequest, 1..=1),
        (E::UnknownServerError, 1..=1),
        (E::ThrottlingQuotaExceeded, 4..=4),
        (E::UnknownSubscriptionId, 500..=1_001),
    ] {
        let mut rig = cold(config(), &[1], &[1, 2, 3]);
        rig.world.wants.error = error;
        for _ in 0..1_000 {
            rig.advance(ms(1_000));
        }
        assert!(questions.contains(&rig.count(ASK)), "{error}: {}", rig.count(ASK));
        assert_eq!(rig.count(PUSH), 0);
    }
}

#[test]
fn tel_5_after_a_lost_request_five_minutes_pass() {
    let mut rig = pushing();
    let connection = rig.request(PUSH).connection;
    rig.cut(connection);
    rig.advance(ms(299_000));
    assert_eq!(rig.count(ASK), 1);
    rig.advance(ms(1_500));
    assert_eq!(rig.count(ASK), 2);
}

/// Starts a close with ten seconds, and lets happen what can.
fn close(rig: &mut Rig) {
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.run();
}

#[test]
fn tel_6_a_close_ends_with_one_push_that_says_so_and_waits_for_its_answer() {
    let mut rig = asked();
    rig.world.held.push(PUSH);
    rig.send("t-0", "a");
    close(&mut rig);
    assert!(rig.measuring.is_empty(), "data goes first (TEL-8)");
    rig.accept_next();
    measured(&mut rig);
    assert!(!rig.ended);
    assert!(answer_push(&mut rig, ErrorCode::None).pushed().terminating);
    assert!(rig.ended);
    assert_eq!(rig.count(PUSH), 1);
    rig.assert_nothing_left();
}

#[test]
fn tel_6_the_last_push_follows_one_that_is_not_answered() {
    let mut rig = pushing();
    close(&mut rig);
    measured(&mut rig);
    assert!(!answer_push(&mut rig, ErrorCode::ThrottlingQuotaExceeded).pushed().terminating);
    assert!(!rig.ended);
    assert!(answer_push(&mut rig, ErrorCode::None).pushed().terminating);
    assert!(rig.ended);
}

#[test]
fn tel_6_metrics_that_were_being_measured_go_before_the_last_ones() {
    let mut rig = asked();
    rig.world.held.push(PUSH);
    until_measured(&mut rig, ms(15_100)).expect("the first push");
    close(&mut rig);
    measured(&mut rig);
    measured(&mut rig);
    assert!(!answer_push(&mut rig, ErrorCode::None).pushed().terminating);
    assert!(answer_push(&mut rig, ErrorCode::None).pushed().terminating);
    assert!(rig.ended && rig.measuring.is_empty());
}

#[test]
fn tel_6_the_answer_is_not_waited_for_beyond_the_close() {
    let mut rig = asked();
    rig.world.held.push(PUSH);
    close(&mut rig);
    measured(&mut rig);
    rig.advance(ms(9_900));
    assert!(!rig.ended);
    rig.advance(ms(200));
    assert!(rig.ended);
}

#[test]
fn tel_6_without_a_subscription_or_a_connection_there_is_no_last_push() {
    let mut nothing_wanted = cold(config(), &[1], &[1, 2, 3]);
    nothing_wanted.world.wants.requested.clear();
    nothing_wanted.advance(ms(200));
    let mut unanswered = cold(config(), &[1], &[1, 2, 3]);
    unanswered.world.held.push(ASK);
    unanswered.advance(ms(200));
    let mut cut_off = asked();
    (1..=3).for_each(|broker| cut_off.stop_broker(broker));
    for mut rig in [nothing_wanted, unanswered, cut_off] {
        close(&mut rig);
        assert!(rig.ended && rig.measuring.is_empty());
        assert_eq!(rig.count(PUSH), 0);
    }
}

#[test]
fn tel_6_a_last_push_that_is_lost_or_cannot_be_made_ends_the_close() {
    let mut rig = asked();
    rig.world.held.push(PUSH);
    close(&mut rig);
    measured(&mut rig);
    let connection = rig.request(PUSH).connection;
    rig.cut(connection);
    assert!(rig.ended);
    let mut rig = asked();
    close(&mut rig);
    rig.measuring.clear();
    rig.sender.handle_measured(Err(MeasureError::Panicked), rig.now);
    rig.run();
    assert!(rig.ended);
}

#[test]
fn tel_8_the_question_comes_behind_the_records_that_wait_for_the_same_connection() {
    let mut rig = cold(config(), &[1], &[1]);
    rig.world.brokers.truncate(1);
    rig.append("t-0", "a");
    rig.advance(ms(200));
    let of_broker = |api: &ApiKey| [ApiKey::Produce, ASK].contains(api);
    let order: Vec<_> = rig.world.seen.iter().map(|(_, api)| *api).filter(of_broker).collect();
    assert_eq!(order, [ApiKey::Produce, ASK]);
}

#[test]
fn tel_8_a_connection_that_is_being_written_to_is_left_alone() {
    let mut rig = cold(config(), &[1], &[1]);
    rig.world.brokers.truncate(1);
    rig.advance(ms(200));
    assert_eq!(rig.count(ASK), 1);
    rig.world.stalled.insert(1);
    let a = rig.send("t-0", "a");
    // A second frame would fail the test (NET-1).
    rig.advance(ms(16_000));
    assert!(rig.measuring.is_empty(), "what is measured now would be old");
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    until_measured(&mut rig, ms(100)).expect("the push was due");
    rig.world.stalled.insert(1);
    let b = rig.send("t-0", "b");
    measured(&mut rig);
    rig.advance(ms(1_000));
    assert_eq!(rig.count(PUSH), 0, "what was measured waits");
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.advance(ms(100));
    assert_eq!(rig.count(PUSH), 1);
    rig.accept_next();
    assert_eq!(rig.verdict(b), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn tel_8_metrics_that_cannot_be_made_are_left_out_until_the_next_push() {
    let mut rig = asked();
    until_measured(&mut rig, ms(15_100)).expect("the first push");
    rig.measuring.clear();
    let error = MeasureError::TooLarge { bytes: 2_000_000, limit: 1 << 20 };
    rig.sender.handle_measured(Err(error), rig.now);
    let next = until_measured(&mut rig, ms(10_100)).expect("the next push");
    assert!(next >= ms(9_900), "{next:?}");
    assert_eq!(rig.count(PUSH), 0);
    measured(&mut rig);
    assert_eq!(rig.count(PUSH), 1);
}
