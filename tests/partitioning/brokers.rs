//! Brokers in memory, each with a pace of its own, and the driver that reaches them.
//!
//! Time is the simulated clock of this thread. A broker handles one request after the other; the
//! answer to a produce request takes the broker's time, every other one takes none.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse,
    ProduceRequest, ProduceResponse, ProducerId, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kuring::driver::{ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker};
use kuring::ids::ConnectionId;
use kuring::simulation::clock;

pub(crate) const TOPIC: &str = "unkeyed";
/// What a frame and an answer are under way.
const WAY_NANOS: u64 = 100_000;
/// Broker n listens on this port plus n.
const PORT: u16 = 9000;
const VERSIONS: [(ApiKey, i16, i16); 4] = [
    (ApiKey::Produce, 3, 12),
    (ApiKey::Metadata, 4, 12),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::InitProducerId, 0, 4),
];

/// Nanoseconds that a broker takes for a produce request that it begins at this time.
pub(crate) type Pace = Box<dyn Fn(u64) -> u64>;

enum What {
    Connected,
    Sent(Frame),
    Answer(Vec<u8>),
    Closed,
}

/// All brokers, and the ways to them and back.
pub(crate) struct Brokers {
    paces: Vec<Pace>,
    racks: Vec<&'static str>,
    partitions: usize,
    /// When each broker is done with what it has.
    free_at: Vec<u64>,
    /// Which broker each connection leads to.
    connections: Vec<(ConnectionId, usize)>,
    due: VecDeque<(u64, ConnectionId, What)>,
    woken: Arc<AtomicBool>,
}

fn now() -> u64 {
    clock::time().expect("the clocks of this thread are simulated").nanos
}

pub(crate) fn address_of(broker: usize) -> SocketAddr {
    ([127, 0, 0, 1], PORT + broker as u16).into()
}

impl Brokers {
    /// Brokers with these paces; partition p is led by broker p modulo their number, plus 1.
    pub(crate) fn new(paces: Vec<Pace>, racks: Vec<&'static str>, partitions: usize) -> Self {
        let free_at = vec![0; paces.len()];
        let (connections, due) = (Vec::new(), VecDeque::new());
        Self { paces, racks, partitions, free_at, connections, due, woken: Arc::default() }
    }

    fn broker_of(&self, connection: ConnectionId) -> usize {
        let known = self.connections.iter().find(|(known, _)| *known == connection);
        known.expect("a connection that was made").1
    }

    fn answer(&mut self, broker: usize, mut frame: Bytes) -> (u64, Vec<u8>) {
        let api = ApiKey::try_from(i16::from_be_bytes([frame[4], frame[5]])).expect("a request");
        let version = i16::from_be_bytes([frame[6], frame[7]]);
        let mut body = frame.split_off(4);
        let header = RequestHeader::decode(&mut body, api.request_header_version(version));
        let correlation = header.expect("a header").correlation_id;
        let arrives = now() + WAY_NANOS;
        let mut out = BytesMut::from(&[0; 4][..]);
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut out, api.response_header_version(version)).expect("a header");
        let (encoded, done) = match api {
            ApiKey::ApiVersions => (versions().encode(&mut out, version), arrives),
            ApiKey::Metadata => (self.metadata().encode(&mut out, version), arrives),
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut body, version).expect("a request");
                let begins = arrives.max(self.free_at[broker]);
                self.free_at[broker] = begins + (self.paces[broker])(begins);
                (produced(&request).encode(&mut out, version), self.free_at[broker])
            }
            _ => {
                let id = InitProducerIdResponse::default().with_producer_id(ProducerId(1));
                (id.encode(&mut out, version), arrives)
            }
        };
        encoded.expect("an answer of this version");
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_be_bytes());
        (done + WAY_NANOS, out.to_vec())
    }

    fn metadata(&self) -> MetadataResponse {
        let brokers = self.racks.iter().zip(1..).map(|(rack, number)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(number))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(PORT) + number - 1)
                .with_rack(Some(StrBytes::from_static_str(rack)))
        });
        let count = self.paces.len();
        let partitions = (0..self.partitions).map(|partition| {
            let leader = BrokerId((partition % count) as i32 + 1);
            MetadataResponsePartition::default()
                .with_partition_index(partition as i32)
                .with_leader_id(leader)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![leader])
                .with_isr_nodes(vec![leader])
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_partitions(partitions.collect());
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_controller_id(BrokerId(1))
            .with_topics(vec![topic])
    }
}

fn versions() -> ApiVersionsResponse {
    let each = VERSIONS.map(|(api, lowest, highest)| {
        let line = ApiVersion::default().with_api_key(api as i16);
        line.with_min_version(lowest).with_max_version(highest)
    });
    ApiVersionsResponse::default().with_api_keys(each.into())
}

/// Yes to every batch.
fn produced(request: &ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| {
            let answer = PartitionProduceResponse::default().with_index(partition.index);
            answer.with_log_append_time_ms(-1).with_log_start_offset(0)
        });
        let answer = TopicProduceResponse::default().with_name(topic.name.clone());
        answer.with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

impl Driver for Brokers {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn connect(&mut self, connection: ConnectionId, address: SocketAddr, _: &SocketOptions) {
        self.connections.push((connection, usize::from(address.port() - PORT)));
        self.due.push_back((now() + WAY_NANOS, connection, What::Connected));
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let parts: Vec<&[u8]> = (0..frame.parts.len()).map(|part| frame.part(part)).collect();
        let bytes = Bytes::from(parts.concat());
        let (at, answer) = self.answer(self.broker_of(connection), bytes);
        self.due.push_back((now(), connection, What::Sent(frame)));
        self.due.push_back((at, connection, What::Answer(answer)));
    }

    fn shutdown(&mut self, connection: ConnectionId) {
        self.due.push_back((now(), connection, What::Closed));
    }

    fn waker(&self) -> Waker {
        Waker::raising(Arc::clone(&self.woken))
    }

    fn wait(&mut self, _: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        let now = now();
        // In the order of their making, which is that of each connection.
        for _ in 0..self.due.len() {
            let Some((at, connection, what)) = self.due.pop_front() else { return };
            if at > now {
                self.due.push_back((at, connection, what));
                continue;
            }
            match what {
                What::Connected => handle(Event::Connected(connection)),
                What::Sent(frame) => handle(Event::Sent { connection, frame, complete: true }),
                What::Answer(bytes) => handle(Event::Received(connection, &bytes)),
                What::Closed => {
                    let error = io::ErrorKind::ConnectionAborted.into();
                    self.due.retain(|(_, other, what)| {
                        *other != connection || !matches!(what, What::Answer(_))
                    });
                    handle(Event::Closed(
                        connection,
                        ConnectionError { step: Step::Shutdown, error },
                    ));
                    return;
                }
            }
        }
    }
}
