//! Memory that a request still uses is nobody else's (KAFKA-19012).
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use crate::protocol::error_code::ErrorCode;

/// Two buffers in all.
fn two_buffers() -> Rig {
    let config = config().buffer_memory(2_816).delivery_timeout(ms(1_000));
    let mut rig = Rig::new(config.request_timeout(ms(1_000)), &[1, 1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    rig
}

#[test]
fn the_rig_has_two_buffers() {
    let mut rig = two_buffers();
    assert_eq!(rig.accumulator.pool().pooled_count(), 2);
    rig.batch("t-0", &["a"]);
    rig.batch("t-1", &["b"]);
    assert_eq!(rig.try_append("t-0", "c"), None);
}

#[test]
fn k19012_1_the_memory_of_a_batch_that_expires_in_the_driver_is_not_handed_out() {
    let mut rig = two_buffers();
    rig.world.stalled.insert(1);
    rig.world.keeps_closes = true;
    let x = rig.send("t-0", "x");
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(x), "timed-out, maybe written");
    // One buffer is left. It goes round and round; the other stays where it is.
    let held = rig.world.frames[0].bytes.clone();
    for number in 0..3 {
        let y = rig.append("t-1", &format!("y{number}"));
        assert_eq!(rig.try_append("t-0", "z"), None, "the buffer of x is not free");
        rig.advance(ms(1_000));
        assert_eq!(rig.verdict(y), "timed-out");
    }
    assert_eq!(rig.world.frames[0].bytes, held);
    // The rig compares the bytes again when the driver gives the frame back.
    rig.world.finish_closes();
    rig.run();
    rig.assert_nothing_left();
    rig.append("t-0", "both");
    rig.append("t-1", "are free");
}

#[test]
fn k19012_1_an_expired_batch_whose_frame_is_back_is_kept_until_its_answer() {
    let mut rig = two_buffers();
    let x = rig.send("t-0", "x");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(500));
    let request = rig.produce();
    rig.advance(ms(500));
    assert_eq!(rig.verdict(x), "timed-out, maybe written");
    let pool = rig.accumulator.pool();
    assert!(pool.available() < pool.total(), "the request is not answered");
    rig.accept(&request);
    rig.assert_nothing_left();
}

#[test]
fn k19012_2_after_a_forced_close_memory_is_back_only_when_the_driver_is_done() {
    let mut rig = two_buffers();
    rig.world.stalled.insert(1);
    rig.world.keeps_closes = true;
    let first = rig.send("t-0", "first");
    let second = rig.send("t-1", "second");
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    assert_eq!(rig.verdict(first), "closed, maybe written");
    assert_eq!(rig.verdict(second), "closed", "it never left its queue");
    let pool = rig.accumulator.pool();
    assert_eq!(pool.total() - pool.available(), pool.cost(1), "the first one is in the driver");
    assert!(!rig.ended);
    rig.world.finish_closes();
    rig.run();
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn k19012_2_two_requests_in_flight_are_released_each_with_its_own_end() {
    let mut rig = two_buffers();
    let sent = [rig.send("t-0", "a"), rig.send("t-1", "b")];
    let (first, second) = (rig.produce(), rig.produce());
    rig.world.keeps_closes = true;
    rig.advance(ms(1_000));
    assert!(sent.iter().all(|record| rig.verdict(*record).starts_with("timed-out")));
    let in_use = |rig: &Rig| rig.accumulator.pool().total() - rig.accumulator.pool().available();
    let cost = rig.accumulator.pool().cost(1);
    assert_eq!(in_use(&rig), 2 * cost);
    drop((first, second));
    rig.world.finish_closes();
    rig.run();
    assert_eq!(in_use(&rig), 0);
    rig.assert_nothing_left();
}

#[test]
fn k19012_3_a_stalled_socket_never_carries_bytes_of_a_later_batch() {
    let mut rig = two_buffers();
    rig.world.stalled.insert(1);
    rig.world.keeps_closes = true;
    rig.send("t-0", "in the driver");
    let old = rig.world.frames[0].bytes.clone();
    // It expires; its connection is shut down, but the kernel holds the bytes all the same.
    rig.advance(ms(1_500));
    for number in 0..20 {
        rig.try_append("t-1", &format!("later {number}"));
        rig.advance(ms(300));
    }
    assert_eq!(rig.world.frames.len(), 1);
    assert_eq!(rig.world.frames[0].bytes, old);
    rig.world.stalled.clear();
    rig.world.keeps_closes = false;
    rig.world.finish_closes();
    rig.advance(ms(3_000));
    while !rig.pending().is_empty() {
        rig.accept_next();
    }
    rig.advance(ms(3_000));
    rig.assert_nothing_left();
}

#[test]
fn k19012_4_a_retry_waits_until_the_frame_of_the_last_attempt_is_back() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.world.stalled.insert(1);
    let a = rig.send("t-0", "a");
    // The answer overtakes the end of the send.
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty());
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.run();
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [a]");
    assert_eq!(rig.verdict(a), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn k19012_4_a_retry_to_another_leader_waits_for_the_frame_as_well() {
    let mut rig = Rig::new(config(), &[1, 2]);
    rig.send("t-1", "the metadata comes over this connection");
    rig.accept_next();
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.world.stalled.insert(1);
    rig.send("t-0", "a");
    rig.world.lead("t", 0, 2);
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    rig.advance(ms(5_000));
    assert!(rig.pending().is_empty(), "the kernel may still read the batch");
    rig.world.return_frames();
    rig.run();
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@1 [a]");
    rig.assert_nothing_left();
}

#[test]
fn k19012_3_a_forced_close_with_an_overtaken_frame_ends_cleanly() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "in flight");
    rig.world.stalled.insert(1);
    rig.send("t-0", "answered before its frame is back");
    let (first, second) = (rig.produce(), rig.produce());
    rig.refuse(&first, ErrorCode::NotEnoughReplicas);
    rig.refuse(&second, ErrorCode::NotEnoughReplicas);
    rig.world.keeps_closes = true;
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    rig.world.finish_closes();
    rig.run();
    assert!(rig.ended);
    rig.assert_nothing_left();
}
