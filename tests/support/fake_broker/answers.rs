//! What an honest broker says: requests decoded, answers encoded, by the `kafka-protocol` crate.
#![forbid(unsafe_code)]

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, GetTelemetrySubscriptionsRequest,
    GetTelemetrySubscriptionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, ProducerId, PushTelemetryRequest, PushTelemetryResponse,
    RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::log::{read_batch, read_head};
use super::{Seen, State, TopicState};
use crate::support::wire::topic_name;

/// A decoded request.
pub(super) struct Asked {
    pub(super) seen: Seen,
    pub(super) correlation: i32,
    body: Body,
}

enum Body {
    /// The cluster and the node that the client wants, if it says so (KIP-1242).
    ApiVersions(Option<(String, i32)>),
    Metadata(MetadataRequest),
    InitProducerId,
    Produce(ProduceRequest),
    Subscribe,
    Push(PushTelemetryRequest),
}

/// An answer before it is bytes.
pub(super) enum Answer {
    ApiVersions(ApiVersionsResponse),
    Metadata(MetadataResponse),
    InitProducerId(InitProducerIdResponse),
    Produce(ProduceResponse),
    Subscribe(GetTelemetrySubscriptionsResponse),
    Push(PushTelemetryResponse),
}

/// Reads a request frame (without its length).
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(mut frame: Bytes, state: &State) -> Result<Asked, String> {
    let peek = |at: usize| frame.get(at..at + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let (key, version) = peek(0).zip(peek(2)).ok_or("a frame without a header")?;
    let api = ApiKey::try_from(key).map_err(|()| format!("api key {key}"))?;
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version));
    let header = header.map_err(|error| format!("header of {api:?} {version}: {error}"))?;
    let seen = Seen {
        node: 0,
        connection: 0,
        api,
        version,
        client_id: header.client_id.as_ref().map(ToString::to_string),
        acks: 0,
        topics: Vec::new(),
        batches: Vec::new(),
    };
    let mut asked =
        Asked { seen, correlation: header.correlation_id, body: Body::ApiVersions(None) };
    asked.body = asked.body(frame, state).map_err(|error| format!("{api:?} {version}: {error}"))?;
    Ok(asked)
}

/// Whom a greeting of version 5 is meant for. The oracle knows versions up to 4.
fn intended(body: &mut Bytes) -> Result<Option<(String, i32)>, String> {
    let mut text = || -> Option<String> {
        // The lengths of short strings take one byte, and are one more than they say.
        let length = usize::from(body.try_get_u8().ok()?).checked_sub(1)?;
        let bytes = (length <= body.len()).then(|| body.split_to(length))?;
        String::from_utf8(bytes.to_vec()).ok()
    };
    text().and_then(|_| text()).ok_or("no software")?;
    let cluster = text();
    let node = body.try_get_i32().map_err(|error| error.to_string())?;
    if body[..] != [0] || cluster.is_some() != (node >= 0) {
        return Err(format!("{cluster:?}, {node}, and {body:?} behind them"));
    }
    Ok(cluster.map(|cluster| (cluster, node)))
}

