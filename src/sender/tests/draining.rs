//! Draining and order: which batches share a request, and which go first.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use super::wire::Arrived;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// A rig whose connection to broker 1 is busy with a frame that was sent to partition 0, so that
/// what is appended meanwhile is gathered.
fn busy(config: crate::config::ConfigBuilder, leaders: &[i32]) -> Rig {
    let mut rig = Rig::new(config, leaders);
    rig.send("t-0", "first");
    rig.accept_next();
    rig.world.stalled.insert(1);
    rig.send("t-0", "busy");
    rig
}

fn let_go(rig: &mut Rig) {
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.run();
}

#[test]
fn drn_1_every_ready_partition_of_a_node_takes_part_once_in_turn() {
    let mut rig = busy(config(), &[1, 1, 1, 2]);
    for partition in ["t-1", "t-2", "t-0", "t-1"] {
        rig.batch(partition, &["x"]);
        rig.run();
    }
    let_go(&mut rig);
    let parts: Vec<_> = rig.pending().split_off(1);
    assert_eq!(
        parts,
        ["1: t-1 7000/0@0 [x]; t-2 7000/0@0 [x]; t-0 7000/0@2 [x]", "1: t-1 7000/0@1 [x]"]
    );
}

#[test]
fn drn_2_batches_of_one_partition_go_in_requests_of_their_own() {
    let mut rig = Rig::new(config(), &[1]);
    for value in ["a", "b", "c"] {
        rig.batch("t-0", &[value, value]);
    }
    rig.run();
    assert_eq!(
        rig.pending(),
        ["1: t-0 7000/0@0 [a a]", "1: t-0 7000/0@2 [b b]", "1: t-0 7000/0@4 [c c]"]
    );
    for _ in 0..3 {
        rig.accept_next();
    }
    assert_eq!(rig.log("t-0"), ["a", "a", "b", "b", "c", "c"]);
    rig.assert_nothing_left();
}

#[test]
fn drn_2_a_leader_that_goes_and_comes_back_does_not_double_a_partition() {
    let mut rig = Rig::new(config(), &[1, 1, 2]);
    rig.send("t-2", "metadata comes over this connection");
    rig.accept_next();
    rig.send("t-0", "first");
    rig.world.stalled.insert(1);
    rig.send("t-0", "busy");
    rig.batch("t-1", &["a"]);
    rig.batch("t-1", &["b"]);
    rig.run();
    // Nobody can connect to broker 3, so the partition waits there, and then returns.
    rig.world.silent.insert(3);
    for leader in [3, 1] {
        rig.world.lead("t", 1, leader);
        rig.cluster.mark_stale();
        rig.advance(ms(1_100));
    }
    assert_eq!(rig.sender.partitions[2].leader_epoch, 2);
    let_go(&mut rig);
    let ready: Vec<_> = rig.pending().split_off(2);
    assert_eq!(ready, ["1: t-1 7000/0@0 [a]", "1: t-1 7000/0@1 [b]"]);
}

#[test]
fn drn_3_drn_4_a_request_stops_at_its_limit_and_the_next_begins_there() {
    let mut rig = busy(config().request_bytes_max(1_000), &[1, 1, 1, 1]);
    let value = "v".repeat(300);
    for partition in ["t-1", "t-2", "t-3"] {
        rig.batch(partition, &[&value]);
        rig.run();
    }
    rig.batch("t-0", &["small"]);
    rig.run();
    let_go(&mut rig);
    let partitions = |arrived: &Arrived| -> Vec<i32> {
        arrived.batches().iter().map(|batch| batch.partition).collect()
    };
    let requests: Vec<_> = rig.world.inbox.iter().map(partitions).collect();
    assert_eq!(requests, [vec![0], vec![1, 2], vec![3, 0]]);
}

#[test]
fn drn_3_a_batch_above_the_limit_goes_alone() {
    let mut rig = busy(config().request_bytes_max(100), &[1, 1, 1]);
    let value = "v".repeat(300);
    rig.batch("t-1", &[&value]);
    rig.batch("t-2", &[&value]);
    rig.run();
    let_go(&mut rig);
    let pending: Vec<_> = rig.pending().split_off(1);
    assert_eq!(pending.len(), 2);
    assert!(pending.iter().all(|request| !request.contains(';')));
}

#[test]
fn drn_4_each_node_has_its_own_turn() {
    let mut rig = Rig::new(config(), &[1, 2, 2]);
    for partition in ["t-0", "t-1", "t-2"] {
        rig.send(partition, "x");
    }
    let mut pending = rig.pending();
    pending.sort();
    assert_eq!(pending, ["1: t-0 7000/0@0 [x]", "2: t-1 7000/0@0 [x]", "2: t-2 7000/0@0 [x]"]);
}

