//! Batches whose first record is a reservation that never comes: the header's times and counts
//! were the first record's, and brokers check them against those that are left.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Delivery, Producer, Record, Reservation, Topic};

use crate::support::jars::Version;
use crate::support::kafka::{Cluster, shared};

/// When the first record was made; those behind it are older and younger.
const FIRST_MS: i64 = 1_700_000_000_000;
/// Few enough for one batch.
const BEHIND: i64 = 100;

fn producer(cluster: &Cluster, reserve_max_ms: &str) -> Producer {
    let properties = [("linger.ms", "600000"), ("kuring.reserve.max.ms", reserve_max_ms)];
    let builder = Producer::builder().bootstrap_servers(cluster.bootstrap());
    builder.properties(properties).unwrap().build().unwrap()
}

fn value(number: i64) -> String {
    format!("{number}:{}", "x".repeat(number as usize * 2))
}

/// Both sides of the first record's time, so that the ones that stay have other bounds than it.
fn time(number: i64) -> i64 {
    FIRST_MS + (number - BEHIND / 2) * 1_000
}

/// The reservation that opens the batch.
fn first(topic: &Topic) -> Reservation<'_> {
    let mut first = topic.reserve_record(Record::new().partition(0).timestamp(FIRST_MS), 50);
    first.as_mut().unwrap().fill(b'f');
    first.unwrap()
}

/// Those behind it, every third one written in place.
fn send_behind(topic: &Topic) -> Vec<Delivery> {
    let send = |number: i64| {
        let (value, time) = (value(number), time(number));
        let record = Record::new().partition(0).timestamp(time).key("k");
        if number % 3 > 0 {
            return topic.blocking_send(record.value(&value)).unwrap();
        }
        let mut reserved = topic.reserve_record(record, value.len()).unwrap();
        reserved.copy_from_slice(value.as_bytes());
        reserved.commit().unwrap()
    };
    (0..BEHIND).map(send).collect()
}

/// The log is those behind, from the offset `base` on, and each delivery says where its record is.
fn verify(cluster: &Cluster, name: &str, deliveries: Vec<Delivery>, base: i64) {
    let mut log = cluster.records(name, 0);
    assert_eq!(log.len() as i64, base + BEHIND);
    let log = log.drain(base as usize..);
    for (number, (delivery, found)) in (0..).zip(deliveries.into_iter().zip(log)) {
        let told = delivery.wait().unwrap();
        assert_eq!((told.offset, told.timestamp), (Some(base + number), time(number)));
        assert_eq!((found.offset, found.timestamp), (base + number, time(number)));
        assert_eq!(found.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(found.value.as_deref(), Some(value(number).as_bytes()));
    }
}

pub(crate) fn a_batch_goes_without_its_dropped_first_record(version: Version) {
    let cluster = shared(version);
    let name = "first-dropped";
    cluster.create_topic(name, 1, 1, &[]);
    let producer = producer(cluster, "600000");
    producer.blocking_warm_up(&[name]).unwrap();
    let topic = producer.topic(name);
    for round in 0..3 {
        let first = first(&topic);
        let behind = send_behind(&topic);
        drop(first);
        producer.blocking_flush();
        verify(cluster, name, behind, round * BEHIND);
    }
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!((summary.acknowledged, summary.failed), (3 * BEHIND as u64, 0));
    assert_eq!(cluster.end_offset(name, 0), 3 * BEHIND);
}

pub(crate) fn a_batch_goes_without_its_late_first_record_which_comes_behind_it(version: Version) {
    let cluster = shared(version);
    let name = "first-late";
    cluster.create_topic(name, 1, 1, &[]);
    let producer = producer(cluster, "5");
    producer.blocking_warm_up(&[name]).unwrap();
    let topic = producer.topic(name);
    for round in 0..3 {
        let mut first = first(&topic);
        let behind = send_behind(&topic);
        // It waits for what was accepted, and so for no open reservation.
        producer.blocking_flush();
        assert!(first.is_late());
        let base = round * (BEHIND + 1);
        verify(cluster, name, behind, base);
        first.fill(b'l');
        let late = first.commit().unwrap();
        producer.blocking_flush();
        let late = late.wait().unwrap();
        assert_eq!((late.offset, late.timestamp), (Some(base + BEHIND), FIRST_MS));
        let log = cluster.records(name, 0);
        assert_eq!(log.len() as i64, base + BEHIND + 1);
        let last = &log[log.len() - 1];
        assert_eq!(last.value.as_deref(), Some(&[b'l'; 50][..]));
        assert_eq!((last.key.as_deref(), last.timestamp), (None, FIRST_MS));
    }
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!((summary.acknowledged, summary.failed), (3 * (BEHIND as u64 + 1), 0));
}
