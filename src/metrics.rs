//! What a producer has done so far: counters that its shards publish and anyone may read.
//!
//! Thread:   each shard writes its own, once a turn; reading sums them up.
//! Never:    touches the path of a record.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::sender::Counters;

const FIELDS: usize = 16;

/// One shard's published counters.
#[derive(Debug, Default)]
pub(crate) struct Published([AtomicU64; FIELDS]);

fn fields(counters: &Counters) -> [u64; FIELDS] {
    [
        counters.requests,
        counters.batches,
        counters.batch_bytes,
        counters.records,
        counters.bytes_out,
        counters.retries,
        counters.splits,
        counters.acknowledged,
        counters.failed,
        counters.possibly_written,
        counters.never_sent,
        counters.connections,
        counters.disconnects,
        counters.request_micros,
        counters.queue_micros,
        counters.metadata_updates,
    ]
}

impl Published {
    /// Stores the counters. Only the shard's thread does, so a store is enough.
    pub(crate) fn store(&self, counters: &Counters) {
        for (slot, value) in self.0.iter().zip(fields(counters)) {
            slot.store(value, Relaxed);
        }
    }

    fn load(&self) -> [u64; FIELDS] {
        std::array::from_fn(|index| self.0[index].load(Relaxed))
    }
}

/// A producer's totals since its start. Not a snapshot of one instant: shards count on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Produce requests sent.
    pub requests: u64,
    /// Batches in them, retries included.
    pub batches: u64,
    /// Bytes of those batches.
    pub batch_bytes: u64,
    /// Records handed to a socket, each counted once.
    pub records: u64,
    /// Bytes handed to sockets, all requests.
    pub bytes_out: u64,
    /// Batches that were sent again.
    pub retries: u64,
    /// Batches that were too large for a topic and were split; what is split again counts again.
    pub splits: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records that failed and were certainly not written.
    pub failed: u64,
    /// Records that failed and may have been written.
    pub possibly_written: u64,
    /// Of `failed`, the records that were never handed to a socket.
    pub never_sent: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections lost, closed or never made.
    pub disconnects: u64,
    /// Time from a produce request to its answer, summed, microseconds.
    pub request_micros: u64,
    /// Time from the opening of a batch to its first sending, summed, microseconds.
    pub queue_micros: u64,
    /// Answers about metadata.
    pub metadata_updates: u64,
    /// Bytes of `buffer.memory`, as it was divided over the shards.
    pub buffer_total_bytes: u64,
    /// Bytes of it that are free.
    pub buffer_available_bytes: u64,
    /// Calls that wait for memory.
    pub waiting_threads: u64,
    /// Shards.
    pub shards: u64,
    /// The driver in use.
    pub driver: &'static str,
}

impl Metrics {
    pub(crate) fn add(&mut self, published: &Published) {
        let target: [&mut u64; FIELDS] = [
            &mut self.requests,
            &mut self.batches,
            &mut self.batch_bytes,
            &mut self.records,
            &mut self.bytes_out,
            &mut self.retries,
            &mut self.splits,
            &mut self.acknowledged,
            &mut self.failed,
            &mut self.possibly_written,
            &mut self.never_sent,
            &mut self.connections,
            &mut self.disconnects,
            &mut self.request_micros,
            &mut self.queue_micros,
            &mut self.metadata_updates,
        ];
        for (field, value) in target.into_iter().zip(published.load()) {
            *field += value;
        }
    }

    /// The metrics under Kafka's names: group, name, value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, f64)> + use<> {
        let ratio = |sum: u64, count: u64| if count == 0 { 0.0 } else { sum as f64 / count as f64 };
        let own = "producer-metrics";
        [
            (own, "batch-size-avg", ratio(self.batch_bytes, self.batches)),
            (own, "batch-split-total", self.splits as f64),
            (own, "buffer-available-bytes", self.buffer_available_bytes as f64),
            (own, "buffer-total-bytes", self.buffer_total_bytes as f64),
            (own, "connection-close-total", self.disconnects as f64),
            (own, "connection-creation-total", self.connections as f64),
            (own, "outgoing-byte-total", self.bytes_out as f64),
            (own, "record-error-total", (self.failed + self.possibly_written) as f64),
            (own, "record-queue-time-avg", ratio(self.queue_micros, self.batches) / 1000.0),
            (own, "record-retry-total", self.retries as f64),
            (own, "record-send-total", self.records as f64),
            (own, "records-per-request-avg", ratio(self.records, self.requests)),
            (own, "request-latency-avg", ratio(self.request_micros, self.requests) / 1000.0),
            (own, "request-total", self.requests as f64),
            (own, "waiting-threads", self.waiting_threads as f64),
        ]
        .into_iter()
    }
}
