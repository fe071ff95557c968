//! Batches that a broker finds too large: in pieces, and everything once and in order all the same.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire::{self, Said};
use crate::ids::Sequence;
use crate::protocol::error_code::ErrorCode;

const EIGHT: [&str; 8] = ["aaaaaaaa", "b", "c", "d", "eeeeeeee", "f", "g", "h"];

fn verdicts(rig: &Rig, first: usize, count: usize) -> Vec<String> {
    (first..first + count).map(|record| rig.verdict(record)).collect()
}

fn offsets(count: usize) -> Vec<String> {
    (0..count).map(|offset| format!("offset {offset}")).collect()
}

fn refused_in_doubt(count: usize) -> Vec<String> {
    vec!["MESSAGE_TOO_LARGE, maybe written".to_owned(); count]
}

fn too_large(rig: &mut Rig) -> String {
    rig.refuse_next(ErrorCode::MessageTooLarge)
}

#[test]
fn spl_1_meta_5_the_pieces_of_a_batch_are_written_and_each_record_has_its_place() {
    let mut rig = Rig::new(config(), &[1]);
    assert!(rig.sender.settings.idempotence);
    rig.world.logs.bytes_max = Some(90);
    rig.batch("t-0", &EIGHT);
    rig.accept_all();
    assert_eq!(rig.log("t-0"), EIGHT);
    assert_eq!(verdicts(&rig, 0, 8), offsets(8));
    let counters = rig.sender.counters();
    assert_eq!((counters.records, counters.acknowledged, counters.retries), (8, 8, 0));
    assert!(counters.splits >= 2, "{counters:?}");
    rig.assert_nothing_left();
}

#[test]
fn spl_1_a_record_that_is_too_large_alone_fails_and_says_what_to_do() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["small", &"x".repeat(300), "small as well"]);
    rig.world.logs.bytes_max = Some(150);
    rig.accept_all();
    assert_eq!(verdicts(&rig, 0, 3), ["offset 0", "MESSAGE_TOO_LARGE", "offset 1"]);
    let error = rig.records[1].2.verdict().unwrap().unwrap_err();
    assert!(error.to_string().contains("max.message.bytes"), "{error}");
    assert!(error.to_string().contains("was not written"), "{error}");
    rig.assert_nothing_left();
}

#[test]
fn spl_1_record_list_too_large_is_not_split() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    rig.refuse_next(ErrorCode::RecordListTooLarge);
    assert_eq!(verdicts(&rig, 0, 2), ["RECORD_LIST_TOO_LARGE"; 2]);
    assert_eq!(rig.sender.counters().splits, 0);
    rig.assert_nothing_left();
}

#[test]
fn spl_3_spl_4_each_refusal_halves_the_batch_and_the_sequences_go_on_from_the_parents() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "before");
    rig.accept_next();
    rig.batch("t-0", &["a", "b", "c", "d", "e", "f"]);
    rig.run();
    assert_eq!(too_large(&mut rig), "1: t-0 7000/0@1 [a b c d e f]");
    assert_eq!(too_large(&mut rig), "1: t-0 7000/0@1 [a b c]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [a]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@2 [b]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@3 [c]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@4 [d e f]");
    assert_eq!(verdicts(&rig, 1, 6), offsets(7)[1..]);
    rig.assert_nothing_left();
}

#[test]
fn spl_3_a_broker_that_refuses_every_size_ends_with_single_records_that_fail() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    let mut refusals = 0;
    while !rig.pending().is_empty() {
        too_large(&mut rig);
        rig.advance(ms(1));
        refusals += 1;
        assert!(refusals < 100, "this has an end");
    }
    assert_eq!(verdicts(&rig, 0, 8), ["MESSAGE_TOO_LARGE"; 8]);
    assert_eq!(rig.sender.counters().failed, 8);
    assert_eq!(rig.sender.counters().never_sent, 0);
    rig.send("t-0", "after");
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn spl_4_pieces_expire_when_their_batch_would_have() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config, &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    rig.advance(ms(800));
    too_large(&mut rig);
    rig.advance(ms(199));
    assert_eq!(verdicts(&rig, 0, 8), ["pending"; 8]);
    rig.advance(ms(1));
    let now = verdicts(&rig, 0, 8);
    assert_eq!((&*now[0], &*now[7]), ("timed-out, maybe written", "timed-out"), "{now:?}");
    rig.accept_all();
    rig.assert_nothing_left();
}

