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
mod links;
mod metadata;
mod plan;
mod produce;
mod producers;
mod replica;
mod requests;
#[allow(dead_code, reason = "the model's own tests have no wire to listen to")]
pub(crate) mod tap;
mod topics;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::random::Random;
use agenda::{Agenda, Event};
use brokers::Broker;
use images::Images;
use links::{Link, Step};
use plan::Faults;
use produce::Waiting;
use topics::Topic;

// The simulator and the tests of the model use different parts.
#[allow(unused_imports, reason = "each target uses some of these")]
pub(crate) use {
    account::{Account, Forgotten, LossCause, Lost, Success},
    batch::{Head, Record, Stored},
    ending::PartitionLog,
    plan::{FaultKind, Line, Plan, TopicPlan},
};

/// What a request leads to at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// The answer, its size in front.
    Now(Vec<u8>),
    /// The answer comes out of [`Cluster::tick`] with this ticket, or never.
    Waits(u64),
    /// No answer belongs to it (acks=0).
    Silent,
    /// The broker closes the connection, and takes nothing more from it.
    Cut,
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
    /// Connections that brokers have cut and clients have not closed yet.
    gone: BTreeSet<u64>,
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
            gone: BTreeSet::new(),
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
        if !self.broker(broker).is_up || self.gone.contains(&connection) {
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
            Step::Cut => {
                self.links.remove(&connection);
                self.gone.insert(connection);
                Response::Cut
            }
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
                self.finish(connection, ticket, Step::Answer(answer));
            }
            Event::Expire { ticket } => self.expire(ticket),
            Event::Fetch { place, node } => self.fetch(place, node),
            Event::Learn { place, node } => self.learn(place, node),
            Event::CheckIsr { place } => self.check_isr(place),
            Event::Unclean { place, node } => self.take_unclean(place, node),
            Event::Notice { node, life } => {
                let broker = self.broker(node);
                if broker.life == life && (!broker.is_up || broker.is_cut_off) {
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
}
