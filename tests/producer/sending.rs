//! What is sent arrives: every way of sending, every field of a record.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::clock::wall_ms;
use kuring::{Delivery, DriverChoice, Header, Record, SendError, Topic, TrySendError};

use crate::rig::{builder, offsets, poll_once, run, until, verdict};
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::fetch::OwnedRecord;

pub(crate) fn every_way_of_sending_arrives_byte_for_byte_in_order(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Metadata);

    let binary: Vec<u8> = (0..=255).collect();
    let headers = [
        Header { key: "trace", value: Some(&binary) },
        Header { key: "", value: None },
        Header { key: "trace", value: Some(b"") },
    ];
    let records = [
        Record::new().key("k").value(&binary).headers(&headers).timestamp(1),
        Record::new().timestamp(0),
        Record::new().key("").value("").timestamp(1 << 50),
        Record::new().value("earlier than the one before").timestamp(7),
    ];
    let mut deliveries = vec![run("send", topic.send(records[0])).unwrap()];
    deliveries.push(topic.try_send(records[1]).unwrap());
    deliveries.push(topic.blocking_send(records[2]).unwrap());
    deliveries.push(run("send", producer.send("t", records[3])).unwrap());
    run("send_batch", topic.send_batch(&records, &mut deliveries)).unwrap();
    topic.blocking_send_batch(&records, &mut deliveries).unwrap();
    assert_eq!(offsets(deliveries), (0..12).collect::<Vec<_>>());

    let expected = (0..12).map(|offset| {
        let record = |timestamp, key: Option<&[u8]>, value: Option<&[u8]>| OwnedRecord {
            offset,
            timestamp,
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
        };
        match offset % 4 {
            0 => OwnedRecord {
                headers: vec![
                    (b"trace".to_vec(), Some(binary.clone())),
                    (Vec::new(), None),
                    (b"trace".to_vec(), Some(Vec::new())),
                ],
                ..record(1, Some(b"k"), Some(&binary))
            },
            1 => record(0, None, None),
            2 => record(1 << 50, Some(b""), Some(b"")),
            _ => record(7, None, Some(b"earlier than the one before")),
        }
    });
    assert_eq!(broker.log("t", 0), expected.collect::<Vec<_>>());

    let told = verdict(topic.blocking_send(Record::new().timestamp(77)).unwrap()).unwrap();
    assert_eq!((&*told.topic, told.partition, told.timestamp), ("t", 0, 77));
}

pub(crate) fn a_send_that_had_to_wait_is_sent_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).linger(Duration::from_secs(60)).build().unwrap();
    let topic = producer.topic("t");
    // Both wait for metadata; the second one then finds the first one's batch open.
    let mut waiting = ["first", "second"].map(|value| topic.send(Record::new().value(value)));
    assert!(waiting.iter_mut().all(|sending| poll_once(sending).is_pending()));
    let deliveries = waiting.map(|sending| run("send", sending).unwrap());
    producer.blocking_flush();
    assert_eq!(offsets(deliveries.into()), [0, 1]);
    assert_eq!(broker.values("t", 0), ["first", "second"]);
}

pub(crate) fn api_4_an_explicit_partition_and_a_key_choose_the_partition(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 7)]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("t");
    let partition_of = |record| verdict(topic.blocking_send(record).unwrap()).unwrap().partition;
    for partition in 0..7 {
        assert_eq!(partition_of(Record::new().key("21").partition(partition)), partition);
    }
    // PRT-2: what Java's murmur2 gives for these keys, sign bit cleared.
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("abc", 479_470_107),
    ] {
        assert_eq!(partition_of(Record::new().key(key)), (hash & i32::MAX) % 7, "{key}");
    }
}

pub(crate) fn keys_choose_nothing_when_they_are_ignored(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 50)]);
    let producer = builder(&broker, driver).batch_bytes(1024).ignore_keys(true).build().unwrap();
    let topic = producer.topic("t");
    let value = [7; 1100];
    let partitions: HashSet<_> = (0..60)
        .map(|_| topic.blocking_send(Record::new().key("k").value(&value)).unwrap())
        .map(|delivery| verdict(delivery).unwrap().partition)
        .collect();
    assert!(partitions.len() > 5, "one key went to {partitions:?}");
}

