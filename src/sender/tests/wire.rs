//! Requests and answers in the terms of an independent codec: what a broker would have read.
#![forbid(unsafe_code)]

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as oracle;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, decode_request_header_from_buffer,
};
use kafka_protocol::records::RecordBatchDecoder;

use crate::ids::{ConnectionId, TopicId};
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// A request as it arrived at a broker.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) connection: ConnectionId,
    pub(super) broker: i32,
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    ApiVersions {
        software: String,
        release: String,
        /// The cluster and the broker that the connection is for.
        intended: Option<(String, i32)>,
    },
    /// The topics that were asked for.
    Metadata {
        topics: Vec<String>,
        may_create: bool,
    },
    InitProducerId,
    Produce {
        acks: i16,
        batches: Vec<Batch>,
    },
    GetTelemetrySubscriptions {
        instance: [u8; 16],
    },
    PushTelemetry(Pushed),
}

/// A push of metrics.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pushed {
    pub(super) instance: [u8; 16],
    pub(super) subscription: i32,
    pub(super) terminating: bool,
    pub(super) codec: i8,
    pub(super) metrics: Vec<u8>,
}

/// One batch of a produce request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    /// Empty when the request names topics by id.
    pub(super) topic: String,
    pub(super) topic_id: TopicId,
    pub(super) partition: i32,
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) sequence: i32,
    /// All its bytes.
    pub(super) bytes: usize,
    pub(super) values: Vec<String>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} ", self.topic, self.partition)?;
        if self.producer_id >= 0 {
            write!(f, "{}/{}@{} ", self.producer_id, self.epoch, self.sequence)?;
        }
        write!(f, "[{}]", self.values.join(" "))
    }
}

impl Arrived {
    pub(super) fn instance(&self) -> [u8; 16] {
        match &self.body {
            Body::GetTelemetrySubscriptions { instance } => *instance,
            other => panic!("not a question about telemetry: {other:?}"),
        }
    }

    pub(super) fn pushed(&self) -> &Pushed {
        match &self.body {
            Body::PushTelemetry(pushed) => pushed,
            other => panic!("not a push: {other:?}"),
        }
    }

    pub(super) fn batches(&self) -> &[Batch] {
        match &self.body {
            Body::Produce { batches, .. } => batches,
            other => panic!("not a produce request: {other:?}"),
        }
    }

    pub(super) fn topics(&self) -> Vec<&str> {
        match &self.body {
            Body::Metadata { topics, .. } => topics.iter().map(String::as_str).collect(),
            other => panic!("not a metadata request: {other:?}"),
        }
    }
}

/// `broker: topic-partition pid/epoch@sequence [values]; ...`
impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.broker)?;
        let batches: Vec<_> = self.batches().iter().map(Batch::to_string).collect();
        f.write_str(&batches.join("; "))
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// Reads a frame, its size prefix included.
pub(super) fn read(connection: ConnectionId, broker: i32, frame: &[u8]) -> Arrived {
    let (size, message) = frame.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*size) as usize, message.len(), "the size covers the frame");
    let mut bytes = Bytes::copy_from_slice(message);
    let header = decode_request_header_from_buffer(&mut bytes).unwrap();
    assert!(header.client_id.is_some_and(|id| &*id == "rig"));
    let version = header.request_api_version;
    let api = ApiKey::ALL.into_iter().find(|api| api.wire() == header.request_api_key).unwrap();
    let body = match api {
        ApiKey::ApiVersions => greeting_of(&mut bytes, version),
        ApiKey::Metadata => {
            let read = oracle::MetadataRequest::decode(&mut bytes, version).unwrap();
            let topics = read.topics.expect("a producer never asks for all topics (MD-1)");
            let name = |name: Option<oracle::TopicName>| name.unwrap().to_string();
            Body::Metadata {
                topics: topics.into_iter().map(|topic| name(topic.name)).collect(),
                may_create: read.allow_auto_topic_creation,
            }
        }
        ApiKey::InitProducerId => {
            oracle::InitProducerIdRequest::decode(&mut bytes, version).unwrap();
            Body::InitProducerId
        }
        ApiKey::GetTelemetrySubscriptions => {
            let read = oracle::GetTelemetrySubscriptionsRequest::decode(&mut bytes, version);
            let instance = read.unwrap().client_instance_id.into_bytes();
            Body::GetTelemetrySubscriptions { instance }
        }
        ApiKey::PushTelemetry => {
            let read = oracle::PushTelemetryRequest::decode(&mut bytes, version).unwrap();
            Body::PushTelemetry(Pushed {
                instance: read.client_instance_id.into_bytes(),
                subscription: read.subscription_id,
                terminating: read.terminating,
                codec: read.compression_type,
                metrics: read.metrics.to_vec(),
            })
        }
        ApiKey::Produce => {
            produce_of(&oracle::ProduceRequest::decode(&mut bytes, version).unwrap())
        }
    };
    assert!(bytes.is_empty(), "{api:?} {version}: bytes are left");
    Arrived { connection, broker, api, version, correlation: header.correlation_id, body }
}

