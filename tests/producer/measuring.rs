//! Metrics, statistics and their reporter over a whole producer.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Metrics, Producer, Record, RecordingLevel, StatsReporter};
use serde_json::Value;

use crate::rig::{builder, millis, until, verdict};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Turn};

const RECORDS: u64 = 200;

/// Sends so many records of 100 bytes and waits for their verdicts.
fn send_all(producer: &Producer) {
    let topic = producer.topic("t");
    let send = |number: u64| {
        let record = Record::new().partition((number % 3) as i32).value(&[b'x'; 100]);
        topic.blocking_send(record).unwrap()
    };
    let deliveries: Vec<_> = (0..RECORDS).map(send).collect();
    producer.blocking_flush();
    deliveries.into_iter().for_each(|delivery| drop(verdict(delivery).unwrap()));
}

fn values(metrics: &Metrics) -> BTreeMap<String, f64> {
    let line = |metric: kuring::metrics::Metric<'_>| {
        (format!("{}{}", metric.definition.name, metric.tags), metric.value)
    };
    metrics.iter().map(line).collect()
}

pub(crate) fn every_metric_adds_up_over_shards_brokers_and_topics(driver: DriverChoice) {
    let broker = FakeBroker::cluster(2, &[("t", 3)]);
    let producer = builder(&broker, driver).client_id("m").shards(2).build().unwrap();
    send_all(&producer);
    let metrics = producer.metrics();
    assert_eq!((metrics.records, metrics.acknowledged), (RECORDS, RECORDS));
    assert_eq!(metrics.send_to_ack.count(), RECORDS, "an entry per record");
    assert_eq!(metrics.request_latency.count(), metrics.requests, "an entry per request");
    assert!(metrics.queue_time.count() <= metrics.batches, "an entry per batch, once");
    assert!(metrics.queue_time.max() <= metrics.send_to_ack.max().mul_f64(1.05));
    assert!(metrics.metadata_age.is_some() && metrics.age > Duration::ZERO);
    let [topic] = &metrics.topics[..] else { panic!("{:?}", metrics.topics) };
    let partitions: Vec<_> = topic.partitions.iter().map(|it| (it.number, it.records)).collect();
    assert_eq!(partitions, [(0, 67), (1, 67), (2, 66)]);
    let sum: u64 = metrics.nodes.iter().map(|node| node.produce_requests).sum();
    assert_eq!(sum, metrics.requests);
    let bytes: u64 = metrics.nodes.iter().map(|node| node.bytes_out).sum();
    assert_eq!(bytes, metrics.bytes_out);
    let brokers: Vec<_> = metrics.nodes.iter().map(|node| node.id).filter(|id| *id >= 0).collect();
    assert_eq!(brokers, [0, 1]);
    let values = values(&metrics);
    let value = |name: &str| values[name];
    assert_eq!(value("record-send-total{client-id=m}"), RECORDS as f64);
    assert_eq!(value("record-send-total{client-id=m, topic=t}"), RECORDS as f64);
    assert_eq!(value("requests-in-flight{client-id=m}"), 0.0);
    // At most 35 seconds: the windows' rule for a producer that has just begun.
    let rate = value("record-send-rate{client-id=m}");
    assert!(rate > RECORDS as f64 / 100.0 && rate <= RECORDS as f64 / 30.0, "{rate}");
    let size = value("record-size-avg{client-id=m}");
    assert!((105.0..115.0).contains(&size), "{size}");
    assert!(value("batch-size-max{client-id=m}") >= value("batch-size-avg{client-id=m}"));
    assert!(value("request-latency-max{client-id=m}") >= value("request-latency-avg{client-id=m}"));
    assert!(value("request-latency-p99{client-id=m, node-id=node-0}") > 0.0);
    assert!(value("flush-time-ns-total{client-id=m}") > 0.0);
    assert!(value("metadata-wait-time-ns-total{client-id=m}") > 0.0, "for the first record");
    assert!(value("io-wait-ratio{client-id=m}") <= 1.0 && value("io-ratio{client-id=m}") > 0.0);
    let open = value("connection-count{client-id=m}");
    let (made, ended) = ("connection-creation-total", "connection-close-total");
    let made = value(&format!("{made}{{client-id=m}}"));
    assert_eq!(open, made - value(&format!("{ended}{{client-id=m}}")));
    assert!(values.values().all(|value| value.is_finite()));
}