pub(crate) fn stk_7_after_a_batch_worth_of_bytes_each_new_batch_goes_elsewhere(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 50)]);
    let producer = builder(&broker, driver).batch_bytes(1024).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    let large = [7; 1100];
    let send = |value| topic.blocking_send(Record::new().value(value)).unwrap();
    let mut deliveries = vec![send(&b"tiny"[..])];
    deliveries.extend((0..60).map(|_| send(&large)));
    let partitions: Vec<_> =
        deliveries.into_iter().map(|delivery| verdict(delivery).unwrap().partition).collect();
    assert_eq!(partitions[0], partitions[1], "the second record still goes to the first's");
    let switches = partitions.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // Each switch is a draw among 50, so a few stay by chance.
    assert!(switches > 40, "{switches} switches in {partitions:?}");
}

pub(crate) fn unkeyed_records_fill_a_batch_before_they_go_elsewhere(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 50)]);
    let producer =
        builder(&broker, driver).batch_bytes(2000).linger(Duration::from_secs(60)).build().unwrap();
    let topic = producer.topic("t");
    let value = [7; 100];
    let deliveries: Vec<_> = (0..170)
        .map(|_| topic.blocking_send(Record::new().value(&value).timestamp(0)).unwrap())
        .collect();
    producer.blocking_flush();
    assert!(deliveries.iter().all(Delivery::is_done));
    // 61 bytes of header, then 109 per record: 17 fit into 2000 bytes.
    broker.state(|state| {
        let topic = &state.topics["t"];
        let batches: Vec<_> =
            topic.partitions.iter().flat_map(|partition| &partition.log.batches).collect();
        let full = batches.iter().filter(|records| ***records == 17).count();
        assert!(full == 10 && batches.len() == 10, "{batches:?}");
    });
}

pub(crate) fn api_2_a_record_without_a_time_has_that_after_its_wait_for_metadata(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[]);
    let producer = builder(&broker, driver).build().unwrap();
    let topic = producer.topic("late");
    let mut waiting = topic.send(Record::new());
    assert!(poll_once(&mut waiting).is_pending());
    let asked = wall_ms();
    until("the clock goes on", || wall_ms() > asked + 20);
    broker.create_topic("late", 1);
    let told = verdict(run("send", waiting).unwrap()).unwrap();
    assert!(told.timestamp > asked + 10 && told.timestamp <= wall_ms(), "{told:?} after {asked}");
    assert_eq!(broker.log("late", 0)[0].timestamp, told.timestamp);
}

pub(crate) fn api_1_a_negative_partition_or_timestamp_is_refused(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let producer = builder(&broker, driver).build().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let topic = producer.topic("t");
    for value in [-1, i32::MIN] {
        let expected = SendError::InvalidField { field: "partition", value: i64::from(value) };
        let record = Record::new().partition(value);
        assert_eq!(topic.blocking_send(record).unwrap_err(), expected);
        assert_eq!(run("send", topic.send(record)).unwrap_err(), expected);
        assert_eq!(topic.try_send(record).unwrap_err(), TrySendError::Rejected(expected));
    }
    for value in [-1, i64::MIN] {
        let expected = SendError::InvalidField { field: "timestamp", value };
        let record = Record::new().timestamp(value);
        assert_eq!(topic.blocking_send(record).unwrap_err(), expected);
        assert_eq!(topic.try_send(record).unwrap_err(), TrySendError::Rejected(expected));
    }
    // What stood before the wrong one in a batch of records was taken.
    let records = [Record::new(), Record::new().timestamp(-1), Record::new()];
    let mut deliveries = Vec::new();
    let error = topic.blocking_send_batch(&records, &mut deliveries).unwrap_err();
    assert!(matches!(error, SendError::InvalidField { field: "timestamp", .. }), "{error}");
    assert_eq!(offsets(deliveries), [0]);
    assert_eq!(broker.state(|state| state.stored("t")), 1);
}

