//! A blocking connection to one broker, one request at a time.
//!
//! Bounds:   an answer has `ANSWER_BYTES_MAX` bytes at most and comes within the time given,
//!           however slowly it drips; its memory grows with the bytes that have come.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kuring::driver::dns::resolve_now;

use crate::clock::now;

/// More than a fetch asks for: the first batch may be larger than that.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// How much room is made at once for an answer that is still to come.
const STEP_BYTES: usize = 1 << 20;
const CLIENT_ID: StrBytes = StrBytes::from_static_str("kuring-reader");

/// The lowest and the highest version that is spoken here, of each request.
const SPOKEN: [(i16, i16, i16); 3] = [
    // Fetch names topics up to version 12, by id from 13 on.
    (1, 4, 12),
    (2, 1, 7),
    (3, 4, 12),
];

/// After an error it is of no use.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    correlation_id: i32,
    /// Of each of [`SPOKEN`], the version that both sides know.
    versions: [Option<i16>; 3],
    /// How long a call may take.
    patience: Duration,
}

impl Connection {
    pub(super) fn open(host: &str, port: u16, patience: Duration) -> io::Result<Self> {
        let addresses = resolve_now(host, port).map_err(io::Error::other)?;
        let stream = connect(&addresses, patience)?;
        stream.set_nodelay(true)?;
        let mut opened = Self { stream, correlation_id: 0, versions: [None; 3], patience };
        opened.agree_on_versions()?;
        Ok(opened)
    }

    /// Asks with the oldest question, which every broker answers.
    fn agree_on_versions(&mut self) -> io::Result<()> {
        let answer = self.call_by(0, &ApiVersionsRequest::default(), Duration::ZERO)?;
        if let Some(error) = answer.error_code.err() {
            return Err(io::Error::other(format!("the broker answered {error}")));
        }
        for (agreed, (key, lowest, highest)) in self.versions.iter_mut().zip(SPOKEN) {
            let spoken = answer.api_keys.iter().find(|spoken| spoken.api_key == key);
            let shared = spoken.map(|it| (it.min_version.max(lowest), it.max_version.min(highest)));
            *agreed = shared.filter(|(low, high)| low <= high).map(|(_, high)| high);
        }
        Ok(())
    }

    /// Sends one request in the highest version that both sides know, and waits for its answer; by
    /// `held` longer than for others, which is what the broker is asked to wait.
    pub(super) fn call<R: Request>(
        &mut self,
        request: &R,
        held: Duration,
    ) -> io::Result<R::Response> {
        let place = SPOKEN.iter().position(|(key, ..)| *key == R::KEY);
        let version = place.and_then(|place| self.versions[place]).ok_or_else(|| {
            let what = format!("the broker and this reader have no version of request {}", R::KEY);
            io::Error::new(io::ErrorKind::Unsupported, format!("{what} in common"))
        })?;
        self.call_by(version, request, held)
    }

    fn call_by<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        held: Duration,
    ) -> io::Result<R::Response> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(CLIENT_ID));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, R::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut frame, version).map_err(io::Error::other)?;
        let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let deadline = now() + self.patience + held;
        self.stream.set_write_timeout(Some(self.patience))?;
        self.stream.write_all(&frame)?;
        let mut answer = self.read_frame(deadline)?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(io::Error::other)?;
        if header.correlation_id != self.correlation_id {
            return Err(io::Error::other("the broker answered another request"));
        }
        R::Response::decode(&mut answer, version).map_err(io::Error::other)
    }

    fn read_frame(&mut self, deadline: Instant) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.read_exact(&mut length, deadline)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("an answer of {length} bytes is no answer")));
        }
        let mut frame = Vec::new();
        while frame.len() < length {
            let there = frame.len();
            frame.resize(length.min(there + STEP_BYTES), 0);
            self.read_exact(&mut frame[there..], deadline)?;
        }
        Ok(frame.into())
    }

    fn read_exact(&mut self, mut room: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !room.is_empty() {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no whole answer in time"));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => room = &mut room[count..],
                Err(error) if is_early(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The deadline decides, not the socket's clock.
fn is_early(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The first address that takes the connection; the last one's error.
fn connect(addresses: &[SocketAddr], patience: Duration) -> io::Result<TcpStream> {
    let mut failure = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
