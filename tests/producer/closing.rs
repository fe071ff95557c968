//! Close: every record has its verdict, the totals add up, nobody is left waiting.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record, SendError, Summary, TrySendError};

use crate::rig::{builder, millis, offsets, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, PATIENCE, Turn};

fn lingering(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    builder(broker, driver).linger(Duration::from_secs(600)).build().unwrap()
}

fn send_many(producer: &Producer, count: i32) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let send = |number| topic.blocking_send(Record::new().partition(number % 2)).unwrap();
    (0..count).map(send).collect()
}

fn accepted(summary: Summary) -> u64 {
    assert!(summary.never_sent <= summary.failed, "{summary:?}");
    summary.acknowledged + summary.failed + summary.possibly_written
}

pub(crate) fn cls_1_a_graceful_close_sends_everything_and_refuses_more(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = lingering(&broker, driver);
    let topic = producer.topic("t");
    let deliveries = send_many(&producer, 100);
    let summary = producer.close(Duration::MAX);
    assert_eq!(summary, Summary { acknowledged: 100, ..Summary::default() });
    assert!(deliveries.iter().all(Delivery::is_done));
    assert_eq!(broker.state(|state| state.stored("t")), 100);
    broker.wait_for("closed connections", |state| (state.open == 0).then_some(()));

    let closed = SendError::Closed { possibly_written: false };
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Closed);
    assert_eq!(topic.blocking_send(Record::new()).unwrap_err(), closed);
    assert_eq!(run("send", topic.send(Record::new().partition(9))).unwrap_err(), closed);
    let mut none = Vec::new();
    assert_eq!(topic.blocking_send_batch(&[Record::new()], &mut none).unwrap_err(), closed);
    let unknown = producer.topic("never seen");
    assert_eq!(unknown.blocking_send(Record::new()).unwrap_err(), closed);
    assert_eq!(unknown.try_send(Record::new()).unwrap_err(), TrySendError::Closed);
    assert_eq!(producer.blocking_warm_up(&["never seen"]).unwrap_err(), closed);
    // These end, one way or the other.
    producer.blocking_flush();
    run("warm_up", producer.warm_up(&["t"])).ok();
    run("partitions_for", producer.partitions_for("t")).ok();
    let again = producer.clone().close(Duration::ZERO);
    assert_eq!(again, summary);
    assert_eq!(offsets(deliveries).len(), 100);
}

pub(crate) fn cls_3_a_forced_close_resolves_every_delivery(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).batch_bytes(200).build().unwrap();
    // The first batch under a producer id goes alone.
    assert_eq!(offsets(send_many(&producer, 2)), [0, 0]);
    let before = broker.count(ApiKey::Produce);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let deliveries = send_many(&producer, 200);
    broker.wait_for_requests(ApiKey::Produce, before + 3);
    let summary = producer.close(millis(50));
    assert_eq!((accepted(summary), summary.acknowledged), (202, 2), "{summary:?}");
    assert!(summary.possibly_written > 0 && summary.never_sent > 0, "{summary:?}");
    let mut written = 0;
    for delivery in deliveries {
        let error = delivery.verdict().expect("every record has its verdict").unwrap_err();
        let SendError::Closed { possibly_written } = error else { panic!("{error}") };
        written += u64::from(possibly_written);
    }
    assert_eq!(written, summary.possibly_written);
    assert!(broker.state(|state| state.stored("t")) as u64 <= 2 + written);
    broker.wait_for("closed connections", |state| (state.open == 0).then_some(()));
}

pub(crate) fn cls_3_a_close_without_patience_and_without_broker_ends_at_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.move_leader("t", 0, -1);
    broker.move_leader("t", 1, -1);
    let producer = lingering(&broker, driver);
    let deliveries = send_many(&producer, 10);
    let summary = producer.close(Duration::ZERO);
    assert_eq!(summary, Summary { failed: 10, never_sent: 10, ..Summary::default() });
    let never = SendError::Closed { possibly_written: false };
    assert!(deliveries.into_iter().all(|delivery| verdict(delivery) == Err(never.clone())));

    let asleep = FakeBroker::asleep(1, &[("t", 2)]);
    let producer = builder(&asleep, driver).build().unwrap();
    assert_eq!(producer.close(PATIENCE), Summary::default());
}

