//! Telemetry, as a broker's plug-in gets it: the plug-in decodes each push with the protobuf that
//! Kafka itself has, and writes it to a file.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kuring::{ApplicationMetric, Producer, Record};
use tempfile::TempDir;

use crate::support::deadline::{Deadline, now};
use crate::support::jars::{Version, target};
use crate::support::java::{compile, run};
use crate::support::kafka::Cluster;

const RECORDS: u32 = 1000;
const SENT: &str = "org.apache.kafka.producer.record.send.total";
const OF_TOPIC: &str = "org.apache.kafka.producer.topic.record.send.total topic=watched";
const ALL: &str = "*";

/// One push.
#[derive(Debug)]
struct Push {
    client_id: String,
    instance: String,
    terminating: bool,
    resource: Vec<String>,
    /// Kind and value by name and attribute. A kind is `GAUGE`, or `SUM+1` of a delta.
    metrics: BTreeMap<String, (String, f64)>,
}

/// A one-broker cluster with the plug-in, and one topic.
struct Watched {
    cluster: Cluster,
    file: PathBuf,
    _folder: TempDir,
}

impl Watched {
    /// `metrics`: what is asked for, every half second.
    fn start(version: Version, metrics: &str) -> Self {
        let folder = tempfile::tempdir_in(target().join("tmp")).expect("a folder");
        let file = folder.path().join("pushes");
        let path = file.display().to_string();
        let overrides = [("metric.reporters", "TelemetryLog"), ("kuring.telemetry.file", &path)];
        let mut cluster = Cluster::prepare(version, 1, &overrides);
        compile(version, "tests/kafka/TelemetryLog.java", &cluster.classes(0));
        cluster.start_all();
        cluster.create_topic("watched", 4, 1, &[]);
        let bootstrap = cluster.bootstrap();
        let arguments = [
            ["--bootstrap-server", &bootstrap],
            ["--name", "watch"],
            ["--metrics", metrics],
            ["--interval", "500"],
        ];
        let arguments = [&["--alter"], arguments.as_flattened()].concat();
        run(version, "org.apache.kafka.tools.ClientMetricsCommand", &arguments, "");
        Self { cluster, file, _folder: folder }
    }

    /// The whole pushes so far.
    fn pushes(&self, client_id: &str) -> Vec<Push> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let whole = text.rfind("end\n").map_or("", |end| &text[..end]);
        let mut pushes: Vec<Push> = Vec::new();
        for line in whole.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            match (&words[..], pushes.last_mut()) {
                (["push", client_id, instance, terminating], _) => pushes.push(Push {
                    client_id: (*client_id).to_owned(),
                    instance: (*instance).to_owned(),
                    terminating: *terminating == "true",
                    resource: Vec::new(),
                    metrics: BTreeMap::new(),
                }),
                (["resource", attribute], Some(push)) => {
                    push.resource.push((*attribute).to_owned());
                }
                (["metric", kind, value, name], Some(push)) => {
                    let metric = ((*kind).to_owned(), value.parse().expect("a number"));
                    push.metrics.insert((*name).to_owned(), metric);
                }
                (["end"], _) => {}
                other => panic!("{other:?}"),
            }
        }
        pushes.retain(|push| push.client_id == client_id);
        pushes
    }

    /// Waits until the pushes of a client are as they should be.
    fn await_pushes(&self, client_id: &str, reached: impl Fn(&[Push]) -> bool) -> Vec<Push> {
        let deadline = Deadline::after(Duration::from_secs(120));
        loop {
            let pushes = self.pushes(client_id);
            if reached(&pushes) {
                return pushes;
            }
            self.cluster.watch(deadline, || format!("pushes of {client_id}: {pushes:?}"));
        }
    }
}

