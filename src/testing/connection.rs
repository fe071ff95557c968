//! One client's connection: bytes in, requests carried out in their order, answers out in theirs.
//!
//! Thread:   the cluster's.
//! Bounds:   a request has `REQUEST_BYTES_MAX` bytes, `OTHER_BYTES_MAX` if it is not Produce, and
//!           takes memory as its bytes arrive; a client that does not read its answers is not read
//!           from, once `OUT_BYTES_MAX` of them wait.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::api::{Api, Header};
use super::faults::{Fate, Plan};
use super::journal::Request;
use super::requests::Body;
use super::serve::Served;
use super::shared::State;
use crate::ids::BrokerId;
use crate::protocol::{FrameError, FrameReader};

/// Kafka's socket.request.max.bytes.
const REQUEST_BYTES_MAX: usize = 100 << 20;
/// More topics than a client of a test has.
const OTHER_BYTES_MAX: usize = 1 << 20;
const OUT_BYTES_MAX: usize = 8 << 20;
/// No consumer waits longer at the end of a log.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// Why a connection is at its end.
#[derive(Debug)]
pub(super) enum Closed {
    /// The peer, the network or a fault ended it.
    Quietly,
    /// The client sent what no broker takes.
    Because(String),
}

impl From<FrameError> for Closed {
    fn from(error: FrameError) -> Self {
        Self::Because(format!("a request's size: {error}"))
    }
}

/// When an answer may leave.
#[derive(Clone, Copy, Debug)]
enum When {
    Now,
    At(Instant),
    /// When this fault lets go of it.
    Released(usize),
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    when: When,
}

impl Outgoing {
    fn is_due(&self, state: &State, now: Instant) -> bool {
        match self.when {
            When::Now => true,
            When::At(at) => at <= now,
            When::Released(fault) => state.faults.is_released(fault),
        }
    }
}

