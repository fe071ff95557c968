//! What the broker in memory answers: the truth about one topic, and yes to every batch.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse, ProducerId,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kuring::driver::Frame;

/// As Kafka 4 announces them.
const VERSIONS: [(ApiKey, i16, i16); 4] = [
    (ApiKey::Produce, 0, 13),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::InitProducerId, 0, 5),
];

pub(crate) struct Broker {
    topic: &'static str,
    partitions: usize,
}

impl Broker {
    pub(crate) fn new(topic: &'static str, partitions: usize) -> Self {
        Self { topic, partitions }
    }

    /// Appends the answer to the request in `frame`.
    pub(crate) fn answer(&self, frame: &Frame, out: &mut Vec<u8>) {
        let mut request = Walk { frame, part: 0, at: 4 };
        let (key, version) = (request.i16(), request.i16());
        let correlation = request.take::<4>();
        let api = ApiKey::try_from(key).expect("a request of the producer");
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        if api == ApiKey::Produce {
            assert_eq!(version, 13, "the newest both speak");
            out.extend_from_slice(&correlation);
            out.push(0);
            produced(&mut request, out);
        } else {
            out.extend_from_slice(&self.rare(api, version, i32::from_be_bytes(correlation)));
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Everything but Produce.
    fn rare(&self, api: ApiKey, version: i16, correlation: i32) -> BytesMut {
        let mut out = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        let header_version = api.response_header_version(version);
        header.encode(&mut out, header_version).expect("a header");
        let encoded = match api {
            ApiKey::ApiVersions => {
                let each = VERSIONS.map(|(key, lowest, highest)| {
                    let line = ApiVersion::default().with_api_key(key as i16);
                    line.with_min_version(lowest).with_max_version(highest)
                });
                ApiVersionsResponse::default().with_api_keys(each.into()).encode(&mut out, version)
            }
            ApiKey::Metadata => self.metadata().encode(&mut out, version),
            _ => {
                let answer = InitProducerIdResponse::default().with_producer_id(ProducerId(1));
                answer.encode(&mut out, version)
            }
        };
        encoded.expect("an answer of this version");
        out
    }

    fn metadata(&self) -> MetadataResponse {
        let node = BrokerId(1);
        let broker = MetadataResponseBroker::default()
            .with_node_id(node)
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(9092);
        let partition = |number: usize| {
            MetadataResponsePartition::default()
                .with_partition_index(number as i32)
                .with_leader_id(node)
                .with_leader_epoch(0)
                .with_replica_nodes(vec![node])
                .with_isr_nodes(vec![node])
        };
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(self.topic))))
            // Any id but zero.
            .with_topic_id("05050505-0505-0505-0505-050505050505".parse().expect("a UUID"))
            .with_partitions((0..self.partitions).map(partition).collect());
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_controller_id(node)
            .with_topics(vec![topic])
    }
}

/// Acknowledges every batch of a request whose header's fixed fields were read.
fn produced(request: &mut Walk<'_>, out: &mut Vec<u8>) {
    let client_id = request.i16();
    request.skip(client_id.max(0) as usize);
    // Tags, transactional id (null), acks, timeout; then one topic.
    request.skip(1 + 1 + 2 + 4);
    assert_eq!(request.varint(), 2, "one topic");
    out.push(2);
    out.extend_from_slice(&request.take::<16>());
    let count = request.varint();
    push_varint(count, out);
    for _ in 1..count {
        out.extend_from_slice(&request.take::<4>());
        let batch = request.varint() - 1;
        request.skip(batch);
        request.skip(1);
        // No error; offset 0, no append time, log start 0; no record errors, no message, no tags.
        let mut answer = [0; 2 + 8 + 8 + 8 + 3];
        answer[10..18].fill(0xff);
        answer[26] = 1;
        out.extend_from_slice(&answer);
    }
    // The topic's tags, throttle time, tags.
    out.extend_from_slice(&[0; 1 + 4 + 1]);
}

fn push_varint(mut value: usize, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a request where it lies. No field but a batch is cut by the end of a piece.
struct Walk<'a> {
    frame: &'a Frame,
    part: usize,
    at: usize,
}

impl Walk<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.skip(0);
        let bytes = &self.frame.part(self.part)[self.at..self.at + N];
        self.at += N;
        bytes.try_into().expect("as many as asked for")
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn varint(&mut self) -> usize {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let [byte] = self.take();
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
        while self.part + 1 < self.frame.parts.len() {
            let length = self.frame.part(self.part).len();
            if self.at < length {
                return;
            }
            self.at -= length;
            self.part += 1;
        }
    }
}
