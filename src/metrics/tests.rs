//! The names against the table in `docs/metrics.md`, and how values come out of the counters.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::meters::{ShardMeters, WindowSpec};

const SECOND: u64 = 1_000_000_000;

fn shard() -> ShardMeters {
    let meters = ShardMeters::new(WindowSpec::default());
    meters.turn(SECOND, 0);
    meters
}

fn snapshot(shards: &[ShardMeters], now: u64) -> Metrics {
    let mut metrics = Metrics::new("c", "memory");
    shards.iter().for_each(|shard| metrics.add(Some(shard.read(now)), now));
    metrics
}

fn values(metrics: &Metrics) -> BTreeMap<String, f64> {
    let line = |metric: Metric<'_>| {
        let definition = metric.definition;
        (format!("{}:{}", definition.name, metric.tags), metric.value)
    };
    metrics.iter().map(line).collect()
}

#[test]
fn every_metric_has_one_name_in_its_group() {
    let names: Vec<_> = Metrics::definitions().map(|it| (it.group, it.name)).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
}

const PAIRS: &[(&str, &[&str])] = &[
    ("batch-split", &["rate", "total"]),
    ("buffer-exhausted", &["rate", "total"]),
    ("record-send", &["rate", "total"]),
    ("record-retry", &["rate", "total"]),
    ("record-error", &["rate", "total"]),
    ("batch-size", &["avg", "max"]),
    ("record-queue-time", &["avg", "max"]),
    ("request-latency", &["avg", "max"]),
    ("record-size", &["avg", "max"]),
    ("produce-throttle-time", &["avg", "max"]),
    ("compression-rate", &["avg"]),
    ("records-per-request", &["avg"]),
    ("connection-close", &["rate", "total"]),
    ("connection-creation", &["rate", "total"]),
    ("network-io", &["rate", "total"]),
    ("outgoing-byte", &["rate", "total"]),
    ("incoming-byte", &["rate", "total"]),
    ("request", &["rate", "total"]),
    ("request-size", &["avg", "max"]),
    ("response", &["rate", "total"]),
    ("select", &["rate", "total"]),
    ("io-wait-time-ns", &["avg", "total"]),
    ("io-time-ns", &["avg", "total"]),
    ("bufferpool-wait-time-ns", &["total"]),
    ("flush-time-ns", &["total"]),
    ("metadata-wait-time-ns", &["total"]),
    ("successful-authentication", &["rate", "total"]),
    ("failed-authentication", &["rate", "total"]),
    ("successful-reauthentication", &["rate", "total"]),
    ("failed-reauthentication", &["rate", "total"]),
    ("reauthentication-latency", &["avg", "max"]),
    ("successful-authentication-no-reauth", &["total"]),
    ("txn-init-time-ns", &["total"]),
    ("txn-begin-time-ns", &["total"]),
    ("txn-send-offsets-time-ns", &["total"]),
    ("txn-commit-time-ns", &["total"]),
    ("txn-abort-time-ns", &["total"]),
    ("txn-prepare-time-ns", &["total"]),
];

const SINGLE: &[&str] = &[
    "requests-in-flight",
    "metadata-age",
    "connection-count",
    "io-wait-ratio",
    "io-ratio",
    "bufferpool-wait-ratio",
    "waiting-threads",
    "buffer-total-bytes",
    "buffer-available-bytes",
];

const OF_NODES: &[&str] = &[
    "incoming-byte-rate",
    "incoming-byte-total",
    "outgoing-byte-rate",
    "outgoing-byte-total",
    "request-latency-avg",
    "request-latency-max",
    "request-rate",
    "request-size-avg",
    "request-size-max",
    "request-total",
    "response-rate",
    "response-total",
];

const OF_TOPICS: &[&str] = &[
    "byte-rate",
    "byte-total",
    "compression-rate",
    "record-error-rate",
    "record-error-total",
    "record-retry-rate",
    "record-retry-total",
    "record-send-rate",
    "record-send-total",
];

/// Section 5.4 of the behaviours and BUF-9, and `successful-authentication-no-reauth-total`, which
/// Kafka's producer has as well.
#[test]
fn buf_9_spl_9_every_name_of_kafka_s_producer_is_there() {
    let owned = |names: &[&str]| {
        names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter()
    };
    let kafkas = |group: Group| {
        let all = Metrics::definitions().filter(move |it| it.is_kafkas && it.group == group);
        all.map(|it| it.name.to_owned()).collect::<BTreeSet<_>>()
    };
    let pairs = PAIRS.iter().flat_map(|(head, tails)| {
        tails.iter().map(move |tail| format!("{head}-{tail}")).collect::<Vec<_>>()
    });
    let wanted: BTreeSet<_> = pairs.chain(owned(SINGLE)).collect();
    assert_eq!(kafkas(Group::Producer), wanted);
    assert_eq!(kafkas(Group::Node), owned(OF_NODES).collect());
    assert_eq!(kafkas(Group::Topic), owned(OF_TOPICS).collect());
}