/// What the deltas of a counter add up to.
fn sum(pushes: &[Push], name: &str) -> f64 {
    let of_push = |push: &Push| {
        push.metrics.get(name).map_or(0.0, |(kind, value)| {
            assert_eq!(kind, "SUM+1", "Kafka's brokers ask for deltas");
            *value
        })
    };
    pushes.iter().map(of_push).sum()
}

/// The pushes of a client that was closed: one id, which is not zero, and the last one says so.
fn assert_ended(pushes: &[Push]) {
    let instance = &pushes[0].instance;
    assert_ne!(instance, "AAAAAAAAAAAAAAAAAAAAAA");
    assert!(pushes.iter().all(|push| push.instance == *instance), "one client per producer");
    let terminating: Vec<bool> = pushes.iter().map(|push| push.terminating).collect();
    let (last, earlier) = terminating.split_last().expect("there are pushes");
    assert!(last & !earlier.contains(&true), "{terminating:?}");
}

pub(crate) fn tel_6_a_cluster_that_asks_is_pushed_metrics_until_the_last_one(version: Version) {
    let watched = Watched::start(version, "org.apache.kafka.producer.,kuring.producer.shard");
    let producer = Producer::builder()
        .bootstrap_servers(watched.cluster.bootstrap())
        .client_id("watched-1")
        .client_rack("r1")
        .shards(2)
        .build()
        .unwrap();
    let topic = producer.topic("watched");
    let send = || {
        for number in 0..RECORDS {
            let record = Record::new().partition((number % 4) as i32).value("watched");
            drop(topic.blocking_send(record).unwrap());
        }
    };
    send();
    producer.blocking_flush();
    let all = |pushes: &[Push]| sum(pushes, OF_TOPIC) >= f64::from(RECORDS);
    watched.await_pushes("watched-1", all);
    watched.await_pushes("watched-1", |pushes| pushes.len() >= 3);
    // What the close itself sends is in the last push, whichever shard sends it.
    send();
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, 2 * u64::from(RECORDS));
    let ended = |pushes: &[Push]| pushes.iter().any(|push| push.terminating);
    let pushes = watched.await_pushes("watched-1", ended);
    assert_ended(&pushes);
    for name in [SENT, OF_TOPIC] {
        assert_eq!(sum(&pushes, name), f64::from(2 * RECORDS), "{name}");
    }
    let last = pushes.last().expect("there are some");
    assert_eq!(last.resource, ["client_rack=r1"]);
    let gauge = |name: &str| match last.metrics.get(name) {
        Some((kind, value)) if kind == "GAUGE" => *value,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(gauge("kuring.producer.shard.count"), 2.0, "both shards are counted");
    assert!(gauge("org.apache.kafka.producer.connection.count") >= 2.0);
    assert!(gauge("org.apache.kafka.producer.node.request.latency.avg node_id=node-1") > 0.0);
    assert!(sum(&pushes, "org.apache.kafka.producer.connection.creation.total") >= 2.0);
    assert!(!last.metrics.contains_key("kuring.producer.record.ack.total"), "nobody asked for it");
}

