//! The deliveries of one thread that have not been looked at, in the order of sending.
//!
//! They lie in chunks, and the chunk that was emptied last is filled next: as long as few records
//! are outstanding, the same few kilobytes are used again and stay in the cache. A ring would walk
//! through all its memory (that cost 10 ns a record).
//!
//! Bounds:   `CHUNKS_MAX * CHUNK_RECORDS` deliveries of all threads together, room for which is
//!           made at the start.
//! Never:    allocates after `new`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use kuring::Delivery;

use super::stats::Stats;

/// Records between two looks at the verdicts and at the clock.
pub(super) const CHUNK_RECORDS: usize = 256;
/// Chunks of all threads: half a million records, more 100-byte ones than the default buffer.memory
/// holds. It is memory that holds a sender back, not this.
const CHUNKS_MAX: usize = 2048;
/// Chunks of a thread among so many that its share would be less: enough to fill one and settle
/// others.
const CHUNKS_MIN: usize = 8;

/// Some records, one after another.
pub(super) struct Chunk {
    deliveries: Vec<Delivery>,
    /// Empty when all values have the same size.
    bytes: Vec<u32>,
    /// Which records are timed, and since when.
    starts: Vec<(usize, Instant)>,
    /// None of them is a warm-up record.
    is_steady: bool,
    settled: usize,
    starts_settled: usize,
}

impl Chunk {
    fn new() -> Self {
        Self {
            deliveries: Vec::with_capacity(CHUNK_RECORDS),
            bytes: Vec::with_capacity(CHUNK_RECORDS),
            starts: Vec::with_capacity(CHUNK_RECORDS),
            is_steady: false,
            settled: 0,
            starts_settled: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.deliveries.push(delivery);
    }

    /// The size of the value that was pushed last.
    #[inline]
    pub(super) fn push_bytes(&mut self, bytes: u32) {
        self.bytes.push(bytes);
    }

    /// Times the record that is pushed next.
    #[inline]
    pub(super) fn time_next(&mut self, start: Instant) {
        self.starts.push((self.deliveries.len(), start));
    }

    /// Takes back what `time_next` said: that record was not accepted.
    pub(super) fn forget_next(&mut self) {
        self.starts.pop_if(|(index, _)| *index == self.deliveries.len());
    }

    fn clear(&mut self) {
        self.deliveries.clear();
        self.bytes.clear();
        self.starts.clear();
        (self.settled, self.starts_settled) = (0, 0);
    }

    /// Counts the verdicts that are there; true when that was all of them.
    fn settle(&mut self, value_bytes: u32, stats: &mut Stats) -> bool {
        let (mut count, mut bytes) = (0, 0);
        while let Some(delivery) = self.deliveries.get(self.settled) {
            let Some(verdict) = delivery.verdict() else { break };
            let timed = self.starts.get(self.starts_settled);
            let start = timed.filter(|(index, _)| *index == self.settled).map(|(_, start)| start);
            self.starts_settled += usize::from(start.is_some());
            match verdict {
                Ok(acknowledged) => {
                    let size = self.bytes.get(self.settled).copied().unwrap_or(value_bytes);
                    (count, bytes) = (count + 1, bytes + u64::from(size));
                    if let Some(start) = start {
                        let latency = acknowledged.at.saturating_duration_since(*start);
                        stats.add_latency(latency, self.is_steady);
                    }
                }
                Err(error) => stats.fail(error.kind_name()),
            }
            self.settled += 1;
        }
        stats.add(count, bytes, self.is_steady);
        self.settled == self.deliveries.len()
    }
}

pub(super) struct Outstanding {
    chunks: VecDeque<Chunk>,
    free: Vec<Chunk>,
    /// The size of every value whose own was not pushed.
    value_bytes: u32,
    waker: Waker,
}

/// Wakes the thread that waits for a delivery.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Outstanding {
    /// For the calling thread, one of `threads`, which is the one that is woken.
    pub(super) fn new(value_bytes: u32, threads: u64) -> Self {
        let share = usize::try_from(threads).map_or(0, |threads| CHUNKS_MAX / threads.max(1));
        let chunks = share.max(CHUNKS_MIN);
        Self {
            chunks: VecDeque::with_capacity(chunks),
            free: (0..chunks).map(|_| Chunk::new()).collect(),
            value_bytes,
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
        }
    }

    /// An empty chunk to fill; `None` when the oldest must be settled first.
    pub(super) fn open(&mut self, is_steady: bool) -> Option<Chunk> {
        let mut chunk = self.free.pop()?;
        chunk.is_steady = is_steady;
        Some(chunk)
    }

    /// Takes a chunk back, filled as far as it was.
    pub(super) fn close(&mut self, chunk: Chunk) {
        self.chunks.push_back(chunk);
    }

    /// Counts the verdicts that are there, oldest first, up to the first that is not.
    pub(super) fn settle(&mut self, stats: &mut Stats) {
        while let Some(chunk) = self.chunks.front_mut()
            && chunk.settle(self.value_bytes, stats)
        {
            chunk.clear();
            self.free.extend(self.chunks.pop_front());
        }
    }

    /// Blocks until the oldest delivery has its verdict; false when there is none.
    pub(super) fn wait(&mut self) -> bool {
        let Some(chunk) = self.chunks.front_mut() else { return false };
        let Some(delivery) = chunk.deliveries.get_mut(chunk.settled) else { return true };
        let mut context = Context::from_waker(&self.waker);
        while Pin::new(&mut *delivery).poll(&mut context).is_pending() {
            std::thread::park();
        }
        true
    }
}
