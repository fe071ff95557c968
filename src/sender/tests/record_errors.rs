//! Refusals that name records (KIP-467): who is told what.
#![forbid(unsafe_code)]

use super::rig::{Rig, config};
use super::wire;
use crate::error::SendError;
use crate::protocol::error_code::ErrorCode;

/// Sends a batch and has it refused so.
fn refused(
    rig: &mut Rig,
    values: &[&str],
    error: ErrorCode,
    message: Option<&str>,
    named: &[(i32, Option<&str>)],
) {
    rig.batch("t-0", values);
    rig.run();
    let request = rig.produce();
    let answer = wire::record_errors_answer(&request, error, message, named);
    rig.world.answer(&request, answer);
    rig.run();
}

fn verdicts(rig: &Rig) -> Vec<String> {
    (0..rig.records.len()).map(|record| rig.verdict(record)).collect()
}

fn message(rig: &Rig, record: usize) -> Option<String> {
    match rig.records[record].2.verdict().unwrap().unwrap_err() {
        SendError::Rejected { message, .. } => message.map(|text| text.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn kip_467_a_single_named_record_gets_the_code_and_the_others_are_told_to_come_again() {
    let mut rig = Rig::new(config(), &[1]);
    let named = [(1, Some("from the future"))];
    refused(&mut rig, &["a", "b", "c"], ErrorCode::InvalidTimestamp, Some("all"), &named);
    assert_eq!(verdicts(&rig), ["invalid-batch", "INVALID_TIMESTAMP", "invalid-batch"]);
    assert_eq!(message(&rig, 1).as_deref(), Some("from the future"));
    let error = rig.records[0].2.verdict().unwrap().unwrap_err();
    assert!(!error.possibly_written());
    assert!(error.to_string().contains("invalid records of its batch"), "{error}");
    assert!(error.to_string().contains("INVALID_TIMESTAMP"), "{error}");
    assert_eq!((rig.sender.counters().failed, rig.sender.counters().never_sent), (3, 0));
    rig.send("t-0", "after");
    rig.accept_next();
    assert_eq!(rig.verdict(3), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn kip_467_of_several_named_records_each_is_invalid_with_its_own_message_or_the_batchs() {
    let mut rig = Rig::new(config(), &[1]);
    let named = [(3, None), (0, Some("no key"))];
    let values = ["a", "b", "c", "d"];
    refused(&mut rig, &values, ErrorCode::InvalidTimestamp, Some("of the batch"), &named);
    let expected = ["INVALID_RECORD", "invalid-batch", "invalid-batch", "INVALID_RECORD"];
    assert_eq!(verdicts(&rig), expected);
    assert_eq!(message(&rig, 0).as_deref(), Some("no key"));
    assert_eq!(message(&rig, 3).as_deref(), Some("of the batch"));
    rig.assert_nothing_left();
}

#[test]
fn kip_467_without_any_message_the_code_speaks_for_itself() {
    let mut rig = Rig::new(config(), &[1]);
    refused(&mut rig, &["a", "b"], ErrorCode::InvalidRecord, None, &[(0, None)]);
    assert_eq!(verdicts(&rig), ["INVALID_RECORD", "invalid-batch"]);
    assert_eq!(message(&rig, 0), None);
}

#[test]
fn kip_467_without_named_records_all_get_the_code() {
    let mut rig = Rig::new(config(), &[1]);
    refused(&mut rig, &["a", "b"], ErrorCode::InvalidRecord, Some("why"), &[]);
    assert_eq!(verdicts(&rig), ["INVALID_RECORD"; 2]);
    assert_eq!(message(&rig, 1).as_deref(), Some("why"));
    rig.assert_nothing_left();
}

#[test]
fn kip_467_places_that_the_batch_does_not_have_say_nothing() {
    let beyond = [(-1, Some("x")), (2, Some("y")), (i32::MAX, None), (i32::MIN, None)];
    let mut rig = Rig::new(config(), &[1]);
    refused(&mut rig, &["a", "b"], ErrorCode::InvalidTimestamp, None, &beyond);
    assert_eq!(verdicts(&rig), ["INVALID_TIMESTAMP"; 2]);
    let mut rig = Rig::new(config(), &[1]);
    let named: Vec<_> = beyond.into_iter().chain([(1, Some("z")), (1, Some("z"))]).collect();
    refused(&mut rig, &["a", "b"], ErrorCode::InvalidTimestamp, None, &named);
    assert_eq!(verdicts(&rig), ["invalid-batch", "INVALID_TIMESTAMP"], "one is named, twice");
    rig.assert_nothing_left();
}

#[test]
fn kip_467_records_named_for_another_reason_change_nothing() {
    let mut rig = Rig::new(config(), &[1]);
    refused(&mut rig, &["a", "b"], ErrorCode::PolicyViolation, None, &[(0, None)]);
    assert_eq!(verdicts(&rig), ["POLICY_VIOLATION"; 2]);
}

#[test]
fn kip_467_after_an_attempt_in_doubt_every_record_may_have_been_written() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    let request = rig.produce();
    rig.cut(request.connection);
    rig.advance(super::rig::ms(1_000));
    let request = rig.produce();
    let code = ErrorCode::InvalidRecord;
    let answer = wire::record_errors_answer(&request, code, None, &[(0, None)]);
    rig.world.answer(&request, answer);
    rig.run();
    let expected = ["INVALID_RECORD, maybe written", "invalid-batch, maybe written"];
    assert_eq!(verdicts(&rig), expected);
    assert_eq!(rig.sender.counters().possibly_written, 2);
    rig.assert_nothing_left();
}

#[test]
fn kip_467_the_places_of_a_piece_count_from_the_piece() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["a", "b", "c", "d", "e", "f"]);
    rig.batch("t-0", &["g", "h"]);
    rig.run();
    rig.refuse_next(ErrorCode::MessageTooLarge);
    rig.refuse_next(ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a b c]");
    let request = rig.produce();
    assert_eq!(request.to_string(), "1: t-0 7000/0@3 [d e f]");
    let code = ErrorCode::InvalidTimestamp;
    let answer = wire::record_errors_answer(&request, code, None, &[(1, None)]);
    rig.world.answer(&request, answer);
    rig.run();
    rig.accept_all();
    let now = verdicts(&rig);
    assert_eq!(now[..3], ["offset 0", "offset 1", "offset 2"]);
    assert_eq!(now[3..6], ["invalid-batch", "INVALID_TIMESTAMP", "invalid-batch"]);
    assert_eq!(now[6..], ["offset 3", "offset 4"]);
    rig.assert_nothing_left();
}
