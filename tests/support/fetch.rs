//! Reads a partition back as a consumer would, and holds every batch to what Kafka promises.
//!
//! Checked here: CRC, magic, record layout (`batches.rs`), offsets without gap from 0, and per
//! producer id and epoch sequences from 0 without gap.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use super::batches::{BatchHead, LogRecord, next_batch};
use super::deadline::Deadline;
use super::kafka::Cluster;
use super::wire::{Connection, topic_name};

/// A record read back, with its own bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRecord {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What a partition's log looked like as a whole.
#[derive(Debug)]
pub(crate) struct LogSummary {
    /// The offset that the next record will get; as many records were read.
    pub(crate) end: i64,
    pub(crate) batches: u64,
    /// How many of them had which codec.
    pub(crate) codecs: BTreeMap<i16, u64>,
    /// Each producer id and epoch that wrote here; empty when none was idempotent.
    pub(crate) producers: Vec<(i64, i16)>,
}

impl Cluster {
    /// Reads a partition from offset 0 to the end it has now.
    ///
    /// # Panics
    /// When the log breaks a rule, or cannot be read to its end in [`READ_MAX`].
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: i32,
        visit: impl FnMut(LogRecord<'_>),
    ) -> LogSummary {
        let end = self.end_offset(topic, partition);
        PartitionReader::new(self, topic, partition).read(end, visit)
    }

    /// As [`Cluster::read`], of a topic that was created again under running producers: a broker
    /// that has never seen a producer takes whatever sequence it begins with.
    pub(crate) fn read_created_again(
        &self,
        topic: &str,
        partition: i32,
        visit: impl FnMut(LogRecord<'_>),
    ) -> LogSummary {
        let end = self.end_offset(topic, partition);
        let mut reader = PartitionReader::new(self, topic, partition);
        reader.any_first_sequence = true;
        reader.read(end, visit)
    }

    /// As [`Cluster::read`], with the records in a list.
    pub(crate) fn records(&self, topic: &str, partition: i32) -> Vec<OwnedRecord> {
        let mut records = Vec::new();
        self.read(topic, partition, |record| records.push(OwnedRecord::from(record)));
        records
    }

    /// The number of records in a partition, for consumers (up to the high watermark).
    pub(crate) fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        let deadline = Deadline::after(READ_MAX);
        loop {
            let leader = self.address(self.leader_of(topic, partition));
            match end_offset(leader, topic, partition) {
                Ok(end) => return end,
                Err(error) => self.watch(deadline, || {
                    format!("the end offset of {topic}-{partition}, last answer: {error}")
                }),
            }
        }
    }

    /// Waits until `expected` records are in a topic of `partitions` partitions: for producers that
    /// get no acknowledgement.
    pub(crate) fn await_records(&self, topic: &str, partitions: i32, expected: i64) {
        let deadline = Deadline::after(READ_MAX);
        loop {
            let count: i64 = (0..partitions).map(|p| self.end_offset(topic, p)).sum();
            assert!(count <= expected, "{count} records in {topic}, {expected} were sent");
            if count == expected {
                return;
            }
            self.watch(deadline, || format!("{expected} records in {topic}, there are {count}"));
        }
    }
}

impl From<LogRecord<'_>> for OwnedRecord {
    fn from(record: LogRecord<'_>) -> Self {
        let headers = record.headers.iter();
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.map(|(name, value)| (name.to_vec(), value.map(Into::into))).collect(),
        }
    }
}

struct PartitionReader<'a> {
    cluster: &'a Cluster,
    topic: &'a str,
    partition: i32,
    /// The offset that comes next.
    offset: i64,
    batches: u64,
    codecs: BTreeMap<i16, u64>,
    /// The sequence that comes next, per producer id and epoch.
    sequences: HashMap<(i64, i16), i32>,
    /// The first one need not be 0.
    any_first_sequence: bool,
}

impl<'a> PartitionReader<'a> {
    fn new(cluster: &'a Cluster, topic: &'a str, partition: i32) -> Self {
        Self {
            cluster,
            topic,
            partition,
            offset: 0,
            batches: 0,
            codecs: BTreeMap::new(),
            sequences: HashMap::new(),
            any_first_sequence: false,
        }
    }

