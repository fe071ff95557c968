//! Connections: connect, send, answer, throttle, time out, close.
#![forbid(unsafe_code)]

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::backoff;
use super::events::limited;
use super::node::{Link, Node, Request};
use super::timers::Timer;
use super::{Action, Sender};
use crate::accumulator::frame::{Frame, Part};
use crate::clock;
use crate::ids::ConnectionId;
use crate::protocol::api::{ApiKey, RequestHeader, split_response};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::frame::FrameError;
use crate::protocol::wire::WireError;

/// The longest rest that a broker gets from one answer. Kafka's quotas ask for what brings the rate
/// of the last eleven seconds back to the quota: for five minutes it takes a rate of twenty-eight
/// times the quota. Beyond that it is a mistake or an attack (the field holds 24 days), which must
/// not silence a connection for good. A broker that meant it reads nothing until then anyway.
pub(super) const THROTTLE_MAX: Duration = Duration::from_secs(300);

/// What makes an answer unusable: the connection is closed, its requests are lost (NET-2).
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("an answer to request {found} came, {expected:?} was due")]
    Correlation { found: i32, expected: Option<i32> },
    #[error("the broker refuses ApiVersions: {0}")]
    Refused(ErrorCode),
}

impl Sender {
    /// The node of a connection, unless that connection is history.
    fn node_at(&self, connection: ConnectionId) -> Option<u32> {
        let node = self.nodes.get(connection.slot as usize)?;
        (node.generation == connection.generation).then_some(connection.slot)
    }

    /// Starts connecting, if it may be now; else the node's timer does (RDY-12).
    pub(super) fn connect(&mut self, index: u32, now: Instant) {
        let node = &mut self.nodes[index as usize];
        if !node.can_connect(now) || self.closing.is_over() {
            self.arm_node(index);
            return;
        }
        node.retry_at = None;
        node.used_at = now;
        if node.addresses.is_empty() {
            match node.host.parse::<IpAddr>() {
                Ok(address) => node.addresses.push_back(SocketAddr::new(address, node.port)),
                Err(_) => {
                    node.link = Link::Resolving;
                    let (host, port) = (Arc::clone(&node.host), node.port);
                    node.lookup = Some((Arc::clone(&host), port));
                    self.actions.push_back(Action::Resolve { node: index, host, port });
                    return;
                }
            }
        }
        let Some(address) = node.addresses.pop_front() else { return };
        let failures = node.failures;
        let limits = self.settings.connection_setup_timeout;
        let node = &mut self.nodes[index as usize];
        node.link = Link::Connecting(now + backoff(limits, failures, &mut self.random));
        node.generation = node.generation.wrapping_add(1);
        let connection = node.connection(index);
        self.actions.push_back(Action::Connect { connection, address });
        self.arm_node(index);
    }

    /// A host name was resolved, or not.
    pub fn handle_resolved(&mut self, index: u32, found: &[SocketAddr], now: Instant) {
        let node = &mut self.nodes[index as usize];
        if node.link != Link::Resolving {
            return;
        }
        node.link = Link::Down;
        let asked = node.lookup.take();
        if asked.is_some_and(|(host, port)| (&host, port) != (&node.host, node.port)) {
            // The broker has moved meanwhile; what was found is its old place.
            return self.connect(index, now);
        }
        node.addresses.extend(found);
        if found.is_empty() {
            limited!(trouble, self.events, Unreachable, now, host = %node.host,
                "host name not resolved");
            self.back_off(index, now);
            self.bootstrap_resolved(index, false, now);
            self.connect_failed(index, now);
        } else {
            self.bootstrap_resolved(index, true, now);
            self.connect(index, now);
        }
    }

    /// TCP is connected: greet (NET-8).
    pub fn handle_connected(&mut self, connection: ConnectionId, now: Instant) {
        let Some(index) = self.node_at(connection) else { return };
        if !matches!(self.nodes[index as usize].link, Link::Connecting(_)) {
            return;
        }
        self.meters.own.connections.add(1);
        self.nodes[index as usize].meters.connected.set(1);
        self.nodes[index as usize].link = Link::Greeting;
        self.greet_first(index, now);
    }

