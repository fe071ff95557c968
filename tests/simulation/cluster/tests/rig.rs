//! A client of the model cluster that asks one thing after another.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use kuring::ids::{ProducerIdentity, Sequence, TopicId};
use kuring::protocol::api::{ApiKey, RequestHeader, split_response};
use kuring::protocol::metadata::{self, MetadataResponse};
use kuring::protocol::produce::{self, ProduceOptions, ProduceRequest};
use kuring::protocol::record_batch::{
    Attributes, BatchHeader, HEADER_BYTES, encode_record, record_bytes, stamp_checksum,
};
use kuring::protocol::{api_versions, init_producer_id};

use crate::cluster::{Cluster, FaultKind, Line, Plan, Response};
use crate::random::Random;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;

/// A batch to send.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) producer: (i64, i16),
    pub(super) sequence: i32,
    pub(super) values: Vec<String>,
}

impl Batch {
    pub(super) fn of(producer: (i64, i16), sequence: i32, values: &str) -> Self {
        let values = values.split(' ').map(str::to_owned).collect();
        Self { producer, sequence, values }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        for (ordinal, value) in (0..).zip(&self.values) {
            let start = out.len();
            let bytes = record_bytes(ordinal, 0, None, Some(value.len()), &[]);
            out.resize(start + bytes, 0);
            encode_record(&mut out[start..], ordinal, 0, None, Some(value.as_bytes()), &[]);
        }
        let (id, epoch) = self.producer;
        let header = BatchHeader {
            attributes: Attributes::NONE,
            record_count: self.values.len() as u32,
            base_timestamp: 77,
            max_timestamp: 77,
            producer: ProducerIdentity { id, epoch },
            base_sequence: (id >= 0).then(|| Sequence::new(self.sequence)),
        };
        let records_bytes = out.len() - HEADER_BYTES;
        header.write(&mut out, records_bytes);
        stamp_checksum(&mut out);
        out
    }
}

/// What a broker said about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) code: i16,
    pub(super) offset: i64,
    pub(super) append_time: i64,
    pub(super) log_start: i64,
    pub(super) leader: Option<(i32, i32)>,
    pub(super) record_errors: usize,
}

pub(super) struct Rig {
    pub(super) cluster: Cluster,
    pub(super) now: u64,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
    lines: Vec<Line>,
    /// The connection to each broker, and the broker's life.
    connections: BTreeMap<i32, (u64, u64)>,
    count: u64,
    answers: BTreeMap<u64, Vec<u8>>,
}

