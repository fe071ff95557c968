//! ListOffsets and Fetch: a log is read back as it was written, in every version.
#![forbid(unsafe_code)]

use std::thread;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest};
use kuring::ErrorCode;
use kuring::testing::{Api, Cluster};

use crate::rig::{PATIENCE, Writer, batch, connect, one, produce};
use crate::support::batches::next_batch;
use crate::support::wire::{Connection, topic_name};

fn fetch_request(version: i16, offset: i64, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let mut topic = FetchTopic::default().with_partitions(vec![partition]);
    if version < 13 {
        topic = topic.with_topic(topic_name("t"));
    }
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Error code and bytes of the one partition of an answer.
fn read(answer: &FetchResponse) -> (i16, Vec<u8>) {
    let partition = &answer.responses[0].partitions[0];
    (partition.error_code, partition.records.as_deref().unwrap_or_default().to_vec())
}

/// The log of partition 0 of topic `t` from an offset on.
pub(crate) fn fetch(connection: &mut Connection, version: i16, offset: i64) -> Vec<u8> {
    let answer = connection.call(version, &fetch_request(version, offset, 0)).unwrap();
    let (code, bytes) = read(&answer);
    assert_eq!(code, 0);
    bytes
}

/// Offsets and values in fetched bytes, whose checksums are looked at.
fn decode(mut bytes: &[u8]) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let mut visit = |record: crate::support::batches::LogRecord<'_>| {
        let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        found.push((record.offset, value));
    };
    while next_batch(&mut bytes, &mut visit).unwrap().is_some() {}
    found
}

fn filled() -> Cluster {
    let cluster = one();
    let mut connection = connect(&cluster);
    for values in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        assert_eq!(produce(&mut connection, batch(Writer::NOBODY, values)).0, 0);
    }
    cluster
}

#[test]
fn every_version_of_fetch_reads_the_log_from_the_batch_of_an_offset_on() {
    let cluster = filled();
    let all: Vec<_> = (0..).zip(["a", "b", "c", "d", "e", "f"].map(str::to_owned)).collect();
    for version in 4..=12 {
        let mut connection = connect(&cluster);
        assert_eq!(decode(&fetch(&mut connection, version, 0)), all, "version {version}");
        assert_eq!(decode(&fetch(&mut connection, version, 1)), all, "it is in the first batch");
        assert_eq!(decode(&fetch(&mut connection, version, 2)), all[2..]);
        assert_eq!(decode(&fetch(&mut connection, version, 6)), []);
        let beyond = connection.call(version, &fetch_request(version, 7, 0)).unwrap();
        assert_eq!(read(&beyond).0, ErrorCode::OffsetOutOfRange.wire());
    }
    let by_id = connect(&cluster).call(13, &fetch_request(13, 0, 0)).unwrap();
    assert_eq!(read(&by_id).0, ErrorCode::UnknownTopicId.wire(), "the id of no topic");
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[test]
fn kip_74_a_first_batch_is_sent_whatever_its_size_and_no_second_one() {
    let cluster = filled();
    let mut request = fetch_request(12, 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let (_, bytes) = read(&connect(&cluster).call(12, &request).unwrap());
    assert_eq!(decode(&bytes).len(), 2);
}

#[test]
fn a_fetch_at_the_end_waits_for_records_and_gets_them_when_they_come() {
    let cluster = one();
    thread::scope(|scope| {
        let waiting = scope
            .spawn(|| read(&connect(&cluster).call(12, &fetch_request(12, 0, 15_000)).unwrap()).1);
        cluster.await_requests(Api::Fetch, 1, PATIENCE).unwrap();
        assert_eq!(produce(&mut connect(&cluster), batch(Writer::NOBODY, &["new"])).0, 0);
        assert_eq!(decode(&waiting.join().unwrap()), [(0, "new".to_owned())]);
    });
    // And in vain, no longer than it wants to.
    let (code, bytes) = read(&connect(&cluster).call(12, &fetch_request(12, 1, 10)).unwrap());
    assert_eq!((code, bytes.len()), (0, 0));
}

#[test]
fn every_version_of_list_offsets_finds_start_end_and_times() {
    let cluster = filled();
    for version in 1..=7 {
        let mut connection = connect(&cluster);
        let mut ask = |timestamp| {
            let partition =
                ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic]);
            let answer = connection.call(version, &request).unwrap();
            let partition = &answer.topics[0].partitions[0];
            (partition.error_code, partition.offset)
        };
        assert_eq!(ask(-1), (0, 6), "version {version}");
        assert_eq!(ask(-2), (0, 0));
        // The batches' latest times are 1001, 1000 and 1002.
        assert_eq!((ask(1000), ask(1002), ask(1003)), ((0, 0), (0, 3), (0, -1)));
        assert_eq!(ask(-3), (0, 5));
    }
}

#[test]
fn who_does_not_lead_does_not_serve_readers() {
    let cluster = filled();
    cluster.move_leader("t", 0, None).unwrap();
    let answer = connect(&cluster).call(12, &fetch_request(12, 0, 0)).unwrap();
    assert_eq!(read(&answer).0, ErrorCode::NotLeaderOrFollower.wire());
}
