//! A small reader of one topic: where its partitions end, and every record between two offsets.
//!
//! Blocking, one request at a time, on the caller's thread. No code of the producer's: the
//! protocol is the `kafka-protocol` crate's. Records are shown as they come and not kept.
//!
//! Bounds:   answers of `ANSWER_BYTES_MAX`; every call gives up when nothing has gone well for
//!           `patience`. A leader that moved, a connection that broke and an answer that did not
//!           come are tried again until then.
#![forbid(unsafe_code)]

mod batches;
mod connection;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kuring::config::HostPort;

pub use batches::FoundRecord;
use connection::Connection;

use crate::clock::{now, wait_until};

/// What one fetch asks for.
const FETCH_BYTES: i32 = 8 << 20;
/// How long a broker may hold a fetch that finds nothing.
const FETCH_HELD: Duration = Duration::from_millis(500);
/// Between two attempts.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A broker that takes longer for one answer is asked again, on another connection.
const CALL_MAX: Duration = Duration::from_secs(10);
/// In ListOffsets: the offset that the next record will get.
const LATEST: i64 = -1;

/// Why something was not read.
#[derive(Debug)]
enum Trouble {
    /// It may go better with other leaders, or on another connection.
    Passing(String),
    /// It will not.
    Lasting(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Unsupported => Self::Lasting(error),
            _ => Self::Passing(error.to_string()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(what) => f.write_str(what),
            Self::Lasting(error) => error.fmt(f),
        }
    }
}

fn accepted(code: i16) -> Result<(), Trouble> {
    match code.err() {
        None => Ok(()),
        Some(error) if error.is_retriable() => Err(Trouble::Passing(error.to_string())),
        Some(error) => Err(Trouble::Lasting(io::Error::other(advice(error)))),
    }
}

fn advice(error: ResponseError) -> String {
    match error {
        ResponseError::OffsetOutOfRange => "the log no longer has what was to be read: it was \
            truncated, or its retention is too short for this run"
            .into(),
        ResponseError::TopicAuthorizationFailed => {
            "this user may not read the topic: allow READ and DESCRIBE".into()
        }
        error => error.to_string(),
    }
}

/// Reads one topic.
#[derive(Debug)]
pub struct TopicReader {
    topic: TopicName,
    bootstrap: Vec<HostPort>,
    patience: Duration,
    brokers: HashMap<i32, HostPort>,
    /// Of each partition.
    leaders: Vec<Option<i32>>,
    connections: HashMap<i32, Connection>,
}

impl TopicReader {
    /// Learns the topic's partitions and leaders. Where the brokers create topics on demand, one
    /// that is not there is created.
    ///
    /// # Errors
    /// No broker knows the topic, or its partitions have no leaders, within `patience`.
    pub fn open(bootstrap: &[HostPort], topic: &str, patience: Duration) -> io::Result<Self> {
        let mut opened = Self {
            topic: TopicName(StrBytes::from_string(topic.to_owned())),
            bootstrap: bootstrap.to_vec(),
            patience,
            brokers: HashMap::new(),
            leaders: Vec::new(),
            connections: HashMap::new(),
        };
        opened.persist(|| format!("the partitions of {topic}"), Self::find_leaders)?;
        Ok(opened)
    }

    /// How many partitions there are, as far as was last learnt.
    pub fn partitions(&self) -> i32 {
        self.leaders.len() as i32
    }

