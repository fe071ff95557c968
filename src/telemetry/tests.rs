//! What a payload holds, told by a small reader of the encoding.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::ids::BrokerId;
use crate::meters::{ShardMeters, WindowSpec};
use crate::protocol::varint::read_unsigned_long;

const SECOND: u64 = 1_000_000_000;

/// A field's number and its value: a number's bits, or bytes.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    let varint = |bytes: &mut &[u8]| {
        let (value, size) = read_unsigned_long(bytes).expect("a varint");
        *bytes = &bytes[size..];
        value
    };
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (fixed, rest) = bytes.split_first_chunk().expect("eight bytes");
                bytes = rest;
                Field::Number(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inside, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inside)
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

/// The messages in a field.
fn inside(bytes: &[u8], field: u64) -> Vec<&[u8]> {
    let matching = fields(bytes).into_iter().filter(|(number, _)| *number == field);
    let bytes = matching.map(|(_, field)| match field {
        Field::Bytes(bytes) => bytes,
        Field::Number(_) => panic!("a number"),
    });
    bytes.collect()
}

fn number(bytes: &[u8], field: u64) -> Option<u64> {
    fields(bytes).into_iter().find_map(|it| match it {
        (at, Field::Number(value)) if at == field => Some(value),
        _ => None,
    })
}

fn text(bytes: &[u8], field: u64) -> String {
    String::from_utf8(inside(bytes, field).concat()).expect("text")
}

/// A metric as it was read.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    value: f64,
    since: Option<u64>,
    now: u64,
    /// 1: delta, 2: cumulative; none of a gauge.
    temporality: Option<u64>,
}

/// `key=value` of a `KeyValue`.
fn attribute(bytes: &[u8]) -> String {
    format!("{}={}", text(bytes, 1), text(inside(bytes, 2)[0], 1))
}

/// By name, with the attribute behind it.
fn read(payload: &Payload) -> BTreeMap<String, Read> {
    assert_eq!(payload.codec, Codec::None);
    let of_resource = inside(&payload.bytes, 1)[0];
    let scope = inside(of_resource, 2)[0];
    let mut metrics = BTreeMap::new();
    for metric in inside(scope, 2) {
        let (gauge, sum) = (inside(metric, 5), inside(metric, 7));
        let of = gauge.iter().chain(&sum).next().expect("a gauge or a sum");
        let point = inside(of, 1)[0];
        let attributes: Vec<_> = inside(point, 7).into_iter().map(attribute).collect();
        let read = Read {
            value: f64::from_bits(number(point, 4).expect("a value")),
            since: number(point, 2),
            now: number(point, 3).expect("a time"),
            temporality: number(of, 2),
        };
        if !sum.is_empty() {
            assert_eq!(number(of, 3), Some(1), "monotonic");
        }
        let name = [vec![text(metric, 1)], attributes].concat().join(" ");
        assert_eq!(metrics.insert(name, read), None, "each once");
    }
    metrics
}

fn settings() -> Settings {
    let builder = crate::config::ConfigBuilder::new();
    builder.bootstrap_servers("k:9092").client_rack("r1").settings().expect("settings")
}

fn wants(requested: &[&str], delta: bool) -> Subscription {
    Subscription {
        delta,
        bytes_max: 1 << 20,
        requested: requested.iter().map(|prefix| (*prefix).to_owned()).collect(),
        ..Subscription::default()
    }
}

/// A shard that has sent so many records to topic `t` through broker 7.
fn metrics(records: u64) -> Metrics {
    let shard = ShardMeters::new(WindowSpec::default());
    shard.turn(SECOND, 0);
    shard.own.connections.add(2);
    let (topic, _) = shard.topic(&Arc::from("t"), 0);
    topic.counts.records.add(records);
    shard.node(BrokerId(7), &Arc::from("k"), 9092).counts.requests.add(3);
    let mut metrics = Metrics::new("c", "memory");
    metrics.add(Some(shard.read(11 * SECOND)), 11 * SECOND);
    metrics
}

const RECORDS: &str = "org.apache.kafka.producer.topic.record.send.total topic=t";

