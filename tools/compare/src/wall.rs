//! The wall: the least a producer can do. One thread, no ring, no hand-over, no deliveries.
//!
//! It encodes records into batches, checksums them and writes requests of one batch for each
//! partition, four in flight. What it costs is what no client can go below; `encode: false`
//! writes the same bytes again, which leaves the kernel's share alone.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;

use compare_measure::{Outcome, Plan, Sender, value};

use crate::wire::{self, Batch};

/// Requests unanswered at once.
const IN_FLIGHT_MAX: usize = 4;

/// Kafka's default batch.size.
const BATCH_SIZE_DEFAULT: usize = 16_384;

/// Any time will do; a clock read for each batch would not show.
const TIMESTAMP_MS: i64 = 1_750_000_000_000;

/// One request's bytes, kept until its answer came.
struct Request {
    batches: Vec<Batch>,
    records: u64,
}

pub(crate) struct Wall {
    stream: TcpStream,
    topic: String,
    value: Vec<u8>,
    encode: bool,
    requests: Vec<Request>,
    /// Records in a request whose batches are all full.
    request_records: u64,
    /// (correlation id, records) of each unanswered request, oldest first.
    unanswered: VecDeque<(i32, u64)>,
    sequences: Vec<i32>,
    sent_requests: u64,
    acknowledged: u64,
    answer: Vec<u8>,
}

impl Wall {
    pub(crate) fn connect(plan: &Plan, encode: bool) -> Outcome<Self> {
        let stream = TcpStream::connect(&plan.bootstrap)?;
        stream.set_nodelay(true)?;
        let batch_bytes = plan.batch_size.unwrap_or(BATCH_SIZE_DEFAULT);
        let request = || Request {
            batches: (0..plan.partitions).map(|_| Batch::new(batch_bytes, plan.size)).collect(),
            records: 0,
        };
        let mut wall = Self {
            stream,
            topic: plan.topic.clone(),
            value: value(plan.size),
            encode,
            requests: (0..IN_FLIGHT_MAX).map(|_| request()).collect(),
            request_records: 0,
            unanswered: VecDeque::new(),
            sequences: vec![0; plan.partitions as usize],
            sent_requests: 0,
            acknowledged: 0,
            answer: Vec::new(),
        };
        for slot in 0..IN_FLIGHT_MAX {
            wall.fill(slot, u64::MAX);
        }
        wall.request_records = wall.requests[0].records;
        wall.sequences.fill(0);
        Ok(wall)
    }

    /// Encodes up to `limit` records into a slot, partition after partition.
    fn fill(&mut self, slot: usize, limit: u64) {
        let request = &mut self.requests[slot];
        request.records = 0;
        for (partition, batch) in request.batches.iter_mut().enumerate() {
            batch.open();
            while request.records < limit && batch.append(&self.value) {
                request.records += 1;
            }
            let sequence = &mut self.sequences[partition];
            batch.seal(partition as u32, TIMESTAMP_MS, *sequence);
            *sequence = sequence.wrapping_add(batch.count()) & i32::MAX;
        }
    }

    fn write(&mut self, slot: usize) -> Outcome<u64> {
        let correlation = (self.sent_requests & 0x7fff_ffff) as i32;
        let request = &self.requests[slot];
        let used = request.batches.iter().take_while(|batch| batch.count() > 0).count();
        let batches = &request.batches[..used];
        let head = wire::produce_head(correlation, &self.topic, batches);
        let mut slices = vec![IoSlice::new(&head)];
        slices.extend(batches.iter().map(|batch| IoSlice::new(batch.bytes())));
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            let written = self.stream.write_vectored(rest)?;
            IoSlice::advance_slices(&mut rest, written);
        }
        self.sent_requests += 1;
        self.unanswered.push_back((correlation, request.records));
        Ok(request.records)
    }

    fn read(&mut self) -> Outcome<()> {
        let (correlation, records) = self.unanswered.pop_front().ok_or("nothing to wait for")?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = usize::try_from(i32::from_be_bytes(size))?;
        if size > 1 << 20 {
            return Err(format!("an answer of {size} bytes").into());
        }
        self.answer.resize(size, 0);
        self.stream.read_exact(&mut self.answer)?;
        wire::check_produce_answer(&self.answer, correlation)?;
        self.acknowledged += records;
        Ok(())
    }
}

impl Sender for Wall {
    fn send(&mut self, count: u64) -> Outcome<()> {
        let mut rest = count;
        while rest > 0 {
            if self.unanswered.len() == IN_FLIGHT_MAX {
                self.read()?;
            }
            let slot = (self.sent_requests % IN_FLIGHT_MAX as u64) as usize;
            // Without encoding, only a request of another size than the slot holds is made anew.
            if self.encode || self.requests[slot].records != rest.min(self.request_records) {
                self.fill(slot, rest);
            }
            rest -= self.write(slot)?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        while !self.unanswered.is_empty() {
            self.read()?;
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn requests(&self) -> Option<u64> {
        Some(self.sent_requests)
    }
}
