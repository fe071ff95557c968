//! A Kafka cluster as a producer sees it: brokers, replicas, elections, producers' state, faults.
//!
//! Pure: no I/O, no clock, no threads. Time is an argument; everything random comes from one
//! generator. Nothing here uses the client's code: requests are read and answers written by the
//! model itself.
//!
//! Owns:     every log of every replica; what is acknowledged, lost or forgotten (`Account`).
//! Source:   the protocol guide; KIP-98, 101, 219, 360, 467, 516, 951; and how brokers of the
//!           lines 2.1 to 4.3 behave.
#![forbid(unsafe_code)]

mod account;
mod agenda;
mod answers;
mod batch;
mod brokers;
mod codes;
mod ending;
mod faults;
mod images;
mod leaders;
mod metadata;
mod plan;
mod produce;
mod producers;
mod replica;
mod requests;
mod topics;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::random::Random;
use agenda::{Agenda, Event};
use brokers::Broker;
use images::Images;
use plan::Faults;
use produce::Waiting;
use requests::Body;
use topics::Topic;

pub(crate) use account::{Account, Forgotten, LossCause, Lost, Success};
pub(crate) use batch::{Head, Record, Stored};
pub(crate) use ending::PartitionLog;
pub(crate) use plan::{FaultKind, Line, Plan, TopicPlan};

/// What a request leads to at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// The answer, its size in front.
    Now(Vec<u8>),
    /// The answer comes out of [`Cluster::tick`] with this ticket, or never.
    Waits(u64),
    /// No answer belongs to it (acks=0).
    Silent,
    /// The broker closes the connection.
    Cut,
}

/// What handling a request leads to.
enum Step {
    Answer(Vec<u8>),
    Silent,
    Later,
    Cut,
}

/// One connection of a client. A broker handles the requests of one after each other.
#[derive(Debug)]
struct Link {
    broker: i32,
    /// Whether ApiVersions was answered.
    is_greeted: bool,
    is_closed: bool,
    /// The request that has no answer yet.
    busy: Option<u64>,
    /// Requests behind it; while one is held back, it is the first.
    queue: VecDeque<(u64, Vec<u8>)>,
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Plan,
    now: u64,
    random: Random,
    faults: Faults,
    is_healed: bool,
    brokers: Vec<Broker>,
    topics: Vec<Topic>,
    /// The live topics.
    names: BTreeMap<Rc<str>, usize>,
    /// All topics that ever were.
    ids: BTreeMap<u128, usize>,
    images: Images,
    agenda: Agenda,
    links: BTreeMap<u64, Link>,
    waiting: BTreeMap<u64, Waiting>,
    /// Produce requests that all verdicts are there for.
    complete: VecDeque<u64>,
    tickets: u64,
    producer_ids: Vec<i64>,
    account: Account,
    /// Answers for the next tick.
    out: Vec<(u64, u64, Vec<u8>)>,
    /// Connections to be cut.
    cuts: Vec<u64>,
}

impl Cluster {
    /// The cluster of a plan, at time 0.
    pub(crate) fn new(plan: &Plan, random: Random) -> Self {
        let mut cluster = Self {
            plan: plan.clone(),
            now: 0,
            faults: Faults::new(plan, &random),
            random,
            is_healed: false,
            brokers: (1..).zip(&plan.lines).map(|(node, line)| Broker::new(node, *line)).collect(),
            topics: Vec::new(),
            names: BTreeMap::new(),
            ids: BTreeMap::new(),
            images: Images::default(),
            agenda: Agenda::default(),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            complete: VecDeque::new(),
            tickets: 0,
            producer_ids: Vec::new(),
            account: Account::new(),
            out: Vec::new(),
            cuts: Vec::new(),
        };
        for planned in 0..plan.topics.len() {
            if !plan.topics[planned].is_automatic {
                cluster.create(planned, plan.topics[planned].partitions);
            }
        }
        for kind in FaultKind::ALL.iter().filter(|kind| kind.is_timed()) {
            cluster.schedule(*kind);
        }
        cluster
    }

    /// A whole request, without its size, has arrived at a broker. Connections have numbers of
    /// their own, never used again.
    pub(crate) fn request(
        &mut self,
        broker: i32,
        connection: u64,
        frame: &[u8],
        now: u64,
    ) -> Response {
        self.advance(now);
        if !self.broker(broker).is_up {
            return Response::Cut;
        }
        self.account.requests += 1;
        self.tickets += 1;
        let ticket = self.tickets;
        let link = self.links.entry(connection).or_insert_with(|| Link::new(broker));
        if link.busy.is_some() {
            link.queue.push_back((ticket, frame.to_vec()));
            return Response::Waits(ticket);
        }
        let response = match self.start(connection, ticket, frame) {
            Step::Answer(answer) => Response::Now(answer),
            Step::Silent => Response::Silent,
            Step::Later => Response::Waits(ticket),
            Step::Cut => Response::Cut,
        };
        self.settle();
        response
    }