#[test]
fn spl_4_pieces_start_with_no_attempts_and_have_retries_of_their_own() {
    let mut rig = Rig::new(config().retries(1), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(200));
    too_large(&mut rig);
    let before = rig.pending();
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(200));
    assert_eq!(rig.pending(), before, "a piece is sent again as it was");
    rig.accept_all();
    assert_eq!(verdicts(&rig, 0, 8), offsets(8));
    assert_eq!(rig.sender.counters().retries, 2);
    rig.assert_nothing_left();
}

#[test]
fn spl_4_sequences_of_pieces_wrap_to_zero() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["first", "of", "all"]);
    rig.accept_all();
    rig.sender.partitions[0].next_sequence = Sequence::new(i32::MAX - 1);
    rig.world.logs.expect("t", 0, i32::MAX - 1);
    rig.batch("t-0", &["a", "b", "c", "d"]);
    rig.run();
    assert_eq!(too_large(&mut rig), "1: t-0 7000/0@2147483646 [a b c d]");
    assert_eq!(too_large(&mut rig), "1: t-0 7000/0@2147483646 [a b]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@2147483646 [a]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@2147483647 [b]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [c d]");
    assert_eq!(verdicts(&rig, 3, 4), offsets(7)[3..]);
    rig.assert_nothing_left();
}

#[test]
fn spl_5_the_memory_of_a_batch_is_back_with_its_last_piece_and_not_twice() {
    let mut rig = Rig::new(config(), &[1]);
    let in_use = |rig: &Rig| rig.accumulator.pool().total() - rig.accumulator.pool().available();
    rig.batch("t-0", &EIGHT);
    rig.run();
    let cost = in_use(&rig);
    rig.world.logs.bytes_max = Some(120);
    while !rig.pending().is_empty() {
        assert_eq!(in_use(&rig), cost, "neither more nor less, however many pieces");
        rig.accept_next();
    }
    assert_eq!(in_use(&rig), 0);
    rig.assert_nothing_left();
}

#[test]
fn k19012_4_the_pieces_wait_until_the_driver_is_done_with_the_batch() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.world.stalled.insert(1);
    rig.batch("t-0", &EIGHT);
    rig.run();
    // The answer overtakes the end of the send. The rig compares the frame when it comes back.
    too_large(&mut rig);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty(), "the first piece is still in the frame of the batch");
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.accept_all();
    assert_eq!(rig.log("t-0")[1..], EIGHT);
    rig.assert_nothing_left();
}

#[test]
fn spl_6_what_was_in_flight_behind_a_split_batch_follows_its_pieces() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &["a1", "a2", "a3", "a4"]);
    for values in [["b1", "b2"], ["c1", "c2"], ["d1", "d2"], ["e1", "e2"], ["f1", "f2"]] {
        rig.batch("t-0", &values);
    }
    rig.run();
    assert_eq!(rig.pending().len(), 5);
    too_large(&mut rig);
    rig.accept_all();
    let all = ["a1", "a2", "a3", "a4", "b1", "b2", "c1", "c2", "d1", "d2", "e1", "e2", "f1", "f2"];
    assert_eq!(rig.log("t-0"), all);
    assert_eq!(verdicts(&rig, 0, 14), offsets(14));
    assert_eq!(rig.sender.partitions[0].identity.epoch, 0, "no sequence was lost");
    rig.assert_nothing_left();
}

#[test]
fn spl_6_ord_5_several_batches_in_flight_are_split_each_in_its_place() {
    let mut rig = Rig::new(config(), &[1]);
    for values in [["a1", "a2"], ["b1", "b2"], ["c1", "c2"], ["d1", "d2"], ["e1", "e2"]] {
        rig.batch("t-0", &values);
    }
    rig.run();
    // The first has to be sent again for another reason, and stays in front of all pieces.
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    for _ in 0..4 {
        too_large(&mut rig);
    }
    assert_eq!(rig.sender.partitions[0].unsettled.len(), 9);
    assert!(rig.pending().is_empty(), "a retry waits, and nothing goes in front of it");
    rig.send("t-0", "new");
    rig.accept_all();
    let all = ["a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2", "e1", "e2", "new"];
    assert_eq!(rig.log("t-0"), all);
    assert_eq!(verdicts(&rig, 0, 11), offsets(11));
    rig.assert_nothing_left();
}

