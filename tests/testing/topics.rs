//! Topics that come, grow, go and come again; names and sizes that are refused.
#![forbid(unsafe_code)]

use kuring::testing::{Api, Cluster, ClusterError, StoredHeader, StoredRecord};
use kuring::{Header, Record, SendError};

use crate::rig::{PATIENCE, one, producer, values};
use crate::support::rig::{builder_for, millis, verdict};

#[test]
fn a_record_is_stored_as_it_was_sent() {
    let cluster = Cluster::builder().topic("t", 3).start().unwrap();
    let producer = producer(&cluster);
    let headers = [
        Header { key: "trace", value: Some(&b"\x00\xff"[..]) },
        Header { key: "none", value: None },
    ];
    let record = Record::new().partition(2).key("k").value("v").headers(&headers).timestamp(77);
    let sent = verdict(producer.topic("t").blocking_send(record).unwrap()).unwrap();
    assert_eq!((sent.partition, sent.offset, sent.timestamp), (2, Some(0), 77));
    let tombstone = Record::new().partition(2).key("k").timestamp(78);
    verdict(producer.topic("t").blocking_send(tombstone).unwrap()).unwrap();
    let header = |key: &str, value: Option<&[u8]>| StoredHeader {
        key: key.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    let first = StoredRecord {
        partition: 2,
        offset: 0,
        timestamp: 77,
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        headers: vec![header("trace", Some(b"\x00\xff")), header("none", None)],
    };
    let second = StoredRecord {
        offset: 1,
        timestamp: 78,
        value: None,
        headers: Vec::new(),
        ..first.clone()
    };
    assert_eq!(cluster.await_records("t", 2, PATIENCE).unwrap(), [first, second]);
}

#[test]
fn every_request_is_listed_with_what_it_carried() {
    let cluster = one();
    let producer = builder_for(cluster.bootstrap_servers(), kuring::DriverChoice::Epoll)
        .client_id("shop")
        .build()
        .unwrap();
    verdict(producer.topic("t").blocking_send(Record::new().value("v")).unwrap()).unwrap();
    let requests = cluster.requests();
    assert!(requests.iter().all(|it| it.client_id.as_deref() == Some("shop") && it.bytes > 10));
    let produced = cluster.requests_of(Api::Produce);
    assert_eq!((produced.len(), produced[0].version, produced[0].acks), (1, 13, -1));
    assert_eq!(produced[0].topics, ["t"], "it was named by its id");
    let batch = &produced[0].batches[0];
    assert_eq!((&*batch.topic, batch.partition, batch.records), ("t", 0, 1));
    assert_eq!((batch.producer_id, batch.producer_epoch, batch.base_sequence), (1, 0, 0));
    assert!(batch.bytes > 61 && batch.bytes < produced[0].bytes);
    cluster.forget_requests();
    assert!(cluster.requests().is_empty());
}

#[test]
fn an_unknown_topic_stays_unknown_unless_topics_are_made_when_they_are_asked_for() {
    let cluster = one();
    let quick = |cluster: &Cluster| {
        let builder = builder_for(cluster.bootstrap_servers(), kuring::DriverChoice::Epoll);
        builder.max_block(millis(100)).build().unwrap()
    };
    let sent = quick(&cluster).topic("typo").blocking_send(Record::new().value("v"));
    assert!(matches!(sent, Err(SendError::Unknown { .. })), "{sent:?}");
    assert!(cluster.records("typo").is_err());

    let cluster = Cluster::builder().auto_create_topics(4).start().unwrap();
    let producer = producer(&cluster);
    let record = Record::new().partition(3).value("v");
    verdict(producer.topic("fresh").blocking_send(record).unwrap()).unwrap();
    assert_eq!(values(&cluster.records("fresh").unwrap()), ["v"]);
    let refused = producer.topic("no good").blocking_send(Record::new().value("v"));
    assert!(matches!(refused, Err(SendError::InvalidTopic { .. })), "{refused:?}");
}

#[test]
fn tid_3_a_topic_that_is_made_again_has_another_id_and_no_records() {
    let cluster = one();
    let producer = producer(&cluster);
    let topic = producer.topic("t");
    let send = |value| verdict(topic.blocking_send(Record::new().value(value)).unwrap()).unwrap();
    assert_eq!(send("former").offset, Some(0));
    cluster.recreate_topic("t").unwrap();
    assert_eq!(send("new").offset, Some(0));
    assert_eq!(values(&cluster.records("t").unwrap()), ["new"]);
}

#[test]
fn a_topic_that_comes_while_a_send_waits_is_found_and_so_is_a_partition() {
    let cluster = one();
    let producer = producer(&cluster);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let record = Record::new().partition(1).value("v");
            verdict(producer.topic("later").blocking_send(record).unwrap()).unwrap().offset
        });
        cluster.await_requests(Api::Metadata, 2, PATIENCE).unwrap();
        cluster.create_topic("later", 1).unwrap();
        cluster.add_partitions("later", 2).unwrap();
        assert_eq!(waiting.join().unwrap(), Some(0));
    });
    cluster.delete_topic("later").unwrap();
    assert!(matches!(cluster.records("later"), Err(ClusterError::UnknownTopic { .. })));
}

