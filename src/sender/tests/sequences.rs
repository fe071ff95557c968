//! Idempotence: the producer id, sequences, and starting again after a failure.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire;
use crate::ids::Sequence;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

fn give_identity(rig: &mut Rig, id: i64, epoch: i16) {
    let request = rig.request(ApiKey::InitProducerId);
    let answer = wire::identity_answer(&request, ErrorCode::None, (id, epoch));
    rig.world.answer(&request, answer);
    rig.run();
}

fn refuse_identity(rig: &mut Rig, error: ErrorCode) {
    let request = rig.request(ApiKey::InitProducerId);
    let answer = wire::identity_answer(&request, error, (-1, -1));
    rig.world.answer(&request, answer);
    rig.run();
}

#[test]
fn seq_1_the_producer_id_is_asked_before_there_are_records() {
    let rig = Rig::new(config(), &[1]);
    assert_eq!(rig.count(ApiKey::InitProducerId), 1);
    assert!(rig.sender.identity.is_settled());
}

#[test]
fn seq_1_the_producer_id_is_asked_when_answers_overtake_the_end_of_their_requests() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.stalled.extend([1, 2, 3]);
    rig.run();
    for _ in 0..20 {
        // Each answer arrives before the driver is done with the request's frame.
        rig.world.return_frames();
        rig.run();
    }
    assert_eq!(rig.count(ApiKey::InitProducerId), 1);
    rig.world.stalled.clear();
    rig.send("t-0", "a");
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn seq_1_without_idempotence_no_producer_id_is_asked() {
    let mut rig = Rig::new(config().idempotence(false), &[1]);
    rig.send("t-0", "a");
    assert_eq!(rig.accept_next(), "1: t-0 [a]");
    assert_eq!(rig.count(ApiKey::InitProducerId), 0);
}

#[test]
fn seq_2_seq_3_each_partition_counts_its_own_records_from_zero() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.batch("t-0", &["a", "b", "c"]);
    rig.run();
    rig.send("t-0", "d");
    rig.send("t-1", "e");
    let mut pending = rig.pending();
    pending.sort();
    assert_eq!(pending, ["1: t-0 7000/0@0 [a b c]", "1: t-0 7000/0@3 [d]", "2: t-1 7000/0@0 [e]"]);
}

#[test]
fn seq_3_sequences_wrap_to_zero() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "first");
    rig.accept_next();
    rig.sender.partitions[0].next_sequence = Sequence::new(i32::MAX - 1);
    rig.batch("t-0", &["a", "b", "c"]);
    rig.run();
    rig.send("t-0", "d");
    assert_eq!(rig.pending(), ["1: t-0 7000/0@2147483646 [a b c]", "1: t-0 7000/0@1 [d]"]);
}

#[test]
fn seq_5_an_acknowledged_batch_leaves_the_set_in_flight() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    assert_eq!(rig.sender.partitions[0].unsettled.len(), 2);
    rig.accept_next();
    assert_eq!(rig.sender.partitions[0].unsettled.len(), 1);
    rig.accept_next();
    assert_eq!(rig.sender.partitions[0].unsettled.len(), 0);
    rig.assert_nothing_left();
}

#[test]
fn seq_6_after_a_failed_batch_the_later_ones_arrive_in_order_under_a_new_epoch() {
    let mut rig = Rig::new(config(), &[1]);
    let bad = rig.send("t-0", "bad");
    let good: Vec<_> = ["b", "c", "d", "e", "f"].iter().map(|v| rig.send("t-0", v)).collect();
    rig.refuse_next(ErrorCode::InvalidRecord);
    assert_eq!(rig.verdict(bad), "INVALID_RECORD");
    for _ in 0..4 {
        // Behind the gap each one is out of order, and the log takes none.
        rig.accept_next();
    }
    assert!(rig.log("t-0").is_empty());
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["b", "c", "d", "e", "f"]);
    let offsets: Vec<_> = good.iter().map(|record| rig.verdict(*record)).collect();
    assert_eq!(offsets, ["offset 0", "offset 1", "offset 2", "offset 3", "offset 4"]);
    assert_eq!(rig.sender.partitions[0].identity.epoch, 1);
    rig.assert_nothing_left();
}

#[test]
fn seq_6_other_partitions_keep_their_sequences_until_theirs_are_answered() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.send("t-1", "p");
    rig.send("t-1", "q");
    rig.send("t-0", "bad");
    let at = rig.world.inbox.iter().position(|arrived| arrived.broker == 1).unwrap();
    let bad = rig.world.inbox.remove(at).unwrap();
    rig.refuse(&bad, ErrorCode::InvalidRecord);
    // An old retry is still sent under the old epoch.
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.accept_next();
    rig.advance(ms(300));
    assert_eq!(rig.pending(), ["2: t-1 7000/0@0 [p]"]);
    rig.send("t-1", "r");
    rig.accept_all();
    assert_eq!(rig.log("t-1"), ["p", "q", "r"]);
    assert_eq!(rig.sender.partitions[0].identity.epoch, 1);
    rig.assert_nothing_left();
}

