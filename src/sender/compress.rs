//! Batches of compressed topics on their way to a compressor and back.
//!
//! Owns:     the line of batches that wait for it, and the memory of the jobs.
//! Bounds:   [`JOBS_MAX`] jobs are out at once; the memory of as many is kept.
//! Never:    compresses: whoever runs the shard does, on a thread of its own where there is one.
//! Source:   DESIGN.md 14.4; EST-2, SPL-4 of the Java producer.
//!
//! A batch takes its place in its partition's queue as soon as it is sealed, and is held there
//! until it is compressed; only then it can be sent, or anything behind it. So jobs may come back
//! in any order, and a partition's batches leave in the order of its ring.
//!
//! A job holds a loan of its batch. A batch that gets its verdict meanwhile, because it expired or
//! the producer was closed, keeps its memory until the job is back.
//!
//! `Wanted ─poll_compression─► Away ─handle_compressed─► Done`
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Instant;

use super::Sender;
use super::batches::Packed;
use crate::accumulator::buffer_pool::Loan;
use crate::protocol::compression::{Codec, CodecError, Compression, Encoder};
use crate::protocol::record_batch::HEADER_BYTES;

/// Jobs that are out at once: enough that a compressor finds the next one when it is done with one.
pub const JOBS_MAX: usize = 8;

/// The records of one batch, to be compressed.
#[derive(Debug)]
pub struct Job {
    batch: u32,
    compression: Compression,
    loan: Loan,
    packed: Vec<u8>,
    outcome: Result<(), CodecError>,
    /// Whether a test wants it to panic.
    breaks: bool,
}

impl Job {
    /// Compresses. Any thread; takes some microseconds to many milliseconds, by codec and level.
    pub fn run(&mut self, encoder: &mut Encoder) {
        assert!(!self.breaks, "on purpose: a test broke this codec");
        self.outcome = encoder.encode(self.compression, self.loan.bytes(), &mut self.packed);
    }

    /// Nobody could run it: the batch is sent as it is.
    pub fn give_up(&mut self) {
        self.outcome = Err(CodecError::Failed(self.compression.into()));
    }
}

/// What waits for the compressor.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Batches in the order in which they were sealed. Some may be gone, or others by now.
    waiting: VecDeque<u32>,
    away: usize,
    /// Partitions of batches that are back, and perhaps not in their place yet.
    packed: Vec<u32>,
    /// Spare memory, so that the steady state allocates nothing.
    spare: Vec<Vec<u8>>,
    /// Jobs that a test wants to panic.
    breaks: u32,
}

impl Line {
    /// Jobs that are out.
    pub(super) fn away(&self) -> usize {
        self.away
    }
}

impl Sender {
    /// The batch is compressed before it is sent, if its topic's are.
    #[inline]
    pub(super) fn want_compression(&mut self, batch: u32, index: u32) {
        if self.partitions[index as usize].ring.packing().compression().is_some() {
            self.batches.get_mut(batch).packed = Packed::Wanted;
            self.line.waiting.push_back(batch);
        }
    }

    /// A batch to be compressed, if there is one: run the job and bring it to
    /// [`handle_compressed`](Self::handle_compressed), in whatever order.
    #[inline]
    pub fn poll_compression(&mut self) -> Option<Job> {
        if self.line.waiting.is_empty() { None } else { self.next_job() }
    }

    /// So many of the next jobs panic when they are run.
    pub fn break_codec(&mut self, jobs: u32) {
        self.line.breaks = jobs;
    }

    fn next_job(&mut self) -> Option<Job> {
        while self.line.away < JOBS_MAX {
            let batch = self.line.waiting.pop_front()?;
            let Some(state) = self.batches.find(batch) else { continue };
            if state.packed != Packed::Wanted || state.resolved {
                // Its place in the table is another batch's by now, or it needs no compression.
                continue;
            }
            let ring = &self.partitions[state.partition as usize].ring;
            let compression = ring.packing().compression();
            let loan = self.accumulator.lend_records(&state.sealed);
            let packed = self.line.spare.pop().unwrap_or_default();
            self.batches.get_mut(batch).packed = Packed::Away;
            self.line.away += 1;
            let breaks = self.line.breaks > 0;
            self.line.breaks -= u32::from(breaks);
            return Some(Job { batch, compression, loan, packed, outcome: Ok(()), breaks });
        }
        None
    }

    /// A job is back; [`place_compressed`](Self::place_compressed) follows in the same turn.
    pub fn handle_compressed(&mut self, job: Job) {
        let Job { batch, compression, loan, packed, outcome, .. } = job;
        drop(loan);
        self.line.away -= 1;
        let state = self.batches.get_mut(batch);
        debug_assert_eq!(state.packed, Packed::Away, "a batch is in its place while it is lent");
        state.packed = Packed::Done;
        let (partition, is_resolved) = (state.partition, state.resolved);
        if is_resolved {
            self.release_if_over(batch);
        } else if let Err(error) = outcome {
            tracing::error!(%error, "a batch is sent without compression");
        } else {
            self.pack(batch, compression, &packed);
        }
        self.line.spare.push(packed);
        self.line.packed.push(partition);
    }

    /// Sends what [`handle_compressed`](Self::handle_compressed) has brought: all of it first takes
    /// its place, so that it shares requests.
    #[inline]
    pub fn place_compressed(&mut self, now: Instant) {
        if !self.line.packed.is_empty() {
            self.place_packed(now);
        }
    }

    fn place_packed(&mut self, now: Instant) {
        let mut packed = std::mem::take(&mut self.line.packed);
        packed.retain_mut(|at| match self.line_up(*at, now) {
            Some(leader) => {
                *at = leader;
                true
            }
            None => false,
        });
        packed.drain(..).for_each(|leader| self.pump(leader, now));
        self.line.packed = packed;
    }

    /// The batch has its compressed records, if these are the smaller ones.
    fn pack(&mut self, batch: u32, compression: Compression, records: &[u8]) {
        let state = self.batches.get(batch);
        let (plain, is_alone) = (state.sealed, state.piece.is_none());
        let partition = &mut self.partitions[state.partition as usize];
        let plain_records = plain.plain_bytes as usize - HEADER_BYTES;
        partition.ring.packing().observe(plain_records, records.len());
        self.meters.own.compressed.add(1);
        if records.len() >= plain_records {
            return;
        }
        let packed = self.accumulator.pack(&plain, Codec::from(compression), records, is_alone);
        let index = packed.index.0;
        self.batches.get_mut(batch).sealed = packed;
        if index != batch {
            self.batches.rename(batch, index);
            // Only pieces are in other lists as well, and these do not move.
            let at = partition.queue.iter().position(|queued| *queued == batch);
            partition.queue[at.expect("a batch without verdict waits in its queue")] = index;
        }
    }
}
