//! Our requests: the oracle reads in them what we meant, and would have written the same bytes.
#![forbid(unsafe_code)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, StrBytes, decode_request_header_from_buffer,
    encode_request_header_into_buffer,
};

use kuring::ids::{BrokerId, ClientInstanceId, ProducerIdentity, TopicId};
use kuring::protocol::api::{ApiKey, RequestHeader};
use kuring::protocol::api_versions::Intended;
use kuring::protocol::compression::Codec;
use kuring::protocol::init_producer_id::InitProducerId;
use kuring::protocol::produce::{self, ProduceOptions, ProduceRequest};
use kuring::protocol::push_telemetry::{self, Push};
use kuring::protocol::{api_versions, get_telemetry_subscriptions, init_producer_id, metadata};

use crate::seed::Seed;

const CLIENT_IDS: [Option<&str>; 3] = [None, Some(""), Some("orders-1")];

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Compares a frame with the oracle's request, as values and as bytes.
fn assert_same<R>(api: ApiKey, header: &RequestHeader<'_>, frame: &[u8], request: &R)
where
    R: Encodable + Decodable + HeaderVersion + PartialEq + std::fmt::Debug,
{
    let version = header.version;
    let oracle_header = oracle::RequestHeader::default()
        .with_request_api_key(api.wire())
        .with_request_api_version(version)
        .with_correlation_id(header.correlation)
        .with_client_id(header.client_id.map(text));
    let mut written = BytesMut::new();
    encode_request_header_into_buffer(&mut written, &oracle_header).expect("a header");
    request.encode(&mut written, version).expect("a request");
    let (size, message) = frame.split_first_chunk::<4>().expect("a size prefix");
    assert_eq!(u32::from_be_bytes(*size) as usize, message.len(), "{api:?} {version}");
    assert_eq!(message, &written[..], "{api:?} {version}");

    let mut read = Bytes::copy_from_slice(message);
    let read_header = decode_request_header_from_buffer(&mut read).expect("a header");
    assert_eq!(read_header, oracle_header, "{api:?} {version}");
    assert_eq!(&R::decode(&mut read, version).expect("a request"), request, "{api:?} {version}");
    assert!(read.is_empty(), "{api:?} {version}: bytes are left");
}

/// Runs `check` with a header of each version and each kind of client id.
fn for_each_header(api: ApiKey, mut check: impl FnMut(&RequestHeader<'_>, &mut Seed)) {
    let mut seed = Seed(api.wire() as u64);
    for version in api.versions().min..=api.versions().max {
        for client_id in CLIENT_IDS {
            let header = RequestHeader { version, correlation: seed.i32(), client_id };
            check(&header, &mut seed);
        }
    }
}

#[test]
fn api_versions_requests_are_the_oracles() {
    for_each_header(ApiKey::ApiVersions, |header, _| {
        let mut frame = Vec::new();
        let intended = Intended { cluster_id: "abc", node: BrokerId(7) };
        api_versions::encode_request(&mut frame, header, Some(intended));
        if header.version > oracle::ApiVersionsRequest::VERSIONS.max {
            // The oracle lacks version 5: that of version 4 with two fields before the tags.
            let before = RequestHeader { version: header.version - 1, ..*header };
            let mut expected = Vec::new();
            api_versions::encode_request(&mut expected, &before, None);
            expected.pop();
            expected.extend(*b"\x04abc\0\0\0\x07\0");
            expected[3] += 8;
            expected[7] += 1;
            assert_eq!(frame, expected);
            return;
        }
        let mut expected = oracle::ApiVersionsRequest::default();
        if header.version >= 3 {
            expected = expected
                .with_client_software_name(text("kuring"))
                .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
        }
        assert_same(ApiKey::ApiVersions, header, &frame, &expected);
    });
}

#[test]
fn md_12_metadata_requests_are_the_oracles_and_allow_creation() {
    let lists: [Option<&[&str]>; 4] =
        [None, Some(&[]), Some(&["orders"]), Some(&["a", "b.c-d_e", &"n".repeat(249)])];
    for_each_header(ApiKey::Metadata, |header, _| {
        for topics in lists {
            let mut frame = Vec::new();
            metadata::encode_request(&mut frame, header, topics);
            let topic = |name: &&str| {
                MetadataRequestTopic::default().with_name(Some(oracle::TopicName(text(name))))
            };
            let expected = oracle::MetadataRequest::default()
                .with_topics(topics.map(|names| names.iter().map(topic).collect()))
                .with_allow_auto_topic_creation(true);
            assert_same(ApiKey::Metadata, header, &frame, &expected);
        }
    });
}

#[test]
fn init_producer_id_requests_are_the_oracles() {
    for_each_header(ApiKey::InitProducerId, |header, seed| {
        for transactional_id in [None, Some("tx-1")] {
            let transaction_timeout_ms = seed.i32();
            let current = match header.version {
                3.. => ProducerIdentity { id: seed.i64(), epoch: seed.i32() as i16 },
                _ => ProducerIdentity::NONE,
            };
            let mut frame = Vec::new();
            let wanted = InitProducerId { transactional_id, transaction_timeout_ms, current };
            init_producer_id::encode_request(&mut frame, header, &wanted);
            let expected = oracle::InitProducerIdRequest::default()
                .with_transactional_id(transactional_id.map(|id| text(id).into()))
                .with_transaction_timeout_ms(transaction_timeout_ms)
                .with_producer_id(current.id.into())
                .with_producer_epoch(current.epoch);
            assert_same(ApiKey::InitProducerId, header, &frame, &expected);
        }
    });
}

#[test]
fn tel_1_subscription_requests_are_the_oracles() {
    for_each_header(ApiKey::GetTelemetrySubscriptions, |header, seed| {
        for instance in [ClientInstanceId::ZERO, instance(seed)] {
            let mut frame = Vec::new();
            get_telemetry_subscriptions::encode_request(&mut frame, header, instance);
            let expected = oracle::GetTelemetrySubscriptionsRequest::default()
                .with_client_instance_id(instance.0.to_vec().try_into().expect("an id"));
            assert_same(ApiKey::GetTelemetrySubscriptions, header, &frame, &expected);
        }
    });
}

#[test]
fn tel_3_push_requests_are_the_oracles() {
    for_each_header(ApiKey::PushTelemetry, |header, seed| {
        for (terminating, codec, length) in
            [(false, Codec::None, 0), (true, Codec::Zstd, 5), (false, Codec::Gzip, 300)]
        {
            let (instance, subscription) = (instance(seed), seed.i32());
            let metrics = seed.bytes(length);
            let push = Push { instance, subscription, terminating, codec, metrics: &metrics };
            let mut frame = Vec::new();
            push_telemetry::encode_request(&mut frame, header, &push);
            let expected = oracle::PushTelemetryRequest::default()
                .with_client_instance_id(instance.0.to_vec().try_into().expect("an id"))
                .with_subscription_id(subscription)
                .with_terminating(terminating)
                .with_compression_type(codec as i8)
                .with_metrics(metrics.clone().into());
            assert_same(ApiKey::PushTelemetry, header, &frame, &expected);
        }
    });
}

fn instance(seed: &mut Seed) -> ClientInstanceId {
    ClientInstanceId(seed.bytes(16).try_into().expect("so many were asked for"))
}

struct Topic {
    name: String,
    id: TopicId,
    batches: Vec<(i32, Vec<u8>)>,
}

fn topics(seed: &mut Seed) -> Vec<Topic> {
    let mut topics = Vec::new();
    for number in 0..seed.below(4) {
        let mut id = [0; 16];
        id.copy_from_slice(&seed.bytes(16));
        let batches = (0..seed.below(4))
            .map(|_| {
                let bytes = [0, 61, 126, 127, 128, 16_382, 16_383, 20_000][seed.below(8)];
                (seed.i32(), seed.bytes(bytes))
            })
            .collect();
        topics.push(Topic { name: format!("{number}{}", seed.text(9)), id: TopicId(id), batches });
    }
    topics
}

/// Writes the head, and puts the batches between its pieces as a gathering send would.
fn gathered(header: &RequestHeader<'_>, options: &ProduceOptions<'_>, topics: &[Topic]) -> Vec<u8> {
    // Something in front, as when one buffer holds several heads.
    let mut head = b"in front".to_vec();
    let start = head.len();
    let mut cuts = Vec::new();
    let mut request = ProduceRequest::begin(&mut head, header, options, topics.len());
    for topic in topics {
        request.begin_topic(&topic.name, topic.id, topic.batches.len());
        for (index, batch) in &topic.batches {
            cuts.push((request.begin_partition(*index, batch.len()), batch));
            request.end_partition();
        }
        request.end_topic();
    }
    request.end(cuts.iter().map(|(_, batch)| batch.len()).sum());
    let mut frame = Vec::new();
    let mut from = start;
    for (cut, batch) in cuts {
        frame.extend_from_slice(&head[from..cut]);
        frame.extend_from_slice(batch);
        from = cut;
    }
    frame.extend_from_slice(&head[from..]);
    frame
}

fn oracle_topic(version: i16, topic: &Topic) -> TopicProduceData {
    let partition = |(index, batch): &(i32, Vec<u8>)| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(Bytes::copy_from_slice(batch)))
    };
    let written = TopicProduceData::default()
        .with_partition_data(topic.batches.iter().map(partition).collect());
    match version {
        13.. => written.with_topic_id(topic.id.0.to_vec().try_into().expect("sixteen bytes")),
        _ => written.with_name(oracle::TopicName(text(&topic.name))),
    }
}