#[test]
fn seq_6_two_partitions_that_fail_share_one_new_epoch_or_take_one_each() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "bad");
    rig.send("t-1", "bad");
    rig.refuse_next(ErrorCode::InvalidRecord);
    rig.refuse_next(ErrorCode::InvalidRecord);
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    assert_eq!(rig.pending(), ["1: t-0 7000/1@0 [a]", "1: t-1 7000/1@0 [b]"]);
    rig.accept_all();
    rig.assert_nothing_left();
}

#[test]
fn seq_6_the_last_epoch_is_followed_by_a_new_producer_id() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.identity = (7000, i16::MAX);
    rig.run();
    rig.world.identity = (8000, 0);
    rig.send("t-0", "bad");
    rig.send("t-0", "a");
    assert_eq!(rig.refuse_next(ErrorCode::InvalidRecord), "1: t-0 7000/32767@0 [bad]");
    rig.advance(ms(200));
    assert_eq!(rig.accept_next(), "1: t-0 8000/0@0 [a]");
    assert_eq!(rig.log("t-0"), ["a"]);
    rig.assert_nothing_left();
}

#[test]
fn a_batch_whose_answer_was_lost_is_not_written_twice() {
    let mut rig = Rig::new(config(), &[1]);
    let sent: Vec<_> = ["a", "b", "c"].iter().map(|v| rig.send("t-0", v)).collect();
    let requests = [rig.produce(), rig.produce(), rig.produce()];
    for request in &requests[..2] {
        // Written, and the connection is gone before the answer is.
        let _ = rig.world.produce_answer(request);
    }
    rig.cut(requests[0].connection);
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    let offsets: Vec<_> = sent.iter().map(|record| rig.verdict(*record)).collect();
    assert_eq!(offsets, ["offset 0", "offset 1", "offset 2"]);
    rig.assert_nothing_left();
}

#[test]
fn seq_8_behind_a_retry_that_may_have_been_written_nothing_is_written_twice() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config.reconnect_backoff(ms(400)), &[1]);
    let a = rig.send("t-0", "a");
    rig.advance(ms(700));
    let b = rig.send("t-0", "b");
    let requests = [rig.produce(), rig.produce()];
    requests.iter().for_each(|request| drop(rig.world.produce_answer(request)));
    // Both were written, both answers are lost, and `a` expires before it can be asked for again.
    rig.cut(requests[0].connection);
    rig.advance(ms(300));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    rig.accept_all();
    assert_eq!(rig.verdict(b), "offset 1");
    assert_eq!(rig.log("t-0"), ["a", "b"]);
    rig.assert_nothing_left();
}

#[test]
fn seq_8_behind_a_retry_that_was_not_written_the_rest_starts_again() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config.reconnect_backoff(ms(400)), &[1]);
    let a = rig.send("t-0", "a");
    rig.advance(ms(700));
    let b = rig.send("t-0", "b");
    let requests = [rig.produce(), rig.produce()];
    rig.cut(requests[0].connection);
    let c = rig.send("t-0", "c");
    rig.advance(ms(300));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    rig.accept_all();
    assert_eq!(rig.verdict(b), "OUT_OF_ORDER_SEQUENCE_NUMBER, maybe written");
    assert_eq!(rig.log("t-0"), ["c"]);
    assert_eq!(rig.verdict(c), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn seq_12_a_refused_producer_id_fails_what_is_queued_and_later_records_fare_better() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.held.push(ApiKey::InitProducerId);
    rig.run();
    let a = rig.send("t-0", "a");
    refuse_identity(&mut rig, ErrorCode::ClusterAuthorizationFailed);
    assert_eq!(rig.verdict(a), "denied");
    rig.advance(ms(200));
    let b = rig.send("t-0", "b");
    give_identity(&mut rig, 9, 0);
    assert_eq!(rig.accept_next(), "1: t-0 9/0@0 [b]");
    assert_eq!(rig.verdict(b), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn a_producer_id_that_is_not_to_be_had_now_is_asked_again_after_a_wait() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.held.push(ApiKey::InitProducerId);
    rig.run();
    let a = rig.send("t-0", "a");
    refuse_identity(&mut rig, ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(rig.count(ApiKey::InitProducerId), 1);
    rig.advance(ms(120));
    assert_eq!(rig.count(ApiKey::InitProducerId), 2);
    let connection = rig.request(ApiKey::InitProducerId).connection;
    rig.cut(connection);
    rig.advance(ms(1_000));
    give_identity(&mut rig, 9, 0);
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

/// A broker that takes a partition over answers with a retriable error at one moment, and takes
/// whatever comes first at the next.
#[test]
fn the_first_batch_of_a_producer_goes_alone_and_no_other_can_overtake_it() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.run();
    let records = ["a", "b", "c"].map(|value| rig.send("t-0", value));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    assert_eq!(records.map(|record| rig.verdict(record)), ["offset 0", "offset 1", "offset 2"]);
    // From now on the broker refuses what is out of order, and they may go together.
    for value in ["d", "e", "f"] {
        rig.send("t-0", value);
    }
    assert_eq!(rig.pending().len(), 3);
    rig.accept_all();
    rig.assert_nothing_left();
}