/// The oracle knows versions up to 4, which lack the two fields of version 5 (KIP-1242).
fn greeting_of(bytes: &mut Bytes, version: i16) -> Body {
    if version < 5 {
        let read = oracle::ApiVersionsRequest::decode(bytes, version).unwrap();
        return Body::ApiVersions {
            software: read.client_software_name.to_string(),
            release: read.client_software_version.to_string(),
            intended: None,
        };
    }
    // Lengths of short strings take one byte, and are one more than they say.
    let mut text = || {
        let length = bytes.get_u8();
        assert!(length < 0x80, "a short string");
        (length > 0).then(|| {
            let text = bytes.split_to(usize::from(length) - 1);
            String::from_utf8(text.to_vec()).unwrap()
        })
    };
    let (software, release, cluster) = (text().unwrap(), text().unwrap(), text());
    let node = bytes.get_i32();
    assert_eq!(bytes.get_u8(), 0, "no tags");
    assert_eq!(cluster.is_some(), node >= 0, "both or none");
    Body::ApiVersions { software, release, intended: cluster.map(|cluster| (cluster, node)) }
}

fn produce_of(read: &oracle::ProduceRequest) -> Body {
    let mut batches = Vec::new();
    for topic in &read.topic_data {
        for sent in &topic.partition_data {
            let mut bytes = sent.records.clone().unwrap();
            let batch_bytes = bytes.len();
            let set =
                RecordBatchDecoder::decode(&mut bytes).expect("a batch whose checksum is right");
            assert!(bytes.is_empty(), "RBF-7: one batch per partition");
            let first = &set.records[0];
            let value = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            batches.push(Batch {
                topic: topic.name.to_string(),
                topic_id: TopicId(topic.topic_id.into_bytes()),
                partition: sent.index,
                producer_id: first.producer_id,
                epoch: first.producer_epoch,
                sequence: first.sequence,
                bytes: batch_bytes,
                values: set.records.iter().map(|r| value(r.value.as_ref().unwrap())).collect(),
            });
        }
    }
    let mut partitions: Vec<_> =
        batches.iter().map(|batch| (&batch.topic, batch.topic_id.0, batch.partition)).collect();
    partitions.sort();
    assert!(partitions.windows(2).all(|pair| pair[0] != pair[1]), "DRN-2: each partition once");
    Body::Produce { acks: read.acks, batches }
}

/// An answer with its size prefix.
fn framed<R: Encodable + HeaderVersion>(request: &Arrived, version: i16, response: &R) -> Vec<u8> {
    let header = oracle::ResponseHeader::default().with_correlation_id(request.correlation);
    let mut out = BytesMut::new();
    header.encode(&mut out, R::header_version(version)).unwrap();
    response.encode(&mut out, version).unwrap();
    let mut frame = (out.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&out);
    frame
}