    /// Builds and hands over a request without batches.
    pub(super) fn request(
        &mut self,
        index: u32,
        api: ApiKey,
        version: i16,
        now: Instant,
        encode: impl FnOnce(&mut Vec<u8>, &RequestHeader<'_>) -> Option<super::node::Asked>,
    ) {
        let mut frame = self.spare_frame();
        let correlation = self.nodes[index as usize].correlation.allot();
        let client_id = Some(self.settings.client_id.as_str());
        let header = RequestHeader { version, correlation, client_id };
        let asked = encode(&mut frame.head, &header);
        frame.parts.push(Part::Head { start: 0, end: frame.head.len() as u32 });
        let request = Request {
            api,
            version,
            correlation,
            deadline: now + self.settings.request_timeout,
            sent_at: clock::to_nanos(now),
            entries: Vec::new(),
            asked,
            answers: true,
        };
        self.hand_over(index, request, frame, now);
    }

    /// A frame is back from the driver.
    pub fn handle_sent(
        &mut self,
        connection: ConnectionId,
        mut frame: Frame,
        complete: bool,
        now: Instant,
    ) {
        for part in frame.parts.drain(..) {
            let Part::Lent(loan) = part else { continue };
            let batch = loan.index().0;
            drop(loan);
            let state = self.batches.find(batch).filter(|state| !state.in_flight);
            let waiting = state.map(|state| state.partition);
            self.release_if_over(batch);
            // The answer came first; what is to be sent again could not be while it was lent.
            if let Some(partition) = waiting {
                self.place(partition, now);
            }
        }
        frame.clear();
        self.spare_frames.push(frame);
        let Some(index) = self.node_at(connection) else { return };
        let node = &mut self.nodes[index as usize];
        node.writing = false;
        if !complete {
            return;
        }
        self.greet_again(index, now);
        let node = &mut self.nodes[index as usize];
        node.meters.counts.operations.add(1);
        if node.is_idle() {
            self.arm_node(index);
        }
        let node = &mut self.nodes[index as usize];
        let silent = node.in_flight.iter().position(|request| !request.answers);
        if let Some(request) = silent.and_then(|at| node.in_flight.remove(at)) {
            self.settle_unanswered(&request.entries, now);
            self.keep_entries(request);
            let node = &self.nodes[index as usize];
            node.meters.in_flight.set(node.in_flight.len() as u64);
        }
        self.pump(index, now);
    }

    /// Whether something waits for the connection's frame to be sent, rather than for the answer:
    /// more that is ready for the same connection, or a request that has no answer. What becomes
    /// ready later wakes the shard by itself.
    pub fn is_sent_awaited(&self, connection: ConnectionId) -> bool {
        let Some(node) = self.node_at(connection).map(|index| &self.nodes[index as usize]) else {
            return true;
        };
        let last = node.in_flight.back();
        let answered =
            last.is_some_and(|request| request.api == ApiKey::Produce && request.answers);
        let more = !node.ready.is_empty() && node.in_flight.len() < self.settings.in_flight_max;
        !answered || more || node.wanted || self.metadata_waits()
    }

    fn keep_entries(&mut self, request: Request) {
        let mut entries = request.entries;
        if entries.capacity() > 0 {
            entries.clear();
            self.spare_entries.push(entries);
        }
    }

    /// Bytes arrived.
    pub fn handle_received(&mut self, connection: ConnectionId, bytes: &[u8], now: Instant) {
        let Some(index) = self.node_at(connection) else { return };
        let node = &mut self.nodes[index as usize];
        if !matches!(node.link, Link::Greeting | Link::Up) {
            return;
        }
        node.meters.counts.operations.add(1);
        node.meters.counts.bytes_in.add(bytes.len() as u64);
        let mut reader = std::mem::replace(&mut node.reader, Node::new_reader());
        let fed = reader.feed(bytes, &mut |frame| self.handle_frame(index, frame, now));
        let node = &mut self.nodes[index as usize];
        node.reader = reader;
        if let Err(error) = fed {
            limited!(trouble, self.events, Unreachable, now,
                broker = node.id.0, host = %node.host, port = node.port, %error,
                "closing a connection whose peer does not speak the protocol");
            self.shut_down(index);
            return;
        }
        if node.in_flight.is_empty() && !node.listed {
            // The last answer of a broker that the cluster does not have any more.
            return self.shut_down(index);
        }
        if node.in_flight.is_empty() {
            // From now on it is idle, and that may end sooner than the request's time would have.
            self.arm_node(index);
        }
        self.pump(index, now);
    }

    /// One answer, which has to be that of the oldest request.
    fn handle_frame(&mut self, index: u32, frame: &[u8], now: Instant) -> Result<(), AnswerError> {
        let node = &mut self.nodes[index as usize];
        if !matches!(node.link, Link::Greeting | Link::Up) {
            return Ok(());
        }
        let Some(request) = node.in_flight.front().filter(|request| request.answers) else {
            let found = frame.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
            return Err(AnswerError::Correlation { found, expected: None });
        };
        let (found, body) = split_response(request.api, request.version, frame)?;
        if found != request.correlation {
            let expected = Some(request.correlation);
            return Err(AnswerError::Correlation { found, expected });
        }
        node.used_at = now;
        let Some(mut request) = node.in_flight.pop_front() else { return Ok(()) };
        node.meters.counts.responses.add(1);
        node.meters.in_flight.set(node.in_flight.len() as u64);
        let handled = match request.api {
            ApiKey::Produce => self
                .handle_produce_answer(&mut request, index, body, now)
                .map_err(AnswerError::from),
            ApiKey::ApiVersions => self.handle_versions(index, &request, body, now),
            ApiKey::Metadata => {
                self.handle_metadata_answer(index, &request, body, now).map_err(AnswerError::from)
            }
            ApiKey::InitProducerId => {
                self.handle_identity_answer(index, &request, body, now).map_err(AnswerError::from)
            }
            ApiKey::GetTelemetrySubscriptions => self
                .handle_subscription_answer(index, &request, body, now)
                .map_err(AnswerError::from),
            ApiKey::PushTelemetry => {
                self.handle_push_answer(index, &request, body, now).map_err(AnswerError::from)
            }
        };
        if handled.is_err() {
            // Lost with the connection: what the answer did not settle is tried again.
            self.nodes[index as usize].in_flight.push_front(request);
        } else {
            self.keep_entries(request);
        }
        handled
    }

    /// NET-5: the broker asks for a rest; the deadline never moves back. Requests under way get
    /// that much longer (NET-4).
    pub(super) fn throttle(&mut self, index: u32, ms: u64, applies: bool, now: Instant) {
        if ms == 0 || !applies {
            return;
        }
        let asked = Duration::from_millis(ms);
        let rest = asked.min(THROTTLE_MAX);
        let node = &mut self.nodes[index as usize];
        let until = node.throttled_until.map_or(now + rest, |until| until.max(now + rest));
        node.throttled_until = Some(until);
        node.in_flight.iter_mut().for_each(|request| request.deadline += rest);
        // `asked` is more than `rest` where the broker asks for more than it gets.
        limited!(news, self.events, Throttled, now, broker = node.id.0, host = %node.host, ?asked,
            ?rest, "the broker asks for a rest");
        self.arm_node(index);
    }

    /// The connection is gone, every frame is back.
    pub fn handle_closed(
        &mut self,
        connection: ConnectionId,
        why: &dyn std::fmt::Display,
        now: Instant,
    ) {
        let Some(index) = self.node_at(connection) else { return };
        let node = &mut self.nodes[index as usize];
        let was = std::mem::replace(&mut node.link, Link::Down);
        node.reader = Node::new_reader();
        node.writing = false;
        node.throttled_until = None;
        let mut requests = std::mem::take(&mut node.in_flight);
        if !self.closing.is_over() {
            self.meters.own.disconnects.add(1);
            node.meters.counts.disconnects.add(1);
            limited!(news, self.events, Disconnected, now,
                broker = node.id.0, host = %node.host, port = node.port, %why,
                "connection ended");
        }
        node.meters.counts.lost.add(requests.len() as u64);
        node.meters.in_flight.set(0);
        self.meters.own.closed.add(node.meters.connected.get());
        node.meters.connected.set(0);
        let another_address = matches!(was, Link::Connecting(_)) && !node.addresses.is_empty();
        // Before the batches are lost: what is ready behind them must wait as well (RTY-8).
        self.back_off(index, now);
        let late = requests.front().is_some_and(|request| request.deadline <= now);
        let code = if late { ErrorCode::RequestTimedOut } else { ErrorCode::NetworkException };
        for request in requests.drain(..) {
            match request.api {
                ApiKey::Produce => self.lose(&request.entries, code, now),
                ApiKey::Metadata => self.metadata_failed(now),
                ApiKey::InitProducerId => self.identity_failed(now),
                ApiKey::ApiVersions => {}
                ApiKey::GetTelemetrySubscriptions | ApiKey::PushTelemetry => {
                    self.telemetry_failed(now);
                }
            }
            self.keep_entries(request);
        }
        if matches!(was, Link::Connecting(_) | Link::Greeting) {
            self.telemetry_unreachable(index, now);
        }
        // Keeps the queue's memory for the next connection.
        self.nodes[index as usize].in_flight = requests;
        if another_address {
            self.nodes[index as usize].retry_at = None;
            self.connect(index, now);
        } else {
            self.connect_failed(index, now);
        }
        self.poll_ending(now);
    }

    /// Sets the wait before the next try (RTY-8).
    fn back_off(&mut self, index: u32, now: Instant) {
        let failures = self.nodes[index as usize].failures;
        let wait = backoff(self.settings.reconnect_backoff, failures, &mut self.random);
        let node = &mut self.nodes[index as usize];
        node.failures += 1;
        node.retry_at = Some(now + wait);
    }

    /// A node that could not be reached has the metadata looked at (MD-2).
    fn connect_failed(&mut self, index: u32, now: Instant) {
        self.refresh_metadata();
        self.arm_node(index);
        self.poll_metadata(now);
    }

    /// Ends the connection; what it had follows with the driver's `closed`.
    pub(super) fn shut_down(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        if matches!(node.link, Link::Connecting(_) | Link::Greeting | Link::Up) {
            node.link = Link::Closing;
            let connection = node.connection(index);
            self.actions.push_back(Action::Shutdown { connection });
        }
    }

    /// Arms the node's timer for the earliest of its deadlines.
    pub(super) fn arm_node(&mut self, index: u32) {
        let idle_max = self.settings.connection_idle_max;
        let node = &mut self.nodes[index as usize];
        let at = match node.link {
            Link::Down => node.retry_at,
            Link::Connecting(until) => Some(until),
            Link::Greeting | Link::Up => {
                let idle = idle_max.filter(|_| node.is_idle());
                let request = node.in_flight.front().map(|request| request.deadline);
                // A connection that rests is not idle, and a new one would not know of the rest.
                let idle = idle.map(|idle| node.used_at + idle);
                let idle = idle.map(|idle| node.throttled_until.map_or(idle, |at| idle.max(at)));
                [request, idle, node.throttled_until].into_iter().flatten().min()
            }
            Link::Resolving | Link::Closing => None,
        };
        if let Some(at) = at {
            self.timers.arm(&mut node.armed, Timer::Node(index), at);
        }
    }

    /// The node's timer has passed: whichever of its deadlines it was.
    pub(super) fn node_due(&mut self, index: u32, now: Instant) {
        let idle_max = self.settings.connection_idle_max;
        let node = &mut self.nodes[index as usize];
        match node.link {
            Link::Down if node.retry_at.is_some_and(|at| at <= now) => node.retry_at = None,
            Link::Connecting(until) if until <= now => {
                limited!(trouble, self.events, Unreachable, now, host = %node.host,
                    port = node.port, "no TCP connection in time");
                self.shut_down(index);
            }
            Link::Greeting | Link::Up => {
                let late = node.in_flight.front().is_some_and(|request| request.deadline <= now);
                let idle = node.is_idle()
                    && node.throttled_until.is_none_or(|until| until <= now)
                    && idle_max.is_some_and(|idle| node.used_at + idle <= now);
                if late {
                    limited!(trouble, self.events, Unreachable, now, host = %node.host,
                        port = node.port, "no answer in time");
                }
                if late || idle {
                    self.shut_down(index);
                    return;
                }
                if node.throttled_until.is_some_and(|until| until <= now) {
                    node.throttled_until = None;
                }
            }
            // From now on whoever needs the connection may try again; nobody has to.
            Link::Down if node.retry_at.is_some_and(|at| at <= now) => node.retry_at = None,
            _ => {}
        }
        self.arm_node(index);
        self.pump(index, now);
    }
}
