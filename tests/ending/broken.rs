//! A sender thread that panics: a bug, and still every record has its verdict.
#![forbid(unsafe_code)]

use std::thread;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Record, SendError, TrySendError};

use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};
use crate::support::rig::{builder, until, verdict};
use crate::traces::{sender_threads, settled, whole};

const BUFFER: u64 = 1472;

pub(crate) fn a_shard_that_panics_leaves_a_verdict_for_every_record(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).batch_bytes(200).build().unwrap();
    let topic = producer.topic("t");
    let send = |number: i32| topic.blocking_send(Record::new().partition(number % 2)).unwrap();
    let mut deliveries: Vec<_> = (0..2).map(send).collect();
    producer.blocking_flush();
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let before = broker.count(ApiKey::Produce);
    deliveries.extend((0..100).map(send));
    broker.wait_for_requests(ApiKey::Produce, before + 2);
    // Threads that send all the while: what is accepted has a verdict.
    let sending: Vec<_> = (0..3)
        .map(|_| {
            let topic = topic.clone();
            thread::spawn(move || {
                let mut accepted = Vec::new();
                loop {
                    match topic.blocking_send(Record::new().value("v")) {
                        Ok(delivery) => accepted.push(delivery),
                        Err(error) => return (accepted, error),
                    }
                }
            })
        })
        .collect();
    producer.break_shard(0);
    for sending in sending {
        let (accepted, error) = sending.join().unwrap();
        assert!(!error.possibly_written(), "{error}");
        deliveries.extend(accepted);
    }
    for delivery in &deliveries[2..] {
        until("a verdict", || delivery.is_done());
        let error = delivery.verdict().unwrap().unwrap_err();
        assert!(matches!(error, SendError::SenderFailed { .. }), "{error}");
    }
    let failed = SendError::SenderFailed { possibly_written: false };
    assert_eq!(topic.blocking_send(Record::new()).unwrap_err(), failed);
    let refused = topic.try_send(Record::new()).unwrap_err();
    assert_eq!(refused, TrySendError::Rejected(failed));
    let summary = producer.close(PATIENCE);
    assert!(summary.acknowledged == 2 && summary.possibly_written > 0, "{summary:?}");
    settled(&producer, summary, deliveries);
}

pub(crate) fn a_shard_that_panics_lets_go_of_everyone_who_waits(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(2 * BUFFER);
    let producer = small.build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let send = |_| topic.try_send(Record::new().value(&[7; 900])).unwrap();
    let mut deliveries: Vec<_> = (0..2).map(send).collect();
    let waiting = deliveries.pop().unwrap();
    let waits = [
        thread::spawn(move || drop(waiting.wait().unwrap_err())),
        thread::spawn({
            let topic = topic.clone();
            move || drop(topic.blocking_send(Record::new().value(&[7; 900])).unwrap_err())
        }),
        thread::spawn({
            let producer = producer.clone();
            move || drop(producer.topic("missing").blocking_send(Record::new()).unwrap_err())
        }),
        thread::spawn({
            let producer = producer.clone();
            move || producer.blocking_flush()
        }),
        thread::spawn({
            let producer = producer.clone();
            move || drop(producer.blocking_warm_up(&["missing"]).unwrap_err())
        }),
    ];
    until("a wait for memory", || producer.metrics().waiting_threads == 1);
    producer.break_shard(0);
    waits.into_iter().for_each(|wait| wait.join().unwrap());
    until("the end of the thread", || sender_threads() == 0);
    let summary = producer.close(PATIENCE);
    assert_eq!(summary.failed + summary.possibly_written, 2, "{summary:?}");
    whole(&producer, summary);
}

pub(crate) fn of_two_shards_the_other_one_goes_on(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).shards(2).build().unwrap();
    let topic = producer.topic("t");
    let send = |partition| {
        let sent = topic.blocking_send(Record::new().partition(partition));
        sent.and_then(verdict)
    };
    (0..2).for_each(|partition| drop(send(partition).unwrap()));
    producer.break_shard(1);
    until("the end of a thread", || sender_threads() == 1);
    let outcomes = [send(0), send(1)];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed), (3, 0), "{summary:?}");
    whole(&producer, summary);
}
