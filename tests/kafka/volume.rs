//! A million records.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::Producer;

use crate::content::Content;
use crate::ledger::{all_numbers_sent, verify};
use crate::support::jars::Version;
use crate::support::kafka::shared;
use crate::traffic::{Plan, Traffic};

/// Key, value, headers and timestamp of each, order per thread and partition, no gap, no duplicate,
/// and the offsets of the verdicts.
pub(crate) fn a_million_mixed_records_from_four_threads_are_in_the_log_one_by_one(
    version: Version,
) {
    let cluster = shared(version);
    let topics = [("volume-1", 1), ("volume-4", 4), ("volume-7", 7)];
    for (name, partitions) in topics {
        cluster.create_topic(name, partitions, 1, &[]);
    }
    let plan = Plan {
        topics: topics.map(|(name, partitions)| (name.to_owned(), partitions)).to_vec(),
        threads: 4,
        records_per_thread: 250_000,
        window: 20_000,
        content: Content::mixed,
    };
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let sent = Traffic::start(&producer, &plan).finish();
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!((summary.acknowledged, summary.failed), (1_000_000, 0));
    all_numbers_sent(&plan, &sent);
    verify(cluster, &plan, &sent);
    for (name, _) in topics {
        cluster.delete_topic(name);
    }
}
