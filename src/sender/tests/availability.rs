//! What those who choose partitions are told: how much waits, and which brokers take nothing.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};
use crate::config::ConfigBuilder;

/// One request at a time, and a broker is blocked after 100 ms.
fn watched() -> ConfigBuilder {
    config().in_flight_max(1).availability_timeout(ms(100))
}

fn blocked(rig: &mut Rig, partitions: &[&str]) -> Vec<bool> {
    partitions.iter().map(|partition| rig.ring(partition).is_blocked()).collect()
}

#[test]
fn adp_2_a_partition_tells_how_many_batches_wait_in_it() {
    let mut rig = Rig::new(config().in_flight_max(1), &[1]);
    let ring = rig.ring("t-0");
    assert_eq!(ring.waiting(), 0);
    rig.append("t-0", "a");
    assert_eq!(ring.waiting(), 1, "the open batch counts");
    rig.send("t-0", "b");
    assert_eq!(ring.waiting(), 0, "what is in flight does not");
    rig.batch("t-0", &["c"]);
    rig.batch("t-0", &["d"]);
    assert_eq!(ring.waiting(), 2, "before the shard has seen them");
    rig.run();
    assert_eq!((ring.waiting(), ring.queued()), (2, 2));
    rig.accept_next();
    assert_eq!(ring.waiting(), 1);
    rig.accept_all();
    assert_eq!(ring.waiting(), 0);
}

#[test]
fn avl_1_a_broker_that_takes_nothing_for_too_long_is_blocked_until_it_takes_something() {
    let mut rig = Rig::new(watched(), &[1, 1, 2]);
    for partition in ["t-0", "t-1", "t-2"] {
        rig.send(partition, "first");
        rig.accept_next();
    }
    let all = ["t-0", "t-1", "t-2"];
    rig.send("t-0", "not answered");
    rig.advance(ms(500));
    assert_eq!(blocked(&mut rig, &all), [false; 3], "nothing else is there for it");
    rig.send("t-0", "waits");
    rig.advance(ms(99));
    assert_eq!(blocked(&mut rig, &all), [false; 3]);
    rig.advance(ms(1));
    assert_eq!(blocked(&mut rig, &all), [true, true, false]);
    rig.accept_next();
    assert_eq!(blocked(&mut rig, &all), [false; 3], "it took what waited");
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn avl_1_a_broker_that_takes_one_request_after_another_is_not_blocked() {
    let mut rig = Rig::new(watched(), &[1]);
    for value in ["a", "b", "c", "d", "e"] {
        rig.batch("t-0", &[value]);
    }
    rig.run();
    for _ in 0..5 {
        rig.advance(ms(90));
        assert_eq!(blocked(&mut rig, &["t-0"]), [false]);
        rig.accept_next();
    }
    rig.assert_nothing_left();
}

#[test]
fn avl_1_time_with_nothing_to_send_does_not_count() {
    let mut rig = Rig::new(watched(), &[1]);
    rig.send("t-0", "a");
    rig.accept_next();
    rig.advance(ms(5_000));
    rig.send("t-0", "b");
    assert_eq!(blocked(&mut rig, &["t-0"]), [false]);
    rig.accept_next();
    assert_eq!(blocked(&mut rig, &["t-0"]), [false]);
}

#[test]
fn avl_1_a_broker_that_is_down_is_blocked_while_something_waits_for_it() {
    let config = watched().request_timeout(ms(500)).delivery_timeout(ms(1_000));
    let mut rig = Rig::new(config, &[1, 2]);
    rig.send("t-0", "first");
    rig.accept_next();
    rig.send("t-1", "first");
    rig.accept_next();
    rig.stop_broker(2);
    let record = rig.send("t-1", "waits");
    rig.advance(ms(100));
    assert_eq!(blocked(&mut rig, &["t-0", "t-1"]), [false, true]);
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(record), "timed-out");
    rig.advance(ms(1_000));
    assert_eq!(blocked(&mut rig, &["t-0", "t-1"]), [false, false], "it is tried again");
}

#[test]
fn avl_1_a_partition_is_as_good_as_its_leader() {
    let mut rig = Rig::new(watched(), &[1, 2]);
    rig.send("t-1", "metadata comes over another connection");
    rig.accept_next();
    rig.send("t-0", "not answered");
    rig.send("t-0", "waits");
    rig.advance(ms(200));
    assert_eq!(blocked(&mut rig, &["t-0", "t-1"]), [true, false]);
    rig.world.lead("t", 0, 2);
    rig.cluster.mark_stale();
    rig.advance(ms(1_100));
    assert_eq!(blocked(&mut rig, &["t-0", "t-1"]), [false, false]);
}

#[test]
fn without_a_timeout_nobody_is_blocked() {
    let mut rig = Rig::new(config().in_flight_max(1), &[1]);
    rig.send("t-0", "not answered");
    rig.send("t-0", "waits");
    rig.advance(ms(10_000));
    assert_eq!(blocked(&mut rig, &["t-0"]), [false]);
}
