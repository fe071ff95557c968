//! Windows roll as Java's samples do; readers see all parts at one time.
#![forbid(unsafe_code)]

use super::*;

const SECOND: u64 = 1_000_000_000;

fn meters(samples: usize) -> ShardMeters {
    ShardMeters::new(WindowSpec { samples, length: Duration::from_secs(30) })
}

/// Turns at these seconds, each with so many acknowledged records after it.
fn turns(meters: &ShardMeters, at: &[(u64, u64)]) {
    let mut roll_at = 0;
    for (second, records) in at {
        roll_at = meters.turn(second * SECOND, roll_at);
        meters.own.acknowledged.add(*records);
        meters.own.batch_bytes_max.raise(*records);
    }
}

fn recent(meters: &ShardMeters, second: u64) -> (u64, u64, u64) {
    let read = meters.read(second * SECOND);
    let own = read.own.recent;
    (own.acknowledged, own.batch_bytes_max, read.elapsed.as_secs())
}

#[test]
fn the_first_window_is_divided_by_as_much_as_all_but_one_last() {
    let meters = meters(2);
    turns(&meters, &[(100, 5)]);
    assert_eq!(recent(&meters, 105), (5, 5, 35), "5 seconds, and a window that never was");
}

#[test]
fn a_window_counts_until_all_windows_time_after_its_end() {
    let meters = meters(2);
    turns(&meters, &[(100, 5), (131, 7)]);
    assert_eq!(recent(&meters, 140), (12, 7, 40), "both windows");
    assert_eq!(recent(&meters, 161), (7, 7, 30), "the first one ended at 100");
    assert_eq!(meters.read(161 * SECOND).own.total.acknowledged, 12, "totals stay");
    assert_eq!(recent(&meters, 1000).0, 0, "nothing happened for long");
}

#[test]
fn maxima_are_those_of_the_windows_that_count() {
    let meters = meters(2);
    turns(&meters, &[(100, 90), (131, 7), (162, 3)]);
    assert_eq!(recent(&meters, 163).1, 7);
}

#[test]
fn one_window_has_nothing_before_it() {
    let meters = meters(1);
    turns(&meters, &[(100, 5), (131, 7)]);
    assert_eq!(recent(&meters, 132), (7, 7, 1));
    assert_eq!(recent(&meters, 131), (7, 7, 30), "no time has passed");
}

#[test]
fn a_reader_delays_the_end_of_a_window_and_never_the_shard() {
    let meters = meters(2);
    turns(&meters, &[(100, 5)]);
    let reader = meters.parts();
    let roll_at = meters.turn(131 * SECOND, 130 * SECOND);
    assert_eq!(roll_at, 131 * SECOND, "the next turn tries again");
    drop(reader);
    assert_eq!(meters.turn(132 * SECOND, roll_at), 162 * SECOND);
}

#[test]
fn brokers_and_topics_are_counted_apart_and_join_in_the_middle_of_a_window() {
    let meters = meters(2);
    turns(&meters, &[(100, 0), (131, 0)]);
    let node = meters.node(BrokerId(7), &Arc::from("k"), 9092);
    let (topic, partition) = meters.topic(&Arc::from("t"), 3);
    assert!(Arc::ptr_eq(&node, &meters.node(BrokerId(7), &Arc::from("k"), 9092)));
    node.counts.requests.add(2);
    topic.counts.records.add(3);
    partition.records.add(3);
    let read = meters.read(132 * SECOND);
    assert_eq!(read.nodes[0].counts.recent.requests, 2);
    assert_eq!((&*read.topics[0].name, read.topics[0].counts.recent.records), ("t", 3));
    let partition = read.topics[0].partitions[0];
    assert_eq!((partition.number, partition.records), (3, 3));
}

#[test]
fn waits_of_calls_are_summed_over_threads() {
    let meters = meters(2);
    turns(&meters, &[(100, 0)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let wait = || meters.calls.waited_for_memory(Duration::from_nanos(5), true);
            scope.spawn(move || (0..100).for_each(|_| wait()));
        }
    });
    let read = meters.read(101 * SECOND).calls.recent;
    assert_eq!((read.memory_wait_nanos, read.exhausted), (2000, 400));
}
