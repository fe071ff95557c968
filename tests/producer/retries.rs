//! What goes wrong in mid-stream is sent again: everything once, in order.
//!
//! The fake broker answers a gap in the sequences as a leader does, and appends no batch twice.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record};

use crate::rig::{builder, millis, offsets, until};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Seen, Turn};

const COUNT: i64 = 400;

fn is_produce(seen: &Seen) -> bool {
    seen.api == ApiKey::Produce
}

/// Sends numbered records to a partition, each batch a few of them.
fn send_numbers(producer: &Producer, partition: i32, numbers: Range<i64>) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let send = |number: i64| {
        let value = format!("{number}");
        topic.blocking_send(Record::new().partition(partition).value(&value)).unwrap()
    };
    numbers.map(send).collect()
}

/// Every record acknowledged at its own place, and there once.
fn check(broker: &FakeBroker, partition: i32, deliveries: Vec<Delivery>) {
    assert_eq!(offsets(deliveries), (0..COUNT).collect::<Vec<_>>());
    let expected: Vec<_> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(broker.values("t", partition), expected);
}

/// Sends while the third produce request of five, all held until then, meets with `mishap`.
fn with_mishap(driver: DriverChoice, mishap: fn() -> Turn) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver)
        .batch_bytes(200)
        .request_timeout(millis(500))
        .delivery_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    // The first batch under a producer id goes alone.
    let mut deliveries = send_numbers(&producer, 0, 0..1);
    producer.blocking_flush();
    let gate = Gate::default();
    broker.script({
        let (gate, mut number) = (gate.clone(), 0);
        move |seen| {
            number += i32::from(is_produce(seen));
            match (is_produce(seen), number) {
                (true, 1 | 2) => Turn::Hold(gate.clone()),
                (true, 3) => mishap(),
                _ => Turn::Serve,
            }
        }
    });
    deliveries.extend(send_numbers(&producer, 0, 1..COUNT));
    broker.wait_for_requests(ApiKey::Produce, 4);
    gate.open();
    check(&broker, 0, deliveries);
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (COUNT as u64, 0));
}

pub(crate) fn ord_order_survives_not_leader_in_the_middle_of_five(driver: DriverChoice) {
    with_mishap(driver, || Turn::Refuse(ResponseError::NotLeaderOrFollower));
}

pub(crate) fn ord_order_survives_a_timeout_said_by_the_broker(driver: DriverChoice) {
    with_mishap(driver, || Turn::Refuse(ResponseError::RequestTimedOut));
}

pub(crate) fn ord_order_survives_a_connection_that_is_cut_before_the_append(driver: DriverChoice) {
    with_mishap(driver, || Turn::HangUp);
}

pub(crate) fn ord_order_survives_a_connection_that_is_cut_after_the_append(driver: DriverChoice) {
    with_mishap(driver, || Turn::Cut(0));
    with_mishap(driver, || Turn::Cut(11));
}

pub(crate) fn ord_order_survives_an_answer_that_never_comes(driver: DriverChoice) {
    with_mishap(driver, || Turn::Mute);
    with_mishap(driver, || Turn::Ignore);
}

/// A small random source: the same seed, the same faults.
fn dice(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 33
}

pub(crate) fn order_survives_a_storm_of_faults(driver: DriverChoice) {
    for seed in 1..=6 {
        let broker = FakeBroker::cluster(2, &[("t", 3)]);
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
        broker.script(move |seen| {
            let roll = dice(&mut state) % 100;
            match (is_produce(seen), roll) {
                (true, 0..5) => Turn::HangUp,
                (true, 5..10) => Turn::Cut(dice(&mut state) as usize % 60),
                (true, 10..16) => Turn::Refuse(ResponseError::NotLeaderOrFollower),
                (true, 16..20) => Turn::Refuse(ResponseError::NotEnoughReplicas),
                (true, 20..23) => Turn::Refuse(ResponseError::RequestTimedOut),
                (true, 23) => Turn::Mute,
                (false, 0..5) => Turn::HangUp,
                _ => Turn::Serve,
            }
        });
        let producer = builder(&broker, driver)
            .shards(2)
            .batch_bytes(300)
            .request_timeout(millis(200))
            .delivery_timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let sent: Vec<_> = (0..3)
            .map(|partition| {
                let producer = producer.clone();
                std::thread::spawn(move || send_numbers(&producer, partition, 0..COUNT))
            })
            .collect();
        // Leaders move while the records come.
        for (partition, leader) in [(0, 1), (1, 0), (2, 1), (0, 0)] {
            let before = broker.count(ApiKey::Produce);
            until("some requests", || broker.count(ApiKey::Produce) >= before + 3);
            broker.move_leader("t", partition, leader);
        }
        for (sent, partition) in sent.into_iter().zip(0..) {
            let deliveries = sent.join().unwrap();
            check(&broker, partition, deliveries);
        }
        let summary = producer.close(PATIENCE);
        assert_eq!(summary.acknowledged, 3 * COUNT as u64, "seed {seed}: {summary:?}");
    }
}

pub(crate) fn without_idempotence_and_one_in_flight_order_survives_too(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let mut number = 0;
    broker.script(move |seen| {
        number += i32::from(is_produce(seen));
        match (is_produce(seen), number % 7) {
            (true, 0) => Turn::Refuse(ResponseError::NotEnoughReplicas),
            (true, 3) => Turn::HangUp,
            _ => Turn::Serve,
        }
    });
    let producer = builder(&broker, driver)
        .idempotence(false)
        .in_flight_max(1)
        .batch_bytes(200)
        .build()
        .unwrap();
    let deliveries = send_numbers(&producer, 0, 0..COUNT);
    check(&broker, 0, deliveries);
}
