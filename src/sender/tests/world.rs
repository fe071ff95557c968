//! A driver and a cluster in memory: they do what the sender asks, as the test lets them.
#![forbid(unsafe_code)]

use core::net::{Ipv4Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::super::Action;
use super::log::Logs;
use super::wire::{self, Arrived, Batch, Body, ClusterSays, Said, Topic};
use crate::accumulator::frame::Frame;
use crate::ids::{ConnectionId, TopicId};
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// What a driver tells a sender.
#[derive(Debug)]
pub(super) enum Event {
    Connected(ConnectionId),
    Sent { connection: ConnectionId, frame: Frame, complete: bool },
    Received(ConnectionId, Vec<u8>),
    Closed(ConnectionId, &'static str),
}

/// A frame in the driver, and the bytes it had when it came.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) connection: ConnectionId,
    frame: Frame,
    pub(super) bytes: Vec<u8>,
}

/// The correlation id of a request, and its answer once there is one.
type Due = (i32, Option<Vec<u8>>);

#[derive(Debug)]
pub(super) struct World {
    pub(super) brokers: Vec<wire::Address>,
    pub(super) topics: Vec<Topic>,
    /// Topics as single brokers see them, who have not heard the news.
    pub(super) views: BTreeMap<i32, Vec<Topic>>,
    /// Topics that metadata answers leave out.
    pub(super) left_out: Vec<String>,
    pub(super) says: ClusterSays,
    pub(super) logs: Logs,
    /// Topics by id, also those that are gone.
    pub(super) names: HashMap<TopicId, String>,
    /// What single brokers speak; all others speak everything.
    pub(super) ranges: BTreeMap<i32, Vec<(ApiKey, i16, i16)>>,
    /// Highest version of ApiVersions that single brokers take; of all others it is 4.
    pub(super) greetings: BTreeMap<i32, i16>,
    /// Requests of these kinds wait for the test to answer them.
    pub(super) held: Vec<ApiKey>,
    pub(super) refused: BTreeSet<SocketAddr>,
    /// Connects to these brokers stay without an end.
    pub(super) silent: BTreeSet<i32>,
    /// Frames to these brokers stay in the driver until the test returns them.
    pub(super) stalled: BTreeSet<i32>,
    /// Connections that are shut down stay until the test ends them.
    pub(super) keeps_closes: bool,
    pub(super) identity: (i64, i16),
    pub(super) throttle_ms: i32,
    /// What brokers that have telemetry say they want.
    pub(super) wants: wire::Wants,
    pub(super) frames: VecDeque<Lent>,
    pub(super) inbox: VecDeque<Arrived>,
    pub(super) events: VecDeque<Event>,
    /// Every connect, in order.
    pub(super) connects: Vec<SocketAddr>,
    /// Every request, in order.
    pub(super) seen: Vec<(i32, ApiKey)>,
    /// Every ApiVersions request, in order.
    pub(super) greeted: Vec<Arrived>,
    /// The sequence after the last one sent, by partition, producer id and epoch.
    sequences: HashMap<(String, i32, i64, i16), i32>,
    pub(super) open: HashMap<ConnectionId, i32>,
    /// The unanswered requests of each connection, in order, with the answers that are ready.
    due: HashMap<ConnectionId, VecDeque<Due>>,
    pub(super) closing: Vec<ConnectionId>,
}

/// Where broker `id` listens.
pub(super) fn address_of(id: i32) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 9000 + id as u16).into()
}

impl World {
    pub(super) fn new(brokers: i32) -> Self {
        let broker = |id| (id, "127.0.0.1".to_owned(), address_of(id).port());
        Self {
            brokers: (1..=brokers).map(broker).collect(),
            topics: Vec::new(),
            views: BTreeMap::new(),
            left_out: Vec::new(),
            says: ClusterSays {
                cluster_id: Some("first".to_owned()),
                error: ErrorCode::None,
                throttle_ms: 0,
            },
            logs: Logs::default(),
            names: HashMap::new(),
            ranges: BTreeMap::new(),
            greetings: BTreeMap::new(),
            held: vec![ApiKey::Produce],
            refused: BTreeSet::new(),
            silent: BTreeSet::new(),
            stalled: BTreeSet::new(),
            keeps_closes: false,
            identity: (7000, 0),
            throttle_ms: 0,
            wants: wire::Wants {
                error: ErrorCode::None,
                instance: [7; 16],
                subscription: 70,
                interval_ms: 10_000,
                requested: vec!["*".to_owned()],
                throttle_ms: 0,
            },
            frames: VecDeque::new(),
            inbox: VecDeque::new(),
            events: VecDeque::new(),
            connects: Vec::new(),
            seen: Vec::new(),
            greeted: Vec::new(),
            sequences: HashMap::new(),
            open: HashMap::new(),
            due: HashMap::new(),
            closing: Vec::new(),
        }
    }

