//! Brokers that refuse a sequence, or know nothing of the producer.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire;
use crate::ids::Sequence;
use crate::protocol::error_code::ErrorCode;

#[test]
fn meta_4_a_duplicate_that_the_broker_forgot_is_a_success_without_an_offset() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::DuplicateSequenceNumber);
    assert_eq!(rig.verdict(a), "written");
    rig.assert_nothing_left();
}

#[test]
fn oos_2_a_first_batch_that_the_broker_does_not_expect_starts_again() {
    for code in [ErrorCode::OutOfOrderSequenceNumber, ErrorCode::UnknownProducerId] {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", "a");
        rig.accept_next();
        // The broker forgot the producer.
        rig.send("t-0", "b");
        rig.send("t-0", "c");
        assert_eq!(rig.refuse_next(code), "1: t-0 7000/0@1 [b]");
        rig.refuse_next(code);
        rig.accept_all();
        assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
        assert_eq!(rig.sender.partitions[0].identity.epoch, 1);
        rig.assert_nothing_left();
    }
}

/// Answers the oldest request as a broker that has nothing of the producer.
fn forget(rig: &mut Rig, log_start: i64) {
    let request = rig.produce();
    let error = ErrorCode::UnknownProducerId;
    let said: Vec<_> = request
        .batches()
        .iter()
        .map(|_| wire::Said { log_start, ..wire::Said::refused(error) })
        .collect();
    let answer = wire::produce_answer(&request, &said, 0);
    rig.world.answer(&request, answer);
    rig.run();
}

#[test]
fn oos_1_behind_a_batch_that_is_to_be_sent_again_nothing_is_numbered_anew() {
    let mut rig = Rig::new(config(), &[1]);
    let records = ["a", "b", "c"].map(|value| rig.send("t-0", value));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    assert_eq!(records.map(|record| rig.verdict(record)), ["offset 0", "offset 1", "offset 2"]);
    assert_eq!(rig.sender.partitions[0].identity.epoch, 0);
    rig.assert_nothing_left();
}