#[test]
fn drn_5_drn_7_a_partition_that_backs_off_is_skipped_and_holds_nobody_up() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.send("t-0", "b");
    rig.send("t-1", "c");
    assert_eq!(rig.pending(), ["1: t-1 7000/0@0 [c]"]);
}

#[test]
fn drn_6_nothing_goes_out_without_a_producer_id() {
    let mut rig = Rig::cold(config(), &[1]);
    rig.world.held.push(ApiKey::InitProducerId);
    rig.send("t-0", "a");
    rig.advance(ms(1_000));
    assert!(rig.pending().is_empty());
    let request = rig.request(ApiKey::InitProducerId);
    let answer = super::wire::identity_answer(&request, ErrorCode::None, (9, 3));
    rig.world.answer(&request, answer);
    rig.run();
    assert_eq!(rig.accept_next(), "1: t-0 9/3@0 [a]");
}

#[test]
fn drn_6_a_new_batch_waits_while_older_ones_carry_an_older_epoch() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "bad");
    rig.send("t-1", "old");
    rig.refuse_next(ErrorCode::InvalidRecord);
    rig.send("t-1", "new");
    assert_eq!(rig.pending(), ["1: t-1 7000/0@0 [old]"]);
    rig.accept_next();
    assert_eq!(rig.pending(), ["1: t-1 7000/1@0 [new]"]);
    rig.accept_next();
    assert_eq!(rig.log("t-1"), ["old", "new"]);
    rig.assert_nothing_left();
}

#[test]
fn drn_6_a_retry_waits_until_it_is_the_lowest_in_flight() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    let (a, b) = (rig.produce(), rig.produce());
    // `b` comes back first on another path: the answers are swapped by the broker's errors.
    rig.refuse(&a, ErrorCode::NotEnoughReplicas);
    rig.refuse(&b, ErrorCode::OutOfOrderSequenceNumber);
    rig.advance(ms(130));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    rig.advance(ms(500));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"], "b waits for a's answer");
    rig.accept_next();
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.log("t-0"), ["a", "b"]);
}

#[test]
fn drn_8_a_sequence_is_taken_at_the_first_drain_and_not_before() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(500));
    let mut rig = Rig::new(config, &[2]);
    rig.stop_broker(2);
    let a = rig.send("t-0", "a");
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(a), "timed-out", "and certainly not written");
    rig.start_broker(2);
    rig.advance(ms(1_000));
    rig.send("t-0", "b");
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [b]");
}

#[test]
fn drn_9_exp_11_what_expires_at_the_drain_is_never_sent() {
    let config = config().delivery_timeout(ms(1_000)).request_timeout(ms(500));
    let mut rig = Rig::new(config, &[2]);
    rig.world.silent.insert(2);
    let (a, b) = (rig.batch("t-0", &["a"]), rig.records.len());
    rig.run();
    rig.now += ms(999);
    rig.batch("t-0", &["b"]);
    rig.turn();
    // The connection comes up at the very moment at which `a` is too old.
    let connection = *rig.world.open.iter().find(|(_, broker)| **broker == 2).unwrap().0;
    rig.now += ms(1);
    rig.world.events.push_back(super::world::Event::Connected(connection));
    while rig.step() {
        rig.perform();
    }
    assert_eq!(rig.accept_next(), "2: t-0 7000/0@0 [b]");
    assert_eq!((rig.verdict(a), rig.verdict(b)), ("timed-out".into(), "offset 0".into()));
}

#[test]
fn ord_1_with_one_in_flight_order_holds_without_idempotence() {
    let mut rig = Rig::new(config().idempotence(false).in_flight_max(1), &[1]);
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    assert_eq!(rig.pending(), ["1: t-0 [a]"]);
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    assert!(rig.pending().is_empty(), "b must not overtake");
    rig.advance(ms(120));
    assert_eq!(rig.accept_next(), "1: t-0 [a]");
    assert_eq!(rig.accept_next(), "1: t-0 [b]");
    assert_eq!(rig.log("t-0"), ["a", "b"]);
    rig.assert_nothing_left();
}