pub(crate) fn cls_4_threads_that_close_at_once_agree(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = lingering(&broker, driver);
    let deliveries = send_many(&producer, 50);
    let closing: Vec<_> = (0..4)
        .map(|_| {
            let producer = producer.clone();
            thread::spawn(move || producer.close(PATIENCE))
        })
        .collect();
    for closing in closing {
        assert_eq!(closing.join().unwrap().acknowledged, 50);
    }
    assert!(deliveries.iter().all(Delivery::is_done));
}

pub(crate) fn cls_4_a_thread_that_waits_for_metadata_is_released(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let calls: [fn(&Producer) -> SendError; 4] = [
        |producer| producer.topic("missing").blocking_send(Record::new()).unwrap_err(),
        |producer| producer.topic("t").blocking_send(Record::new().partition(7)).unwrap_err(),
        |producer| producer.blocking_partitions_for("missing").unwrap_err(),
        |producer| producer.blocking_warm_up(&["missing"]).unwrap_err(),
    ];
    let waiting: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let producer = producer.clone();
            thread::spawn(move || call(&producer))
        })
        .collect();
    broker.wait_for("requests for the topic", |state| {
        let named = state.seen.iter().filter(|seen| seen.topics.iter().any(|t| t == "missing"));
        (named.count() > 3).then_some(())
    });
    producer.close(PATIENCE);
    for waiting in waiting {
        let error = waiting.join().unwrap();
        assert_eq!(error, SendError::Closed { possibly_written: false });
    }
}

pub(crate) fn close_while_threads_send_counts_what_was_accepted(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).batch_bytes(1000).shards(2).build().unwrap();
    let sending: Vec<_> = (0..3)
        .map(|_| {
            let topic = producer.topic("t");
            thread::spawn(move || {
                let mut deliveries = Vec::new();
                let error = loop {
                    match topic.blocking_send(Record::new().value("some value")) {
                        Ok(delivery) => deliveries.push(delivery),
                        Err(error) => break error,
                    }
                };
                assert_eq!(error, SendError::Closed { possibly_written: false });
                let verdicts = deliveries.into_iter().map(verdict).collect::<Vec<_>>();
                verdicts.iter().for_each(|verdict| assert!(verdict.is_ok(), "{verdict:?}"));
                verdicts.len() as u64
            })
        })
        .collect();
    until("some records", || producer.metrics().acknowledged > 1000);
    let summary = producer.close(PATIENCE);
    let sent = sending.into_iter().map(|sending| sending.join().unwrap()).sum::<u64>();
    assert_eq!(summary, Summary { acknowledged: sent, ..Summary::default() });
    assert_eq!(broker.state(|state| state.stored("t")) as u64, sent);
}

pub(crate) fn dropping_the_last_handle_sends_what_was_accepted(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = lingering(&broker, driver);
    let (topic, twin) = (producer.topic("t"), producer.clone());
    let mut deliveries = send_many(&producer, 10);
    drop(producer);
    deliveries.extend(send_many(&twin, 10));
    assert_eq!(broker.count(ApiKey::Produce), 0, "one of two handles is no close");
    drop(twin);
    assert!(deliveries.iter().all(Delivery::is_done));
    assert_eq!(broker.state(|state| state.stored("t")), 20);
    let closed = SendError::Closed { possibly_written: false };
    assert_eq!(topic.blocking_send(Record::new()).unwrap_err(), closed);
}

pub(crate) fn dropping_the_last_handle_does_not_wait_for_a_silent_broker_for_ever(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 2)]);
    broker.script(|seen| if seen.api == ApiKey::Produce { Turn::Mute } else { Turn::Serve });
    let producer = builder(&broker, driver).build().unwrap();
    let deliveries = send_many(&producer, 10);
    broker.wait_for_requests(ApiKey::Produce, 1);
    drop(producer);
    for delivery in deliveries {
        let error = delivery.verdict().expect("every record has its verdict").unwrap_err();
        assert!(matches!(error, SendError::Closed { .. }), "{error}");
    }
}
