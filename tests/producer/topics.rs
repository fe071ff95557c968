//! Topics that are not there, not allowed, not led, or growing.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kuring::{BrokerId, Delivery, DriverChoice, ErrorCode, Record, SendError, TrySendError};

use crate::rig::{builder, millis, run, until, verdict};
use crate::support::deadline::now;
use crate::support::fake_broker::FakeBroker;

fn names(broker: &FakeBroker, topic: &str) -> usize {
    let named = |state: &mut crate::support::fake_broker::State| {
        let metadata = state.seen.iter().filter(|seen| seen.api == ApiKey::Metadata);
        metadata.filter(|seen| seen.topics.iter().any(|name| name == topic)).count()
    };
    broker.state(named)
}

pub(crate) fn an_unknown_topic_is_named_after_max_block(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).max_block(millis(100)).build().unwrap();
    let topic = producer.topic("nope");
    let errors = [
        topic.blocking_send(Record::new()).unwrap_err(),
        run("send", topic.send(Record::new())).unwrap_err(),
        run("partitions_for", producer.partitions_for("nope")).unwrap_err(),
        run("warm_up", producer.warm_up(&["t", "nope"])).unwrap_err(),
    ];
    for error in errors {
        let SendError::Unknown { topic, partition: None, waited, cause } = &error else {
            panic!("{error}")
        };
        assert_eq!((&**topic, *cause), ("nope", Some(ErrorCode::UnknownTopicOrPartition)));
        assert!(*waited >= millis(100), "{waited:?}");
        assert!(!error.possibly_written() && error.to_string().contains("nope"), "{error}");
    }
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Metadata);
    verdict(producer.topic("t").blocking_send(Record::new()).unwrap()).unwrap();
}

pub(crate) fn a_topic_that_is_made_while_send_waits_is_found(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let waiting = std::thread::spawn({
        let producer = producer.clone();
        move || verdict(producer.topic("late").blocking_send(Record::new()).unwrap())
    });
    until("requests that name the topic", || names(&broker, "late") >= 3);
    broker.create_topic("late", 2);
    assert_eq!(waiting.join().unwrap().unwrap().offset, Some(0));
    assert_eq!(broker.state(|state| state.stored("late")), 1);
}

pub(crate) fn md_8_a_refused_topic_ends_the_wait_and_a_grant_is_noticed(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("odd name", 1), ("secret", 1)]);
    let refuse = |name: &str, code: i16| {
        broker.state(|state| state.topics.get_mut(name).unwrap().error = code);
    };
    refuse("odd name", ResponseError::InvalidTopicException.code());
    refuse("secret", ResponseError::TopicAuthorizationFailed.code());
    let producer = builder(&broker, driver).build().unwrap();
    let error = producer.topic("odd name").blocking_send(Record::new()).unwrap_err();
    assert_eq!(error, SendError::InvalidTopic { topic: "odd name".into() });
    let secret = producer.topic("secret");
    for _ in 0..2 {
        let denied = SendError::Denied { code: ErrorCode::TopicAuthorizationFailed };
        assert_eq!(run("send", secret.send(Record::new())).unwrap_err(), denied);
    }
    refuse("secret", 0);
    verdict(secret.blocking_send(Record::new()).unwrap()).unwrap();
}

pub(crate) fn api_6_a_partition_beyond_the_count_is_waited_for(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let waiting = std::thread::spawn({
        let topic = producer.topic("t");
        move || verdict(topic.blocking_send(Record::new().partition(5)).unwrap())
    });
    let before = names(&broker, "t");
    until("requests that name the topic", || names(&broker, "t") >= before + 2);
    broker.create_topic("t", 6);
    let told = waiting.join().unwrap().unwrap();
    assert_eq!((told.partition, told.offset), (5, Some(0)));
    // Unkeyed and keyed records use the new ones as well.
    assert_eq!(producer.blocking_partitions_for("t").unwrap().len(), 6);
}

pub(crate) fn api_6_a_partition_that_never_comes_is_named(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).max_block(millis(100)).build().unwrap();
    let error = producer.topic("t").blocking_send(Record::new().partition(2)).unwrap_err();
    let SendError::Unknown { partition: Some((2, 2)), waited, .. } = error else {
        panic!("{error}")
    };
    assert!(waited >= millis(100));
    let last = Record::new().partition(1);
    verdict(producer.topic("t").blocking_send(last).unwrap()).unwrap();
}

pub(crate) fn one_budget_serves_the_waits_for_metadata_and_for_memory(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let max_block = Duration::from_secs(4);
    let producer = builder(&broker, driver)
        .batch_bytes(1024)
        .buffer_memory(4000)
        .max_block(max_block)
        .build()
        .unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    // Records that cannot leave hold the memory.
    broker.move_leader("t", 0, -1);
    let topic = producer.topic("t");
    let mut kept = Vec::<Delivery>::new();
    while let Ok(delivery) = topic.try_send(Record::new().value(&[7; 900])) {
        kept.push(delivery);
    }
    let started = now();
    let waiting = std::thread::spawn({
        let producer = producer.clone();
        move || producer.topic("late").blocking_send(Record::new()).unwrap_err()
    });
    // Each of these comes 16 ms after the one before, at least.
    until("requests that name the topic", || names(&broker, "late") >= 30);
    broker.create_topic("late", 1);
    let first_wait = started.elapsed();
    let SendError::MemoryExhausted { waited } = waiting.join().unwrap() else { panic!() };
    assert!(waited >= max_block && waited < max_block + first_wait, "{waited:?} {first_wait:?}");
}

pub(crate) fn partitions_for_describes_each_partition(driver: DriverChoice) {
    let broker = FakeBroker::cluster(2, &[("t", 3)]);
    let producer = builder(&broker, driver).build().unwrap();
    broker.move_leader("t", 1, -1);
    let partitions = producer.blocking_partitions_for("t").unwrap();
    let leaders: Vec<_> = partitions.iter().map(|partition| partition.leader).collect();
    assert_eq!(leaders, [Some(BrokerId(0)), None, Some(BrokerId(0))]);
    let numbers: Vec<_> = partitions.iter().map(|partition| partition.partition).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(partitions[2].replicas, [BrokerId(0)]);
}

pub(crate) fn rdy_9_records_of_a_partition_without_leader_wait_for_one(driver: DriverChoice) {
    let broker = FakeBroker::cluster(2, &[("t", 2)]);
    broker.move_leader("t", 0, -1);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
    let waiting = send(0);
    verdict(send(1)).unwrap();
    assert!(!waiting.is_done());
    // Unkeyed records go where they can be sent.
    verdict(topic.blocking_send(Record::new()).unwrap()).unwrap();
    broker.move_leader("t", 0, 1);
    assert_eq!(verdict(waiting).unwrap().offset, Some(0));
}