/// A fetch at the end of a log: it is looked at again when something was appended, and answered
/// without records in the end. Brokers serve one request of a connection at a time: the next ones
/// wait.
#[derive(Debug)]
struct Waiting {
    frame: Vec<u8>,
    plan: Plan,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) broker: BrokerId,
    number: u64,
    frames: FrameReader,
    /// Requests that arrived and were not looked at yet.
    requests: VecDeque<Vec<u8>>,
    waiting: Option<Waiting>,
    out: VecDeque<Outgoing>,
    /// Bytes of the first answer that are sent.
    sent: usize,
    /// The socket takes no more for now.
    is_full: bool,
    /// It takes no more requests, and closes when its answers are sent.
    is_ending: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, broker: BrokerId, number: u64) -> Self {
        Self {
            stream,
            broker,
            number,
            frames: FrameReader::new(REQUEST_BYTES_MAX),
            requests: VecDeque::new(),
            waiting: None,
            out: VecDeque::new(),
            sent: 0,
            is_full: false,
            is_ending: false,
        }
    }

    pub(super) fn wants_read(&self) -> bool {
        let waits = self.waiting.is_some() || self.is_ending || !self.requests.is_empty();
        !waits && self.out.iter().map(|it| it.bytes.len()).sum::<usize>() < OUT_BYTES_MAX
    }

    pub(super) fn wants_write(&self) -> bool {
        self.is_full
    }

    /// When it has to be looked at next, if nothing arrives before.
    pub(super) fn due(&self) -> Option<Instant> {
        let answer = self.out.front().and_then(|first| match first.when {
            When::At(at) if !self.is_full => Some(at),
            When::At(_) | When::Now | When::Released(_) => None,
        });
        let waiting = self.waiting.as_ref().map(|waiting| waiting.until);
        answer.into_iter().chain(waiting).min()
    }

    /// Takes what has arrived.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<(), Closed> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Closed::Quietly),
            Ok(count) => {
                let requests = &mut self.requests;
                self.frames.feed(&buffer[..count], &mut |frame| {
                    requests.push_back(frame.to_vec());
                    Ok::<(), Closed>(())
                })
            }
            Err(error) if is_transient(&error) => Ok(()),
            Err(_) => Err(Closed::Quietly),
        }
    }

    /// Carries out what can be, and sends what is due.
    pub(super) fn advance(&mut self, state: &mut State, now: Instant) -> Result<(), Closed> {
        if let Some(Waiting { frame, plan, until }) = self.waiting.take() {
            self.serve(frame, plan, Some(until), state, now)?;
        }
        while self.waiting.is_none()
            && !self.is_ending
            && let Some(frame) = self.requests.pop_front()
        {
            let plan = self.arrive(&frame, state)?;
            self.serve(frame, plan, None, state, now)?;
        }
        self.flush(state, now)
    }

    /// Notes a request, and what the faults make of it.
    fn arrive(&self, frame: &[u8], state: &mut State) -> Result<Plan, Closed> {
        let (header, body) = parse(frame, state)?;
        if header.api != Api::Produce && frame.len() > OTHER_BYTES_MAX {
            let text = format!("{} of {} bytes, 1 MiB is the most", header.api, frame.len());
            return Err(Closed::Because(text));
        }
        let (broker, number, bytes) = (self.broker, self.number, frame.len());
        let request = Request::new(broker, number, bytes, &header, &body, &state.topics);
        let plan = state.plan(broker, &header, &body);
        state.journal.note(request);
        Ok(plan)
    }

    fn serve(
        &mut self,
        frame: Vec<u8>,
        plan: Plan,
        until: Option<Instant>,
        state: &mut State,
        now: Instant,
    ) -> Result<(), Closed> {
        let mut served = Served::Silent;
        if plan.is_carried_out() {
            let (header, body) = parse(&frame, state)?;
            let may_wait = until.is_none_or(|until| now < until);
            served = state.serve(self.broker, &header, &body, &plan, may_wait);
        }
        let when = match plan.fate {
            Some((Fate::Delay(delay), _)) => now.checked_add(delay).map_or(When::Now, When::At),
            Some((Fate::Hold, fault)) => When::Released(fault),
            Some((Fate::LoseAnswer | Fate::LoseRequest | Fate::Disconnect, _)) | None => When::Now,
        };
        let is_lost = matches!(plan.fate, Some((Fate::LoseAnswer | Fate::LoseRequest, _)));
        let is_cut = matches!(plan.fate, Some((Fate::Disconnect, _)));
        match served {
            Served::Wait(ms) => {
                let wait = Duration::from_millis(ms).min(FETCH_WAIT_MAX);
                let until = until.unwrap_or(now + wait);
                self.waiting = Some(Waiting { frame, plan, until });
            }
            Served::Close => self.is_ending = true,
            _ if is_cut => self.is_ending = true,
            Served::Answer(bytes) if !is_lost => self.out.push_back(Outgoing { bytes, when }),
            Served::Answer(_) | Served::Silent => {}
        }
        Ok(())
    }

    fn flush(&mut self, state: &State, now: Instant) -> Result<(), Closed> {
        self.is_full = false;
        while let Some(first) = self.out.front()
            && first.is_due(state, now)
        {
            match self.stream.write(&first.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => {
                    self.is_full = true;
                    return Ok(());
                }
                Err(_) => return Err(Closed::Quietly),
            }
            if self.sent == first.bytes.len() {
                self.out.pop_front();
                self.sent = 0;
            }
        }
        if self.is_ending && self.out.is_empty() { Err(Closed::Quietly) } else { Ok(()) }
    }
}

impl Drop for Connection {
    /// A client that is in the middle of a request hears of the end at once, too.
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn parse<'a>(frame: &'a [u8], state: &State) -> Result<(Header<'a>, Body<'a>), Closed> {
    let (header, bytes) = Header::read(frame, &state.versions).map_err(Closed::Because)?;
    let body = Body::read(&header, bytes).map_err(|error| {
        Closed::Because(format!("{} version {}: {error}", header.api, header.version))
    })?;
    Ok((header, body))
}
