//! One client's connection: bytes in, requests taken apart, answers out in order.
//!
//! Bounds:   `BUFFER_BYTES` of input (up to the largest request when batches are verified, as its
//!           bytes arrive, never by what a length claims); answers stop being made, and the socket
//!           stops being read, while `OUT_BYTES_MAX` of them wait for the client.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Broker;
use super::answers::{self, ANSWER_BYTES_MAX, Metadata};
use super::produce::{Produce, Step};
use super::wire::{Reader, WireError};

/// Several produce requests at a time, and still inside a core's own cache.
const BUFFER_BYTES: usize = 256 << 10;
/// Kafka's socket.request.max.bytes.
const FRAME_BYTES_MAX: usize = 100 << 20;
/// Any request but Produce is taken whole; 4 MiB name more topics than a client has.
const WHOLE_BYTES_MAX: usize = 4 << 20;
/// A connection whose client does not read stops being served at this much.
const OUT_BYTES_MAX: usize = 1 << 20;
/// From here on, discarding records inside the kernel costs less than one copy of them.
const DISCARD_BYTES_MIN: usize = 64 << 10;
/// The shortest request: key, version, correlation id, client id.
const HEAD_BYTES_MIN: usize = 10;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Closed {
    /// The peer ended it, or the network did.
    ByPeer,
    /// The bytes were no request, or one beyond the bounds.
    Garbage(&'static str),
}

#[derive(Clone, Copy)]
struct Head {
    api: i16,
    version: i16,
}

enum Stage {
    Length,
    Head,
    Whole(Head),
    Answered,
    Produce(Produce),
}

/// Whether the bytes at hand are used up.
#[derive(PartialEq, Eq)]
enum Parsed {
    NeedsInput,
    /// The client must read its answers first.
    OutFull,
}

/// An answer that waits for its time: up to which byte of `out` it goes.
struct Due {
    at: Instant,
    end: usize,
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    address: SocketAddr,
    /// How long an answer to a produce request waits.
    delay: Duration,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Record bytes to drop, from the buffer or inside the kernel.
    skip: usize,
    frame_left: usize,
    stage: Stage,
    /// Answers: `sent <= released <= complete <= out.len()`.
    out: Vec<u8>,
    sent: usize,
    /// Up to here the answers may be sent; behind it they are not due yet.
    released: usize,
    /// Up to here the answers are whole; behind it is the one under construction.
    complete: usize,
    dues: VecDeque<Due>,
    /// Input waits in the buffer because too many answers wait for the client.
    is_stalled: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, address: SocketAddr, delay: Duration) -> Self {
        Self {
            stream,
            address,
            delay,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            skip: 0,
            frame_left: 0,
            stage: Stage::Length,
            out: Vec::new(),
            sent: 0,
            released: 0,
            complete: 0,
            dues: VecDeque::new(),
            is_stalled: false,
        }
    }

    /// Answers wait for the socket to take them.
    pub(crate) fn wants_write(&self) -> bool {
        self.sent < self.released
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.complete - self.sent < OUT_BYTES_MAX
    }

    /// When the next delayed answer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.dues.front().map(|due| due.at)
    }

    /// Reads once, takes apart what arrived, writes once: the work of one wake-up.
    pub(crate) fn serve(
        &mut self,
        broker: &mut Broker,
        now: impl Fn() -> Instant,
    ) -> Result<(), Closed> {
        if !self.is_stalled {
            self.read(broker)?;
        }
        loop {
            let parsed = self.parse(broker, &now)?;
            self.is_stalled = parsed == Parsed::OutFull;
            self.flush()?;
            if !self.is_stalled || !self.wants_read() {
                return Ok(());
            }
        }
    }

    /// Sends the answers whose time has come.
    pub(crate) fn release(
        &mut self,
        broker: &mut Broker,
        now: impl Fn() -> Instant,
    ) -> Result<(), Closed> {
        let time = now();
        while let Some(due) = self.dues.front()
            && due.at <= time
        {
            self.released = due.end;
            self.dues.pop_front();
        }
        self.flush()?;
        if self.is_stalled && self.wants_read() { self.serve(broker, now) } else { Ok(()) }
    }

    fn read(&mut self, broker: &mut Broker) -> Result<(), Closed> {
        let discards = self.skip >= DISCARD_BYTES_MIN && self.start == self.end;
        let received = if discards {
            // With TRUNC a TCP socket drops the bytes; the slice only says how many.
            let count = self.skip.min(self.buffer.len());
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            recv(&self.stream, &mut self.buffer[..count], flags)
        } else {
            self.make_room();
            recv(&self.stream, &mut self.buffer[self.end..], RecvFlags::DONTWAIT)
        };
        match received {
            Ok((0, _)) => Err(Closed::ByPeer),
            Ok((count, _)) => {
                broker.totals.bytes += count as u64;
                if discards {
                    self.skip -= count;
                    self.frame_left -= count;
                } else {
                    self.end += count;
                }
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Closed::ByPeer),
        }
    }

    /// Moves the piece that is not complete to the front; grows only when it fills the buffer.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn parse(&mut self, broker: &mut Broker, now: &impl Fn() -> Instant) -> Result<Parsed, Closed> {
        loop {
            let skipped = self.skip.min(self.end - self.start);
            self.start += skipped;
            self.skip -= skipped;
            self.frame_left -= skipped;
            if self.skip > 0 {
                return Ok(Parsed::NeedsInput);
            }
            if !self.wants_read() {
                return Ok(Parsed::OutFull);
            }
            let in_frame = !matches!(self.stage, Stage::Length);
            let mut at_hand = self.end - self.start;
            if in_frame {
                at_hand = at_hand.min(self.frame_left);
            }
            match self.step(at_hand, broker) {
                Ok(step) => {
                    self.start += step.used;
                    self.skip = step.skip;
                    if in_frame {
                        self.frame_left -= step.used;
                        if step.skip > self.frame_left {
                            return Err(Closed::Garbage("records longer than their request"));
                        }
                        self.end_frame(now)?;
                    }
                    if self.out.len() - self.complete > ANSWER_BYTES_MAX {
                        return Err(Closed::Garbage("a request whose answer exceeds 16 MiB"));
                    }
                }
                Err(WireError::Short) if in_frame && at_hand == self.frame_left => {
                    return Err(Closed::Garbage("a request that ends early"));
                }
                Err(WireError::Short) => return self.wait_for_more(at_hand, broker),
                Err(WireError::Malformed(what)) => return Err(Closed::Garbage(what)),
            }
        }
    }

    /// A piece may grow past the buffer only where it has a bound of its own.
    fn wait_for_more(&self, at_hand: usize, broker: &Broker) -> Result<Parsed, Closed> {
        let may_grow = broker.verifies() || matches!(self.stage, Stage::Whole(_));
        if at_hand >= BUFFER_BYTES && !may_grow {
            return Err(Closed::Garbage("a request's head above 256 KiB"));
        }
        Ok(Parsed::NeedsInput)
    }

    fn step(&mut self, at_hand: usize, broker: &mut Broker) -> Result<Step, WireError> {
        let available = &self.buffer[self.start..self.start + at_hand];
        let mut reader = Reader::new(available);
        match &mut self.stage {
            Stage::Length => {
                let length = usize::try_from(reader.i32()?)
                    .map_err(|_| WireError::Malformed("a negative frame length"))?;
                if !(HEAD_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
                    return Err(WireError::Malformed("a frame length beyond 10 B to 100 MiB"));
                }
                self.frame_left = length;
                self.stage = Stage::Head;
            }
            Stage::Head => return self.head(at_hand, broker),
            Stage::Whole(_) if at_hand < self.frame_left => return Err(WireError::Short),
            &mut Stage::Whole(head) => {
                answer_whole(head, available, self.address, broker, &mut self.out)?;
                self.stage = Stage::Answered;
                return Ok(Step::used(at_hand));
            }
            Stage::Answered => return Err(WireError::Malformed("bytes after the request")),
            Stage::Produce(produce) => {
                return produce.step(available, self.frame_left, broker, &mut self.out);
            }
        }
        Ok(Step::used(reader.position()))
    }

    fn head(&mut self, at_hand: usize, broker: &mut Broker) -> Result<Step, WireError> {
        let mut reader = Reader::new(&self.buffer[self.start..self.start + at_hand]);
        let head = Head { api: reader.i16()?, version: reader.i16()? };
        let correlation_id = reader.i32()?;
        if !answers::is_served(head.api, head.version) {
            broker.totals.refused_requests += 1;
            return Err(WireError::Malformed("a request the sink does not serve"));
        }
        // An ApiVersions of a version to come may have another header: it is not looked at.
        let is_known = head.api != answers::API_VERSIONS || head.version <= 4;
        if is_known {
            reader.nullable_string(false)?; // client id
            reader.tags(answers::is_flexible(head.api, head.version))?;
        }
        let used = reader.position();
        if head.api != answers::PRODUCE && self.frame_left - used > WHOLE_BYTES_MAX {
            return Err(WireError::Malformed("a request above 4 MiB that is not Produce"));
        }
        self.out.extend_from_slice(&[0; 4]); // the length, known later
        self.out.extend_from_slice(&correlation_id.to_be_bytes());
        let has_tags = head.api != answers::API_VERSIONS;
        if has_tags && answers::is_flexible(head.api, head.version) {
            self.out.push(0);
        }
        broker.totals.count_request(head.api);
        self.stage = match head.api {
            answers::PRODUCE => Stage::Produce(Produce::new(head.version)),
            _ => Stage::Whole(head),
        };
        Ok(Step::used(used))
    }

    /// Completes the answer when the request is through.
    fn end_frame(&mut self, now: &impl Fn() -> Instant) -> Result<(), Closed> {
        let (wants_answer, is_produce) = match &self.stage {
            Stage::Produce(produce) if produce.is_done() => (produce.wants_answer(), true),
            Stage::Answered => (true, false),
            _ => return Ok(()),
        };
        if self.frame_left > 0 {
            return Err(Closed::Garbage("bytes after the request"));
        }
        self.stage = Stage::Length;
        if !wants_answer {
            self.out.truncate(self.complete);
            return Ok(());
        }
        let answer = &mut self.out[self.complete..];
        let length = i32::try_from(answer.len() - 4).expect("answers are bounded");
        answer[..4].copy_from_slice(&length.to_be_bytes());
        self.complete = self.out.len();
        let delay = if is_produce { self.delay } else { Duration::ZERO };
        if delay.is_zero() && self.dues.is_empty() {
            self.released = self.complete;
        } else {
            // Answers keep the order of their requests: nothing passes a delayed one.
            self.dues.push_back(Due { at: now() + delay, end: self.complete });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        if !self.wants_write() {
            return Ok(());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(&self.stream, &self.out[self.sent..self.released], flags) {
            Ok(count) => self.sent += count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Closed::ByPeer),
        }
        if self.sent == self.out.len() {
            self.out.clear();
            (self.sent, self.released, self.complete) = (0, 0, 0);
        } else if self.sent >= OUT_BYTES_MAX {
            self.drop_sent();
        }
        Ok(())
    }

    /// Moves what is not sent to the front, so that a client which never quite catches up costs
    /// no more than one that does.
    fn drop_sent(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.out.drain(..sent);
        self.released -= sent;
        self.complete -= sent;
        for due in &mut self.dues {
            due.end -= sent;
        }
    }
}

/// Answers a request that is not Produce, all of whose bytes are there.
fn answer_whole(
    head: Head,
    body: &[u8],
    address: SocketAddr,
    broker: &mut Broker,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(body);
    // A single broker is where its client found it, whatever address it listens on.
    let own = [address];
    let brokers = if broker.addresses.len() > 1 { &broker.addresses[..] } else { &own[..] };
    match head.api {
        answers::API_VERSIONS => answers::api_versions(head.version, out),
        answers::METADATA => {
            let mut metadata = Metadata {
                version: head.version,
                brokers,
                topics: &mut broker.topics,
                first_is_unknown: broker.first_is_unknown,
            };
            metadata.answer(&mut reader, body.len(), out)?;
        }
        answers::FIND_COORDINATOR => {
            answers::find_coordinator(&mut reader, head.version, brokers[0], body.len(), out)?;
        }
        _ => {
            let producer_id = broker.next_producer_id;
            broker.next_producer_id += 1;
            answers::init_producer_id(head.version, producer_id, out);
        }
    }
    Ok(())
}