    /// Lets time pass. Answers that became due: connection, ticket, frame with its size.
    pub(crate) fn tick(&mut self, now: u64, out: &mut Vec<(u64, u64, Vec<u8>)>) {
        self.advance(now);
        out.append(&mut self.out);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn next_tick(&self) -> u64 {
        if self.out.is_empty() && self.cuts.is_empty() { self.agenda.next() } else { self.now }
    }

    /// Connections that brokers have closed since the last call.
    pub(crate) fn take_cuts(&mut self, out: &mut Vec<u64>) {
        out.append(&mut self.cuts);
    }

    /// The client has closed a connection, or the network has. What the broker has begun goes on;
    /// what it has not read it may still handle (a zombie).
    pub(crate) fn connection_closed(&mut self, connection: u64) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        link.is_closed = true;
        if link.busy.is_none() {
            self.links.remove(&connection);
        } else if !link.queue.is_empty() && !self.faults.strikes(plan::FaultKind::Zombie) {
            link.queue.clear();
        }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// How often each fault has happened, by its number.
    pub(crate) fn fault_counts(&self) -> &[u64; FaultKind::COUNT] {
        &self.faults.counts
    }

    fn advance(&mut self, now: u64) {
        while let Some((at, event)) = self.agenda.due(now) {
            self.now = self.now.max(at);
            self.handle_event(event);
            self.settle();
        }
        self.now = self.now.max(now);
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Handle { connection } => self.handle_queued(connection),
            Event::Deliver { connection, ticket, answer } => {
                self.deliver(connection, ticket, answer)
            }
            Event::Expire { ticket } => self.expire(ticket),
            Event::Fetch { place, node } => self.fetch(place, node),
            Event::Learn { place, node } => self.learn(place, node),
            Event::CheckIsr { place } => self.check_isr(place),
            Event::Unclean { place, node } => self.take_unclean(place, node),
            Event::Notice { node, life } => {
                let broker = self.broker(node);
                if broker.life == life && !(broker.is_up && !broker.is_cut_off) {
                    self.notice(node);
                }
            }
            Event::Stop { node } => {
                if !self.is_healed {
                    let downtime = self.random.magnitude(50_000_000, 20_000_000_000);
                    self.stop(node, downtime);
                    self.notice(node);
                }
            }
            Event::Return { node, life } => self.come_back(node, life),
            Event::Rejoin { node, life } => self.rejoin(node, life),
            Event::Ready { topic } => {
                if self.topics[topic].is_live {
                    self.make_ready(topic);
                }
            }
            Event::Create { planned } => self.create_again(planned),
            Event::Fault(kind) => self.strike(kind),
        }
    }

    /// Handles a request that is the next of its connection, or holds it back.
    fn start(&mut self, connection: u64, ticket: u64, frame: &[u8]) -> Step {
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
        let step = match self.read(broker, is_greeted, frame) {
            Err(wrong) => {
                self.account.violation(wrong);
                Step::Cut
            }
            Ok((header, Body::ApiVersions)) => {
                if let Some(link) = self.links.get_mut(&connection) {
                    link.is_greeted = true;
                }
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
    ) -> Result<(requests::Header, Body<'a>), String> {
        let malformed = || format!("a malformed request to {broker}");
        let (header, reader) = requests::header(frame).ok_or_else(malformed)?;
        let is_greeting = header.api == requests::API_VERSIONS;
        if !is_greeted && !is_greeting {
            return Err(format!("{header:?} to {broker} before ApiVersions"));
        }
        let versions = self.broker(broker).line.versions();
        let is_spoken = versions
            .iter()
            .any(|(api, min, max)| *api == header.api && (*min..=*max).contains(&header.version));
        if is_greeting && !is_spoken {
            return Ok((header, Body::ApiVersions));
        }
        if !is_spoken {
            return Err(format!("{header:?}, which broker {broker} does not speak"));
        }
        let body = requests::body(&header, reader)
            .ok_or_else(|| format!("{header:?}: {}", malformed()))?;
        Ok((header, body))
    }

    /// The answer to a request is there: it leaves now, later or never.
    fn conclude(&mut self, connection: u64, ticket: u64, answer: Vec<u8>) -> Step {
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
    fn settle(&mut self) {
        while let Some(ticket) = self.complete.pop_front() {
            let Some(waiting) = self.waiting.get(&ticket) else { continue };
            let connection = waiting.connection;
            let step = self.answer_produce(ticket);
            self.finish(connection, ticket, step);
        }
    }

    fn deliver(&mut self, connection: u64, ticket: u64, answer: Vec<u8>) {
        self.finish(connection, ticket, Step::Answer(answer));
    }

    fn handle_queued(&mut self, connection: u64) {
        let Some(link) = self.links.get_mut(&connection) else { return };
        if let Some((ticket, frame)) = link.queue.pop_front() {
            let step = self.handle(connection, ticket, &frame);
            self.finish(connection, ticket, step);
        }
    }

    /// Ends a request that had to wait, and goes on with those behind it.
    fn finish(&mut self, connection: u64, mut ticket: u64, mut step: Step) {
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

impl Link {
    fn new(broker: i32) -> Self {
        Self { broker, is_greeted: false, is_closed: false, busy: None, queue: VecDeque::new() }
    }
}
