//! Which partition a record goes to.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use kuring::{Delivery, Producer, Record, SendError};

use crate::content::Dice;
use crate::support::deadline::Deadline;
use crate::support::jars::Version;
use crate::support::java;
use crate::support::kafka::{Cluster, disturbed, shared};
use crate::support::place::rack;

pub(crate) fn prt_2_keyed_records_go_where_the_java_producer_puts_them(version: Version) {
    let cluster = shared(version);
    let (java_topic, kuring_topic) = ("placed-by-java", "placed-by-kuring");
    for topic in [java_topic, kuring_topic] {
        cluster.create_topic(topic, PARTITIONS, 1, &[]);
    }
    let keys: Vec<String> = (0..2_000).map(random_key).collect();
    let lines: String = keys.iter().map(|key| format!("{key}{}v\n", java::SEPARATOR)).collect();
    java::produce_keyed(cluster, java_topic, &lines);

    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let topic = producer.topic(kuring_topic);
    let deliveries: Vec<_> = keys
        .iter()
        .map(|key| topic.blocking_send(Record::new().key(key).value("v")).unwrap())
        .collect();
    for delivery in deliveries {
        delivery.wait().unwrap();
    }

    let expected = partition_of_keys(cluster, java_topic);
    assert_eq!(expected.values().map(|&(_, count)| count).sum::<usize>(), keys.len());
    let used: BTreeMap<i32, ()> = expected.values().map(|&(p, _)| (p, ())).collect();
    assert_eq!(used.len(), PARTITIONS as usize, "2,000 keys reach every partition");
    assert_eq!(partition_of_keys(cluster, kuring_topic), expected);
}

pub(crate) fn api_6_a_running_producer_picks_up_new_partitions(version: Version) {
    let cluster = shared(version);
    let name = "growing";
    cluster.create_topic(name, 2, 1, &[]);
    let producer = |block_max| {
        let builder = Producer::builder().bootstrap_servers(cluster.bootstrap());
        let properties = [("metadata.max.age.ms", "500"), ("max.block.ms", block_max)];
        builder.properties(properties).unwrap().build().unwrap()
    };
    let hurried = producer("700");
    let missing = hurried.topic(name).blocking_send(Record::new().value("too early").partition(5));
    let Err(SendError::Unknown { partition, .. }) = missing else { panic!("{missing:?}") };
    assert_eq!(partition, Some((5, 2)));

    let producer = producer("30000");
    let topic = producer.topic(name);
    let first = topic.blocking_send(Record::new().value("first").partition(1)).unwrap();
    assert_eq!(first.wait().unwrap().partition, 1);

    cluster.create_partitions(name, 6);
    let explicit = topic.blocking_send(Record::new().value("now").partition(5)).unwrap();
    let metadata = explicit.wait().unwrap();
    assert_eq!((metadata.partition, metadata.offset), (5, Some(0)));
    // Keys spread over the new partitions without anybody having named one.
    let deadline = Deadline::after(Duration::from_secs(30));
    let mut reached = [false; 6];
    for number in 0.. {
        let key = random_key(number);
        let delivery = topic.blocking_send(Record::new().key(&key).value("later")).unwrap();
        reached[delivery.wait().unwrap().partition as usize] = true;
        if reached.iter().all(|&reached| reached) {
            break;
        }
        deadline.check(|| format!("records in all six partitions: {reached:?}"));
    }
    assert_eq!(producer.blocking_partitions_for(name).unwrap().len(), 6);
}

/// Each of three brokers is a rack, and leads two of six partitions that nobody else has.
pub(crate) fn rck_1_records_without_a_key_stay_in_a_rack_that_leads_partitions(version: Version) {
    let mut guard = disturbed(version);
    let cluster = guard.as_mut().expect("started");
    let name = "racks";
    cluster.create_topic(name, 6, 1, &[("min.insync.replicas", "1")]);
    cluster.reassign(name, 6, |partition| vec![partition % 3 + 1]);
    let builder = Producer::builder().bootstrap_servers(cluster.bootstrap()).batch_bytes(1024);
    let second = rack(2);
    let properties = [("partitioner.rack.aware", "true"), ("client.rack", second.as_str())];
    let producer = builder.properties(properties).unwrap().build().unwrap();
    let topic = producer.topic(name);
    let value = [b'x'; 1000];
    let send = |record: Record<'_>| topic.blocking_send(record.value(&value)).unwrap();
    let partition = |delivery: Delivery| delivery.wait().unwrap().partition;

    let unkeyed: BTreeSet<i32> = (0..60).map(|_| partition(send(Record::new()))).collect();
    assert_eq!(unkeyed, BTreeSet::from([1, 4]));
    let keys = (0..100).map(random_key);
    let keyed: BTreeSet<i32> = keys.map(|key| partition(send(Record::new().key(&key)))).collect();
    assert_eq!(keyed, (0..6).collect());

    cluster.stop_broker(1);
    let deadline = Deadline::after(Duration::from_secs(60));
    let mut sent = Vec::new();
    let elsewhere = |delivery: &Delivery| {
        delivery.verdict().is_some_and(|verdict| verdict.unwrap().partition % 3 != 1)
    };
    while !sent.iter().any(elsewhere) {
        sent.push(send(Record::new()));
        cluster.watch(deadline, || format!("a record outside the rack, after {}", sent.len()));
    }
    cluster.restart_broker(1);
    sent.into_iter().for_each(|delivery| drop(delivery.wait().unwrap()));
    cluster.delete_topic(name);
}

/// The partition of each key, and how often the key is there.
fn partition_of_keys(cluster: &Cluster, topic: &str) -> HashMap<Vec<u8>, (i32, usize)> {
    let mut found = HashMap::new();
    for partition in 0..PARTITIONS {
        for record in cluster.records(topic, partition) {
            let (seen, count) = found.entry(record.key.unwrap()).or_insert((partition, 0));
            assert_eq!(*seen, partition, "one key in two partitions");
            *count += 1;
        }
    }
    found
}

/// One to 60 characters of one to four bytes: lengths of every remainder that murmur2 treats apart.
fn random_key(number: u32) -> String {
    let mut dice = Dice::of(99, number);
    let length = 1 + dice.below(60);
    let characters: Vec<char> = "abcXYZ019 -_.:/äßéжλ漢字🦀".chars().collect();
    (0..length).map(|_| characters[dice.below(characters.len())]).collect()
}

const PARTITIONS: i32 = 7;
