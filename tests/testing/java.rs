//! Kafka's own Java clients take the cluster for one of theirs.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::testing::{Api, Cluster};

use crate::support::deadline::bounded;
use crate::support::jars::Version;
use crate::support::java::run;

#[test]
fn the_java_producer_writes_and_the_java_consumer_reads_it_back() {
    bounded(Duration::from_secs(300), || {
        for version in Version::ALL {
            let cluster = Cluster::builder().brokers(2).topic("java", 3).start().unwrap();
            let bootstrap = cluster.bootstrap_servers();
            let producer = match version {
                Version::V4_3_1 => "org.apache.kafka.tools.ConsoleProducer",
                Version::V3_9_2 => "kafka.tools.ConsoleProducer",
            };
            let lines: String = (0..500).map(|number| format!("line {number}\n")).collect();
            let connected = ["--bootstrap-server", &bootstrap, "--topic", "java"];
            run(version, producer, &connected, &lines);
            let records = cluster.records("java").unwrap();
            assert_eq!(records.len(), 500);
            let produced = cluster.requests_of(Api::Produce);
            let batches = || produced.iter().flat_map(|request| &request.batches);
            assert!(batches().all(|batch| batch.producer_id >= 0), "idempotent by default");
            let consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer";
            let in_partition: Vec<_> = records.iter().filter(|it| it.partition == 1).collect();
            if let Some(count) = Some(in_partition.len().to_string()).filter(|it| it != "0") {
                let from_start = ["--partition", "1", "--offset", "earliest"];
                let limits = ["--max-messages", &count, "--timeout-ms", "60000"];
                let arguments = [&connected[..], &from_start, &limits].concat();
                let read = run(version, consumer, &arguments, "");
                let expected = in_partition.iter().map(|it| it.value.as_deref().unwrap());
                assert!(read.lines().map(str::as_bytes).eq(expected), "{read}");
            }
            assert_eq!(cluster.complaints(), [""; 0], "{version}");
        }
    });
}