impl Rig {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut rig = Self {
            cluster: Cluster::new(plan, Random::new(7)),
            now: 0,
            acks: -1,
            timeout_ms: 5_000,
            lines: plan.lines.clone(),
            connections: BTreeMap::new(),
            count: 0,
            answers: BTreeMap::new(),
        };
        rig.pass(SECOND);
        rig
    }

    /// Three brokers, topic `t` with one partition on all of them, no faults.
    pub(super) fn three() -> Self {
        Self::new(&Plan::calm(3, "t", 1))
    }

    pub(super) fn one() -> Self {
        Self::new(&Plan::calm(1, "t", 1))
    }

    /// Lets time pass, event by event.
    pub(super) fn pass(&mut self, duration: u64) {
        let until = self.now + duration;
        let mut out = Vec::new();
        while self.cluster.next_tick() <= until {
            self.now = self.cluster.next_tick().max(self.now);
            self.cluster.tick(self.now, &mut out);
            self.cluster.take_cuts(&mut Vec::new());
            self.answers.extend(out.drain(..).map(|(_, ticket, frame)| (ticket, frame)));
        }
        self.now = until;
        self.cluster.tick(until, &mut out);
    }

    fn header(&self, node: i32, api: ApiKey) -> RequestHeader<'static> {
        let versions = self.lines[node as usize - 1].versions();
        let spoken = versions.iter().find(|(key, ..)| *key == api.wire());
        let version = spoken.map_or(0, |(_, _, max)| *max);
        RequestHeader { version, correlation: 9, client_id: Some("rig") }
    }

    fn connection(&mut self, node: i32) -> u64 {
        let life = self.cluster.broker_life(node);
        match self.connections.get(&node) {
            Some((connection, of)) if *of == life => *connection,
            _ => self.reconnect(node),
        }
    }

    /// Opens a connection and greets.
    pub(super) fn reconnect(&mut self, node: i32) -> u64 {
        self.count += 1;
        let connection = self.count;
        self.connections.insert(node, (connection, self.cluster.broker_life(node)));
        let mut frame = Vec::new();
        let header = self.header(node, ApiKey::ApiVersions);
        api_versions::encode_request(&mut frame, &header, None);
        match self.cluster.request(node, connection, &frame[4..], self.now) {
            Response::Now(answer) => {
                let split = split_response(ApiKey::ApiVersions, header.version, &answer[4..]);
                let read = api_versions::decode_response(header.version, split.unwrap().1);
                assert_eq!(read.unwrap().error.wire(), 0);
            }
            other => panic!("greeted with {other:?}"),
        }
        connection
    }

    /// Sends a request; the ticket or the answer.
    fn send(&mut self, node: i32, frame: &[u8]) -> Response {
        let connection = self.connection(node);
        self.cluster.request(node, connection, &frame[4..], self.now)
    }

    /// The answer to a request, waited for.
    fn ask(&mut self, node: i32, api: ApiKey, version: i16, frame: &[u8]) -> Vec<u8> {
        let answer = match self.send(node, frame) {
            Response::Now(answer) => answer,
            Response::Waits(ticket) => self.wait(ticket).expect("an answer within a minute"),
            other => panic!("{other:?} instead of an answer"),
        };
        Self::body(api, version, &answer)
    }

    fn body(api: ApiKey, version: i16, answer: &[u8]) -> Vec<u8> {
        let (size, rest) = answer.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*size) as usize, rest.len());
        let (correlation, body) = split_response(api, version, rest).unwrap();
        assert_eq!(correlation, 9);
        body.to_vec()
    }

    fn wait(&mut self, ticket: u64) -> Option<Vec<u8>> {
        let deadline = self.now + 60 * SECOND;
        while !self.answers.contains_key(&ticket) && self.now < deadline {
            self.pass(MILLISECOND);
        }
        self.answers.remove(&ticket)
    }

    /// Of the first broker that is up.
    pub(super) fn producer_id(&mut self) -> (i64, i16) {
        let node = self.cluster.nodes().find(|node| self.cluster.broker_is_up(*node)).unwrap();
        let header = self.header(node, ApiKey::InitProducerId);
        let wanted = init_producer_id::InitProducerId {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            current: ProducerIdentity::NONE,
        };
        let mut frame = Vec::new();
        init_producer_id::encode_request(&mut frame, &header, &wanted);
        let body = self.ask(node, ApiKey::InitProducerId, header.version, &frame);
        let read = init_producer_id::decode_response(header.version, &body).unwrap();
        assert_eq!(read.error.wire(), 0);
        (read.producer.id, read.producer.epoch)
    }

    pub(super) fn metadata(&mut self, node: i32, topics: &[&str]) -> MetadataResponse {
        let header = self.header(node, ApiKey::Metadata);
        let mut frame = Vec::new();
        metadata::encode_request(&mut frame, &header, Some(topics));
        let body = self.ask(node, ApiKey::Metadata, header.version, &frame);
        metadata::decode_response(header.version, &body).unwrap()
    }

    /// Leader and epoch of `t`-0, as `node` says.
    pub(super) fn leader(&mut self, node: i32) -> (i32, i32) {
        let read = self.metadata(node, &["t"]);
        let partition = &read.topics[0].partitions[0];
        (partition.leader.0, partition.leader_epoch)
    }

    pub(super) fn frame(&mut self, node: i32, batch: &[u8]) -> (i16, Vec<u8>) {
        let header = self.header(node, ApiKey::Produce);
        let id = match header.version {
            13.. => self.metadata(node, &["t"]).topics[0].id,
            _ => TopicId::ZERO,
        };
        let options =
            ProduceOptions { transactional_id: None, acks: self.acks, timeout_ms: self.timeout_ms };
        let mut head = Vec::new();
        let mut request = ProduceRequest::begin(&mut head, &header, &options, 1);
        request.begin_topic("t", id, 1);
        let at = request.begin_partition(0, batch.len());
        request.end_partition();
        request.end_topic();
        request.end(batch.len());
        head.splice(at..at, batch.iter().copied());
        (header.version, head)
    }

    /// Sends a batch for `t`-0 to a broker.
    pub(super) fn produce(&mut self, node: i32, batch: &Batch) -> Said {
        let (version, frame) = self.frame(node, &batch.bytes());
        let body = self.ask(node, ApiKey::Produce, version, &frame);
        Self::said(version, &body)
    }

    /// Sends a batch and does not wait.
    pub(super) fn begin(&mut self, node: i32, batch: &Batch) -> Response {
        let (_, frame) = self.frame(node, &batch.bytes());
        self.send(node, &frame)
    }

    /// What the answer says, if one comes.
    pub(super) fn end(&mut self, node: i32, begun: Response) -> Option<Said> {
        let version = self.header(node, ApiKey::Produce).version;
        let answer = match begun {
            Response::Now(answer) => answer,
            Response::Waits(ticket) => self.wait(ticket)?,
            Response::Silent | Response::Cut => return None,
        };
        Some(Self::said(version, &Self::body(ApiKey::Produce, version, &answer)))
    }

    fn said(version: i16, body: &[u8]) -> Said {
        let mut said = Vec::new();
        produce::decode_response(version, body, &mut |partition| {
            said.push(Said {
                code: partition.error.wire(),
                offset: partition.base_offset,
                append_time: partition.log_append_time_ms,
                log_start: partition.log_start_offset,
                leader: partition.current_leader.map(|(node, epoch)| (node.0, epoch)),
                record_errors: partition.record_errors.count(),
            });
        })
        .unwrap();
        assert_eq!(said.len(), 1);
        said.remove(0)
    }

    /// The values in the log of `t`-0, and whatever else was so called.
    pub(super) fn values(&self) -> Vec<String> {
        let logs = self.cluster.logs();
        let log = logs.iter().rfind(|log| log.name == "t" && log.partition == 0).unwrap();
        let value = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        log.records().map(|record| value(record.value)).collect()
    }

    /// Everything that the cluster complains about.
    pub(super) fn violations(&self) -> &[String] {
        &self.cluster.account().violations
    }
}

/// A calm plan with one fault at a rate.
pub(super) fn with_fault(brokers: usize, kind: FaultKind, rate: u32) -> Plan {
    let mut plan = Plan::calm(brokers, "t", 1);
    plan.set_rate(kind, rate);
    plan
}

/// A produce request of version 3, which brokers of every line speak, without its size.
pub(super) fn named_frame(acks: i16, batch: &[u8]) -> Vec<u8> {
    let header = RequestHeader { version: 3, correlation: 9, client_id: Some("rig") };
    let options = ProduceOptions { transactional_id: None, acks, timeout_ms: 2_000 };
    let mut head = Vec::new();
    let mut request = ProduceRequest::begin(&mut head, &header, &options, 1);
    request.begin_topic("t", TopicId::ZERO, 1);
    let at = request.begin_partition(0, batch.len());
    request.end_partition();
    request.end_topic();
    request.end(batch.len());
    head.splice(at..at, batch.iter().copied());
    head.split_off(4)
}