    pub(super) fn add_topic(&mut self, name: &str, leaders: &[i32]) {
        let id = TopicId([self.names.len() as u8 + 1; 16]);
        self.names.insert(id, name.to_owned());
        self.topics.push(Topic {
            name: name.to_owned(),
            id,
            error: ErrorCode::None,
            partitions: leaders.iter().map(|leader| (*leader, 0)).collect(),
        });
    }

    pub(super) fn topic(&mut self, name: &str) -> &mut Topic {
        self.topics.iter_mut().find(|topic| topic.name == name).unwrap()
    }

    /// The topic is deleted and made again, under another id and with new leader epochs.
    pub(super) fn make_again(&mut self, name: &str, leaders: &[i32]) {
        self.topics.retain(|topic| topic.name != name);
        self.logs.forget(name);
        self.add_topic(name, leaders);
    }

    /// Moves a partition, under a new leader epoch.
    pub(super) fn lead(&mut self, name: &str, partition: usize, leader: i32) {
        let (old, epoch) = &mut self.topic(name).partitions[partition];
        (*old, *epoch) = (leader, *epoch + 1);
    }

    pub(super) fn connect(&mut self, connection: ConnectionId, address: SocketAddr) {
        self.connects.push(address);
        let broker = i32::from(address.port()) - 9000;
        if self.refused.contains(&address) {
            self.events.push_back(Event::Closed(connection, "refused"));
            return;
        }
        self.open.insert(connection, broker);
        if !self.silent.contains(&broker) {
            self.events.push_back(Event::Connected(connection));
        }
    }

    pub(super) fn send(&mut self, connection: ConnectionId, frame: Frame) {
        let bytes = bytes_of(&frame);
        let busy = self.frames.iter().any(|lent| lent.connection == connection);
        assert!(!busy, "NET-1: one frame at a time is in the driver per connection");
        let broker = self.open.get(&connection).copied();
        let mut arrived = wire::read(connection, broker.unwrap_or_default(), &bytes);
        self.name_topics(&mut arrived);
        self.check_sequences(&arrived);
        self.frames.push_back(Lent { connection, frame, bytes });
        if broker.is_none_or(|broker| !self.stalled.contains(&broker)) {
            self.return_frame(self.frames.len() - 1);
        }
        if broker.is_some() {
            self.seen.push((arrived.broker, arrived.api));
            if arrived.api == ApiKey::ApiVersions {
                self.greeted.push(arrived.clone());
            }
            if !matches!(arrived.body, Body::Produce { acks: 0, .. }) {
                let due = self.due.entry(connection).or_default();
                due.push_back((arrived.correlation, None));
            }
            self.arrive(arrived);
        }
    }

    fn name_topics(&self, arrived: &mut Arrived) {
        let Body::Produce { batches, .. } = &mut arrived.body else { return };
        let unnamed = |batch: &&mut Batch| batch.topic.is_empty();
        for batch in batches.iter_mut().filter(unnamed) {
            batch.topic = self.names[&batch.topic_id].clone();
        }
    }

    /// Sequences of a partition are contiguous under each producer id and epoch.
    fn check_sequences(&mut self, arrived: &Arrived) {
        let Body::Produce { batches, .. } = &arrived.body else { return };
        // A test of the wrap sets the sequence by hand.
        for batch in batches.iter().filter(|batch| (0..1 << 30).contains(&batch.sequence)) {
            let key = (batch.topic.clone(), batch.partition, batch.producer_id, batch.epoch);
            let next = self.sequences.entry(key).or_default();
            assert!(batch.sequence <= *next, "a gap before {batch}");
            *next = (batch.sequence + batch.values.len() as i32).max(*next);
        }
    }

    /// The driver is done with a frame; it must be what it was.
    pub(super) fn return_frame(&mut self, at: usize) {
        let Lent { connection, frame, bytes } = self.frames.remove(at).unwrap();
        assert_eq!(bytes_of(&frame), bytes, "K19012: a frame changed while the driver had it");
        let complete = self.open.contains_key(&connection);
        self.events.push_back(Event::Sent { connection, frame, complete });
    }

    pub(super) fn return_frames(&mut self) {
        while !self.frames.is_empty() {
            self.return_frame(0);
        }
    }

    /// The connection ends: by the sender's wish, the peer's or the network's.
    pub(super) fn close(&mut self, connection: ConnectionId, why: &'static str) {
        self.open.remove(&connection);
        self.due.remove(&connection);
        while let Some(at) = self.frames.iter().position(|lent| lent.connection == connection) {
            self.return_frame(at);
        }
        self.events.push_back(Event::Closed(connection, why));
    }

