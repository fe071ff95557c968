//! A blocking connection to a broker that speaks through the `kafka-protocol` crate.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, RequestHeader,
    ResponseHeader, TopicName, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// One request at a time; every call ends within [`CALL_MAX`].
pub(crate) struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CALL_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CALL_MAX))?;
        stream.set_write_timeout(Some(CALL_MAX))?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends one request and waits for its answer. After an error the connection is of no use.
    pub(crate) fn call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> io::Result<R::Response> {
        self.send(version, request)?;
        let mut answer = self.read_frame()?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(io::Error::other)?;
        if header.correlation_id != self.correlation_id {
            return Err(io::Error::other("an answer to another request"));
        }
        R::Response::decode(&mut answer, version).map_err(io::Error::other)
    }

    /// Sends one request, whose answer nobody waits for.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("kuring-tests")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, R::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut frame, version).map_err(io::Error::other)?;
        let length = u32::try_from(frame.len() - 4).expect("a request of a test is small");
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame)
    }

    pub(crate) fn api_versions(&mut self) -> io::Result<ApiVersionsResponse> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("kuring-tests"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        self.call(3, &request)
    }

    /// Brokers, and of the topics only those named; creates none.
    pub(crate) fn metadata(&mut self, topics: &[&str]) -> io::Result<MetadataResponse> {
        let topics = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        self.call(12, &request)
    }

    fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other(format!("an answer of {length} bytes")));
        }
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }
}

pub(crate) fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

const CALL_MAX: Duration = Duration::from_secs(30);
/// More than the reader ever asks for, less than garbage read as a length.
const FRAME_BYTES_MAX: u32 = 256 << 20;
