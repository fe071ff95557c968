//! Brokers that pause, stop and start again, and leaders that move.
#![forbid(unsafe_code)]

use std::net::TcpStream;

use kuring::testing::{Api, Cluster, ClusterError};
use kuring::{BrokerId, Record};

use crate::rig::{PATIENCE, addresses, one, producer, values};
use crate::support::rig::{offsets, verdict};

fn three() -> Cluster {
    Cluster::builder().brokers(3).topic("t", 3).start().unwrap()
}

#[test]
fn partitions_are_led_in_turn_and_each_record_arrives_at_its_leader() {
    let cluster = three();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    for partition in 0..3 {
        let record = Record::new().partition(partition).value("v");
        verdict(topic.blocking_send(record).unwrap()).unwrap();
        let leader = cluster.leader("t", partition).unwrap();
        assert_eq!(leader, Some(BrokerId(partition + 1)));
        let last = cluster.requests_of(Api::Produce).pop().unwrap();
        assert_eq!((Some(last.broker), last.batches[0].partition), (leader, partition));
    }
    assert_eq!(cluster.brokers(), [1, 2, 3].map(BrokerId));
}

#[test]
fn ldr_4_a_moved_leader_is_told_in_the_refusal_and_asked_at_once() {
    let cluster = three();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    let send = |value| topic.blocking_send(Record::new().partition(0).value(value)).unwrap();
    verdict(send("before")).unwrap();
    cluster.move_leader("t", 0, BrokerId(3)).unwrap();
    // No metadata is to be had, so nothing but the hint can tell.
    let held = cluster.fail(Api::Metadata).hold().always();
    assert_eq!(verdict(send("after")).unwrap().offset, Some(1));
    held.release();
    assert_eq!(values(&cluster.records("t").unwrap()), ["before", "after"]);
    let produced = cluster.requests_of(Api::Produce);
    let brokers: Vec<_> = produced.iter().map(|request| request.broker.0).collect();
    assert_eq!(brokers, [1, 1, 3]);
}

#[test]
fn md_2_without_hints_metadata_finds_the_new_leader() {
    let cluster = Cluster::builder().brokers(2).topic("t", 1).leader_hints(false).start().unwrap();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    let send = |value| topic.blocking_send(Record::new().value(value)).unwrap();
    verdict(send("before")).unwrap();
    cluster.move_leader("t", 0, BrokerId(2)).unwrap();
    verdict(send("after")).unwrap();
    assert_eq!(values(&cluster.records("t").unwrap()), ["before", "after"]);
}

#[test]
fn rdy_9_records_of_a_partition_without_leader_wait_for_one() {
    let cluster = one();
    cluster.move_leader("t", 0, None).unwrap();
    assert_eq!(cluster.leader("t", 0).unwrap(), None);
    let producer = producer(&cluster);
    let record = Record::new().partition(0).value("v");
    let delivery = producer.topic("t").blocking_send(record).unwrap();
    cluster.await_requests(Api::Metadata, 3, PATIENCE).unwrap();
    assert!(!delivery.is_done());
    cluster.move_leader("t", 0, BrokerId(1)).unwrap();
    assert_eq!(verdict(delivery).unwrap().offset, Some(0));
}

#[test]
fn a_paused_broker_takes_requests_and_answers_them_when_it_goes_on() {
    let cluster = one();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    verdict(topic.blocking_send(Record::new().value("a")).unwrap()).unwrap();
    cluster.pause_broker(BrokerId(1)).unwrap();
    let delivery = topic.blocking_send(Record::new().value("b")).unwrap();
    // The kernel accepts for it.
    let other = TcpStream::connect(addresses(&cluster)[0]).unwrap();
    assert_eq!(cluster.records("t").unwrap().len(), 1);
    assert!(!delivery.is_done());
    cluster.resume_broker(BrokerId(1)).unwrap();
    assert_eq!(verdict(delivery).unwrap().offset, Some(1));
    drop(other);
}

#[test]
fn a_stopped_broker_refuses_connections_and_comes_back_at_its_port() {
    let cluster = three();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    let send = |value| topic.blocking_send(Record::new().partition(1).value(value)).unwrap();
    verdict(send("a")).unwrap();
    let address = addresses(&cluster)[1];
    cluster.stop_broker(BrokerId(2)).unwrap();
    assert!(TcpStream::connect(address).is_err());
    let delivery = send("b");
    cluster.start_broker(BrokerId(2)).unwrap();
    assert_eq!(verdict(delivery).unwrap().offset, Some(1));
    assert_eq!(addresses(&cluster)[1], address);
    // And one whose partition another broker takes over.
    cluster.stop_broker(BrokerId(2)).unwrap();
    let delivery = send("c");
    cluster.move_leader("t", 1, BrokerId(1)).unwrap();
    assert_eq!(verdict(delivery).unwrap().offset, Some(2));
    assert_eq!(values(&cluster.records("t").unwrap()), ["a", "b", "c"]);
}

#[test]
fn closed_connections_are_made_again() {
    let cluster = one();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    let mut deliveries = Vec::new();
    for number in 0..5 {
        deliveries.push(topic.blocking_send(Record::new().value(&number.to_string())).unwrap());
        cluster.disconnect_clients();
    }
    assert_eq!(offsets(deliveries), [0, 1, 2, 3, 4]);
    assert_eq!(values(&cluster.records("t").unwrap()), ["0", "1", "2", "3", "4"]);
}

#[test]
fn what_the_cluster_does_not_have_is_named() {
    let cluster = three();
    let text = |result: Result<(), ClusterError>| result.unwrap_err().to_string();
    assert_eq!(
        text(cluster.stop_broker(BrokerId(4))),
        "broker 4 is not in the cluster, whose brokers are 1 to 3"
    );
    assert_eq!(
        text(cluster.move_leader("t", 3, BrokerId(1))),
        "topic t has the partitions 0 to 2, not 3"
    );
    assert_eq!(text(cluster.delete_topic("x")), "there is no topic \"x\"; there are: t");
    assert!(matches!(
        cluster.move_leader("t", 0, BrokerId(0)),
        Err(ClusterError::UnknownBroker { broker: BrokerId(0), brokers: 3 })
    ));
}
