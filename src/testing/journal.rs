//! What arrived: one entry per request that could be read, in the order of arrival.
//!
//! Bounds:   the latest `REQUESTS_KEPT` requests and `COMPLAINTS_KEPT` complaints.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::api::{Api, Header};
use super::batch::peek;
use super::requests::{Body, TopicRef};
use super::topics::Topics;
use crate::ids::BrokerId;

/// Some hundred bytes each.
const REQUESTS_KEPT: usize = 1 << 16;
const COMPLAINTS_KEPT: usize = 1000;

/// A request that arrived at a [`Cluster`](super::Cluster).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What was asked.
    pub api: Api,
    /// In which version.
    pub version: i16,
    /// The number that the client gave it.
    pub correlation_id: i32,
    /// `client.id`.
    pub client_id: Option<String>,
    /// The broker that it arrived at.
    pub broker: BrokerId,
    /// The connection that it came on: the cluster's connections count from 0.
    pub connection: u64,
    /// Its size in bytes, without the four bytes of the size itself.
    pub bytes: usize,
    /// `acks` of a produce request, 0 of every other one.
    pub acks: i16,
    /// The topics that it names, each once; those that it names by an id that is not known have
    /// the id in hexadecimal.
    pub topics: Vec<String>,
    /// What a produce request carries, one entry per partition.
    pub batches: Vec<SentBatch>,
}

/// One partition's part of a produce request. The header's fields are -1 where the bytes are too
/// few to be a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentBatch {
    /// The topic, as in [`Request::topics`].
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The batch's size.
    pub bytes: usize,
    /// How many records it says it has.
    pub records: i32,
    /// The producer id; -1 for none.
    pub producer_id: i64,
    /// The producer's epoch; -1 for none.
    pub producer_epoch: i16,
    /// The sequence of its first record; -1 for none.
    pub base_sequence: i32,
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) requests: VecDeque<Request>,
    pub(super) complaints: VecDeque<String>,
}

impl Journal {
    pub(super) fn note(&mut self, request: Request) {
        if self.requests.len() == REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    /// Notes what no sound client does.
    pub(super) fn complain(&mut self, complaint: String) {
        if self.complaints.len() == COMPLAINTS_KEPT {
            self.complaints.pop_front();
        }
        self.complaints.push_back(complaint);
    }
}

impl Request {
    pub(super) fn new(
        broker: BrokerId,
        connection: u64,
        bytes: usize,
        header: &Header<'_>,
        body: &Body<'_>,
        topics: &Topics,
    ) -> Self {
        let mut batches = Vec::new();
        let mut acks = 0;
        if let Body::Produce(produce) = body {
            acks = produce.acks;
            for sent in &produce.sent {
                let bytes = sent.records.unwrap_or_default();
                let head = peek(bytes);
                batches.push(SentBatch {
                    topic: name_of(sent.topic, topics),
                    partition: sent.partition,
                    bytes: bytes.len(),
                    records: head.map_or(-1, |head| head.count),
                    producer_id: head.map_or(-1, |head| head.producer_id),
                    producer_epoch: head.map_or(-1, |head| head.producer_epoch),
                    base_sequence: head.map_or(-1, |head| head.base_sequence),
                });
            }
        }
        let mut named: Vec<_> = body.topics().iter().map(|it| name_of(*it, topics)).collect();
        named.dedup();
        Self {
            api: header.api,
            version: header.version,
            correlation_id: header.correlation_id,
            client_id: header.client_id.map(str::to_owned),
            broker,
            connection,
            bytes,
            acks,
            topics: named,
            batches,
        }
    }
}

impl<'a> Body<'a> {
    /// The topics that it names, neighbours that are the same left out.
    fn topics(&self) -> Vec<TopicRef<'a>> {
        let mut topics: Vec<_> = match self {
            Self::ApiVersions(_) | Self::InitProducerId { .. } => Vec::new(),
            Self::Metadata(metadata) => metadata.topics.clone().unwrap_or_default(),
            Self::Produce(produce) => produce.sent.iter().map(|sent| sent.topic).collect(),
            Self::ListOffsets(wanted) => wanted.iter().map(|wanted| wanted.topic).collect(),
            Self::Fetch(fetch) => fetch.wanted.iter().map(|wanted| wanted.topic).collect(),
        };
        topics.dedup();
        topics
    }
}

fn name_of(topic: TopicRef<'_>, topics: &Topics) -> String {
    match (topic, topics.find(topic)) {
        (_, Some((name, _))) | (TopicRef::Name(name), None) => name.to_owned(),
        (TopicRef::Id(id), None) => format!("{id:?}"),
    }
}
