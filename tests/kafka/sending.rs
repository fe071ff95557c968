//! Acknowledgement levels, drivers, timestamps: small runs, looked at closely.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Producer, Record};

use crate::content::Content;
use crate::ledger::{all_numbers_sent, verify};
use crate::support::jars::Version;
use crate::support::java;
use crate::support::kafka::{Cluster, shared};
use crate::traffic::{Plan, Traffic};

/// Nobody tells where an unacknowledged record is, so one thread and one partition: the log must
/// hold the records in the order in which they were sent.
pub(crate) fn acks_0_records_are_in_the_log_and_have_no_offset(version: Version) {
    let cluster = shared(version);
    cluster.create_topic("acks-0", 1, 1, &[]);
    let producer = producer(cluster, &[("acks", "0")]);
    let topic = producer.topic("acks-0");
    let send = |number| topic.blocking_send(Content::mixed(0, number).record()).unwrap();
    let deliveries: Vec<_> = (0..10_000).map(send).collect();
    let verdicts: Vec<_> = deliveries.into_iter().map(|d| d.wait().unwrap()).collect();
    assert!(verdicts.iter().all(|metadata| metadata.offset.is_none()), "acks=0 knows no offsets");
    cluster.await_records("acks-0", 1, 10_000);
    let summary = cluster.read("acks-0", 0, |found| {
        let number = u32::try_from(found.offset).unwrap();
        let content = Content::mixed(0, number);
        let timestamp = verdicts[number as usize].timestamp;
        assert!(content.is(&found, timestamp), "{content:?}\n{found:?}");
    });
    assert_eq!(summary.producers, [], "without acknowledgements there is no idempotence");
}

pub(crate) fn acks_1_records_are_in_the_log_where_the_verdict_says(version: Version) {
    let cluster = shared(version);
    let plan = plan("acks-1", 3, 10_000, Content::mixed);
    create_topics(cluster, &plan);
    // A broker says who leads a new partition a moment before it does. Without idempotence what it
    // refuses in that moment is overtaken, and that is no fault.
    (0..3).for_each(|partition| assert_eq!(cluster.end_offset("acks-1", partition), 0));
    run(cluster, &plan, &producer(cluster, &[("acks", "1")]));
    let summary = cluster.read("acks-1", 0, |_| ());
    assert_eq!(summary.producers, [], "acks=1 rules idempotence out");
}

/// Our own reader could share a misunderstanding with our own writer. Java's tools do not.
pub(crate) fn acks_all_records_are_what_the_java_consumer_and_the_dump_tool_read(version: Version) {
    let cluster = shared(version);
    let name = "acks-all";
    cluster.create_topic(name, 1, 1, &[]);
    let producer = producer(cluster, &[("acks", "all")]);
    let topic = producer.topic(name);
    let deliveries: Vec<_> = (0..2_000)
        .map(|number| {
            let (key, value) = (format!("key {number}"), format!("value {number}"));
            topic.blocking_send(Record::new().key(&key).value(&value)).unwrap()
        })
        .collect();
    for (number, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.wait().unwrap().offset, Some(number));
    }
    let expected: String = (0..2_000)
        .map(|number| format!("key {number}{}value {number}\n", java::SEPARATOR))
        .collect();
    assert_eq!(java::consume(cluster, name, 0, 2_000), expected);
    let summary = cluster.read(name, 0, |_| ());
    assert_eq!(summary.producers.len(), 1, "one idempotent producer wrote here");
    let dump = java::dump_log(cluster, 0, name, 0);
    let (producer_id, epoch) = summary.producers[0];
    let batches = dump.lines().filter(|line| line.starts_with("baseOffset: "));
    let mut count = 0;
    for batch in batches {
        assert!(batch.contains("isvalid: true") && batch.contains("magic: 2"), "{batch}");
        assert!(batch.contains(&format!("producerId: {producer_id} ")), "{batch}");
        assert!(batch.contains(&format!("producerEpoch: {epoch} ")), "{batch}");
        count += 1;
    }
    assert_eq!(count, summary.batches);
}

pub(crate) fn every_driver_delivers(version: Version) {
    let cluster = shared(version);
    for driver in ["uring", "tokio-uring", "epoll"] {
        let plan = plan(&format!("driver-{driver}"), 4, 20_000, Content::mixed);
        create_topics(cluster, &plan);
        let producer = producer(cluster, &[("kuring.driver", driver)]);
        run(cluster, &plan, &producer);
        assert_eq!(producer.metrics().driver, driver);
    }
}

pub(crate) fn a_topic_with_the_brokers_clock_tells_that_time(version: Version) {
    let cluster = shared(version);
    let name = "brokers-clock";
    cluster.create_topic(name, 1, 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = producer(cluster, &[]);
    let topic = producer.topic(name);
    let record = Record::new().value("dated").timestamp(1_000_000_000_000);
    let told = topic.blocking_send(record).unwrap().wait().unwrap();
    assert!(told.timestamp > 1_700_000_000_000, "the broker's clock, not ours: {told:?}");
    let found = cluster.records(name, 0);
    assert_eq!((found.len(), found[0].timestamp), (1, told.timestamp));
}

fn producer(cluster: &Cluster, properties: &[(&str, &str)]) -> Producer {
    Producer::builder()
        .bootstrap_servers(cluster.bootstrap())
        .properties(properties.iter().copied())
        .unwrap()
        .build()
        .unwrap()
}

fn plan(
    topic: &str,
    threads: usize,
    records_per_thread: u32,
    content: fn(usize, u32) -> Content,
) -> Plan {
    let topics = vec![(topic.to_owned(), 3)];
    Plan { topics, threads, records_per_thread, window: 5_000, content }
}

fn create_topics(cluster: &Cluster, plan: &Plan) {
    for (name, partitions) in &plan.topics {
        cluster.create_topic(name, *partitions, 1, &[]);
    }
}

fn run(cluster: &Cluster, plan: &Plan, producer: &Producer) {
    let sent = Traffic::start(producer, plan).finish();
    all_numbers_sent(plan, &sent);
    verify(cluster, plan, &sent);
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!(summary.acknowledged, sent.len() as u64);
}
