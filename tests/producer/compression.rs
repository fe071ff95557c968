//! Compressed topics, end to end over TCP.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Compression, ConfigError, Delivery, DriverChoice, Record, TopicOptions};

use crate::rig::{builder, offsets, verdict};
use crate::support::fake_broker::{FakeBroker, PATIENCE};

const CODECS: [Compression; 4] =
    [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD];

fn value(number: usize) -> String {
    format!("{number}: {}", "some text that comes again ".repeat(number % 40))
}

pub(crate) fn cmp_1_every_codec_arrives_byte_for_byte_in_order(driver: DriverChoice) {
    for codec in CODECS {
        let broker = FakeBroker::start(&[("t", 1)]);
        let producer = builder(&broker, driver)
            .compression(codec)
            .batch_bytes(2_000)
            .linger(Duration::from_millis(2))
            .build()
            .unwrap();
        let topic = producer.topic("t");
        assert_eq!(topic.compression(), codec);
        let send = |number| topic.blocking_send(Record::new().value(&value(number))).unwrap();
        let deliveries: Vec<_> = (0..3_000).map(send).collect();
        assert_eq!(offsets(deliveries), (0..3_000).collect::<Vec<_>>());
        assert!(broker.values("t", 0).into_iter().eq((0..3_000).map(value)), "{codec}");
        let metrics = producer.metrics();
        assert!(metrics.compressed_batches > 0, "{metrics:?}");
        assert!(metrics.batch_bytes * 2 < metrics.plain_bytes, "{codec}: {metrics:?}");
        assert_eq!(producer.close(PATIENCE).acknowledged, 3_000);
    }
}

pub(crate) fn a_codec_that_panics_costs_its_batches_their_size_and_no_record(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).compression(Compression::ZSTD).build().unwrap();
    let topic = producer.topic("t");
    let send = |number| {
        let sent = topic.blocking_send(Record::new().value(&value(number)));
        verdict(sent.unwrap()).unwrap().offset.unwrap()
    };
    // Values that are worth it, one to a batch.
    assert_eq!((30..34).map(send).collect::<Vec<_>>(), [0, 1, 2, 3]);
    producer.break_codec(0, 3);
    assert_eq!((30..40).map(send).collect::<Vec<_>>(), (4..14).collect::<Vec<_>>());
    assert!(broker.values("t", 0).into_iter().eq((30..34).chain(30..40).map(value)));
    assert_eq!(producer.metrics().compressed_batches, 14 - 3, "the thread went on");
    // A close does not wait for what broke.
    producer.break_codec(0, u32::MAX);
    let deliveries: Vec<_> =
        (0..20).map(|_| topic.blocking_send(Record::new().value(&value(39))).unwrap()).collect();
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, offsets(deliveries).len()), (34, 20));
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
}

pub(crate) fn a_topic_has_one_codec_from_its_first_record_on(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1), ("u", 1)]);
    let producer = builder(&broker, driver).compression(Compression::LZ4).build().unwrap();
    let early = producer.topic("t");
    let zstd = TopicOptions::new().compression(Compression::ZSTD);
    let topic = producer.topic_with("t", &zstd).unwrap();
    assert_eq!((early.compression(), topic.compression()), (Compression::ZSTD, Compression::ZSTD));
    verdict(topic.blocking_send(Record::new().value("v")).unwrap()).unwrap();
    assert!(
        producer.topic_with("t", &zstd).is_ok()
            && producer.topic_with("t", &TopicOptions::new()).is_ok()
    );
    let refused = producer.topic_with("t", &TopicOptions::new().compression(Compression::None));
    let ConfigError::TopicInUse { .. } = refused.unwrap_err() else { panic!() };
    // The settings' own codec is fixed by a record, too.
    verdict(producer.topic("u").blocking_send(Record::new().value("v")).unwrap()).unwrap();
    let refused = producer.topic_with("u", &zstd).unwrap_err().to_string();
    assert!(refused.contains("lz4:9") && refused.contains("before the first record"), "{refused}");
    let wrong = TopicOptions::new().compression(Compression::Zstd(99));
    let wrong = producer.topic_with("new", &wrong).unwrap_err().to_string();
    assert!(wrong.starts_with("compression.zstd.level"), "{wrong}");
}

pub(crate) fn a_failed_shard_leaves_no_compressed_record_without_a_verdict(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 4)]);
    let producer =
        builder(&broker, driver).compression(Compression::Zstd(19)).batch_bytes(4_000).build();
    let producer = producer.unwrap();
    let topic = producer.topic("t");
    let mut deliveries = Vec::new();
    for number in 0..4_000 {
        if number == 2_000 {
            producer.break_shard(0);
        }
        match topic.blocking_send(Record::new().value(&value(number))) {
            Ok(delivery) => deliveries.push(delivery),
            Err(_) => break,
        }
    }
    producer.close(PATIENCE);
    assert!(deliveries.len() >= 2_000 && deliveries.iter().all(Delivery::is_done));
    let metrics = producer.metrics();
    assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes, "all memory is back");
}