#[test]
fn spl_1_batches_above_the_limit_are_refused_and_arrive_in_pieces() {
    let cluster = Cluster::builder().topic("t", 1).max_message_bytes(500).start().unwrap();
    let producer = builder_for(cluster.bootstrap_servers(), kuring::DriverChoice::Epoll)
        .linger(PATIENCE)
        .build()
        .unwrap();
    let topic = producer.topic("t");
    let value = "x".repeat(100);
    let send = |_| topic.blocking_send(Record::new().value(&value)).unwrap();
    let deliveries: Vec<_> = (0..20).map(send).collect();
    producer.blocking_flush();
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        assert_eq!(verdict(delivery).unwrap().offset, Some(offset));
    }
    let sizes = cluster.requests_of(Api::Produce);
    assert!(sizes.iter().any(|request| request.batches[0].bytes > 500), "none was too large");
    cluster.set_max_message_bytes(50);
    let refused = topic.blocking_send(Record::new().value("v")).unwrap();
    producer.blocking_flush();
    let refused = verdict(refused);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("a batch of 69 bytes, 50 are allowed"), "{text}");
}

#[test]
fn settings_that_make_no_cluster_are_named() {
    let text = |result: Result<Cluster, ClusterError>| result.unwrap_err().to_string();
    let brokers = Cluster::builder().brokers(0).start();
    assert_eq!(text(brokers), "a cluster of 0 brokers: ask for 1 to 100");
    let partitions = Cluster::builder().topic("t", 0).start();
    assert_eq!(text(partitions), "topic t: 0 partitions; ask for 1 to 100000");
    let twice = Cluster::builder().topic("t", 1).topic("t", 1).start();
    assert!(matches!(twice, Err(ClusterError::TopicExists { .. })));
    for name in ["", ".", "..", "a b", "ü", &"x".repeat(250)] {
        let named = Cluster::builder().topic(name, 1).start();
        assert!(matches!(named, Err(ClusterError::InvalidTopic { .. })), "{name:?}");
    }
    let version = Cluster::builder().max_version(Api::Produce, 2).start();
    assert_eq!(text(version), "Produce is served from version 3 on: it cannot end at version 2");
}

#[test]
fn clusters_live_side_by_side_and_end_with_their_threads() {
    let clusters: Vec<_> = (0..8).map(|_| one()).collect();
    let producers: Vec<_> = clusters.iter().map(producer).collect();
    for producer in &producers {
        verdict(producer.topic("t").blocking_send(Record::new().value("v")).unwrap()).unwrap();
    }
    assert!(clusters.iter().all(|cluster| cluster.records("t").unwrap().len() == 1));
    // Returns only when each thread has ended.
    drop(clusters);
}