/// An ApiVersions answer; one that refuses the version is a version 0 answer, as brokers give it.
/// That of version 5 is laid out as that of version 4.
pub(super) fn versions_answer(
    request: &Arrived,
    error: ErrorCode,
    ranges: &[(ApiKey, i16, i16)],
) -> Vec<u8> {
    let api = |(api, min, max): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api.wire()).with_min_version(*min).with_max_version(*max)
    };
    let response = oracle::ApiVersionsResponse::default()
        .with_error_code(error.wire())
        .with_api_keys(ranges.iter().map(api).collect());
    let is_refusal = error == ErrorCode::UnsupportedVersion;
    let version = if is_refusal { 0 } else { request.version.min(4) };
    framed(request, version, &response)
}

/// What a broker says it wants: its prefixes, how often, as deltas or not.
#[derive(Clone, Debug)]
pub(super) struct Wants {
    pub(super) error: ErrorCode,
    pub(super) instance: [u8; 16],
    pub(super) subscription: i32,
    pub(super) interval_ms: i32,
    pub(super) requested: Vec<String>,
    pub(super) throttle_ms: i32,
}

pub(super) fn subscriptions_answer(request: &Arrived, wants: &Wants) -> Vec<u8> {
    let response = oracle::GetTelemetrySubscriptionsResponse::default()
        .with_throttle_time_ms(wants.throttle_ms)
        .with_error_code(wants.error.wire())
        .with_client_instance_id(wants.instance.to_vec().try_into().unwrap())
        .with_subscription_id(wants.subscription)
        .with_accepted_compression_types(vec![4, 3, 1, 2])
        .with_push_interval_ms(wants.interval_ms)
        .with_telemetry_max_bytes(1 << 20)
        .with_requested_metrics(wants.requested.iter().map(|prefix| text(prefix)).collect());
    framed(request, request.version, &response)
}

pub(super) fn push_answer(request: &Arrived, error: ErrorCode) -> Vec<u8> {
    let response = oracle::PushTelemetryResponse::default().with_error_code(error.wire());
    framed(request, request.version, &response)
}

pub(super) fn identity_answer(
    request: &Arrived,
    error: ErrorCode,
    (id, epoch): (i64, i16),
) -> Vec<u8> {
    let response = oracle::InitProducerIdResponse::default()
        .with_error_code(error.wire())
        .with_producer_id(id.into())
        .with_producer_epoch(epoch);
    framed(request, request.version, &response)
}

/// A topic as the cluster has it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: TopicId,
    pub(super) error: ErrorCode,
    /// Leader (-1: none) and leader epoch of each partition.
    pub(super) partitions: Vec<(i32, i32)>,
}

/// A broker as the cluster tells it: node id, host, port.
pub(super) type Address = (i32, String, u16);

/// What a metadata answer says beside its brokers and topics.
#[derive(Clone, Debug)]
pub(super) struct ClusterSays {
    pub(super) cluster_id: Option<String>,
    pub(super) error: ErrorCode,
    pub(super) throttle_ms: i32,
}

/// A metadata answer.
pub(super) fn metadata_answer(
    request: &Arrived,
    brokers: &[Address],
    topics: &[Topic],
    says: &ClusterSays,
) -> Vec<u8> {
    let version = request.version;
    let broker = |(id, host, port): &Address| {
        MetadataResponseBroker::default()
            .with_node_id(oracle::BrokerId(*id))
            .with_host(text(host))
            .with_port(i32::from(*port))
    };
    let partition = |(index, (leader, epoch)): (usize, &(i32, i32))| {
        let missing = *leader < 0;
        let error = if missing { ErrorCode::LeaderNotAvailable } else { ErrorCode::None };
        let described = MetadataResponsePartition::default()
            .with_error_code(error.wire())
            .with_partition_index(index as i32)
            .with_leader_id(oracle::BrokerId(*leader));
        if version >= 7 { described.with_leader_epoch(*epoch) } else { described }
    };
    let topic = |topic: &Topic| {
        let described = MetadataResponseTopic::default()
            .with_error_code(topic.error.wire())
            .with_name(Some(oracle::TopicName(text(&topic.name))))
            .with_partitions(topic.partitions.iter().enumerate().map(partition).collect());
        match version {
            10.. => described.with_topic_id(topic.id.0.to_vec().try_into().unwrap()),
            _ => described,
        }
    };
    let mut response = oracle::MetadataResponse::default()
        .with_throttle_time_ms(says.throttle_ms)
        .with_cluster_id(says.cluster_id.as_deref().map(text))
        .with_brokers(brokers.iter().map(broker).collect())
        .with_topics(topics.iter().map(topic).collect());
    if version >= 13 {
        response.error_code = says.error.wire();
    }
    framed(request, version, &response)
}

