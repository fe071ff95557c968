//! Readiness: when a partition's first batch may go out.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use crate::accumulator::buffer_pool::Need;
use crate::clock;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

#[test]
fn a_record_is_sent_acknowledged_and_leaves_nothing_behind() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    assert_eq!(rig.verdict(a), "pending");
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn rdy_1_a_full_batch_does_not_linger() {
    let mut rig = Rig::new(config().linger(ms(50)), &[1]);
    let (a, b) = ("a".repeat(300), "b".repeat(300));
    rig.append("t-0", &a);
    rig.run();
    assert!(rig.pending().is_empty());
    rig.append("t-0", &b);
    rig.run();
    assert_eq!(rig.accept_next(), format!("1: t-0 7000/0@0 [{a}]"));
    assert!(rig.pending().is_empty(), "the second batch lingers");
    rig.advance(ms(50));
    assert_eq!(rig.accept_next(), format!("1: t-0 7000/0@1 [{b}]"));
    rig.assert_nothing_left();
}

#[test]
fn rdy_2_a_batch_goes_out_when_its_linger_is_over() {
    let mut rig = Rig::new(config().linger(ms(50)), &[1]);
    rig.append("t-0", "a");
    rig.advance(ms(30));
    rig.append("t-0", "b");
    rig.advance(ms(19));
    assert!(rig.pending().is_empty());
    rig.advance(ms(1));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a b]");
    rig.assert_nothing_left();
}

/// Appends a record to whatever batch is open, and runs a turn.
fn append(rig: &mut Rig, value: &str) -> usize {
    let record = rig.append("t-0", value);
    rig.run();
    record
}

#[test]
fn rdy_2_records_behind_a_queued_batch_fill_one_batch_beyond_their_linger() {
    let mut rig = Rig::new(config(), &[1]);
    for value in ["a", "b", "c", "d", "e"] {
        append(&mut rig, value);
    }
    assert_eq!(rig.pending().len(), 5, "as many as may be in flight");
    for value in ["f", "g", "h", "i"] {
        append(&mut rig, value);
    }
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    assert_eq!(rig.pending().last().unwrap(), "1: t-0 7000/0@5 [f]");
    append(&mut rig, "j");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.pending().last().unwrap(), "1: t-0 7000/0@6 [g h i]", "sealed behind `f`");
    for _ in 0..6 {
        rig.accept_next();
    }
    rig.assert_nothing_left();
}

#[test]
fn rdy_2_an_open_batch_behind_queued_ones_expires_in_its_own_time() {
    let mut rig = Rig::new(config().in_flight_max(1), &[1]);
    let sent = append(&mut rig, "a");
    let queued = append(&mut rig, "b");
    rig.advance(ms(1_000));
    let open = append(&mut rig, "c");
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    rig.advance(ms(119_000));
    let is_timed_out = |rig: &Rig, record| rig.verdict(record).contains("timed-out");
    assert!(is_timed_out(&rig, sent) && is_timed_out(&rig, queued), "{}", rig.verdict(sent));
    assert_eq!(rig.verdict(open), "pending");
    rig.advance(ms(1_000));
    assert!(is_timed_out(&rig, open), "{}", rig.verdict(open));
}

#[test]
fn rdy_3_a_batch_that_backs_off_is_not_sent_for_a_flush_or_a_close() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.sender.handle_flush(1, rig.now);
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.advance(ms(79));
    assert!(rig.pending().is_empty());
    rig.advance(ms(41));
    rig.accept_next();
    assert_eq!(rig.done, [1]);
    rig.assert_nothing_left();
}

#[test]
fn rdy_4_nothing_lingers_while_somebody_waits_for_memory() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1]);
    rig.append("t-0", "a");
    rig.run();
    assert!(rig.pending().is_empty());
    let need = Need::new(rig.accumulator.pool().total(), true);
    let ticket = rig.accumulator.waiters.enqueue(need, u64::MAX);
    rig.run();
    rig.accept_next();
    assert_eq!(rig.accumulator.waiters.count(), 0, "the waiter was served");
    rig.accumulator.waiters.leave(ticket, rig.accumulator.pool());
    rig.assert_nothing_left();
}

