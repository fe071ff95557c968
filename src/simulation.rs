//! A whole producer without threads: its shards are stepped from outside, over drivers that the
//! caller supplies, at a time that the caller sets. For the project's own simulator only.
//!
//! Owns:     nothing of its own: handles, accumulators, senders and turns are the real ones.
//! Thread:   the caller's, for everything: clocks and sticky choices are set per thread.
//! Never:    reads a real clock or draws a real random number, once both are set.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::accumulator::Accumulator;
use crate::config::Settings;
use crate::driver::Driver;
use crate::producer::{Inner, Producer, StartError};
use crate::shard::compressor::{Compressor, Held};
use crate::shard::{Start, Turn};

pub use crate::clock::simulated as clock;
pub use crate::delivery::cells_in_use;
pub use crate::partitioner::sticky::simulate as application_thread;

/// A shard that waits for its steps.
pub struct SimulatedShard<D: Driver> {
    turn: Turn<D>,
    accumulator: Arc<Accumulator>,
}

impl<D: Driver> SimulatedShard<D> {
    fn new(start: Start, driver: D) -> Self {
        let accumulator = Arc::clone(&start.shards[start.number].accumulator);
        let mut turn = Turn::new(start, driver);
        turn.set_compressor(Compressor::Held(Held::default()));
        Self { turn, accumulator }
    }

    /// One round of the shard's loop, the driver's `wait` at its end included. True when the shard
    /// is closed: then [`end`](Self::end) is due.
    pub fn step(&mut self) -> bool {
        self.turn.turn()
    }

    /// What the shard's thread does after a panic of its loop; [`end`](Self::end) is due.
    pub fn fail(&mut self) {
        self.turn.fail();
    }

    /// The end of the shard's thread.
    pub fn end(self) {
        self.turn.end();
    }

    /// Jobs that wait at the shard's compressor.
    pub fn jobs(&mut self) -> usize {
        self.turn.held_jobs().waiting()
    }

    /// Lets the compressor finish one of them, and the shard know.
    pub fn finish_job(&mut self, at: usize) {
        self.turn.held_jobs().finish(at);
        self.accumulator.nudge();
    }

    /// The shard's memory.
    pub fn accumulator(&self) -> &Arc<Accumulator> {
        &self.accumulator
    }
}

/// How many records have their verdict; [`Producer::metrics`] tells too, with everything else.
pub fn verdicts(producer: &Producer) -> u64 {
    let summary = producer.inner().summary();
    summary.acknowledged + summary.failed + summary.possibly_written
}

/// A producer of as many shards as there are seeds. `open` makes the driver of each.
///
/// # Errors
/// As [`Producer::start`].
pub fn producer<D: Driver>(
    settings: Settings,
    bootstrap: &[SocketAddr],
    seeds: &[u64],
    mut open: impl FnMut(usize) -> D,
) -> Result<(Producer, Vec<SimulatedShard<D>>), StartError> {
    let server = |address: &SocketAddr| {
        (Arc::from(address.ip().to_string()), address.port(), vec![*address])
    };
    let placement = seeds.iter().map(|seed| (None, *seed)).collect();
    let (inner, starts) = Inner::new(settings, bootstrap.iter().map(server).collect(), placement)?;
    let shards = starts.into_iter().map(|start| {
        let driver = open(start.number);
        SimulatedShard::new(start, driver)
    });
    let shards = shards.collect();
    Ok((Producer::of(inner), shards))
}

/// The part of [`Producer::close`] that does not wait. The producer is closed when all its shards
/// have ended; `close` then returns at once.
pub fn start_close(producer: &Producer, patience: Duration) {
    producer.inner().start_close(patience);
}

/// The part of [`Producer::abort`] that does not wait.
pub fn start_abort(producer: &Producer) {
    producer.inner().start_abort();
}