#[test]
fn tel_3_the_names_are_those_that_the_java_client_makes_of_group_and_name() {
    let payload =
        Reporter::new(&settings()).measure(&metrics(5), &[], &wants(&["*"], false), 1_000);
    let read = read(&payload.expect("it fits"));
    for name in [
        "org.apache.kafka.producer.connection.creation.total",
        "org.apache.kafka.producer.record.send.rate",
        "org.apache.kafka.producer.io.wait.time.ns.avg",
        "org.apache.kafka.producer.node.request.latency.avg node_id=node-7",
        "org.apache.kafka.producer.topic.compression.rate topic=t",
        "kuring.producer.shard.count",
        RECORDS,
    ] {
        assert!(read.contains_key(name), "{name} is not in {:?}", read.keys());
    }
    let definitions = Metrics::definitions().count();
    assert_eq!(read.len(), definitions, "one broker and one topic: each metric once");
}

#[test]
fn tel_3_totals_are_sums_since_the_start_and_all_else_are_gauges() {
    let payload =
        Reporter::new(&settings()).measure(&metrics(5), &[], &wants(&["*"], false), 60_000);
    let read = read(&payload.expect("it fits"));
    for (name, metric) in &read {
        let is_total = name.split(' ').next().is_some_and(|name| name.ends_with(".total"));
        assert_eq!(metric.temporality, is_total.then_some(2), "{name}");
        assert_eq!(metric.since, is_total.then_some(50 * SECOND), "{name}");
        assert_eq!(metric.now, 60 * SECOND);
    }
    assert_eq!(read[RECORDS].value, 5.0);
    assert_eq!(read["kuring.producer.shard.count"].value, 1.0);
}

#[test]
fn tel_3_the_resource_is_the_producers_rack() {
    let payload =
        Reporter::new(&settings()).measure(&metrics(5), &[], &wants(&["*"], false), 1_000);
    let payload = payload.expect("it fits");
    let resource = inside(inside(&payload.bytes, 1)[0], 1)[0];
    let attributes: Vec<_> = inside(resource, 1).into_iter().map(attribute).collect();
    assert_eq!(attributes, ["client_rack=r1"]);
}

#[test]
fn tel_2_metrics_are_selected_by_the_beginning_of_their_names() {
    let names = |requested: &[&str]| {
        let payload =
            Reporter::new(&settings()).measure(&metrics(5), &[], &wants(requested, false), 1);
        read(&payload.expect("it fits")).into_keys().collect::<Vec<_>>()
    };
    let all = names(&["*"]);
    assert_eq!(names(&[""]), all);
    assert_eq!(names(&["kuring.none", ""]), all);
    let of_topics = names(&["org.apache.kafka.producer.topic."]);
    assert_eq!(of_topics.len(), 9);
    assert!(of_topics.iter().all(|name| name.ends_with(" topic=t")));
    let two = ["org.apache.kafka.producer.connection.c", "kuring.producer.shard"];
    let found = [
        "kuring.producer.shard.count",
        "org.apache.kafka.producer.connection.close.rate",
        "org.apache.kafka.producer.connection.close.total",
        "org.apache.kafka.producer.connection.count",
        "org.apache.kafka.producer.connection.creation.rate",
        "org.apache.kafka.producer.connection.creation.total",
    ];
    assert_eq!(names(&two), found);
    assert_eq!(names(&["*", "no.such.metric"]), [""; 0], "only a lone star is special");
}

#[test]
fn tel_7_deltas_count_from_the_last_push_and_a_change_starts_anew() {
    let mut reporter = Reporter::new(&settings());
    let mut push = |records, delta, seconds: i64| {
        let measured =
            reporter.measure(&metrics(records), &[], &wants(&["*"], delta), seconds * 1000);
        let read = read(&measured.expect("it fits"));
        let Read { value, since, temporality, .. } = read[RECORDS].clone();
        let since = since.map(|since| since / SECOND);
        assert_eq!(read["kuring.producer.shard.count"].value, 1.0, "a gauge is what it is");
        (value, since, temporality)
    };
    assert_eq!(push(5, true, 60), (5.0, Some(50), Some(1)));
    assert_eq!(push(12, true, 70), (7.0, Some(60), Some(1)));
    assert_eq!(push(12, true, 80), (0.0, Some(70), Some(1)));
    assert_eq!(push(20, false, 90), (20.0, Some(80), Some(2)));
    assert_eq!(push(21, true, 100), (21.0, Some(90), Some(1)));
    assert_eq!(push(23, true, 110), (2.0, Some(100), Some(1)));
}