/// What a broker says about one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) error: ErrorCode,
    pub(super) offset: i64,
    /// Where the log begins; -1 if the broker does not say.
    pub(super) log_start: i64,
}

impl Said {
    pub(super) fn written(offset: i64) -> Self {
        Self { error: ErrorCode::None, offset, log_start: 0 }
    }

    pub(super) fn refused(error: ErrorCode) -> Self {
        Self { error, offset: -1, log_start: 0 }
    }
}

/// A produce answer, one verdict per batch of the request, in its order.
pub(super) fn produce_answer(request: &Arrived, said: &[Said], throttle_ms: i32) -> Vec<u8> {
    framed(request, request.version, &produce_response(request, said, throttle_ms, &[]))
}

/// A produce answer in which each verdict comes with a leader and its epoch, and the answer with
/// the leaders' addresses (KIP-951).
pub(super) fn produce_answer_with_leaders(
    request: &Arrived,
    error: ErrorCode,
    leaders: &[(i32, i32)],
    addresses: &[Address],
) -> Vec<u8> {
    let said = vec![Said::refused(error); leaders.len()];
    let endpoint = |(id, host, port): &Address| {
        NodeEndpoint::default()
            .with_node_id(oracle::BrokerId(*id))
            .with_host(text(host))
            .with_port(i32::from(*port))
    };
    let response = produce_response(request, &said, 0, leaders)
        .with_node_endpoints(addresses.iter().map(endpoint).collect());
    framed(request, request.version, &response)
}

fn produce_response(
    request: &Arrived,
    said: &[Said],
    throttle_ms: i32,
    leaders: &[(i32, i32)],
) -> oracle::ProduceResponse {
    let mut response = oracle::ProduceResponse::default().with_throttle_time_ms(throttle_ms);
    let leaders = leaders.iter().copied().chain(std::iter::repeat((-1, -1)));
    for ((batch, said), (leader, epoch)) in request.batches().iter().zip(said).zip(leaders) {
        let id = batch.topic_id.0.to_vec();
        let topic = match request.version {
            13.. => TopicProduceResponse::default().with_topic_id(id.try_into().unwrap()),
            _ => TopicProduceResponse::default().with_name(oracle::TopicName(text(&batch.topic))),
        };
        let partition = PartitionProduceResponse::default()
            .with_index(batch.partition)
            .with_error_code(said.error.wire())
            .with_base_offset(said.offset)
            .with_log_start_offset(if request.version >= 5 { said.log_start } else { -1 })
            .with_current_leader(
                LeaderIdAndEpoch::default()
                    .with_leader_id(oracle::BrokerId(leader))
                    .with_leader_epoch(epoch),
            );
        response.responses.push(topic.with_partition_responses(vec![partition]));
    }
    response
}

/// The answer to a request of one batch that refuses it and names records: their places, and what
/// is said about them.
pub(super) fn record_errors_answer(
    request: &Arrived,
    error: ErrorCode,
    message: Option<&str>,
    named: &[(i32, Option<&str>)],
) -> Vec<u8> {
    let [batch] = request.batches() else { panic!("one batch") };
    let of_record = |(place, message): &(i32, Option<&str>)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(*place)
            .with_batch_index_error_message(message.map(text))
    };
    let partition = PartitionProduceResponse::default()
        .with_index(batch.partition)
        .with_error_code(error.wire())
        .with_base_offset(-1)
        .with_error_message(message.map(text))
        .with_record_errors(named.iter().map(of_record).collect());
    let id = batch.topic_id.0.to_vec().try_into().unwrap();
    let topic =
        TopicProduceResponse::default().with_topic_id(id).with_partition_responses(vec![partition]);
    let response = oracle::ProduceResponse::default().with_responses(vec![topic]);
    framed(request, request.version, &response)
}
