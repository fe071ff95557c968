//! The brokers' side of the wire, by the judgement of another implementation of the protocol: its
//! requests are understood in every version, and it understands every answer.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kuring::protocol::api::{ApiKey as OurKey, RequestHeader, split_response};
use kuring::protocol::api_versions::{self, Intended};
use kuring::testing::{Api, Cluster};
use kuring::{BrokerId, ErrorCode};

use crate::rig::{Writer, addresses, batch, connect, one, produce, request, values};
use crate::support::wire::{Connection, topic_name};

fn metadata(connection: &mut Connection, version: i16) -> MetadataResponse {
    let named = |name: &str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![named("t"), named("missing")]))
        .with_allow_auto_topic_creation(version < 4);
    connection.call(version, &request).unwrap()
}

#[test]
fn every_version_of_api_versions_tells_the_same_and_too_new_a_one_is_answered_in_version_0() {
    let cluster = one();
    // The oracle lacks version 5: see the next test.
    for version in 0..=4 {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("oracle"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let answer = connect(&cluster).call(version, &request).unwrap();
        assert_eq!((answer.error_code, answer.api_keys.len()), (0, Api::ALL.len()));
        let produce = answer.api_keys.iter().find(|it| it.api_key == ApiKey::Produce as i16);
        assert_eq!(produce.map(|it| (it.min_version, it.max_version)), Some((0, 13)));
    }
    assert_eq!(cluster.complaints(), [""; 0]);
}

/// The error and the number of APIs that a greeting of version 5 is answered with.
fn greet(cluster: &Cluster, intended: Option<(&str, i32)>) -> (ErrorCode, usize) {
    let mut frame = Vec::new();
    let header = RequestHeader { version: 5, correlation: 9, client_id: None };
    let known = intended.map(|(cluster_id, node)| Intended { cluster_id, node: BrokerId(node) });
    api_versions::encode_request(&mut frame, &header, known);
    let mut stream = TcpStream::connect(addresses(cluster)[0]).unwrap();
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let (correlation, body) = split_response(OurKey::ApiVersions, 5, &answer).unwrap();
    assert_eq!(correlation, 9);
    let answer = api_versions::decode_response(5, body).unwrap();
    (answer.error, answer.apis.len())
}

#[test]
fn rbt_4_who_wants_another_broker_or_another_cluster_is_sent_away() {
    let cluster = Cluster::builder().cluster_id("ours").start().unwrap();
    assert_eq!(greet(&cluster, None).0, ErrorCode::None);
    let (code, apis) = greet(&cluster, Some(("ours", 1)));
    assert_eq!((code, apis), (ErrorCode::None, Api::ALL.len()));
    for other in [("ours", 2), ("theirs", 1)] {
        assert_eq!(greet(&cluster, Some(other)), (ErrorCode::RebootstrapRequired, 0));
    }
    let told = metadata(&mut connect(&cluster), 12).cluster_id;
    assert_eq!(told.as_deref(), Some("ours"));
    let older = Cluster::builder().max_version(Api::ApiVersions, 4).start().unwrap();
    assert_eq!(greet(&older, Some(("ours", 1))).0, ErrorCode::UnsupportedVersion);
    assert_eq!((cluster.complaints(), older.complaints()), (vec![], vec![]));
}

#[test]
fn every_version_of_metadata_describes_brokers_topics_and_leaders() {
    let cluster = Cluster::builder().brokers(3).topic("t", 4).start().unwrap();
    cluster.move_leader("t", 3, None).unwrap();
    let unknown = ErrorCode::UnknownTopicOrPartition.wire();
    for version in 0..=13 {
        let answer = metadata(&mut connect(&cluster), version);
        let ports: Vec<_> = answer.brokers.iter().map(|broker| broker.port).collect();
        assert_eq!(
            ports,
            addresses(&cluster).iter().map(|it| i32::from(it.port())).collect::<Vec<_>>()
        );
        assert_eq!(answer.topics.len(), 2);
        let topic = &answer.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 4), "version {version}");
        let leaders: Vec<_> = topic.partitions.iter().map(|it| it.leader_id.0).collect();
        assert_eq!(leaders, [1, 2, 3, -1]);
        let code = ErrorCode::LeaderNotAvailable.wire();
        assert_eq!(topic.partitions[3].error_code, code);
        if version >= 7 {
            assert_eq!(topic.partitions[3].leader_epoch, 1);
        }
        assert_eq!(answer.topics[1].error_code, unknown);
        let all = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        let all = connect(&cluster).call(version, &all).unwrap();
        assert_eq!(all.topics.len(), 1);
        assert_eq!(all.topics[0].name.as_ref().map(|name| name.0.as_str()), Some("t"));
    }
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[test]
fn every_version_of_init_producer_id_hands_out_a_new_id() {
    let cluster = one();
    for version in 0..=5 {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(1000);
        let answer = connect(&cluster).call(version, &request).unwrap();
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert_eq!(answer.producer_id.0, i64::from(version) + 1);
        let transactional = TransactionalId(StrBytes::from_static_str("tx"));
        let request = request.with_transactional_id(Some(transactional));
        let answer = connect(&cluster).call(version, &request).unwrap();
        let code = ErrorCode::TransactionalIdAuthorizationFailed.wire();
        assert_eq!((answer.error_code, answer.producer_id.0), (code, -1));
    }
}

