//! Sequences: what is acknowledged is there, once, in its order.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record};

use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};
use crate::support::rig::{builder, until, verdict};

fn send(producer: &Producer, numbers: std::ops::Range<usize>) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let send = |number: usize| {
        let value = number.to_string();
        topic.blocking_send(Record::new().partition(0).value(&value)).unwrap()
    };
    numbers.map(send).collect()
}

/// The log holds the acknowledged records at their offsets, nothing twice, all in order; returns
/// how many were acknowledged.
fn check(broker: &FakeBroker, deliveries: Vec<Delivery>) -> usize {
    until("all verdicts", || deliveries.iter().all(Delivery::is_done));
    let log = broker.values("t", 0);
    let mut acknowledged = 0;
    for (delivery, number) in deliveries.into_iter().zip(0..) {
        let number = format!("{number}");
        match verdict(delivery) {
            Ok(told) => {
                acknowledged += 1;
                assert!(log.contains(&number), "{number} was acknowledged");
                if let Some(offset) = told.offset {
                    assert_eq!(log[offset as usize], number);
                }
            }
            Err(error) if !error.possibly_written() => {
                assert!(!log.contains(&number), "{number} was not written: {error}");
            }
            Err(_) => {}
        }
    }
    let numbers: Vec<usize> = log.iter().map(|value| value.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "once and in order: {numbers:?}");
    acknowledged
}

pub(crate) fn librdkafka_1_9_a_topic_that_vanishes_and_returns_goes_on_where_it_was(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.cap_version(ApiKey::Produce, 12);
    let producer = builder(&broker, driver).batch_bytes(200).build().unwrap();
    let mut deliveries = send(&producer, 0..100);
    producer.blocking_flush();
    // Gone from metadata and for produce, with its log: only this broker's view has it not.
    let kept = broker.state(|state| state.topics.remove("t").unwrap());
    deliveries.extend(send_while_missing(&producer, 100..200));
    let before = broker.count(ApiKey::Metadata);
    broker.wait_for_requests(ApiKey::Metadata, before + 3);
    broker.state(|state| state.topics.insert("t".to_owned(), kept));
    assert_eq!(check(&broker, deliveries), 200);
    assert_eq!(broker.state(|state| state.topics["t"].partitions[0].log.duplicates), 0);
    assert_eq!(producer.close(PATIENCE).acknowledged, 200);
}

/// The first send finds out that the topic is gone; the others may have to wait until it is back.
fn send_while_missing(producer: &Producer, numbers: std::ops::Range<usize>) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let try_send = |number: usize| {
        let value = number.to_string();
        topic.try_send(Record::new().partition(0).value(&value)).unwrap()
    };
    numbers.map(try_send).collect()
}

pub(crate) fn librdkafka_4438_one_to_five_requests_cut_after_the_append(driver: DriverChoice) {
    for in_flight in 1..=5 {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = builder(&broker, driver).batch_bytes(200).build().unwrap();
        let mut deliveries = send(&producer, 0..1);
        producer.blocking_flush();
        let mut number = 0;
        let gate = Gate::default();
        let closed = gate.clone();
        broker.script(move |seen| match seen.api {
            ApiKey::Produce => {
                number += 1;
                // Carried out, and the answers are lost together.
                if number <= in_flight { Turn::Hold(closed.clone()) } else { Turn::Serve }
            }
            _ => Turn::Serve,
        });
        deliveries.extend(send(&producer, 1..300));
        broker.wait_for_requests(ApiKey::Produce, 1 + in_flight.min(5) as usize);
        broker.cut_connections();
        gate.open();
        assert_eq!(check_when_done(&broker, &producer, deliveries), 300);
    }
}

fn check_when_done(broker: &FakeBroker, producer: &Producer, all: Vec<Delivery>) -> usize {
    let acknowledged = check(broker, all);
    assert_eq!(producer.close(PATIENCE).acknowledged as usize, acknowledged);
    acknowledged
}

pub(crate) fn krafka_0_27_what_follows_a_refused_batch_is_written_when_it_is_acknowledged(
    driver: DriverChoice,
) {
    for code in [ResponseError::InvalidRecord, ResponseError::InvalidTimestamp] {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = builder(&broker, driver).batch_bytes(200).build().unwrap();
        let mut number = 0;
        broker.script(move |seen| {
            number += usize::from(seen.api == ApiKey::Produce);
            let refused = seen.api == ApiKey::Produce && number % 7 == 3;
            if refused { Turn::Refuse(code) } else { Turn::Serve }
        });
        let deliveries = send(&producer, 0..400);
        let acknowledged = check_when_done(&broker, &producer, deliveries);
        assert!(acknowledged > 0 && acknowledged < 400, "{acknowledged}");
    }
}

fn with_identity_errors(driver: DriverChoice, code: ResponseError) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver)
        .batch_bytes(200)
        .delivery_timeout(Duration::from_secs(60))
        .request_timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let mut number = 0;
    broker.script(move |seen| {
        number += usize::from(seen.api == ApiKey::Produce);
        let forgotten = seen.api == ApiKey::Produce && number % 9 == 4 && number < 60;
        if forgotten { Turn::Refuse(code) } else { Turn::Serve }
    });
    let deliveries = send(&producer, 0..400);
    assert_eq!(check_when_done(&broker, &producer, deliveries), 400);
    broker.state(|state| {
        let batches = state.seen.iter().flat_map(|seen| &seen.batches);
        assert!(batches.clone().all(|batch| batch.head.producer_id >= 0));
        assert!(batches.clone().all(|batch| batch.head.base_sequence >= 0));
        assert!(batches.clone().any(|batch| batch.head.producer_epoch > 0), "it was reset");
    });
}

pub(crate) fn krafka_a_reset_sends_no_batch_without_a_producer_id(driver: DriverChoice) {
    with_identity_errors(driver, ResponseError::OutOfOrderSequenceNumber);
}

pub(crate) fn franz_go_an_unknown_producer_id_costs_no_record(driver: DriverChoice) {
    with_identity_errors(driver, ResponseError::UnknownProducerId);
}