    fn read(mut self, end: i64, mut visit: impl FnMut(LogRecord<'_>)) -> LogSummary {
        let deadline = Deadline::after(READ_MAX);
        while self.offset < end {
            if let Err(error) = self.read_from_leader(end, &mut visit) {
                let (topic, partition, offset) = (self.topic, self.partition, self.offset);
                self.cluster.watch(deadline, || {
                    format!("{topic}-{partition} from offset {offset}, last answer: {error}")
                });
            }
        }
        let mut producers: Vec<(i64, i16)> = self.sequences.into_keys().collect();
        producers.sort_unstable();
        LogSummary { end, batches: self.batches, codecs: self.codecs, producers }
    }

    /// Reads until `end`, or until the leader of this moment stops answering.
    fn read_from_leader(
        &mut self,
        end: i64,
        visit: &mut impl FnMut(LogRecord<'_>),
    ) -> io::Result<()> {
        let leader = self.cluster.leader_of(self.topic, self.partition);
        let mut connection = Connection::open(self.cluster.address(leader))?;
        while self.offset < end {
            let answer = connection.call(12, &self.request())?;
            succeed(answer.error_code)?;
            let partition = answer.responses.first().and_then(|topic| topic.partitions.first());
            let partition = partition.ok_or_else(|| io::Error::other("an answer without data"))?;
            succeed(partition.error_code)?;
            self.accept(partition, end, visit);
        }
        Ok(())
    }

    fn request(&self) -> FetchRequest {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(self.offset)
            .with_partition_max_bytes(FETCH_BYTES);
        let topic = FetchTopic::default()
            .with_topic(topic_name(self.topic))
            .with_partitions(vec![partition]);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![topic])
    }

    fn accept(&mut self, answer: &PartitionData, end: i64, visit: &mut impl FnMut(LogRecord<'_>)) {
        let mut bytes = answer.records.as_deref().unwrap_or_default();
        while self.offset < end {
            let batch = next_batch(&mut bytes, &mut *visit)
                .and_then(|head| head.map_or(Ok(false), |head| self.follow(head).map(|()| true)));
            match batch {
                Ok(true) => (),
                Ok(false) => break,
                Err(error) => panic!("{}-{}: {error}", self.topic, self.partition),
            }
        }
    }

    /// Checks that a batch continues the one before it.
    fn follow(&mut self, head: BatchHead) -> Result<(), String> {
        if head.base_offset != self.offset {
            return Err(format!("offset {} is missing before {head:?}", self.offset));
        }
        self.offset += i64::from(head.count);
        self.batches += 1;
        *self.codecs.entry(head.codec).or_default() += 1;
        if head.producer_id < 0 {
            return Ok(());
        }
        let producer = (head.producer_id, head.producer_epoch);
        let first = if self.any_first_sequence { head.base_sequence } else { 0 };
        let expected = self.sequences.entry(producer).or_insert(first);
        if head.base_sequence != *expected {
            return Err(format!("sequence {expected} was expected: {head:?}"));
        }
        *expected = expected.wrapping_add(head.count) & i32::MAX;
        Ok(())
    }
}

/// Which of `partitions` the broker leads and serves: it tells the end of those to consumers, which
/// a new leader does only once the replicas that are in sync follow it.
///
/// # Errors
/// When the connection fails.
pub(crate) fn leads(
    connection: &mut Connection,
    topic: &str,
    partitions: &[i32],
) -> io::Result<Vec<i32>> {
    let answer = connection.call(7, &latest_offsets(topic, partitions))?;
    let told = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let served = told.filter(|partition| partition.error_code.is_ok());
    Ok(served.map(|partition| partition.partition_index).collect())
}

fn end_offset(leader: SocketAddr, topic: &str, partition: i32) -> io::Result<i64> {
    let answer = Connection::open(leader)?.call(7, &latest_offsets(topic, &[partition]))?;
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    let partition = partition.ok_or_else(|| io::Error::other("an answer without data"))?;
    succeed(partition.error_code)?;
    Ok(partition.offset)
}

fn latest_offsets(topic: &str, partitions: &[i32]) -> ListOffsetsRequest {
    let latest = partitions.iter().map(|&partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(-1)
            .with_current_leader_epoch(-1)
    });
    let topic =
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(latest.collect());
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

fn succeed(code: i16) -> io::Result<()> {
    code.err().map_or(Ok(()), |error| Err(io::Error::other(format!("{error:?}"))))
}

/// Large enough that a million records take a few dozen requests.
const FETCH_BYTES: i32 = 16 << 20;
const READ_MAX: Duration = Duration::from_secs(120);