#[test]
fn what_is_not_there_yet_took_no_time_and_never_happened() {
    let shards = [shard()];
    let values = values(&snapshot(&shards, 2 * SECOND));
    let of_the_future = |name: &str| name.starts_with("txn-") || name.contains("authentication");
    let found: Vec<_> = values.iter().filter(|(name, _)| of_the_future(name)).collect();
    assert_eq!(found.len(), 17);
    assert!(found.iter().all(|(_, value)| **value == 0.0), "{found:?}");
}

#[test]
fn shards_counts_of_one_topic_and_one_broker_are_added_up() {
    let shards = [shard(), shard()];
    for (shard, partition) in shards.iter().zip([4, 1]) {
        let (topic, cells) = shard.topic(&Arc::from("t"), partition);
        topic.counts.records.add(30);
        cells.records.add(30);
        let node = shard.node(BrokerId(7), &Arc::from("k"), 9092);
        node.counts.requests.add(3);
        node.connected.set(1);
        node.in_flight.set(2);
    }
    let metrics = snapshot(&shards, 11 * SECOND);
    assert_eq!((metrics.records, metrics.topics.len(), metrics.nodes.len()), (60, 1, 1));
    let numbers: Vec<_> = metrics.topics[0].partitions.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [1, 4]);
    let values = values(&metrics);
    assert_eq!(values["record-send-total:{client-id=c, topic=t}"], 60.0);
    assert_eq!(values["request-total:{client-id=c, node-id=node-7}"], 6.0);
    assert_eq!(values["requests-in-flight:{client-id=c}"], 4.0);
    assert_eq!(values["connection-count:{client-id=c}"], 2.0);
    // Ten seconds, and the window that never was.
    assert_eq!(values["record-send-rate:{client-id=c}"], 60.0 / 40.0);
}

#[test]
fn averages_and_maxima_are_over_the_windows_and_0_without_samples() {
    let shards = [shard()];
    let before = values(&snapshot(&shards, 2 * SECOND));
    let odd = before.iter().find(|(_, value)| !value.is_finite());
    assert_eq!(odd, None, "no NaN");
    let (topic, _) = shards[0].topic(&Arc::from("t"), 0);
    topic.counts.batches.add(2);
    topic.counts.drained.add(4);
    topic.counts.batch_bytes.add(2 * 61 + 400);
    topic.counts.plain_bytes.add(4 * (2 * 61 + 400));
    let node = shards[0].node(BrokerId(1), &Arc::from("k"), 9092);
    node.counts.produce_responses.add(4);
    node.counts.latency_nanos.add(8_000_000);
    node.counts.latency_nanos_max.raise(5_000_000);
    node.latency.record(5_000_000, 1);
    shards[0].own.awake_nanos.add(SECOND * 3 / 2);
    let roll_at = shards[0].turn(3 * SECOND, 31 * SECOND);
    let early = values(&snapshot(&shards, 3 * SECOND));
    let of =
        |values: &BTreeMap<String, f64>, name: &str| values[&format!("{name}:{{client-id=c}}")];
    assert_eq!(of(&early, "batch-size-avg"), 261.0);
    assert_eq!(of(&early, "record-size-avg"), 100.0);
    assert_eq!(of(&early, "compression-rate-avg"), 0.25);
    assert_eq!(of(&early, "request-latency-avg"), 2.0);
    assert_eq!(of(&early, "request-latency-max"), 5.0);
    assert_eq!(of(&early, "io-wait-ratio"), 0.25);
    assert_eq!(of(&early, "io-ratio"), 0.75);
    let median = of(&early, "request-latency-p50");
    assert!((median - 5.0).abs() < 0.08, "{median}");
    let roll_at = shards[0].turn(40 * SECOND, roll_at);
    shards[0].turn(90 * SECOND, roll_at);
    let late = values(&snapshot(&shards, 121 * SECOND));
    assert_eq!(of(&late, "request-latency-max"), 0.0, "long ago");
    assert_eq!(of(&late, "request-latency-p50"), median, "since the start");
}

/// The lines of a group's table.
fn table(group: Group) -> String {
    let head = "| name | unit | whose | meaning |\n| --- | --- | --- | --- |\n";
    let rows = Metrics::definitions().filter(|it| it.group == group).map(|it| {
        let whose = if it.is_kafkas { "Kafka" } else { "Kuring" };
        format!("| `{}` | {} | {whose} | {} |\n", it.name, it.unit.name(), it.meaning)
    });
    head.chars().chain(rows.flat_map(|row| row.chars().collect::<Vec<_>>())).collect()
}

#[test]
fn docs_metrics_md_is_the_table_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let mut text = std::fs::read_to_string(path).expect("the document is there");
    let mut made = text.clone();
    for group in [Group::Producer, Group::Node, Group::Topic] {
        let (from, to) = (format!("<!-- {} -->\n", group.name()), "<!-- end -->");
        let start = made.find(&from).expect("the group has its place") + from.len();
        let end = start + made[start..].find(to).expect("the place has an end");
        made.replace_range(start..end, &table(group));
    }
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(path, &made).expect("the document can be written");
        text.clone_from(&made);
    }
    assert!(text == made, "run: WRITE_DOCS=1 cargo test --lib docs_metrics_md");
}
