//! Questions to a broker over a plain blocking socket, each with a deadline.
//!
//! Bounds:   an answer has `ANSWER_BYTES_MAX` bytes at most and comes within the time given,
//!           however slowly it drips.
//! Never:    trusts what comes back; the protocol module reads it.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kuring::ErrorCode;
use kuring::protocol::api::{CorrelationId, negotiate, split_response};
use kuring::protocol::api_versions::{self, ApiVersionsResponse};
use kuring::protocol::metadata::{self, MetadataResponse};
use kuring::protocol::{ApiKey, FrameError, FrameReader, RequestHeader, WireError};

use super::hello;
use crate::clock;

/// Far above the metadata of any one topic and of the brokers.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const CLIENT_ID: &str = "kuring-doctor";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) answer: Duration,
}

/// Why there was no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer in time.
    Silent(Duration),
    /// The connection was closed instead.
    Closed,
    /// What came is no answer of a Kafka broker; its first bytes.
    Strange(Vec<u8>),
    /// An answer that cannot be read.
    Malformed(WireError),
    /// The two sides have no version of it in common.
    NoVersion(ApiKey),
    /// The broker answered with this error.
    Refused(ErrorCode),
    Failed(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(after) => write!(f, "connected, and no answer within {after:?}"),
            Self::Closed => f.write_str("connected, and then closed without an answer"),
            Self::Strange(bytes) => {
                write!(f, "what answers is no Kafka broker: {:?}", String::from_utf8_lossy(bytes))
            }
            Self::Malformed(error) => write!(f, "the answer cannot be read: {error}"),
            Self::NoVersion(api) => write!(f, "no version of {} in common", api.name()),
            Self::Refused(code) => write!(f, "the broker answered {}", code.name()),
            Self::Failed(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

/// One connection to a broker.
pub(super) struct Conversation {
    address: SocketAddr,
    stream: TcpStream,
    ids: CorrelationId,
    limits: Limits,
}

impl Conversation {
    pub(super) fn connect(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limits.connect)?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, ids: CorrelationId::default(), limits })
    }

    /// Whether the port speaks TLS. On a connection of its own, since this one has been spoiled.
    pub(super) fn is_tls(&self) -> bool {
        hello::is_answered(self.address, self.limits)
    }

    /// Asks which versions the broker speaks, as the producer does: with the newest question, and
    /// with the oldest when the broker does not know that one.
    pub(super) fn versions(&mut self) -> Result<ApiVersionsResponse, Trouble> {
        let newest = ApiKey::ApiVersions.versions().max;
        let first = self.versions_by(newest)?;
        match first.error {
            ErrorCode::None => Ok(first),
            ErrorCode::UnsupportedVersion => match self.versions_by(0)? {
                old if old.error == ErrorCode::None => Ok(old),
                old => Err(Trouble::Refused(old.error)),
            },
            code => Err(Trouble::Refused(code)),
        }
    }

    fn versions_by(&mut self, version: i16) -> Result<ApiVersionsResponse, Trouble> {
        let body = self.ask(ApiKey::ApiVersions, version, &|out, header| {
            api_versions::encode_request(out, header, None);
        })?;
        api_versions::decode_response(version, &body).map_err(Trouble::Malformed)
    }

    /// Asks for the brokers, and for the topic; it is not created by that.
    pub(super) fn metadata(
        &mut self,
        versions: &ApiVersionsResponse,
        topic: Option<&str>,
    ) -> Result<MetadataResponse, Trouble> {
        let brokers = versions.range(ApiKey::Metadata);
        let version = brokers.and_then(|range| negotiate(ApiKey::Metadata.versions(), range));
        let version = version.ok_or(Trouble::NoVersion(ApiKey::Metadata))?;
        let topics: Vec<&str> = topic.into_iter().collect();
        let body = self.ask(ApiKey::Metadata, version, &|out, header| {
            metadata::encode_inquiry(out, header, Some(&topics));
        })?;
        metadata::decode_response(version, &body).map_err(Trouble::Malformed)
    }

    /// One request and its answer's body.
    fn ask(
        &mut self,
        api: ApiKey,
        version: i16,
        encode: &dyn Fn(&mut Vec<u8>, &RequestHeader<'_>),
    ) -> Result<Vec<u8>, Trouble> {
        let correlation = self.ids.allot();
        let mut request = Vec::new();
        let header = RequestHeader { version, correlation, client_id: Some(CLIENT_ID) };
        encode(&mut request, &header);
        let failed = |error: io::Error| trouble_of(error, self.limits.answer);
        self.stream.set_write_timeout(Some(self.limits.answer)).map_err(failed)?;
        self.stream.write_all(&request).map_err(failed)?;
        let frame = read_frame(&mut self.stream, self.limits.answer)?;
        let (answered, body) = split_response(api, version, &frame).map_err(Trouble::Malformed)?;
        if answered != correlation {
            return Err(Trouble::Strange(frame.into_iter().take(16).collect()));
        }
        Ok(body.to_vec())
    }
}

fn read_frame(stream: &mut TcpStream, within: Duration) -> Result<Vec<u8>, Trouble> {
    let deadline = clock::now() + within;
    let mut reader = FrameReader::new(ANSWER_BYTES_MAX);
    let mut first = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let mut frame = None;
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(Trouble::Silent(within));
        }
        stream.set_read_timeout(Some(left)).map_err(Trouble::Failed)?;
        let count = match stream.read(&mut chunk) {
            Ok(0) if first.is_empty() => return Err(Trouble::Closed),
            Ok(0) => return Err(Trouble::Strange(first)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(trouble_of(error, within)),
        };
        first.extend_from_slice(&chunk[..count.min(16 - first.len().min(16))]);
        let fed = reader.feed::<FrameError>(&chunk[..count], &mut |bytes| {
            frame.get_or_insert_with(|| bytes.to_vec());
            Ok(())
        });
        if fed.is_err() {
            return Err(Trouble::Strange(first));
        }
        if let Some(frame) = frame {
            return Ok(frame);
        }
    }
}

fn trouble_of(error: io::Error, within: Duration) -> Trouble {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Trouble::Silent(within),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Trouble::Closed,
        _ => Trouble::Failed(error),
    }
}