    /// The offset that the next record of each partition will get, for consumers: up to the high
    /// watermark. Learns of new partitions, too.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn ends(&mut self) -> io::Result<Vec<i64>> {
        let topic = self.topic.0.to_string();
        self.persist(|| format!("the partitions of {topic}"), Self::find_leaders)?;
        let mut ends = Vec::with_capacity(self.leaders.len());
        for partition in 0..self.partitions() {
            let what = || format!("the end of {topic}-{partition}");
            ends.push(self.persist(what, |reader| reader.end(partition))?);
        }
        Ok(ends)
    }

    /// Shows every record of a partition from one offset up to another, which is at most its end;
    /// each once and in order. Control records are passed over.
    ///
    /// # Errors
    /// Nothing could be read for the patience given; a batch breaks the format; the log no longer
    /// reaches back to `from`.
    pub fn read(
        &mut self,
        partition: i32,
        from: i64,
        end: i64,
        visit: &mut dyn FnMut(FoundRecord<'_>),
    ) -> io::Result<()> {
        let mut next = from;
        while next < end {
            let start = next;
            let what = format!("{}-{partition} from offset {start}", self.topic.0);
            let mut bytes =
                self.persist(|| what.clone(), |reader| reader.fetch(partition, start))?;
            // What lies in front of the asked offset in its batch comes with it.
            let mut shown = |record: FoundRecord<'_>| {
                if (start..end).contains(&record.offset) {
                    visit(record);
                }
            };
            while next < end {
                let behind = batches::next_batch(&mut bytes, partition, &mut shown);
                match behind.map_err(io::Error::other)? {
                    Some(behind) => next = next.max(behind),
                    None => break,
                }
            }
            if next == start {
                return Err(io::Error::other(format!("{what}: the broker sends no whole batch")));
            }
        }
        Ok(())
    }

    /// Tries until it succeeds, its trouble is lasting, or the patience is over.
    fn persist<T>(
        &mut self,
        what: impl Fn() -> String,
        mut attempt: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> io::Result<T> {
        let deadline = now() + self.patience;
        loop {
            let trouble = match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Trouble::Lasting(error)) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", what())));
                }
                Err(passing) => passing,
            };
            if now() >= deadline {
                let patience = self.patience;
                let text = format!("{} could not be read within {patience:?}: {trouble}", what());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            wait_until(now() + RETRY_AFTER);
            // An attempt that fails for want of leaders says so at its next turn.
            let _ = self.find_leaders();
        }
    }

    /// Asks brokers that are known, then the bootstrap servers.
    fn find_leaders(&mut self) -> Result<(), Trouble> {
        let mut trouble = Trouble::Passing("no broker is named".into());
        let known = self.brokers.values().chain(&self.bootstrap);
        for server in known.cloned().collect::<Vec<_>>() {
            match self.ask_for_leaders(&server) {
                Ok(()) => return Ok(()),
                Err(lasting @ Trouble::Lasting(_)) => return Err(lasting),
                Err(Trouble::Passing(what)) => {
                    trouble = Trouble::Passing(format!("{server}: {what}"));
                }
            }
        }
        Err(trouble)
    }

    fn ask_for_leaders(&mut self, server: &HostPort) -> Result<(), Trouble> {
        let patience = self.patience.min(CALL_MAX);
        let mut connection = Connection::open(&server.host, server.port, patience)?;
        let topic = MetadataRequestTopic::default().with_name(Some(self.topic.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(true);
        let answer = connection.call(&request, Duration::ZERO)?;
        let topic = answer.topics.into_iter().find(|it| it.name.as_ref() == Some(&self.topic));
        let topic = topic.ok_or_else(|| Trouble::Passing("the topic is not told of".into()))?;
        accepted(topic.error_code)?;
        let brokers = answer.brokers.into_iter().filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            Some((broker.node_id.0, HostPort { host: broker.host.to_string(), port }))
        });
        let brokers: HashMap<_, _> = brokers.collect();
        // A broker may have come back at another address.
        self.connections.retain(|id, _| brokers.get(id) == self.brokers.get(id));
        self.brokers = brokers;
        self.leaders = leaders(&topic)?;
        Ok(())
    }

    /// Asks a partition's leader; a connection that fails is not used again.
    fn ask_leader<T>(
        &mut self,
        partition: i32,
        ask: impl FnOnce(&mut Connection) -> io::Result<T>,
    ) -> Result<T, Trouble> {
        let leader = self.leaders.get(partition as usize).copied().flatten();
        let leader = leader.ok_or_else(|| Trouble::Passing("it has no leader".into()))?;
        let mut connection = match self.connections.remove(&leader) {
            Some(connection) => connection,
            None => {
                let unknown = || Trouble::Passing(format!("broker {leader} has no address"));
                let address = self.brokers.get(&leader).ok_or_else(unknown)?;
                Connection::open(&address.host, address.port, self.patience.min(CALL_MAX))?
            }
        };
        let answer = ask(&mut connection)?;
        self.connections.insert(leader, connection);
        Ok(answer)
    }

    fn end(&mut self, partition: i32) -> Result<i64, Trouble> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(LATEST);
        let topic =
            ListOffsetsTopic::default().with_name(self.topic.clone()).with_partitions(vec![asked]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.ask_leader(partition, |leader| leader.call(&request, Duration::ZERO))?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| Trouble::Passing("an answer without offsets".into()))?;
        accepted(found.error_code)?;
        Ok(found.offset)
    }

    fn fetch(&mut self, partition: i32, offset: i64) -> Result<Bytes, Trouble> {
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(FETCH_BYTES);
        let topic =
            FetchTopic::default().with_topic(self.topic.clone()).with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(FETCH_HELD.as_millis() as i32)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.ask_leader(partition, |leader| leader.call(&request, FETCH_HELD))?;
        accepted(answer.error_code)?;
        let found = answer.responses.into_iter().next();
        let found = found.and_then(|topic| topic.partitions.into_iter().next());
        let found = found.ok_or_else(|| Trouble::Passing("an answer without records".into()))?;
        accepted(found.error_code)?;
        // The high watermark may lag behind at a new leader.
        let nothing_yet = || Trouble::Passing("there is nothing yet".into());
        found.records.filter(|records| !records.is_empty()).ok_or_else(nothing_yet)
    }
}

/// By partition; every partition is told of, with or without a leader.
fn leaders(topic: &MetadataResponseTopic) -> Result<Vec<Option<i32>>, Trouble> {
    let mut leaders = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        let place = usize::try_from(partition.partition_index).ok();
        let place = place.and_then(|place| leaders.get_mut(place));
        let place = place.ok_or_else(|| Trouble::Passing("partitions are missing".into()))?;
        *place = Some(partition.leader_id.0).filter(|leader| *leader >= 0);
    }
    if leaders.is_empty() {
        Err(Trouble::Passing("it has no partitions".into()))
    } else {
        Ok(leaders)
    }
}
