//! Kafka's own Java clients take the cluster for one of theirs.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::testing::{Api, Cluster, StoredRecord};

use crate::support::deadline::bounded;
use crate::support::jars::Version;
use crate::support::java::{SEPARATOR, consume_from, produce_keyed_to};

#[test]
fn the_java_producer_writes_and_the_java_consumer_reads_it_back() {
    bounded(Duration::from_secs(300), || {
        for version in Version::ALL {
            let cluster = Cluster::builder().brokers(2).topic("java", 2).start().unwrap();
            let bootstrap = cluster.bootstrap_servers();
            let line = |number| format!("key {number}{SEPARATOR}value {number}\n");
            let lines: String = (0..500).map(line).collect();
            produce_keyed_to(version, &bootstrap, "java", &lines);
            let records = cluster.records("java").unwrap();
            assert_eq!(records.len(), 500);
            let produced = cluster.requests_of(Api::Produce);
            let mut batches = produced.iter().flat_map(|request| &request.batches);
            assert!(batches.all(|batch| batch.producer_id >= 0), "idempotent by default");
            let (_, second): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|it| it.partition == 0);
            assert!(!second.is_empty() && second.len() < 500, "keys go to both partitions");
            let read = consume_from(version, &bootstrap, "java", 1, second.len());
            assert_eq!(read, second.iter().map(line_of).collect::<String>(), "{version}");
            assert_eq!(cluster.complaints(), [""; 0], "{version}");
        }
    });
}

fn line_of(record: &StoredRecord) -> String {
    let text = |field: &Option<Vec<u8>>| String::from_utf8(field.clone().unwrap()).unwrap();
    format!("{}{SEPARATOR}{}\n", text(&record.key), text(&record.value))
}