#[test]
fn tid_5_produce_requests_gathered_around_their_batches_are_the_oracles() {
    for_each_header(ApiKey::Produce, |header, seed| {
        for round in 0..20 {
            let transactional_id = (round % 2 == 1).then_some("tx-1");
            let acks = [-1, 0, 1][round % 3];
            let options = ProduceOptions { transactional_id, acks, timeout_ms: seed.i32() };
            let topics = topics(seed);
            let frame = gathered(header, &options, &topics);
            let written = topics.iter().map(|topic| oracle_topic(header.version, topic)).collect();
            let expected = oracle::ProduceRequest::default()
                .with_transactional_id(transactional_id.map(|id| text(id).into()))
                .with_acks(acks)
                .with_timeout_ms(options.timeout_ms)
                .with_topic_data(written);
            assert_same(ApiKey::Produce, header, &frame, &expected);
        }
    });
}

#[test]
fn the_head_of_a_single_batch_fits_its_estimate() {
    for version in ApiKey::Produce.versions().min..=ApiKey::Produce.versions().max {
        for client_id in [None, Some("c"), Some("a-client-id-of-some-length")] {
            for topic in ["t", &"n".repeat(130), &"n".repeat(249)] {
                for transactional_id in [None, Some("tx"), Some("x".repeat(200).as_str())] {
                    for bytes in [61, 100_000, i32::MAX as usize - 1000] {
                        let options =
                            ProduceOptions { transactional_id, acks: -1, timeout_ms: 30_000 };
                        let header = RequestHeader { version, correlation: 1, client_id };
                        let mut head = Vec::new();
                        let mut request = ProduceRequest::begin(&mut head, &header, &options, 1);
                        request.begin_topic(topic, TopicId([1; 16]), 1);
                        let cut = request.begin_partition(0, bytes);
                        request.end_partition();
                        request.end_topic();
                        request.end(bytes);
                        assert!(cut <= produce::head_bytes_max(client_id, &options, topic));
                        assert!(head.len() - cut <= produce::TAIL_BYTES_MAX);
                    }
                }
            }
        }
    }
}