#[test]
fn tel_8_a_payload_beyond_the_limit_is_none_and_its_deltas_are_in_the_next() {
    let mut reporter = Reporter::new(&settings());
    let small = Subscription { bytes_max: 100, ..wants(&["*"], true) };
    let measured = reporter.measure(&metrics(5), &[], &small, 60_000);
    let Err(MeasureError::TooLarge { bytes, limit: 100 }) = measured else {
        panic!("{measured:?}");
    };
    assert!(bytes > 100);
    let fits = Subscription { bytes_max: bytes as i32, ..small };
    let payload = reporter.measure(&metrics(6), &[], &fits, 70_000).expect("to the byte");
    assert_eq!(read(&payload)[RECORDS].value, 6.0);
    // Without a limit, which no broker has.
    let unlimited = Subscription { bytes_max: 0, ..fits };
    assert!(reporter.measure(&metrics(7), &[], &unlimited, 80_000).is_ok());
}

#[test]
fn tel_3_the_first_codec_that_both_sides_have_is_used() {
    let codec = |accepted: &[i8]| compress(accepted, vec![b'x'; 1000]).codec;
    assert_eq!(codec(&[]), Codec::None);
    assert_eq!(codec(&[9, -1]), Codec::None);
    assert_eq!(codec(&[0, 4]), Codec::None);
    for (number, built, expected) in [
        (1, cfg!(feature = "gzip"), Codec::Gzip),
        (2, cfg!(feature = "snappy"), Codec::Snappy),
        (3, cfg!(feature = "lz4"), Codec::Lz4),
        (4, cfg!(feature = "zstd"), Codec::Zstd),
    ] {
        assert_eq!(codec(&[9, number]), if built { expected } else { Codec::None });
        let payload = compress(&[number], vec![b'x'; 1000]);
        let mut plain = [0; 1000];
        crate::protocol::compression::decode(payload.codec, &payload.bytes, &mut plain)
            .expect("what the codec wrote");
        assert_eq!(plain, [b'x'; 1000]);
        assert_eq!(payload.bytes.len() < 1000, built);
    }
}

#[test]
fn a_wall_clock_that_jumps_back_makes_no_interval_that_ends_before_it_begins() {
    let mut reporter = Reporter::new(&settings());
    let mut push = |seconds: i64| {
        let payload = reporter.measure(&metrics(5), &[], &wants(&["*"], true), seconds * 1000);
        read(&payload.expect("it fits"))[RECORDS].clone()
    };
    push(60);
    let early = push(30);
    assert_eq!((early.since, early.now), (Some(30 * SECOND), 30 * SECOND));
    assert!(Duration::from_nanos(push(40).now) == Duration::from_secs(40));
}

/// What was registered last is read; each has a number of its own.
fn registered(metrics: Vec<ApplicationMetric>) -> Vec<Arc<Registered>> {
    let application = ApplicationMetrics::default();
    metrics.into_iter().for_each(|metric| application.register(metric));
    application.all()
}

/// What a push has of the application's.
fn application(reporter: &mut Reporter, registered: &[Arc<Registered>], delta: bool) -> Told {
    let wants = wants(&["org.apache.kafka.shop."], delta);
    let payload = reporter.measure(&metrics(5), registered, &wants, 60_000).expect("it fits");
    read(&payload).into_iter().map(|(name, it)| (name, (it.value, it.temporality))).collect()
}

type Told = BTreeMap<String, (f64, Option<u64>)>;

#[test]
fn kip_1076_names_and_keys_are_those_that_the_java_client_makes() {
    let name = |group, name| ApplicationMetric::gauge(group, name, || 0.0).name().to_owned();
    // Those of TelemetryMetricNamingConventionTest.
    assert_eq!(name("group", "name"), "org.apache.kafka.group.name");
    assert_eq!(name("group-name", "test-name"), "org.apache.kafka.group.name.test.name");
    assert_eq!(name("Shop-metrics", "Open-Orders"), "org.apache.kafka.shop.open.orders");
    assert_eq!(name("metrics", "my-metrics"), "org.apache.kafka.metrics.my.metrics");
    assert_eq!(name("a-metrics-b-metrics", "c"), "org.apache.kafka.a.b.c");
    let metric = ApplicationMetric::gauge("g", "n", || 0.0).attribute("Store-Id", "A-7");
    let metric = metric.attribute("aisle", "2").attribute("aisle", "3");
    assert_eq!(metric.attributes(), [("aisle", "3"), ("store_id", "A-7")]);
}

