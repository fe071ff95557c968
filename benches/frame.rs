//! What a produce request costs around its batches: the stamp of a batch (header fields and
//! checksum), and the frame (head, gather list, loans), for a request of one batch, which is framed
//! where it lies in the arena, and for requests of more, which are gathered.
//!
//! `cargo bench --bench frame`; `… -- count 10 5000` only frames so many requests of 10 batches,
//! for `tools/instructions`.
#![forbid(unsafe_code)]

mod measure;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use kuring::accumulator::Accumulator;
use kuring::accumulator::batch::SealedBatch;
use kuring::accumulator::batch_ring::{Append, BatchRing, Entry, Head, Memory};
use kuring::accumulator::frame::{Frame, Part};
use kuring::ids::{ProducerIdentity, Sequence, TopicId};
use kuring::protocol::api::RequestHeader;
use kuring::protocol::produce::{ProduceOptions, ProduceRequest};

const BATCH_BYTES: usize = 16_384;

/// Batches of different partitions, one of each.
struct Batches {
    accumulator: Arc<Accumulator>,
    sealed: Vec<SealedBatch>,
    /// A batch lives as long as its ring.
    _rings: Vec<Arc<BatchRing>>,
    frame: Frame,
    correlation: i32,
}

impl Batches {
    /// Of some `bytes` each.
    fn new(count: usize, bytes: usize) -> Self {
        let memory = (count as u64 + 1) * 4 * BATCH_BYTES as u64;
        let accumulator = Accumulator::new(memory, BATCH_BYTES, Duration::ZERO);
        let accumulator = accumulator.expect("the kernel has memory for the arena");
        let rings: Vec<_> = (0..count)
            .map(|partition| accumulator.new_ring(&"bench".into(), partition as i32))
            .map(|ring| ring.expect("the shard is open"))
            .collect();
        let value = vec![b'x'; bytes];
        let sealed = rings.iter().map(|ring| {
            let entry = Entry { key: None, value: Some(&value), headers: &[], timestamp: 1000 };
            match ring.append(&entry, Memory::Try) {
                Append::Done { delivery, .. } => drop(delivery),
                other => panic!("an empty ring takes a record: {other:?}"),
            }
            ring.seal_open();
            let Head::Sealed(batch) = ring.take() else { panic!("the batch is complete") };
            batch
        });
        let sealed = sealed.collect();
        Self { accumulator, sealed, _rings: rings, frame: Frame::default(), correlation: 0 }
    }

    fn stamp(&self) {
        let identity = ProducerIdentity { id: 1, epoch: 0 };
        for batch in &self.sealed {
            self.accumulator.stamp(batch, identity, Some(Sequence::ZERO));
        }
    }

    /// As the sender does it: `sender/drain.rs`.
    fn frame(&mut self) {
        self.correlation += 1;
        let client_id = Some("kuring-producer");
        let header = RequestHeader { version: 13, correlation: self.correlation, client_id };
        let options = ProduceOptions { transactional_id: None, acks: -1, timeout_ms: 30_000 };
        let frame = &mut self.frame;
        frame.clear();
        let mut request = ProduceRequest::begin(&mut frame.head, &header, &options, 1);
        request.begin_topic("bench", TopicId([5; 16]), self.sealed.len());
        let (mut start, mut bytes) = (0, 0);
        for (partition, batch) in self.sealed.iter().enumerate() {
            let end = request.begin_partition(partition as i32, batch.bytes as usize) as u32;
            frame.parts.push(Part::Head { start, end });
            (start, bytes) = (end, bytes + batch.bytes as usize);
            if self.sealed.len() > 1 {
                frame.parts.push(Part::Lent(self.accumulator.lend(batch)));
            }
            request.end_partition();
        }
        request.end_topic();
        request.end(bytes);
        if let [batch] = self.sealed.as_slice() {
            let (head, tail) = frame.head.split_at(start as usize);
            let loan = self.accumulator.lend_framed(batch, head, tail).expect("a short head fits");
            frame.parts.clear();
            frame.parts.push(Part::Lent(loan));
        } else {
            frame.parts.push(Part::Head { start, end: frame.head.len() as u32 });
        }
        black_box(frame);
    }
}

fn main() {
    if let Some((batches, requests)) = measure::asked_count::<usize>() {
        let mut batches = Batches::new(batches, 1000);
        (0..requests).for_each(|_| batches.frame());
        return;
    }
    println!("{:>8}  {:>8}  {:>16}  {:>18}", "batches", "bytes", "frame, request", "stamp, batch");
    for (count, bytes) in [(1, 100), (1, 16_000), (10, 16_000), (100, 16_000)] {
        let mut batches = Batches::new(count, bytes);
        let frame = measure::each(200_000 / count as u64, |_| batches.frame());
        batches.frame.clear();
        let stamp = measure::each(20_000 / count as u64, |_| batches.stamp());
        let cell = |cost: measure::Cost, each: f64| {
            format!("{:.1} ns ({:.1})", cost.median / each, cost.least / each)
        };
        let (frame, stamp) = (cell(frame, 1.0), cell(stamp, count as f64));
        println!("{count:>8}  {bytes:>8}  {frame:>16}  {stamp:>18}");
    }
    println!("CPU time: median of the rounds (least)");
}
