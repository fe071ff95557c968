//! A cluster, a producer with short times, and batches made by the oracle.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use kuring::testing::{Cluster, StoredRecord};
use kuring::{DriverChoice, Producer};

use crate::support::rig::builder_for;
use crate::support::wire::{Connection, topic_name};

/// Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Short times, on the driver that every machine has.
pub(crate) fn producer(cluster: &Cluster) -> Producer {
    builder_for(cluster.bootstrap_servers(), DriverChoice::Epoll).build().unwrap()
}

/// A cluster with a topic `t` of one partition.
pub(crate) fn one() -> Cluster {
    Cluster::builder().topic("t", 1).start().unwrap()
}

pub(crate) fn addresses(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.bootstrap_servers().split(',').map(|address| address.parse().unwrap()).collect()
}

pub(crate) fn connect(cluster: &Cluster) -> Connection {
    Connection::open(addresses(cluster)[0]).unwrap()
}

pub(crate) fn values(records: &[StoredRecord]) -> Vec<String> {
    let text = |record: &StoredRecord| String::from_utf8(record.value.clone().unwrap()).unwrap();
    records.iter().map(text).collect()
}

/// Who writes a batch, and from which sequence on.
#[derive(Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

impl Writer {
    pub(crate) const NOBODY: Self = Self { id: -1, epoch: -1, sequence: -1 };
}

/// A batch of one record per value, by the oracle's encoder.
pub(crate) fn batch(writer: Writer, values: &[&str]) -> BytesMut {
    packed(writer, values, Compression::None)
}

/// As [`batch`], compressed.
pub(crate) fn packed(writer: Writer, values: &[&str], compression: Compression) -> BytesMut {
    let record = |(value, ordinal): (&&str, i64)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: writer.id,
        producer_epoch: writer.epoch,
        timestamp_type: TimestampType::Creation,
        offset: ordinal,
        // The oracle wants them to count on in any case.
        sequence: writer.sequence + ordinal as i32,
        timestamp: 1000 + ordinal,
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: IndexMap::new(),
    };
    let records: Vec<_> = values.iter().zip(0..).map(record).collect();
    let options = RecordEncodeOptions { version: 2, compression };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes
}

/// A request for partition 0 of topic `t`, by name.
pub(crate) fn request(acks: i16, batch: BytesMut) -> ProduceRequest {
    let partition =
        PartitionProduceData::default().with_index(0).with_records(Some(batch.freeze()));
    let topic =
        TopicProduceData::default().with_name(topic_name("t")).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

/// Error code and base offset of the answer to a batch for partition 0 of topic `t`.
pub(crate) fn produce(connection: &mut Connection, batch: BytesMut) -> (i16, i64) {
    let answer = connection.call(9, &request(-1, batch)).unwrap();
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}