#[test]
fn ord_2_a_batch_that_expires_in_flight_keeps_its_partition_muted() {
    let config = config().idempotence(false).in_flight_max(1);
    let mut rig = Rig::new(config.delivery_timeout(ms(1_000)).request_timeout(ms(900)), &[1]);
    let a = rig.send("t-0", "a");
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.advance(ms(500));
    let request = rig.produce();
    let b = rig.send("t-0", "b");
    rig.advance(ms(500));
    assert_eq!(rig.verdict(a), "timed-out, maybe written");
    assert!(rig.pending().is_empty(), "the answer is still out");
    rig.accept(&request);
    assert_eq!(rig.accept_next(), "1: t-0 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn ord_3_without_idempotence_retries_may_land_later_and_nothing_is_lost() {
    let mut rig = Rig::new(config().idempotence(false), &[1]);
    let sent = ["a", "b", "c"].map(|value| rig.send("t-0", value));
    rig.refuse_next(ErrorCode::NotEnoughReplicas);
    rig.accept_next();
    rig.accept_next();
    rig.advance(ms(120));
    rig.accept_next();
    assert_eq!(rig.log("t-0"), ["b", "c", "a"]);
    assert_eq!(sent.map(|record| rig.verdict(record)), ["offset 2", "offset 0", "offset 1"]);
    rig.assert_nothing_left();
}

#[test]
fn ord_3_a_retry_goes_in_front_of_the_queue() {
    let mut rig = Rig::new(config().idempotence(false).in_flight_max(2), &[1]);
    for value in ["a", "b", "c", "d"] {
        rig.send("t-0", value);
    }
    let (a, b) = (rig.produce(), rig.produce());
    rig.refuse(&a, ErrorCode::NotEnoughReplicas);
    rig.refuse(&b, ErrorCode::NotEnoughReplicas);
    rig.advance(ms(130));
    assert_eq!(rig.accept_next(), "1: t-0 [a]");
    assert_eq!(rig.accept_next(), "1: t-0 [b]");
}

#[test]
fn ord_4_with_five_in_flight_order_holds_over_any_retry() {
    for failing in 0..5 {
        let mut rig = Rig::new(config(), &[1]);
        let sent: Vec<_> =
            ["a", "b", "c", "d", "e", "f"].iter().map(|v| rig.send("t-0", v)).collect();
        assert_eq!(rig.pending().len(), 5);
        for at in 0..5 {
            if at == failing {
                rig.refuse_next(ErrorCode::NotEnoughReplicas);
            } else {
                rig.accept_next();
            }
        }
        for _ in 0..20 {
            rig.advance(ms(1_100));
            while !rig.pending().is_empty() {
                rig.accept_next();
            }
        }
        assert_eq!(rig.log("t-0"), ["a", "b", "c", "d", "e", "f"], "{failing} failed");
        let offsets: Vec<_> = sent.iter().map(|record| rig.verdict(*record)).collect();
        assert_eq!(offsets[5], "offset 5");
        assert_eq!(rig.sender.partitions[0].identity.epoch, 0, "no new epoch was needed");
        rig.assert_nothing_left();
    }
}

#[test]
fn ord_5_a_batch_that_may_be_written_stays_among_those_the_broker_remembers() {
    let mut rig = Rig::new(config(), &[1]);
    let sent: Vec<_> = (0..5).map(|number| rig.send("t-0", &number.to_string())).collect();
    // Written, but the answer says that it may not be; the four behind it are accepted.
    let request = rig.produce();
    let _ = rig.world.produce_answer(&request);
    rig.refuse(&request, ErrorCode::NotEnoughReplicasAfterAppend);
    for _ in 0..4 {
        rig.accept_next();
    }
    rig.send("t-0", "5");
    rig.advance(ms(120));
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [0]"], "a sixth would push the first one out");
    rig.accept_next();
    assert_eq!(rig.verdict(sent[0]), "offset 0");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@5 [5]");
    assert_eq!(rig.log("t-0"), ["0", "1", "2", "3", "4", "5"]);
    rig.assert_nothing_left();
}

#[test]
fn ord_5_a_partition_never_has_more_than_five_batches_out_over_two_leaders() {
    let mut rig = Rig::new(config(), &[1]);
    for number in 0..9 {
        rig.send("t-0", &number.to_string());
    }
    assert_eq!(rig.pending().len(), 5);
    rig.world.lead("t", 0, 2);
    rig.cluster.mark_stale();
    rig.advance(ms(1_100));
    assert_eq!(rig.pending().len(), 5, "the old leader's answers are still out");
    while !rig.pending().is_empty() {
        rig.accept_next();
    }
    let all: Vec<_> = (0..9).map(|number| number.to_string()).collect();
    assert_eq!(rig.log("t-0"), all);
    rig.assert_nothing_left();
}