#[test]
fn every_version_of_produce_appends() {
    let cluster = one();
    let id = metadata(&mut connect(&cluster), 12).topics[0].topic_id;
    for version in 3..=13 {
        let mut request = request(-1, batch(Writer::NOBODY, &["a", "b"]));
        if version >= 13 {
            request.topic_data[0].name = topic_name("");
            request.topic_data[0].topic_id = id;
        }
        let answer = connect(&cluster).call(version, &request).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        let base = 2 * i64::from(version - 3);
        assert_eq!((partition.error_code, partition.base_offset), (0, base), "version {version}");
    }
    assert_eq!(cluster.records("t").unwrap().len(), 22);
    // The id of no topic.
    let unknown =
        TopicProduceData::default().with_partition_data(vec![PartitionProduceData::default()]);
    let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![unknown]);
    let answer = connect(&cluster).call(13, &request).unwrap();
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicId.wire());
}

#[test]
fn ldr_1_a_refusal_names_leader_epoch_and_endpoint() {
    let cluster = Cluster::builder().brokers(2).topic("t", 1).start().unwrap();
    cluster.move_leader("t", 0, BrokerId(2)).unwrap();
    let request = request(-1, batch(Writer::NOBODY, &["a"]));
    for version in 3..=12 {
        let answer = connect(&cluster).call(version, &request).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::NotLeaderOrFollower.wire());
        let leader = &partition.current_leader;
        let expected = if version >= 10 { (2, 1) } else { (-1, -1) };
        assert_eq!((leader.leader_id.0, leader.leader_epoch), expected);
        let ports: Vec<_> = answer.node_endpoints.iter().map(|it| it.port).collect();
        let port = i32::from(addresses(&cluster)[1].port());
        assert_eq!(ports, if version >= 10 { vec![port] } else { vec![] });
    }
}

#[test]
fn seq_gaps_repeats_and_epochs_are_judged_as_a_leader_does() {
    let cluster = one();
    let mut connection = connect(&cluster);
    let mut send = |epoch, sequence, values: &[&str]| {
        let writer = Writer { id: 7, epoch, sequence };
        produce(&mut connection, batch(writer, values))
    };
    let gap = (ErrorCode::OutOfOrderSequenceNumber.wire(), -1);
    assert_eq!(send(0, 0, &["a", "b"]), (0, 0));
    assert_eq!(send(0, 3, &["d"]), gap);
    assert_eq!(send(0, 2, &["c"]), (0, 2));
    assert_eq!(send(0, 0, &["a", "b"]), (0, 0), "a repeat keeps its offset");
    assert_eq!(send(1, 3, &["x"]), gap, "a new epoch starts at 0");
    assert_eq!(send(1, 0, &["d"]), (0, 3));
    assert_eq!(send(0, 3, &["y"]), (ErrorCode::InvalidProducerEpoch.wire(), -1));
    for sequence in 1..=5 {
        assert_eq!(send(1, sequence, &["e"]).0, 0);
    }
    assert_eq!(send(1, 0, &["d"]), gap, "five batches are remembered");
    assert_eq!(send(1, 1, &["e"]), (0, 4));
    assert_eq!(cluster.duplicates("t").unwrap(), 2);
    assert_eq!(
        values(&cluster.records("t").unwrap()),
        ["a", "b", "c", "d", "e", "e", "e", "e", "e"]
    );
    assert!(cluster.complaints()[0].contains("sequence 3 where 2 must follow"));
}

#[test]
fn rbf_1_a_flipped_byte_is_noticed_and_nothing_is_kept_of_it() {
    let cluster = one();
    let mut connection = connect(&cluster);
    let golden = batch(Writer { id: 7, epoch: 0, sequence: 0 }, &["value"]);
    // Base offset and leader epoch are the broker's to set: the checksum starts behind them.
    for index in (8..12).chain(16..golden.len()) {
        let mut bytes = golden.clone();
        bytes[index] ^= 0x40;
        let (code, offset) = produce(&mut connection, bytes);
        let codes = [ErrorCode::CorruptMessage, ErrorCode::InvalidRecord].map(ErrorCode::wire);
        assert!(codes.contains(&code) && offset == -1, "byte {index}: {code}");
    }
    for length in 0..golden.len() {
        let (code, _) = produce(&mut connection, golden[..length].into());
        assert_eq!(code, ErrorCode::CorruptMessage.wire(), "length {length}");
    }
    assert_eq!(cluster.records("t").unwrap(), []);
    assert_eq!(produce(&mut connection, golden), (0, 0));
}

#[test]
fn acks_0_gets_no_answer_and_a_refusal_closes_the_connection() {
    let cluster = one();
    let mut connection = connect(&cluster);
    connection.send(9, &request(0, batch(Writer::NOBODY, &["a"]))).unwrap();
    // The next answer is that to the next request.
    assert_eq!(metadata(&mut connection, 12).topics.len(), 2);
    assert_eq!(values(&cluster.records("t").unwrap()), ["a"]);
    cluster.move_leader("t", 0, None).unwrap();
    connection.send(9, &request(0, batch(Writer::NOBODY, &["b"]))).unwrap();
    assert!(connection.api_versions().is_err(), "a refusal has no other way to show");
    let request = request(7, batch(Writer::NOBODY, &["c"]));
    let answer = connect(&cluster).call(9, &request).unwrap();
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ErrorCode::InvalidRequiredAcks.wire());
}

#[test]
fn an_older_broker_is_announced_and_a_newer_version_refused() {
    let cluster = Cluster::builder().topic("t", 1).max_version(Api::Produce, 8).start().unwrap();
    let answer = connect(&cluster).api_versions().unwrap();
    let produce = answer.api_keys.iter().find(|it| it.api_key == ApiKey::Produce as i16);
    assert_eq!(produce.map(|it| it.max_version), Some(8));
    let request = request(-1, batch(Writer::NOBODY, &["a"]));
    assert!(connect(&cluster).call(8, &request).is_ok());
    assert!(connect(&cluster).call(9, &request).is_err());
    assert_eq!(cluster.complaints(), ["Produce version 9: 3 to 8 are served"]);
}