#[test]
fn kip_1076_a_name_with_its_attributes_is_there_once_and_none_is_the_producers() {
    let gauge = |name| ApplicationMetric::gauge("shop-metrics", name, || 1.0);
    let all = ApplicationMetrics::default();
    for metric in [gauge("a"), gauge("b"), gauge("a").attribute("k", "v"), gauge("A")] {
        all.register(metric);
    }
    for definition in Metrics::definitions().filter(|definition| definition.is_kafkas) {
        let (group, name) = (definition.group.name(), definition.name);
        all.register(ApplicationMetric::gauge(group, name, || 1.0));
    }
    let numbers = |all: &ApplicationMetrics| {
        all.all().iter().map(|registered| registered.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&all), [4, 2, 3], "the last one is in the place of the first");
    all.unregister("shop-metrics", "a", &[("k", "other")]);
    assert_eq!(numbers(&all), [4, 2, 3]);
    all.unregister("shop-metrics", "a", &[]);
    all.unregister("shop-metrics", "a", &[("K", "v")]);
    assert_eq!(numbers(&all), [2]);
    all.end();
    all.register(gauge("c"));
    assert!(all.all().is_empty(), "nothing is kept after the end");
}

#[test]
fn kip_1076_a_counter_is_pushed_as_a_sum_and_a_gauge_as_it_is() {
    let counted = Arc::new(AtomicU64::new(5));
    let reads = Arc::clone(&counted);
    let counter = ApplicationMetric::counter("shop", "orders", move || reads.load(Relaxed) as f64);
    let gauge = ApplicationMetric::gauge("shop", "depth", || -3.5).attribute("a", "1");
    let metrics = registered(vec![counter, gauge.attribute("b", "2")]);
    let mut reporter = Reporter::new(&settings());
    let mut push = |delta| {
        let told = application(&mut reporter, &metrics, delta);
        assert_eq!(told["org.apache.kafka.shop.depth a=1 b=2"], (-3.5, None));
        assert_eq!(told.len(), 2);
        told["org.apache.kafka.shop.orders"]
    };
    assert_eq!(push(false), (5.0, Some(2)));
    assert_eq!(push(true), (5.0, Some(1)), "TEL-7: a change starts anew");
    counted.store(12, Relaxed);
    assert_eq!(push(true), (7.0, Some(1)));
    assert_eq!(push(true), (0.0, Some(1)));
    counted.store(4, Relaxed);
    assert_eq!(push(true), (4.0, Some(1)), "it has begun anew");
    assert_eq!(push(false), (4.0, Some(2)));
}

#[test]
fn kip_1076_a_counter_in_another_ones_place_counts_from_0() {
    let all = ApplicationMetrics::default();
    let mut reporter = Reporter::new(&settings());
    let mut push = |value: f64| {
        all.register(ApplicationMetric::counter("shop", "orders", move || value));
        application(&mut reporter, &all.all(), true)["org.apache.kafka.shop.orders"].0
    };
    assert_eq!(push(5.0), 5.0);
    assert_eq!(push(9.0), 9.0);
}

#[test]
fn kip_1076_a_value_that_is_missing_once_is_in_the_next_delta() {
    let value = Arc::new(Mutex::new(Some(5.0)));
    let reads = Arc::clone(&value);
    let read = move || {
        let value = *reads.lock().unwrap();
        value.expect("on purpose: a metric of a test")
    };
    let metrics = registered(vec![
        ApplicationMetric::counter("shop", "orders", read),
        ApplicationMetric::gauge("shop", "depth", || 1.0),
    ]);
    let mut reporter = Reporter::new(&settings());
    let mut push = |now: Option<f64>| {
        *value.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
        let told = application(&mut reporter, &metrics, true);
        assert_eq!(told["org.apache.kafka.shop.depth"].0, 1.0, "the others go on");
        told.get("org.apache.kafka.shop.orders").map(|it| it.0)
    };
    assert_eq!(push(Some(5.0)), Some(5.0));
    assert_eq!(push(None), None);
    assert_eq!(push(Some(f64::NAN)), None);
    assert_eq!(push(Some(f64::INFINITY)), None);
    assert_eq!(push(Some(8.0)), Some(3.0));
    assert_eq!(reporter.panicked.len(), 1, "and was logged once");
    application(&mut reporter, &[], true);
    assert!(reporter.panicked.is_empty(), "nothing is kept of what is gone");
}