#[test]
fn oos_4_when_the_retries_are_used_up_the_batch_fails_and_the_rest_starts_again() {
    let mut rig = Rig::new(config().retries(1), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.advance(ms(150));
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(rig.verdict(a), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    let b = rig.send("t-0", "b");
    rig.accept_all();
    assert_eq!(rig.verdict(b), "offset 0");
    assert_eq!(rig.log("t-0"), ["b"]);
    rig.assert_nothing_left();
}

#[test]
fn upi_1_a_broker_that_does_not_know_its_logs_beginning_is_asked_again_with_the_same_batch() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.accept_next();
    let b = rig.send("t-0", "b");
    forget(&mut rig, -1);
    rig.advance(ms(150));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn upi_3_upi_4_a_forgotten_producer_starts_again_under_a_new_epoch() {
    for log_start in [0, 1000] {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", "a");
        rig.accept_next();
        let b = rig.send("t-0", "b");
        forget(&mut rig, log_start);
        rig.advance(ms(150));
        assert_eq!(rig.accept_next(), "1: t-0 7000/1@0 [b]");
        assert_eq!(rig.verdict(b), "offset 1");
        rig.assert_nothing_left();
    }
}

#[test]
fn upi_4_a_batch_that_may_have_been_written_is_not_sent_to_a_broker_that_forgot_the_producer() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    // Written, but the answer is lost; then retention takes what the broker knew.
    let request = rig.produce();
    drop(rig.world.produce_answer(&request));
    rig.cut(request.connection);
    rig.advance(ms(200));
    forget(&mut rig, 0);
    assert_eq!(rig.verdict(a), "UNKNOWN_PRODUCER_ID, maybe written");
    let b = rig.send("t-0", "b");
    rig.accept_all();
    assert_eq!(rig.verdict(b), "offset 1");
    assert_eq!(rig.log("t-0"), ["a", "b"]);
    rig.assert_nothing_left();
}

/// Five batches in flight around the end of the numbers: lost answers, retries and a failure. The
/// order of batches is counted apart, so no comparison of sequences can go wrong there.
#[test]
fn seq_11_retries_and_failures_around_the_wrap_keep_order_and_write_once() {
    for refused in [None, Some(0), Some(2), Some(4)] {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", "first");
        rig.accept_next();
        rig.sender.partitions[0].next_sequence = Sequence::new(i32::MAX - 4);
        rig.world.logs.expect("t", 0, i32::MAX - 4);
        let sent: Vec<_> = ["a1 a2", "b1 b2", "c1 c2", "d1 d2", "e1 e2"]
            .iter()
            .map(|values| {
                let values: Vec<_> = values.split(' ').collect();
                let record = rig.batch("t-0", &values);
                rig.run();
                record
            })
            .collect();
        let requests: Vec<_> = (0..5).map(|_| rig.produce()).collect();
        for (at, request) in requests.iter().enumerate() {
            if Some(at) == refused {
                rig.refuse(request, ErrorCode::InvalidRecord);
            } else if at == 3 {
                // Written or out of order; either way nobody hears of it.
                drop(rig.world.produce_answer(request));
                rig.cut(request.connection);
                break;
            } else {
                rig.accept(request);
            }
        }
        rig.accept_all();
        let mut expected = vec!["first".to_owned()];
        for (at, name) in ["a", "b", "c", "d", "e"].iter().enumerate() {
            // Only what was answered before the connection went is refused for good.
            if refused == Some(at) && at < 3 {
                assert_eq!(rig.verdict(sent[at]), "INVALID_RECORD");
                continue;
            }
            assert!(rig.verdict(sent[at]).starts_with("offset"), "{}", rig.verdict(sent[at]));
            expected.extend([format!("{name}1"), format!("{name}2")]);
        }
        assert_eq!(rig.log("t-0"), expected, "refused: {refused:?}");
        rig.assert_nothing_left();
    }
}

/// Java numbers the second batch anew, and it stands twice in the log.
#[test]
fn a_request_that_a_broker_still_holds_may_be_written_behind_one_that_was_given_up() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config.reconnect_backoff(ms(400)), &[1]);
    let a = rig.send("t-0", "a");
    rig.advance(ms(700));
    let b = rig.send("t-0", "b");
    let late = [rig.produce(), rig.produce()];
    rig.cut(late[0].connection);
    rig.advance(ms(300));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    rig.advance(ms(300));
    // The broker sees the new connection's request before the ones it still holds of the old one.
    rig.accept_next();
    late.iter().for_each(|request| drop(rig.world.produce_answer(request)));
    assert_eq!(rig.verdict(b), "OUT_OF_ORDER_SEQUENCE_NUMBER, maybe written");
    let c = rig.send("t-0", "c");
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    assert_eq!(rig.verdict(c), "offset 2");
    rig.assert_nothing_left();
}

#[test]
fn seq_9_when_the_retries_are_used_up_the_broker_may_have_the_batch_and_the_rest_starts_again() {
    for written in [true, false] {
        let mut rig = Rig::new(config().retries(1), &[1]);
        let a = rig.send("t-0", "a");
        rig.refuse_next(ErrorCode::NotEnoughReplicasAfterAppend);
        rig.advance(ms(150));
        let request = rig.produce();
        if written {
            drop(rig.world.produce_answer(&request));
        }
        rig.refuse(&request, ErrorCode::NotEnoughReplicasAfterAppend);
        assert_eq!(rig.verdict(a), "NOT_ENOUGH_REPLICAS_AFTER_APPEND, maybe written");
        let b = rig.send("t-0", "b");
        assert_eq!(rig.accept_next(), "1: t-0 7000/1@0 [b]");
        assert_eq!(rig.verdict(b), format!("offset {}", usize::from(written)));
        rig.assert_nothing_left();
    }
}

/// In Java such a batch is rewritten while it is out, and its old number draws an error.
#[test]
fn seq_10_upi_2_a_batch_is_numbered_anew_when_it_is_out_no_more_and_may_be_refused_again() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "bad");
    let b = rig.send("t-0", "b");
    rig.refuse_next(ErrorCode::InvalidRecord);
    let c = rig.send("t-0", "c");
    rig.advance(ms(50));
    // The new epoch waits for the answer to the old number, and what is new waits for that.
    assert_eq!(rig.pending(), ["1: t-0 7000/0@1 [b]"]);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    rig.advance(ms(150));
    assert_eq!(rig.pending(), ["1: t-0 7000/1@0 [b]", "1: t-0 7000/1@1 [c]"]);
    forget(&mut rig, 0);
    rig.accept_all();
    assert_eq!([b, c].map(|record| rig.verdict(record)), ["offset 0", "offset 1"]);
    assert_eq!(rig.log("t-0"), ["b", "c"]);
    rig.assert_nothing_left();
}