pub(crate) fn buf_9_waits_for_memory_are_measured(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(8 << 10);
    let producer = small.max_block(millis(20)).build().unwrap();
    let topic = producer.topic("t");
    until("the topic", || topic.try_send(Record::new().value("a")).is_ok());
    let gate = Gate::default();
    let held = gate.clone();
    broker.script(move |seen| match seen.api {
        ApiKey::Produce => Turn::Hold(held.clone()),
        _ => Turn::Serve,
    });
    let sent = || topic.blocking_send(Record::new().value(&[b'x'; 900]));
    until("the end of the memory", || sent().is_err());
    let values = values(&producer.metrics());
    let value = |name: &str| values.iter().find(|it| it.0.starts_with(name)).unwrap().1;
    assert!(*value("buffer-exhausted-total") >= 1.0);
    assert!(*value("bufferpool-wait-time-ns-total") >= 20e6);
    assert!(*value("bufferpool-wait-ratio") > 0.0 && *value("buffer-exhausted-rate") > 0.0);
    gate.open();
}

pub(crate) fn without_measuring_there_are_totals_and_no_histograms(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let off = builder(&broker, driver).metrics_level(RecordingLevel::Off);
    let producer = off.build().unwrap();
    send_all(&producer);
    let metrics = producer.metrics();
    assert_eq!((metrics.records, metrics.acknowledged), (RECORDS, RECORDS));
    assert!(metrics.send_to_ack.is_empty() && metrics.request_latency.is_empty());
    assert!(metrics.queue_time.is_empty());
}

pub(crate) fn statistics_are_reported_until_the_reporter_is_dropped(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3)]);
    let producer = builder(&broker, driver).client_id("s").build().unwrap();
    send_all(&producer);
    let now: Value = serde_json::from_str(&producer.statistics_json()).unwrap();
    assert_eq!((&now["client_id"], now["txmsgs"].as_u64()), (&"s".into(), Some(RECORDS)));
    assert_eq!(now["topics"]["t"]["partitions"]["1"]["leader"], 0);
    assert_eq!(now["send_to_ack"]["cnt"], RECORDS);
    let (told, reports) = channel();
    let report = move |json: &str| told.send(json.to_owned()).unwrap();
    let reporter = StatsReporter::start(&producer, millis(5), report).unwrap();
    for _ in 0..2 {
        let json = reports.recv_timeout(PATIENCE).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["txmsgs"], RECORDS);
        assert_eq!(json["send_to_ack"]["cnt"], 0, "none in this interval");
    }
    drop(reporter);
    while reports.try_recv().is_ok() {}
    assert!(reports.recv().is_err(), "the callback is gone with its thread");
}

pub(crate) fn a_reporter_ends_with_its_producer_and_with_a_panic(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let (told, reports) = channel();
    let panicking = move |_: &str| {
        told.send(()).unwrap();
        panic!("on purpose: a callback of a test");
    };
    let _reporter = StatsReporter::start(&producer, millis(1), panicking).unwrap();
    reports.recv_timeout(PATIENCE).unwrap();
    assert!(reports.recv().is_err(), "one report");
    let (told, reports) = channel();
    let _other = StatsReporter::start(&producer, millis(1), move |_| told.send(()).unwrap());
    reports.recv_timeout(PATIENCE).unwrap();
    // It does not keep the producer open.
    drop(producer);
    while reports.recv().is_ok() {}
}