pub(crate) fn tel_3_names_and_kinds_are_those_of_the_java_producer(version: Version) {
    let watched = Watched::start(version, ALL);
    let bootstrap = format!("bootstrap.servers={}", watched.cluster.bootstrap());
    let arguments = [
        &["--topic", "watched", "--num-records", "50", "--record-size", "100"][..],
        &["--throughput", "10", "--producer-props", &bootstrap, "client.id=java"],
    ];
    run(version, "org.apache.kafka.tools.ProducerPerformance", &arguments.concat(), "");
    let java = watched.await_pushes("java", |pushes| !pushes.is_empty());
    let producer = Producer::builder()
        .bootstrap_servers(watched.cluster.bootstrap())
        .client_id("embedded")
        .embedded()
        .unwrap();
    let topic = producer.topic("watched");
    for number in 0..RECORDS {
        let record = Record::new().partition((number % 4) as i32).value("watched");
        drop(producer.block_on(topic.send(record)).unwrap());
    }
    producer.blocking_flush();
    let deadline = Deadline::after(Duration::from_secs(120));
    while sum(&watched.pushes("embedded"), OF_TOPIC) < f64::from(RECORDS) {
        producer.turn(Some(now() + Duration::from_millis(30)));
        deadline.check(|| "the pushes of an embedded producer".to_owned());
    }
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, u64::from(RECORDS));
    let ended = |pushes: &[Push]| pushes.iter().any(|push| push.terminating);
    let ours = watched.await_pushes("embedded", ended);
    assert_ended(&ours);
    assert_eq!(sum(&ours, SENT), f64::from(RECORDS));
    let kinds = |pushes: &[Push]| {
        let all = pushes.iter().flat_map(|push| &push.metrics);
        let kind = |(name, (kind, _)): (&String, &(String, f64))| (name.clone(), kind.clone());
        all.map(kind).collect::<BTreeMap<_, _>>()
    };
    let (java, ours) = (kinds(&java), kinds(&ours));
    let of_kafka = ours.iter().filter(|(name, _)| !name.starts_with("kuring."));
    // The bootstrap server is another node to each of them.
    let of_kafka = of_kafka.filter(|(name, _)| !name.contains("node_id=node--"));
    // What Java's producer of that version does not have yet (KIP-939).
    let is_later = |name: &str| {
        version == Version::V3_9_2 && name == "org.apache.kafka.producer.txn.prepare.time.ns.total"
    };
    let differing: Vec<_> =
        of_kafka.filter(|(name, kind)| java.get(*name) != Some(kind) && !is_later(name)).collect();
    assert!(differing.is_empty(), "{differing:#?}\nJava's: {java:#?}");
}

pub(crate) fn kip_1076_an_applications_metrics_reach_the_broker_under_the_id_it_gave(
    version: Version,
) {
    const ORDERS: &str = "org.apache.kafka.shop.orders.total store_id=7";
    const DEPTH: &str = "org.apache.kafka.shop.queue.depth";
    let watched = Watched::start(version, "org.apache.kafka.shop.");
    let producer = Producer::builder()
        .bootstrap_servers(watched.cluster.bootstrap())
        .client_id("shop")
        .build()
        .unwrap();
    let orders = Arc::new(AtomicU64::new(5));
    let counted = Arc::clone(&orders);
    let counter = ApplicationMetric::counter("shop-metrics", "orders-total", move || {
        counted.load(Relaxed) as f64
    });
    producer.register_metric_for_subscription(counter.attribute("store-id", "7"));
    let gauge = ApplicationMetric::gauge("shop-metrics", "queue-depth", || 2.5);
    producer.register_metric_for_subscription(gauge);
    // No record is sent.
    let id = producer.blocking_client_instance_id(Duration::from_secs(120)).unwrap();
    watched.await_pushes("shop", |pushes| sum(pushes, ORDERS) == 5.0);
    orders.fetch_add(7, Relaxed);
    let pushes = watched.await_pushes("shop", |pushes| sum(pushes, ORDERS) == 12.0);
    let last = pushes.last().expect("there are some");
    assert_eq!(last.metrics[DEPTH], ("GAUGE".to_owned(), 2.5));
    assert_eq!(last.metrics.len(), 2, "{last:?}");
    producer.unregister_metric_from_subscription("shop-metrics", "queue-depth", &[]);
    orders.fetch_add(1, Relaxed);
    producer.close(Duration::from_secs(30));
    let ended = |pushes: &[Push]| pushes.iter().any(|push| push.terminating);
    let pushes = watched.await_pushes("shop", ended);
    assert_ended(&pushes);
    assert_eq!(sum(&pushes, ORDERS), 13.0);
    assert!(!pushes.last().expect("there are some").metrics.contains_key(DEPTH));
    assert_eq!(pushes[0].instance, id.to_string(), "the plug-in knows it by this id");
}