#[test]
fn rdy_5_a_close_ends_the_linger() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1]);
    let a = rig.append("t-0", "a");
    rig.run();
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.run();
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn rdy_6_while_a_flush_is_on_nothing_lingers_in_any_partition() {
    let mut rig = Rig::new(config().linger(ms(60_000)), &[1, 1]);
    rig.append("t-0", "a");
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    rig.append("t-1", "later");
    rig.run();
    assert_eq!(rig.pending()[1], "1: t-1 7000/0@0 [later]");
    assert!(rig.done.is_empty());
    rig.accept_next();
    assert_eq!(rig.done, [1], "the flush does not wait for what came after it");
    rig.accept_next();
    rig.append("t-1", "lingers");
    rig.run();
    assert!(rig.pending().is_empty(), "the flush is over");
}

#[test]
fn rdy_8_rdy_11_the_sender_sleeps_until_the_first_linger_ends() {
    let mut rig = Rig::new(config().linger(ms(50)), &[1, 1]);
    rig.append("t-0", "a");
    let first = rig.now + ms(50);
    rig.run();
    rig.advance(ms(10));
    rig.append("t-1", "b");
    rig.run();
    assert_eq!(rig.sender.poll_timeout(), Some(first));
    rig.advance(ms(40));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    assert_eq!(rig.sender.poll_timeout(), Some(first + ms(10)));
}

#[test]
fn rdy_9_a_batch_without_a_leader_waits_and_has_the_metadata_asked() {
    let mut rig = Rig::new(config(), &[-1]);
    let asked = rig.count(ApiKey::Metadata);
    rig.append("t-0", "a");
    rig.run();
    rig.cluster.entry("t").touch(1);
    rig.advance(ms(5_000));
    assert!(rig.count(ApiKey::Metadata) > asked + 3, "it is asked again and again");
    assert!(rig.cluster.entry("t").used_at() > 1, "the topic's life is prolonged");
    assert!(rig.pending().is_empty());
    rig.world.lead("t", 0, 2);
    rig.advance(ms(1_500));
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [a]");
    rig.assert_nothing_left();
}

#[test]
fn rdy_9_a_batch_of_a_topic_that_went_away_wakes_the_metadata_by_itself() {
    let mut rig = Rig::new(config(), &[1]);
    rig.world.topics.clear();
    rig.cluster.mark_stale();
    rig.advance(ms(700_000));
    let asked = rig.count(ApiKey::Metadata);
    let a = rig.append("t-0", "a");
    // One turn and no more: what is due has to be on its way, or under a timer, after it.
    rig.turn();
    let soon = rig.sender.poll_timeout().is_some_and(|at| at < rig.now + ms(2_000));
    assert!(soon || rig.count(ApiKey::Metadata) > asked);
    assert_eq!(rig.verdict(a), "pending");
    rig.world.add_topic("t", &[2]);
    rig.advance(ms(2_000));
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn rdy_10_a_retried_batch_does_not_linger_again() {
    let mut rig = Rig::new(config().linger(ms(5_000)), &[1]);
    rig.append("t-0", "a");
    rig.advance(ms(5_000));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(120));
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn rdy_12_readiness_starts_the_connection_and_waits_for_it() {
    let mut rig = Rig::new(config(), &[2]);
    rig.world.silent.insert(2);
    assert_eq!(rig.connects_to(2), 0);
    rig.send("t-0", "a");
    rig.advance(ms(100));
    assert_eq!(rig.connects_to(2), 1);
    assert!(rig.pending().is_empty());
}

#[test]
fn rdy_12_a_connection_at_its_limit_takes_nothing_more() {
    let mut rig = Rig::new(config().in_flight_max(2), &[1, 1, 1]);
    for partition in ["t-0", "t-1", "t-2"] {
        rig.send(partition, "x");
    }
    assert_eq!(rig.pending().len(), 2);
    rig.accept_next();
    assert_eq!(rig.pending(), ["1: t-1 7000/0@0 [x]", "1: t-2 7000/0@0 [x]"]);
}

#[test]
fn rdy_13_a_partition_at_rest_is_never_looked_at() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "a");
    rig.accept_next();
    rig.advance(ms(120_000));
    // All its timers have passed; only news bring the partition back.
    let armed = rig.sender.poll_timeout().map(clock::to_nanos);
    rig.send("t-1", "b");
    rig.accept_next();
    assert!(armed.is_some());
    rig.assert_nothing_left();
}
