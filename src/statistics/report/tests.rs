//! The fields against the table of `docs/statistics.md`, and what librdkafka's users read in them.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::ids::BrokerId;
use crate::meters::ShardMeters;

const SECOND: u64 = 1_000_000_000;
const WHEN: Moment = Moment { nanos: 11 * SECOND, wall_ms: 1_750_000_000_999 };

fn shard() -> ShardMeters {
    let meters = ShardMeters::default();
    meters.turn(SECOND, 0);
    let (topic, partition) = meters.topic(&Arc::from("orders \"new\""), 3);
    topic.counts.records.add(10);
    topic.counts.batches.add(2);
    topic.counts.batch_bytes.add(500);
    partition.records.add(10);
    let node = meters.node(BrokerId(7), &Arc::from("k7"), 9092);
    node.counts.requests.add(4);
    node.connected.set(1);
    node.latency.record(1_000_000, 1);
    meters.node(BrokerId(-1), &Arc::from("boot"), 9093);
    meters.own.acknowledged.set(6);
    meters
}

fn snapshot(shard: &ShardMeters) -> Metrics {
    let mut metrics = Metrics::new("c", "memory");
    metrics.add(Some(shard.read(WHEN.nanos)), WHEN.nanos);
    metrics
}

fn parsed(metrics: &Metrics, before: Option<&Metrics>) -> Value {
    let leader = |topic: &str, _: i32| (topic == "orders \"new\"").then_some(7);
    serde_json::from_str(&render(metrics, before, &leader, WHEN)).expect("JSON")
}

#[test]
fn the_statistics_are_json_with_librdkafka_s_fields() {
    let json = parsed(&snapshot(&shard()), None);
    assert_eq!((&json["type"], &json["client_id"]), (&"producer".into(), &"c".into()));
    assert_eq!(
        (json["time"].as_i64(), json["age"].as_i64()),
        (Some(1_750_000_000), Some(10_000_000))
    );
    assert_eq!((json["txmsgs"].as_i64(), json["msg_cnt"].as_i64()), (Some(10), Some(4)));
    let broker = &json["brokers"]["k7:9092/7"];
    assert_eq!((broker["state"].as_str(), broker["tx"].as_i64()), (Some("UP"), Some(4)));
    let rtt = broker["rtt"]["p99"].as_i64().unwrap();
    assert!((985..=1016).contains(&rtt), "{rtt}");
    let boot = &json["brokers"]["boot:9093/bootstrap"];
    assert_eq!(
        (boot["state"].as_str(), boot["source"].as_str()),
        (Some("DOWN"), Some("configured"))
    );
    let topic = &json["topics"]["orders \"new\""];
    assert_eq!(topic["batchcnt"]["avg"], 5);
    let partition = &topic["partitions"]["3"];
    assert_eq!((partition["leader"].as_i64(), partition["txmsgs"].as_i64()), (Some(7), Some(10)));
}

#[test]
fn a_report_has_the_latencies_since_the_one_before() {
    let shard = shard();
    let before = snapshot(&shard);
    let node = shard.node(BrokerId(7), &Arc::from("k7"), 9092);
    node.latency.record(3_000_000, 2);
    let json = parsed(&snapshot(&shard), Some(&before));
    let rtt = &json["brokers"]["k7:9092/7"]["rtt"];
    assert_eq!(rtt["cnt"], 2);
    assert!(rtt["min"].as_i64().unwrap() > 2900, "{rtt}");
}

/// The paths of all values, with a star for names that are not fields.
fn paths(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    let Value::Object(fields) = value else {
        out.insert(at.to_owned());
        return;
    };
    let named = ["brokers", "topics", "topics.*.partitions"].contains(&at);
    let summed = ["int_latency", "send_to_ack", "rtt", "batchsize", "batchcnt"]
        .contains(&at.rsplit('.').next().unwrap_or_default());
    for (name, value) in fields {
        let name = if named || summed { "*" } else { name };
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        paths(value, &path, out);
    }
}

#[test]
fn every_field_is_in_the_table_and_docs_statistics_md_is_the_table() {
    let mut found = BTreeSet::new();
    paths(&parsed(&snapshot(&shard()), None), "", &mut found);
    let listed: BTreeSet<_> = FIELDS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(found, listed);
    let mut table = "| field | librdkafka | meaning |\n| --- | --- | --- |\n".to_owned();
    for (path, theirs, meaning) in FIELDS {
        let theirs = if *theirs { "yes" } else { "no" };
        table.push_str(&format!("| `{path}` | {theirs} | {meaning} |\n"));
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/statistics.md");
    let text = std::fs::read_to_string(file).expect("the document is there");
    let (from, to) = ("<!-- fields -->\n", "<!-- end -->");
    let start = text.find(from).expect("the table has its place") + from.len();
    let end = start + text[start..].find(to).expect("the place has an end");
    if std::env::var_os("WRITE_DOCS").is_some() {
        let made = format!("{}{table}{}", &text[..start], &text[end..]);
        return std::fs::write(file, made).expect("the document can be written");
    }
    assert!(text[start..end] == table, "run: WRITE_DOCS=1 cargo test --lib docs_statistics_md");
}