pub(crate) fn a_record_that_can_never_fit_is_refused_at_once(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver)
        .batch_bytes(1024)
        .request_bytes_max(10_000)
        .buffer_memory(1 << 20)
        .build()
        .unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    let limit = |error: SendError| match error {
        SendError::TooLarge { limit, setting, .. } => (limit, setting),
        other => panic!("{other}"),
    };
    let value = vec![7; 20_000];
    let send =
        |topic: &Topic, bytes: usize| topic.blocking_send(Record::new().value(&value[..bytes]));
    let topic = producer.topic("t");
    assert_eq!(limit(send(&topic, 10_000).unwrap_err()), (10_000, "max.request.size"));
    assert_eq!(verdict(send(&topic, 9_900).unwrap()).unwrap().offset, Some(0));

    // BUF-5: never a wait, whatever the record's size is near the memory's.
    let small = builder(&broker, driver).batch_bytes(1024).buffer_memory(15_000).build().unwrap();
    small.blocking_warm_up(&["t"]).unwrap();
    let total = small.metrics().buffer_total_bytes;
    let topic = small.topic("t");
    let mut sent = 0;
    for bytes in (total as usize - 1000)..(total as usize + 100) {
        match send(&topic, bytes) {
            Ok(delivery) => {
                verdict(delivery).unwrap();
                sent += 1;
            }
            Err(error) => {
                let (limit, setting) = limit(error);
                assert!(limit < total && setting == "buffer.memory", "{limit} {setting}");
            }
        }
    }
    assert!(sent > 300, "{sent}");
}

pub(crate) fn every_version_of_produce_and_of_the_greeting_works(driver: DriverChoice) {
    for version in 3..=13 {
        let broker = FakeBroker::start(&[("t", 2)]);
        broker.cap_version(ApiKey::Produce, version);
        broker.cap_version(ApiKey::Metadata, 4 + (version - 4).max(0));
        broker.cap_version(ApiKey::ApiVersions, (version - 3).min(4));
        broker.cap_version(ApiKey::InitProducerId, (version - 3).min(5));
        let producer = builder(&broker, driver).build().unwrap();
        let topic = producer.topic("t");
        let deliveries: Vec<_> = (0..10)
            .map(|number| Record::new().partition(number % 2))
            .map(|record| topic.blocking_send(record).unwrap())
            .collect();
        assert_eq!(offsets(deliveries), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        let used = broker.state(|state| {
            state.seen.iter().rev().find(|seen| seen.api == ApiKey::Produce).unwrap().version
        });
        // Topic ids come with metadata 10.
        assert_eq!(used, version);
    }
}

pub(crate) fn threads_share_a_producer_and_each_keeps_its_order(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 3), ("u", 2)]);
    let producer = builder(&broker, driver).shards(2).batch_bytes(1024).build().unwrap();
    thread::scope(|scope| {
        for sender in 0..4 {
            let producer = producer.clone();
            scope.spawn(move || {
                let topics = [producer.topic("t"), producer.topic("u")];
                let deliveries: Vec<_> = (0..500)
                    .map(|number| {
                        let (key, value) = (format!("{sender}"), format!("{number}"));
                        let record = Record::new().key(&key).value(&value);
                        topics[number % 2].blocking_send(record).unwrap()
                    })
                    .collect();
                deliveries.into_iter().for_each(|delivery| drop(verdict(delivery).unwrap()));
            });
        }
    });
    let mut seen = HashMap::<(String, Vec<u8>), i32>::new();
    for (topic, partitions) in [("t", 3), ("u", 2)] {
        for record in (0..partitions).flat_map(|partition| broker.log(topic, partition)) {
            let number: i32 = String::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
            let last = seen.insert((topic.to_owned(), record.key.unwrap()), number);
            assert_eq!(number, last.map_or(number % 2, |last| last + 2));
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.values().all(|last| *last >= 498));
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed + summary.possibly_written), (2000, 0));
}
