//! A client that speaks any version, and batches made by the oracle.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};

/// Far beyond what anything here takes; only a hang ends here.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn start(options: SinkOptions) -> SinkHandle {
    Sink::start(&options).unwrap()
}

pub(crate) fn verifying() -> SinkHandle {
    start(SinkOptions { verify: true, ..SinkOptions::default() })
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(sink: &SinkHandle) -> Self {
        Self::connect_to(sink.address())
    }

    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, correlation_id: 0 }
    }

    pub(crate) fn encode<R: Request + HeaderVersion>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Bytes {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("oracle")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&i32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&body);
        frame.freeze()
    }

    pub(crate) fn call<R: Request + HeaderVersion>(
        &mut self,
        request: &R,
        version: i16,
    ) -> R::Response {
        let frame = self.encode(request, version);
        self.stream.write_all(&frame).unwrap();
        self.answer::<R>(version)
    }

    /// Decodes the next answer, and checks that nothing is left of it.
    pub(crate) fn answer<R: Request + HeaderVersion>(&mut self, version: i16) -> R::Response {
        let mut frame = self.frame().unwrap();
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "{} bytes behind the answer", frame.len());
        response
    }

    pub(crate) fn frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Waits until the sink has closed the connection, and returns what it sent before.
    pub(crate) fn read_to_close(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            // Closing with unread bytes resets the connection: closed all the same.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
        rest
    }

    pub(crate) fn topic(&mut self, name: &str) -> MetadataResponseTopic {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        self.call(&request, 12).topics.remove(0)
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// `count` records from sequence `base` on, by producer 1000 of epoch 0.
pub(crate) fn batch(base: i32, count: i32) -> Bytes {
    batch_of(1000, 0, base, count)
}

pub(crate) fn batch_of(producer_id: i64, producer_epoch: i16, base: i32, count: i32) -> Bytes {
    let records: Vec<_> = (0..count)
        .map(|index| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id,
            producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: base + index,
            timestamp: 1_700_000_000_000 + i64::from(index),
            key: (index % 2 == 0).then(|| Bytes::from_static(b"key")),
            value: Some(Bytes::from(vec![b'v'; 50 + index as usize])),
            headers: [(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"x")))].into(),
        })
        .collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

/// A produce request of one topic, by name and by id.
pub(crate) fn produce(topic: &MetadataResponseTopic, batches: &[(i32, Bytes)]) -> ProduceRequest {
    let partitions = batches
        .iter()
        .map(|(index, bytes)| {
            PartitionProduceData::default().with_index(*index).with_records(Some(bytes.clone()))
        })
        .collect();
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![
        TopicProduceData::default()
            .with_name(topic.name.clone().unwrap_or_default())
            .with_topic_id(topic.topic_id)
            .with_partition_data(partitions),
    ])
}

/// The fields that do not exist in a version must be absent for the oracle to encode it.
pub(crate) fn fit(mut request: ProduceRequest, version: i16) -> ProduceRequest {
    for topic in &mut request.topic_data {
        if version >= 13 {
            topic.name = TopicName::default();
        } else {
            topic.topic_id = Default::default();
        }
    }
    request
}
