//! Brokers that are not there yet, go, are killed and come back, under running producers.
#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use kuring::{Producer, Record};

use crate::content::Content;
use crate::ledger::verify;
use crate::support::deadline::Deadline;
use crate::support::jars::Version;
use crate::support::kafka::{Cluster, disturbed};
use crate::traffic::{Plan, Traffic};

pub(crate) fn a_producer_built_before_its_broker_runs_delivers_when_it_does(version: Version) {
    let mut cluster = Cluster::prepare(version, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let topic = producer.topic("early");
    let sender = thread::spawn(move || {
        let send = |n: u32| topic.blocking_send(Record::new().value(&n.to_be_bytes())).unwrap();
        let deliveries: Vec<_> = (0..1_000).map(send).collect();
        deliveries.into_iter().map(|delivery| delivery.wait().unwrap().offset).collect::<Vec<_>>()
    });
    cluster.start_all();
    cluster.create_topic("early", 1, 1, &[]);
    assert_eq!(sender.join().unwrap(), (0..1_000).map(Some).collect::<Vec<_>>());
    let values = cluster.records("early", 0).into_iter().map(|record| record.value.unwrap());
    assert!(values.eq((0..1_000_u32).map(|n| n.to_be_bytes().to_vec())));
}

/// Once with SIGTERM, once with SIGKILL.
pub(crate) fn records_survive_a_restart_of_the_only_broker_once_and_in_order(version: Version) {
    let mut cluster = Cluster::start(version, 1, &[]);
    let plan = plan("restarted");
    cluster.create_topic("restarted", PARTITIONS, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let traffic = Traffic::start(&producer, &plan);
    progress(&traffic);
    cluster.stop_broker(0);
    cluster.restart_broker(0);
    progress(&traffic);
    cluster.kill_broker(0);
    cluster.restart_broker(0);
    progress(&traffic);
    traffic.stop();
    verify(&cluster, &plan, &traffic.finish());
}

pub(crate) fn records_survive_killed_leaders_once_and_in_order(version: Version) {
    let mut guard = disturbed(version);
    let cluster = guard.as_mut().expect("started");
    let plan = plan("killed");
    cluster.create_topic("killed", PARTITIONS, 3, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let traffic = Traffic::start(&producer, &plan);
    for partition in 0..2 {
        progress(&traffic);
        let leader = cluster.leader_of("killed", partition);
        cluster.kill_broker(leader);
        progress(&traffic);
        cluster.restart_broker(leader);
        cluster.await_in_sync("killed");
    }
    progress(&traffic);
    traffic.stop();
    verify(cluster, &plan, &traffic.finish());
    cluster.delete_topic("killed");
}

pub(crate) fn records_survive_a_rolling_restart_once_and_in_order(version: Version) {
    let mut guard = disturbed(version);
    let cluster = guard.as_mut().expect("started");
    let plan = plan("rolled");
    cluster.create_topic("rolled", PARTITIONS, 3, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let traffic = Traffic::start(&producer, &plan);
    for index in 0..cluster.len() {
        progress(&traffic);
        cluster.stop_broker(index);
        progress(&traffic);
        cluster.restart_broker(index);
        cluster.await_in_sync("rolled");
    }
    progress(&traffic);
    traffic.stop();
    verify(cluster, &plan, &traffic.finish());
    cluster.delete_topic("rolled");
}

/// A window keeps the threads from filling the log while brokers come and go.
fn plan(topic: &str) -> Plan {
    Plan {
        topics: vec![(topic.to_owned(), PARTITIONS)],
        threads: 3,
        records_per_thread: u32::MAX,
        window: 500,
        content: Content::small,
    }
}

/// Records of all threads are acknowledged now, not only before the last outage.
fn progress(traffic: &Traffic) {
    traffic.await_more(6_000, Deadline::after(Duration::from_secs(100)));
}

const PARTITIONS: i32 = 6;