impl Asked {
    fn body(&mut self, mut frame: Bytes, state: &State) -> Result<Body, String> {
        let (api, version) = (self.seen.api, self.seen.version);
        let range = state.versions_of(api).ok_or("not one of this broker's requests")?;
        if api == ApiKey::ApiVersions {
            let is_told = version >= 5 && range.contains(&version);
            return Ok(Body::ApiVersions(if is_told { intended(&mut frame)? } else { None }));
        }
        if !range.contains(&version) {
            return Err(format!("the version is outside of {range:?}"));
        }
        let body = match api {
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut frame, version);
                let request = request.map_err(|error| error.to_string())?;
                let topics = request.topics.iter().flatten();
                let names = topics.filter_map(|topic| topic.name.as_ref());
                self.seen.topics = names.map(|name| name.to_string()).collect();
                Body::Metadata(request)
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut frame, version);
                let request = request.map_err(|error| error.to_string())?;
                self.seen.acks = request.acks;
                self.read_batches(&request, state)?;
                Body::Produce(request)
            }
            ApiKey::GetTelemetrySubscriptions => {
                let request = GetTelemetrySubscriptionsRequest::decode(&mut frame, version);
                request.map_err(|error| error.to_string())?;
                Body::Subscribe
            }
            ApiKey::PushTelemetry => {
                let request = PushTelemetryRequest::decode(&mut frame, version);
                Body::Push(request.map_err(|error| error.to_string())?)
            }
            // Its fields matter to transactions only.
            _ => return Ok(Body::InitProducerId),
        };
        if frame.is_empty() { Ok(body) } else { Err(format!("{} bytes too many", frame.len())) }
    }

    fn read_batches(&mut self, request: &ProduceRequest, state: &State) -> Result<(), String> {
        for topic in &request.topic_data {
            let name = if self.seen.version >= 13 {
                let found =
                    state.topics.iter().find(|(_, known)| known.id == topic.topic_id.as_u128());
                found.map(|(name, _)| name.clone()).ok_or("an unknown topic id")?
            } else {
                topic.name.to_string()
            };
            for partition in &topic.partition_data {
                let bytes = partition.records.as_ref().ok_or("no batch")?;
                let read = if state.forgetful { read_head } else { read_batch };
                self.seen.batches.push(read(&name, partition.index, bytes)?);
            }
            self.seen.topics.push(name);
        }
        Ok(())
    }

    /// Carries the request out, as far as `refused` does not say otherwise, and answers it.
    pub(super) fn serve(&self, state: &mut State, refused: Option<ResponseError>) -> Answer {
        let code = refused.map_or(0, |error| error.code());
        match &self.body {
            Body::ApiVersions(intended) => {
                let meant = intended.as_ref().is_none_or(|(cluster, node)| {
                    *cluster == state.cluster_id && *node == self.seen.node
                });
                let other = ResponseError::RebootstrapRequired.code();
                let code = if meant || code != 0 { code } else { other };
                Answer::ApiVersions(self.api_versions(state, code))
            }
            Body::Metadata(request) => Answer::Metadata(metadata(request, state, code)),
            Body::InitProducerId => {
                state.producer_ids += i64::from(code == 0);
                let answer = InitProducerIdResponse::default().with_error_code(code);
                let id = if code == 0 { 1000 + state.producer_ids } else { -1 };
                let epoch = if code == 0 { 0 } else { -1 };
                let answer = answer.with_producer_id(ProducerId(id)).with_producer_epoch(epoch);
                Answer::InitProducerId(answer)
            }
            Body::Produce(request) => Answer::Produce(self.produce(request, state, code)),
            Body::Subscribe => Answer::Subscribe(state.subscription.clone().with_error_code(code)),
            Body::Push(request) => {
                if code == 0 {
                    state.pushes.push(request.clone());
                }
                Answer::Push(PushTelemetryResponse::default().with_error_code(code))
            }
        }
    }

    fn api_versions(&self, state: &State, code: i16) -> ApiVersionsResponse {
        let known = state.versions.iter().map(|(api, range)| {
            let version = ApiVersion::default().with_api_key(*api as i16);
            version.with_min_version(*range.start()).with_max_version(*range.end())
        });
        let supported = state.versions_of(ApiKey::ApiVersions);
        let supported = supported.is_some_and(|range| range.contains(&self.seen.version));
        let code = if supported { code } else { ResponseError::UnsupportedVersion.code() };
        ApiVersionsResponse::default().with_error_code(code).with_api_keys(known.collect())
    }

    fn produce(&self, request: &ProduceRequest, state: &mut State, code: i16) -> ProduceResponse {
        let mut batches = self.seen.batches.iter();
        let node = self.seen.node;
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().filter_map(|_| {
                let batch = batches.next()?;
                let outcome = if code == 0 { state.append(node, batch) } else { Err(code) };
                let answer = PartitionProduceResponse::default().with_index(batch.partition);
                let answer = answer.with_log_append_time_ms(-1).with_log_start_offset(0);
                Some(match outcome {
                    Ok(offset) => answer.with_base_offset(offset),
                    Err(code) => answer.with_base_offset(-1).with_error_code(code),
                })
            });
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions.collect())
        });
        ProduceResponse::default().with_responses(topics.collect())
    }

    /// The answer's frame, with its length.
    pub(super) fn encode(&self, answer: &Answer) -> Vec<u8> {
        match answer {
            Answer::ApiVersions(answer) => {
                // Whoever speaks too new a version is answered in the oldest.
                let unsupported = answer.error_code == ResponseError::UnsupportedVersion.code();
                // The oracle knows version 4, and version 5 is laid out like it.
                self.frame(answer, if unsupported { 0 } else { self.seen.version.min(4) })
            }
            Answer::Metadata(answer) => self.frame(answer, self.seen.version),
            Answer::InitProducerId(answer) => self.frame(answer, self.seen.version),
            Answer::Produce(answer) => self.frame(answer, self.seen.version),
            Answer::Subscribe(answer) => self.frame(answer, self.seen.version),
            Answer::Push(answer) => self.frame(answer, self.seen.version),
        }
    }

    fn frame(&self, answer: &impl Encodable, version: i16) -> Vec<u8> {
        let mut frame = BytesMut::from(&[0; 4][..]);
        let header = ResponseHeader::default().with_correlation_id(self.correlation);
        let layout = self.seen.api.response_header_version(version);
        header.encode(&mut frame, layout).expect("a header can be encoded");
        answer.encode(&mut frame, version).expect("an answer of ours can be encoded");
        let length = u32::try_from(frame.len() - 4).expect("an answer of a test is small");
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame.to_vec()
    }
}

fn metadata(request: &MetadataRequest, state: &State, code: i16) -> MetadataResponse {
    let brokers = state.nodes.iter().zip(0..).map(|((host, port), id)| {
        let broker = MetadataResponseBroker::default().with_node_id(BrokerId(id));
        let rack = state.racks.get(id as usize).cloned().map(StrBytes::from_string);
        let broker = broker.with_rack(rack);
        broker.with_host(StrBytes::from_string(host.clone())).with_port(i32::from(*port))
    });
    let names: Vec<String> = match &request.topics {
        Some(topics) => {
            topics.iter().filter_map(|topic| topic.name.as_ref().map(|n| n.to_string())).collect()
        }
        None => state.topics.keys().cloned().collect(),
    };
    let topics = names.iter().map(|name| {
        let answer = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
        match (code, state.topics.get(name)) {
            (0, Some(topic)) if topic.error == 0 => described(answer, topic),
            (0, Some(topic)) => answer.with_error_code(topic.error),
            (0, None) => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            (code, _) => answer.with_error_code(code),
        }
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_string(state.cluster_id.clone())))
        .with_controller_id(BrokerId(0))
        .with_topics(topics.collect())
}

fn described(answer: MetadataResponseTopic, topic: &TopicState) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
        let leader = BrokerId(partition.leader);
        let missing = ResponseError::LeaderNotAvailable.code();
        MetadataResponsePartition::default()
            .with_error_code(if partition.leader < 0 { missing } else { 0 })
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    });
    let id = format!("{:032x}", topic.id).parse().expect("32 digits are a topic id");
    answer.with_topic_id(id).with_partitions(partitions.collect())
}
