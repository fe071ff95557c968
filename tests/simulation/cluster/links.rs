//! Connections of clients: one request after another, and what becomes of the answers.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::Cluster;
use super::agenda::Event;
use super::answers::speaks;
use super::plan::FaultKind;
use super::requests::{self, Body, Header};

/// What handling a request leads to.
pub(super) enum Step {
    Answer(Vec<u8>),
    Silent,
    Later,
    Cut,
}

/// One connection of a client. A broker handles the requests of one after each other.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) broker: i32,
    /// Whether ApiVersions was answered.
    is_greeted: bool,
    pub(super) is_closed: bool,
    /// The request that has no answer yet.
    pub(super) busy: Option<u64>,
    /// Requests behind it; while one is held back, it is the first.
    pub(super) queue: VecDeque<(u64, Vec<u8>)>,
}

impl Link {
    pub(super) fn new(broker: i32) -> Self {
        Self { broker, is_greeted: false, is_closed: false, busy: None, queue: VecDeque::new() }
    }
}

impl Cluster {
    /// Connections that brokers have closed since the last call.
    pub(crate) fn take_cuts(&mut self, out: &mut Vec<u64>) {
        out.append(&mut self.cuts);
    }

    /// The client has closed a connection, or the network has. What the broker has begun goes on;
    /// what it has not read it may still handle (a zombie).
    pub(crate) fn connection_closed(&mut self, connection: u64) {
        self.gone.remove(&connection);
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.is_closed = true;
        let is_held = link.queue.front().is_some_and(|(ticket, _)| Some(*ticket) == link.busy);
        let mut is_idle = link.busy.is_none();
        if !link.queue.is_empty() && !self.faults.strikes(FaultKind::Zombie) {
            link.queue.clear();
            is_idle |= is_held;
        }
        if is_idle {
            self.links.remove(&connection);
        }
    }

    /// A broker's end of all its connections.
    pub(super) fn cut_links_of(&mut self, node: i32) {
        let ended: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.broker == node).map(|(id, _)| *id).collect();
        for connection in ended {
            let link = self.links.remove(&connection);
            if link.is_some_and(|link| !link.is_closed) {
                self.cuts.push(connection);
                self.gone.insert(connection);
            }
        }
    }

    /// Handles a request that is the next of its connection, or holds it back.
    pub(super) fn start(&mut self, connection: u64, ticket: u64, frame: &[u8]) -> Step {
        if self.faults.strikes(FaultKind::SlowRequest) {
            let wait = self.faults.of(FaultKind::SlowRequest).magnitude(1_000_000, 60_000_000_000);
            self.agenda.add(self.now + wait, Event::Handle { connection });
            if let Some(link) = self.links.get_mut(&connection) {
                link.busy = Some(ticket);
                link.queue.push_front((ticket, frame.to_vec()));
            }
            return Step::Later;
        }
        self.handle(connection, ticket, frame)
    }

    fn handle(&mut self, connection: u64, ticket: u64, frame: &[u8]) -> Step {
        let Some(link) = self.links.get_mut(&connection) else { return Step::Silent };
        let (broker, is_greeted) = (link.broker, link.is_greeted);
        link.busy = Some(ticket);
        let read = self.read(broker, is_greeted, frame);
        let Some(link) = self.links.get_mut(&connection) else { return Step::Silent };
        let step = match read {
            Err(wrong) => {
                self.account.violation(wrong);
                Step::Cut
            }
            Ok((header, Body::ApiVersions)) => {
                link.is_greeted |= speaks(self.brokers[broker as usize - 1].line, &header);
                self.api_versions(connection, broker, ticket, &header)
            }
            Ok((header, Body::Metadata(asked))) => {
                self.metadata(connection, broker, ticket, &header, &asked)
            }
            Ok((header, Body::InitProducerId)) => {
                self.init_producer_id(connection, ticket, &header)
            }
            Ok((header, Body::Produce(asked))) => {
                self.produce(connection, broker, ticket, header, &asked)
            }
        };
        if !matches!(step, Step::Later) {
            self.rest(connection);
        }
        step
    }

    /// A request in terms of what the broker speaks.
    fn read<'a>(
        &self,
        broker: i32,
        is_greeted: bool,
        frame: &'a [u8],
    ) -> Result<(Header, Body<'a>), String> {
        let malformed = || format!("a malformed request to {broker}");
        let (header, reader) = requests::header(frame).ok_or_else(malformed)?;
        let is_greeting = header.api == requests::API_VERSIONS;
        if !is_greeted && !is_greeting {
            return Err(format!("{header:?} to {broker} before ApiVersions"));
        }
        if !speaks(self.broker(broker).line, &header) {
            if is_greeting {
                return Ok((header, Body::ApiVersions));
            }
            return Err(format!("{header:?}, which broker {broker} does not speak"));
        }
        let body = requests::body(&header, reader)
            .ok_or_else(|| format!("{header:?}: {}", malformed()))?;
        Ok((header, body))
    }

    /// The answer to a request is there: it leaves now, later or never.
    pub(super) fn conclude(&mut self, connection: u64, ticket: u64, answer: Vec<u8>) -> Step {
        if self.faults.strikes(FaultKind::Withheld) {
            return Step::Later;
        }
        if self.faults.strikes(FaultKind::CutAfter) {
            return Step::Cut;
        }
        if self.faults.strikes(FaultKind::LateAnswer) {
            let wait = self.faults.of(FaultKind::LateAnswer).magnitude(1_000_000, 120_000_000_000);
            self.agenda.add(self.now + wait, Event::Deliver { connection, ticket, answer });
            return Step::Later;
        }
        Step::Answer(answer)
    }

    /// Answers the produce requests whose verdicts are complete.
    pub(super) fn settle(&mut self) {
        while let Some(ticket) = self.complete.pop_front() {
            let Some(waiting) = self.waiting.get(&ticket) else { continue };
            let connection = waiting.connection;
            let step = self.answer_produce(ticket);
            self.finish(connection, ticket, step);
        }
    }

    pub(super) fn handle_queued(&mut self, connection: u64) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let Some((ticket, frame)) = link.queue.pop_front() {
            let step = self.handle(connection, ticket, &frame);
            self.finish(connection, ticket, step);
        }
    }

    /// Ends a request that had to wait, and goes on with those behind it.
    pub(super) fn finish(&mut self, connection: u64, mut ticket: u64, mut step: Step) {
        loop {
            let Some(link) = self.links.get_mut(&connection) else { return };
            match step {
                Step::Later => return,
                Step::Answer(answer) if !link.is_closed => {
                    self.out.push((connection, ticket, answer))
                }
                Step::Answer(_) | Step::Silent => {}
                Step::Cut => {
                    if !link.is_closed {
                        self.cuts.push(connection);
                        self.gone.insert(connection);
                    }
                    self.links.remove(&connection);
                    return;
                }
            }
            self.rest(connection);
            let Some(link) = self.links.get_mut(&connection) else { return };
            let Some((next, frame)) = link.queue.pop_front() else { return };
            ticket = next;
            step = self.start(connection, ticket, &frame);
        }
    }

    /// A connection has no request in the broker, for now.
    fn rest(&mut self, connection: u64) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.busy = None;
        if link.is_closed && link.queue.is_empty() {
            self.links.remove(&connection);
        }
    }
}