#[test]
fn spl_6_without_idempotence_pieces_are_sent_in_order_in_front_of_the_rest() {
    let config = config().idempotence(false).in_flight_max(1).retries(0);
    let mut rig = Rig::new(config, &[1]);
    rig.batch("t-0", &EIGHT);
    rig.batch("t-0", &["later"]);
    rig.world.logs.bytes_max = Some(120);
    rig.accept_all();
    let all: Vec<_> = EIGHT.into_iter().chain(["later"]).collect();
    assert_eq!(rig.log("t-0"), all);
    assert_eq!(verdicts(&rig, 0, 9), offsets(9));
    rig.assert_nothing_left();
}

#[test]
fn spl_7_kafka_19479_a_flush_waits_for_the_pieces_and_for_the_pieces_of_pieces() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1]);
    for value in EIGHT {
        rig.append("t-0", value);
    }
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    too_large(&mut rig);
    too_large(&mut rig);
    assert!(rig.sender.counters().splits == 2 && rig.done.is_empty());
    while !rig.pending().is_empty() {
        assert!(rig.done.is_empty(), "{:?}", verdicts(&rig, 0, 8));
        rig.accept_next();
    }
    assert_eq!(rig.done, [1]);
    assert_eq!(verdicts(&rig, 0, 8), offsets(8));
    rig.assert_nothing_left();
}

#[test]
fn spl_8_a_batch_that_has_expired_is_not_split() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(1_000));
    let mut rig = Rig::new(config, &[1]);
    rig.send("t-0", "before");
    rig.advance(ms(500));
    rig.accept_next();
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(600));
    // On its way a second time when its time is over.
    let request = rig.produce();
    rig.advance(ms(400));
    assert_eq!(verdicts(&rig, 1, 2), ["timed-out, maybe written"; 2]);
    rig.refuse(&request, ErrorCode::MessageTooLarge);
    assert!(rig.pending().is_empty());
    assert_eq!(rig.sender.counters().splits, 0);
    rig.send("t-0", "after");
    rig.accept_all();
    assert_eq!(rig.log("t-0"), ["before", "after"]);
    rig.assert_nothing_left();
}

/// The limit was lowered after the first attempt: the broker does not look for a duplicate then.
#[test]
fn spl_1_what_may_have_been_written_is_not_split_and_never_written_twice() {
    for written in [true, false] {
        let mut rig = Rig::new(config(), &[1]);
        rig.batch("t-0", &["a", "b"]);
        rig.batch("t-0", &["c"]);
        rig.run();
        let requests = [rig.produce(), rig.produce()];
        if written {
            requests.iter().for_each(|request| drop(rig.world.produce_answer(request)));
        }
        rig.cut(requests[0].connection);
        rig.world.logs.bytes_max = Some(70);
        rig.accept_all();
        assert_eq!(verdicts(&rig, 0, 2), refused_in_doubt(2));
        if written {
            assert_eq!(rig.verdict(2), "offset 2");
            assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
        } else {
            // The lost requests of both may still lie at a broker, and be written now.
            assert_eq!(rig.verdict(2), "OUT_OF_ORDER_SEQUENCE_NUMBER, maybe written");
            assert!(rig.log("t-0").is_empty());
        }
        assert_eq!(rig.sender.counters().splits, 0);
        rig.assert_nothing_left();
    }
}

/// For a moment after a topic was made its leader does not know that it leads. One that did, and
/// appended the batch, names a later epoch.
#[test]
fn spl_1_what_came_too_early_for_its_leader_is_split() {
    for (epoch, is_split) in [(0, true), (1, false)] {
        let mut rig = Rig::new(config(), &[1]);
        rig.batch("t-0", &["a", "b"]);
        rig.run();
        let request = rig.produce();
        rig.redirect(&request, ErrorCode::NotLeaderOrFollower, &[(1, epoch)], &[]);
        rig.world.logs.bytes_max = Some(70);
        rig.accept_all();
        let expected = if is_split { offsets(2) } else { refused_in_doubt(2) };
        assert_eq!(verdicts(&rig, 0, 2), expected);
        rig.assert_nothing_left();
    }
}

#[test]
fn spl_1_without_idempotence_what_may_have_been_written_is_split_as_it_would_be_sent_again() {
    let mut rig = Rig::new(config().idempotence(false), &[1]);
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    let request = rig.produce();
    rig.cut(request.connection);
    rig.world.logs.bytes_max = Some(70);
    rig.accept_all();
    assert_eq!(verdicts(&rig, 0, 2), offsets(2));
    rig.assert_nothing_left();
}

