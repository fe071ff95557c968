//! Verdicts out of the completion queue: each record has one, and it says where the record is.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use kuring::{Completion, Producer};

use crate::content::Content;
use crate::support::deadline::now;
use crate::support::jars::Version;
use crate::support::kafka::{Cluster, shared};

const PARTITIONS: i32 = 3;
const THREADS: usize = 3;
const EACH: u32 = 20_000;

/// What a record is submitted with.
fn number_of(thread: usize, number: u32) -> u64 {
    (thread as u64) << 32 | u64::from(number)
}

/// Where each record is and when it was made, by what it was submitted with.
type Told = HashMap<(i32, i64), (u64, i64)>;

fn keep(told: &mut Told, completions: &[Completion]) {
    for completion in completions {
        let ack = completion.verdict.as_ref().unwrap();
        let place = (ack.partition, ack.offset.unwrap());
        let before = told.insert(place, (completion.user_data, ack.timestamp));
        assert_eq!(before, None, "one record at each place");
    }
}

/// Every record in the log is the one that the completions say, and each has one.
fn verify(cluster: &Cluster, topic: &str, mut told: Told, count: usize) {
    assert_eq!(told.len(), count);
    let numbers: std::collections::HashSet<_> = told.values().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), count, "one completion for each record");
    for partition in 0..PARTITIONS {
        cluster.read(topic, partition, |found| {
            let place = (partition, found.offset);
            let (number, timestamp) = told.remove(&place).expect("what is there was told");
            let content = Content::mixed((number >> 32) as usize, number as u32);
            assert!(content.is(&found, timestamp), "{content:?}\n{found:?}");
        });
    }
    assert!(told.is_empty(), "what was told is there");
}

pub(crate) fn every_submitted_record_is_where_its_completion_says(version: Version) {
    let cluster = shared(version);
    let name = "completions";
    cluster.create_topic(name, PARTITIONS, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let count = THREADS * EACH as usize;
    let told = thread::scope(|scope| {
        for thread in 0..THREADS {
            let topic = producer.topic(name);
            scope.spawn(move || {
                for number in 0..EACH {
                    let content = Content::mixed(thread, number);
                    topic.blocking_submit(content.record(), number_of(thread, number)).unwrap();
                }
            });
        }
        let mut told = Told::new();
        let mut completions = [const { Completion::EMPTY }; 256];
        while told.len() < count {
            assert!(producer.wait_deliveries(now() + Duration::from_secs(60)), "{}", told.len());
            let polled = producer.poll_deliveries(&mut completions);
            keep(&mut told, &completions[..polled]);
        }
        told
    });
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, count as u64);
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0);
    verify(cluster, name, told, count);
}

pub(crate) fn an_embedded_producer_delivers(version: Version) {
    let cluster = shared(version);
    let name = "embedded";
    cluster.create_topic(name, PARTITIONS, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).embedded().unwrap();
    producer.blocking_warm_up(&[name]).unwrap();
    let topic = producer.topic(name);
    let mut told = Told::new();
    let mut completions = [const { Completion::EMPTY }; 256];
    let mut poll = |producer: &kuring::Embedded| {
        let polled = producer.poll_deliveries(&mut completions);
        keep(&mut told, &completions[..polled]);
        polled
    };
    for number in 0..EACH {
        let content = Content::mixed(0, number);
        producer.block_on(topic.submit(content.record(), number_of(0, number))).unwrap();
        if number % 64 == 0 {
            producer.turn(Some(now()));
            poll(&producer);
        }
    }
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, u64::from(EACH));
    while poll(&producer) > 0 {}
    verify(cluster, name, told, EACH as usize);
}
