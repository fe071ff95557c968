//! What a topic refuses for its size or its content: sent in pieces, or failed record by record.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{ErrorCode, Producer, Record, SendError};

use crate::content::Content;
use crate::ledger::{all_numbers_sent, verify};
use crate::support::jars::Version;
use crate::support::kafka::{Cluster, shared};
use crate::traffic::{Plan, Traffic};

/// The largest batch that the topics take, an eighth of `batch.size`.
const LIMIT_BYTES: &str = "2048";
/// Bytes of the largest value, so that each record fits alone.
const VALUE_BYTES_MAX: usize = 1_500;

/// Records of many sizes, with null and empty fields, headers and times of their own.
fn narrow(thread: usize, number: u32) -> Content {
    let mut content = Content::mixed(thread, number);
    content.value = content.value.map(|value| &value[..value.len().min(VALUE_BYTES_MAX)]);
    content
}

pub(crate) fn spl_1_batches_above_max_message_bytes_arrive_once_in_order(version: Version) {
    let cluster = shared(version);
    for (name, idempotence) in [("split", "true"), ("split-plain", "false")] {
        cluster.create_topic(name, 2, 1, &[("max.message.bytes", LIMIT_BYTES)]);
        // A leader has to serve each: without idempotence what it refuses before that is overtaken.
        (0..2).for_each(|partition| assert_eq!(cluster.end_offset(name, partition), 0));
        let in_flight = if idempotence == "true" { "5" } else { "1" };
        let producer = producer(
            cluster,
            &[
                ("linger.ms", "20"),
                ("enable.idempotence", idempotence),
                ("max.in.flight.requests.per.connection", in_flight),
            ],
        );
        let topics = vec![(name.to_owned(), 2)];
        let plan =
            Plan { topics, threads: 2, records_per_thread: 4_000, window: 2_000, content: narrow };
        let sent = Traffic::start(&producer, &plan).finish();
        all_numbers_sent(&plan, &sent);
        verify(cluster, &plan, &sent);
        let metrics = producer.metrics();
        assert!(metrics.splits > 50, "{metrics:?}");
        let summary = producer.close(Duration::from_secs(30));
        assert_eq!(summary.acknowledged, sent.len() as u64);
    }
}

/// A compacted topic takes no record without a key, and brokers name those that have none.
pub(crate) fn kip_467_a_record_without_key_in_a_compacted_topic_is_named(version: Version) {
    let cluster = shared(version);
    let name = "compacted";
    cluster.create_topic(name, 1, 1, &[("cleanup.policy", "compact")]);
    let producer = producer(cluster, &[("linger.ms", "60000")]);
    let topic = producer.topic(name);
    let keys = [Some("a"), None, Some("c")];
    let send = |key: Option<&'static str>| {
        let record = Record::new().value("v");
        topic.blocking_send(key.map_or(record, |key| record.key(key))).unwrap()
    };
    let deliveries = keys.map(send);
    producer.blocking_flush();
    let [first, second, third] = deliveries.map(|delivery| delivery.wait().unwrap_err());
    for error in [first, third] {
        let SendError::InvalidBatch { code: ErrorCode::InvalidRecord, possibly_written: false } =
            error
        else {
            panic!("{error}")
        };
    }
    let SendError::Rejected { code: ErrorCode::InvalidRecord, message, possibly_written: false } =
        &second
    else {
        panic!("{second}")
    };
    let message = message.as_deref().unwrap_or_default();
    assert!(message.contains("key"), "{second}");
    // The others come again, as they were told.
    let again = [keys[0], keys[2]].map(send);
    producer.blocking_flush();
    assert_eq!(again.map(|delivery| delivery.wait().unwrap().offset), [Some(0), Some(1)]);
    assert_eq!(cluster.records(name, 0).len(), 2);
}

fn producer(cluster: &Cluster, properties: &[(&str, &str)]) -> Producer {
    Producer::builder()
        .bootstrap_servers(cluster.bootstrap())
        .properties(properties.iter().copied())
        .unwrap()
        .build()
        .unwrap()
}
