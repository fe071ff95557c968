//! Compressed batches: taken by real brokers, and read back by others' decoders and by Java's.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Compression, Producer, Record, TopicOptions};

use crate::content::Content;
use crate::ledger::{all_numbers_sent, verify};
use crate::support::jars::Version;
use crate::support::java;
use crate::support::kafka::{Cluster, shared};
use crate::traffic::{Plan, Traffic};

/// Codecs with their numbers in a batch, and as the dump tool names them.
const CODECS: [(Compression, i16, &str); 4] = [
    (Compression::GZIP, 1, "gzip"),
    (Compression::Snappy, 2, "snappy"),
    (Compression::LZ4, 3, "lz4"),
    (Compression::ZSTD, 4, "zstd"),
];

/// One producer, and a topic per codec: the topic's own choice is what counts.
pub(crate) fn cmp_1_every_codec_is_read_back_record_by_record(version: Version) {
    let cluster = shared(version);
    let producer = builder(cluster).build().unwrap();
    let topics = CODECS.map(|(codec, ..)| (format!("records-{}", codec.name()), 2));
    for ((codec, ..), (name, partitions)) in CODECS.iter().zip(&topics) {
        cluster.create_topic(name, *partitions, 1, &[]);
        producer.topic_with(name, &TopicOptions::new().compression(*codec)).unwrap();
    }
    let plan = Plan {
        topics: topics.to_vec(),
        threads: 3,
        records_per_thread: 10_000,
        window: 2_000,
        content: Content::mixed,
    };
    let sent = Traffic::start(&producer, &plan).finish();
    all_numbers_sent(&plan, &sent);
    verify(cluster, &plan, &sent);
    // Little of that can be compressed. This can.
    let text = "the same text once more ".repeat(20);
    for ((_, number, name), (topic, _)) in CODECS.iter().zip(&topics) {
        let record = Record::new().value(&text).partition(0);
        producer.topic(topic).blocking_send(record).unwrap().wait().unwrap();
        let codecs = cluster.read(topic, 0, |_| ()).codecs;
        assert!(codecs.get(number).is_some_and(|count| *count > 0), "{name}: {codecs:?}");
        assert!(codecs.keys().all(|codec| [0, *number].contains(codec)), "{name}: {codecs:?}");
    }
    let metrics = producer.metrics();
    assert!(metrics.compressed_batches > 0, "{metrics:?}");
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!(summary.acknowledged, (sent.len() + CODECS.len()) as u64);
}

pub(crate) fn cmp_1_every_codec_and_level_is_read_by_the_java_consumer(version: Version) {
    const COUNT: usize = 3_000;
    let cluster = shared(version);
    let text = |number: usize| {
        (format!("key {number}"), format!("value {number} {}", "of a line of text ".repeat(9)))
    };
    let expected: String = (0..COUNT)
        .map(text)
        .map(|(key, value)| format!("{key}{}{value}\n", java::SEPARATOR))
        .collect();
    let levels = [Compression::Gzip(9), Compression::Lz4(3), Compression::Zstd(19)];
    let leveled = levels.map(|codec| (codec, codec.name()));
    let all = CODECS.map(|(codec, _, name)| (codec, name)).into_iter().chain(leveled);
    for (codec, codec_name) in all {
        let name = format!("java-{codec_name}-{}", codec.level().unwrap_or(0));
        cluster.create_topic(&name, 1, 1, &[]);
        let producer = builder(cluster).compression(codec).build().unwrap();
        let topic = producer.topic(&name);
        let send = |number| {
            let (key, value) = text(number);
            topic.blocking_send(Record::new().key(&key).value(&value)).unwrap()
        };
        let deliveries: Vec<_> = (0..COUNT).map(send).collect();
        for (number, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.wait().unwrap().offset, Some(number));
        }
        assert!(java::consume(cluster, &name, 0, COUNT) == expected, "{codec}");
        let dump = java::dump_log(cluster, 0, &name, 0);
        let batches = dump.lines().filter(|line| line.starts_with("baseOffset: "));
        for batch in batches {
            assert!(batch.contains("isvalid: true"), "{batch}");
            assert!(batch.contains(&format!("compresscodec: {codec_name}")), "{batch}");
        }
        let metrics = producer.metrics();
        assert!(metrics.batch_bytes * 2 < metrics.plain_bytes, "{codec}: {metrics:?}");
    }
}

/// Values that become a fraction, so that batches hold many times what a topic takes.
fn repetitive(thread: usize, number: u32) -> Content {
    let mut content = Content::mixed(thread, number);
    content.value = content.value.map(|value| &value[..value.len().min(1_500)]);
    content
}

pub(crate) fn spl_1_compressed_batches_above_max_message_bytes_arrive_once_in_order(
    version: Version,
) {
    let cluster = shared(version);
    for (codec, _, codec_name) in CODECS {
        let name = format!("split-{codec_name}");
        cluster.create_topic(&name, 2, 1, &[("max.message.bytes", "2048")]);
        let producer =
            builder(cluster).compression(codec).linger(Duration::from_millis(20)).build().unwrap();
        let topics = vec![(name, 2)];
        let plan = Plan {
            topics,
            threads: 2,
            records_per_thread: 3_000,
            window: 2_000,
            content: repetitive,
        };
        let sent = Traffic::start(&producer, &plan).finish();
        all_numbers_sent(&plan, &sent);
        verify(cluster, &plan, &sent);
        let metrics = producer.metrics();
        assert!(metrics.splits > 5, "{codec}: {metrics:?}");
        let summary = producer.close(Duration::from_secs(30));
        assert_eq!(summary.acknowledged, sent.len() as u64);
    }
}

pub(crate) fn an_embedded_producer_compresses_in_its_turns(version: Version) {
    let cluster = shared(version);
    let name = "embedded-zstd";
    cluster.create_topic(name, 1, 1, &[]);
    let producer = builder(cluster).compression(Compression::ZSTD).embedded().unwrap();
    producer.blocking_warm_up(&[name]).unwrap();
    let topic = producer.topic(name);
    let value = "the same again ".repeat(60);
    for _ in 0..2_000 {
        drop(producer.block_on(topic.send(Record::new().value(&value))).unwrap());
    }
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!(summary.acknowledged, 2_000);
    let read = cluster.read(name, 0, |found| assert_eq!(found.value, Some(value.as_bytes())));
    assert_eq!(read.end, 2_000);
    assert!(read.codecs.keys().eq([&4]), "{:?}", read.codecs);
}

fn builder(cluster: &Cluster) -> kuring::ConfigBuilder {
    Producer::builder().bootstrap_servers(cluster.bootstrap())
}