#[test]
fn spl_4_a_piece_that_fails_may_have_been_written_if_its_batch_may() {
    let mut rig = Rig::new(config().idempotence(false), &[1]);
    rig.batch("t-0", &["a", "b"]);
    rig.run();
    let request = rig.produce();
    rig.cut(request.connection);
    rig.advance(ms(300));
    too_large(&mut rig);
    while !rig.pending().is_empty() {
        rig.refuse_next(ErrorCode::PolicyViolation);
    }
    assert_eq!(verdicts(&rig, 0, 2), ["POLICY_VIOLATION, maybe written"; 2]);
    rig.assert_nothing_left();
}

#[test]
fn a_piece_whose_answer_was_lost_is_not_written_twice() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    too_large(&mut rig);
    for _ in 0..2 {
        let request = rig.produce();
        let _ = rig.world.produce_answer(&request);
        rig.cut(request.connection);
        rig.advance(ms(300));
        assert_eq!(rig.accept_next(), request.to_string());
    }
    rig.accept_all();
    assert_eq!(rig.log("t-0"), EIGHT);
    assert_eq!(verdicts(&rig, 0, 8), offsets(8));
    rig.assert_nothing_left();
}

#[test]
fn seq_6_after_a_piece_that_failed_the_other_pieces_start_again_under_a_new_epoch() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    too_large(&mut rig);
    let failed = rig.refuse_next(ErrorCode::PolicyViolation);
    assert_eq!(failed, "1: t-0 7000/0@0 [aaaaaaaa b c d]");
    rig.accept_all();
    assert_eq!(rig.log("t-0"), EIGHT[4..]);
    assert_eq!(verdicts(&rig, 0, 4), ["POLICY_VIOLATION"; 4]);
    assert_eq!(verdicts(&rig, 4, 4), offsets(4));
    assert_eq!(rig.sender.partitions[0].identity.epoch, 1);
    let counters = rig.sender.counters();
    assert_eq!((counters.records, counters.failed, counters.never_sent), (8, 4, 0));
    rig.assert_nothing_left();
}

#[test]
fn cls_3_a_forced_close_fails_pieces_in_flight_and_queued() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    too_large(&mut rig);
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    let now = verdicts(&rig, 0, 8);
    assert_eq!((&*now[0], &*now[7]), ("closed, maybe written", "closed"), "{now:?}");
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_1_a_close_waits_for_pieces() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.world.logs.bytes_max = Some(90);
    rig.accept_all();
    assert_eq!(verdicts(&rig, 0, 8), offsets(8));
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn a_sender_that_is_abandoned_gives_pieces_a_verdict() {
    let mut rig = Rig::new(config(), &[1]);
    rig.batch("t-0", &EIGHT);
    rig.run();
    too_large(&mut rig);
    too_large(&mut rig);
    rig.accept_next();
    rig.sender.abandon();
    rig.perform();
    let now = verdicts(&rig, 0, 8);
    assert_eq!((&*now[0], &*now[2]), ("offset 0", "sender-failed, maybe written"), "{now:?}");
    assert_eq!((&*now[7], rig.accumulator.unresolved()), ("sender-failed", 0));
}

/// Another client took what it could not read for this refusal, and wrote records twice.
#[test]
fn a_malformed_answer_is_never_taken_for_too_large() {
    for cut in [1, 5, 12, 20] {
        let mut rig = Rig::new(config(), &[1]);
        rig.batch("t-0", &["a", "b"]);
        rig.run();
        let request = rig.produce();
        // It is written, and the answer is of this code and broken.
        let _ = rig.world.produce_answer(&request);
        let said = [Said::refused(ErrorCode::MessageTooLarge)];
        let mut answer = wire::produce_answer(&request, &said, 0);
        answer.truncate(answer.len() - cut);
        let size = (answer.len() as u32 - 4).to_be_bytes();
        answer[..4].copy_from_slice(&size);
        rig.world.answer(&request, answer);
        rig.run();
        rig.advance(ms(300));
        assert_eq!(rig.accept_next(), request.to_string(), "the same batch again");
        assert_eq!(verdicts(&rig, 0, 2), offsets(2));
        assert_eq!(rig.log("t-0"), ["a", "b"]);
        assert_eq!(rig.sender.counters().splits, 0);
        rig.assert_nothing_left();
    }
}