    pub(super) fn shutdown(&mut self, connection: ConnectionId) {
        if self.keeps_closes {
            self.closing.push(connection);
        } else {
            self.close(connection, "shut down");
        }
    }

    pub(super) fn finish_closes(&mut self) {
        for connection in std::mem::take(&mut self.closing) {
            self.close(connection, "shut down");
        }
    }

    fn arrive(&mut self, arrived: Arrived) {
        if self.held.contains(&arrived.api) {
            self.inbox.push_back(arrived);
            return;
        }
        let bytes = match &arrived.body {
            Body::ApiVersions { .. } => self.versions_answer(&arrived),
            Body::Metadata { .. } => self.metadata_answer(&arrived),
            Body::InitProducerId => wire::identity_answer(&arrived, ErrorCode::None, self.identity),
            Body::Produce { .. } => self.produce_answer(&arrived),
            Body::GetTelemetrySubscriptions { .. } => {
                wire::subscriptions_answer(&arrived, &self.wants)
            }
            Body::PushTelemetry(_) => wire::push_answer(&arrived, ErrorCode::None),
        };
        self.answer(&arrived, bytes);
    }

    /// A broker has an answer, and sends it when all earlier requests of its connection have
    /// theirs.
    pub(super) fn answer(&mut self, request: &Arrived, bytes: Vec<u8>) {
        let connection = request.connection;
        if !self.open.contains_key(&connection) {
            return;
        }
        let due = self.due.get_mut(&connection).expect("a request came");
        let found = due.iter_mut().find(|(correlation, _)| *correlation == request.correlation);
        found.expect("one answer per request").1 = Some(bytes);
        while let Some((_, Some(_))) = due.front() {
            let bytes = due.pop_front().and_then(|(_, bytes)| bytes).unwrap_or_default();
            self.events.push_back(Event::Received(connection, bytes));
        }
    }

    /// Bytes come from the peer, whatever they are.
    pub(super) fn receive(&mut self, connection: ConnectionId, bytes: Vec<u8>) {
        self.events.push_back(Event::Received(connection, bytes));
    }

    pub(super) fn versions_answer(&self, request: &Arrived) -> Vec<u8> {
        let greeting = self.greetings.get(&request.broker).copied().unwrap_or(4);
        let all = [
            (ApiKey::Produce, 0, 13),
            (ApiKey::Metadata, 0, 13),
            (ApiKey::ApiVersions, 0, greeting),
            (ApiKey::InitProducerId, 0, 5),
        ];
        if request.version > greeting {
            return wire::versions_answer(request, ErrorCode::UnsupportedVersion, &all[2..3]);
        }
        let Body::ApiVersions { intended, .. } = &request.body else { panic!("a greeting") };
        let is_other = |(cluster, node): &(String, i32)| {
            Some(cluster) != self.says.cluster_id.as_ref() || *node != request.broker
        };
        if intended.as_ref().is_some_and(is_other) {
            return wire::versions_answer(request, ErrorCode::RebootstrapRequired, &[]);
        }
        let ranges = self.ranges.get(&request.broker);
        wire::versions_answer(request, ErrorCode::None, ranges.map_or(&all[..], Vec::as_slice))
    }

    pub(super) fn metadata_answer(&self, request: &Arrived) -> Vec<u8> {
        let topic = |name: &str| {
            let unknown = || Topic {
                name: name.to_owned(),
                id: TopicId::ZERO,
                error: ErrorCode::UnknownTopicOrPartition,
                partitions: Vec::new(),
            };
            let view = self.views.get(&request.broker).unwrap_or(&self.topics);
            view.iter().find(|topic| topic.name == name).cloned().unwrap_or_else(unknown)
        };
        let told = |name: &&str| !self.left_out.iter().any(|left_out| left_out == name);
        let topics: Vec<_> = request.topics().into_iter().filter(told).map(topic).collect();
        wire::metadata_answer(request, &self.brokers, &topics, &self.says)
    }

    /// The batches go into the logs.
    pub(super) fn produce_answer(&mut self, request: &Arrived) -> Vec<u8> {
        let said: Vec<Said> =
            request.batches().iter().map(|batch| self.logs.append(batch)).collect();
        wire::produce_answer(request, &said, self.throttle_ms)
    }

    /// Actions of the network are done; the others come back.
    pub(super) fn perform(&mut self, action: Action) -> Option<Action> {
        match action {
            Action::Connect { connection, address } => self.connect(connection, address),
            Action::Send { connection, frame } => self.send(connection, frame),
            Action::Shutdown { connection } => self.shutdown(connection),
            other => return Some(other),
        }
        None
    }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    (0..frame.parts.len()).flat_map(|part| frame.part(part)).copied().collect()
}
