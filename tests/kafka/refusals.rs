//! What cannot be sent, said in time and in words that help.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use kuring::{Producer, Record, SendError};

use crate::support::deadline::now;
use crate::support::jars::Version;
use crate::support::kafka::{Cluster, shared};

/// The brokers here create no topics by themselves.
pub(crate) fn an_unknown_topic_is_named_within_max_block(version: Version) {
    let producer = producer(shared(version), &[("max.block.ms", "800")]);
    let begin = now();
    let error = producer.topic("nobody-made-it").blocking_send(Record::new()).unwrap_err();
    let waited = begin.elapsed();
    assert!(matches!(&error, SendError::Unknown { topic, partition: None, .. }
        if &**topic == "nobody-made-it"));
    assert!(error.to_string().contains("nobody-made-it"), "{error}");
    assert!(!error.possibly_written());
    assert!(waited >= Duration::from_millis(800), "it waits for the topic first: {waited:?}");
}

pub(crate) fn a_topic_created_while_send_waits_is_found(version: Version) {
    let cluster = shared(version);
    let producer = producer(cluster, &[]);
    let topic = producer.topic("made-late");
    let sender = thread::spawn(move || topic.blocking_send(Record::new().value("patient")));
    cluster.create_topic("made-late", 1, 1, &[]);
    let delivery = sender.join().unwrap().unwrap();
    assert_eq!(delivery.wait().unwrap().offset, Some(0));
}

pub(crate) fn an_invalid_topic_name_is_refused(version: Version) {
    let producer = producer(shared(version), &[]);
    for name in ["no spaces allowed", "größe", "..", "", &"x".repeat(250)] {
        let error = producer.topic(name).blocking_send(Record::new()).unwrap_err();
        assert!(matches!(error, SendError::InvalidTopic { .. }), "{name:?}: {error}");
        assert!(!error.possibly_written());
    }
}

pub(crate) fn a_record_above_max_request_size_is_refused_before_it_is_sent(version: Version) {
    let cluster = shared(version);
    let name = "too-large-for-us";
    cluster.create_topic(name, 1, 1, &[]);
    let producer = producer(cluster, &[]);
    let topic = producer.topic(name);
    let value = vec![7; 2 << 20];
    let error = topic.blocking_send(Record::new().value(&value)).unwrap_err();
    assert!(matches!(error, SendError::TooLarge { setting: "max.request.size", .. }), "{error}");
    // A record just below the limit needs more than a batch, and goes.
    let most = &value[..1_000_000];
    let delivery = topic.blocking_send(Record::new().value(most)).unwrap();
    assert_eq!(delivery.wait().unwrap().offset, Some(0));
    assert_eq!(cluster.records(name, 0)[0].value.as_deref(), Some(most));
}

pub(crate) fn a_record_the_broker_finds_too_large_fails_alone(version: Version) {
    let cluster = shared(version);
    let name = "too-large-for-the-broker";
    cluster.create_topic(name, 1, 1, &[("max.message.bytes", "10000")]);
    let producer = producer(cluster, &[]);
    let topic = producer.topic(name);
    let value = vec![7; 20_000];
    for number in 0..5_i64 {
        let large = topic.blocking_send(Record::new().value(&value)).unwrap();
        let error = large.wait().unwrap_err();
        assert!(!error.possibly_written(), "{error}");
        assert!(error.to_string().contains("MESSAGE_TOO_LARGE"), "{error}");
        let small = topic.blocking_send(Record::new().value(&value[..100])).unwrap();
        assert_eq!(small.wait().unwrap().offset, Some(number));
    }
    assert_eq!(cluster.records(name, 0).len(), 5);
}

fn producer(cluster: &Cluster, properties: &[(&str, &str)]) -> Producer {
    Producer::builder()
        .bootstrap_servers(cluster.bootstrap())
        .properties(properties.iter().copied())
        .unwrap()
        .build()
        .unwrap()
}
