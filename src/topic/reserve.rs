//! Writing in place: the room for a value in its batch, for the caller to fill.
//!
//! Thread:   any; a reservation may be moved to another thread.
//! Never:    waits; copies the value, unless it comes too late for its batch.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::{Blocked, Topic, entry_of};
use crate::accumulator::batch_ring::{Append, Held, Hold, Memory, Vacant};
use crate::accumulator::buffer_pool::Need;
use crate::clock;
use crate::delivery::Delivery;
use crate::error::{SendError, TrySendError};
use crate::protocol::record_batch;
use crate::record::Record;

impl Topic {
    /// Reserves room for a value of `len` bytes in the partition's batch: the caller writes the
    /// value there, and commits it. Nothing is copied. Never blocks and never waits.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let producer = kuring::Producer::builder().bootstrap_servers("localhost:9092").build()?;
    /// let topic = producer.topic("prices");
    /// let mut price = topic.reserve(0, 16)?;
    /// price[..8].copy_from_slice(&7_u64.to_le_bytes());
    /// price[8..].copy_from_slice(&1.25_f64.to_le_bytes());
    /// println!("offset {:?}", price.commit()?.wait()?.offset);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The record stands where it was reserved: behind everything that was sent to the partition
    /// before this call, in front of what is sent after it. For that, its batch waits for it. It
    /// waits `kuring.reserve.max.ms` at most (10 by default), counted from the batch's last
    /// reservation. What is open then is *late*: the batch goes without it, and it takes the place
    /// at which it is committed.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn reserve(&self, partition: i32, len: usize) -> Result<Reservation<'_>, TrySendError> {
        self.reserve_record(Record::new().partition(partition), len)
    }

    /// [`reserve`](Self::reserve) for a record with a key, headers or a timestamp, and in the
    /// partition that these lead to. The record's own value does not count.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn reserve_record(
        &self,
        record: Record<'_>,
        len: usize,
    ) -> Result<Reservation<'_>, TrySendError> {
        match self.hold(&record, len) {
            Ok(held) => Ok(Reservation { topic: self, held }),
            Err(blocked) => Err(self.not_now(blocked)),
        }
    }

    fn hold(&self, record: &Record<'_>, len: usize) -> Result<Held<'_>, Blocked> {
        let count = self.shared.entry.partition_count();
        if count == 0 {
            return Err(self.unknown());
        }
        let key = record.key.map(<[u8]>::len);
        let bytes = record_batch::upper_bound_bytes(key, Some(len), record.headers);
        if bytes > self.producer.record_bytes_sure.get() {
            // Too large, or this is a fork's copy, where nothing is sure to fit.
            self.own_process()?;
            self.check_bytes(bytes)?;
        }
        let timestamp = entry_of(record)?.timestamp;
        let vacant =
            Vacant { key: record.key, value_bytes: len, headers: record.headers, timestamp };
        match self.partition_of(&mut Record { value: None, ..*record }, count)? {
            Some(partition) => match self.hold_in(partition, &vacant, Memory::Try)? {
                Some(hold) => Ok(hold.held),
                None => unreachable!("only Memory::None is answered by Full"),
            },
            None => self.hold_sticky(&vacant, count),
        }
    }

    /// As `append_sticky`.
    fn hold_sticky(&self, vacant: &Vacant<'_>, count: u32) -> Result<Held<'_>, Blocked> {
        let batch_bytes = self.shared.packing.limit();
        let draw = || self.draw(count);
        let mut choice = self.shared.sticky.choice(count, draw);
        let is_due = choice.is_due(batch_bytes);
        let mut memory = if is_due { Memory::None } else { Memory::Try };
        loop {
            if let Some(hold) = self.hold_in(choice.partition, vacant, memory)? {
                self.shared.sticky.appended(choice, hold.bytes, batch_bytes, draw);
                return Ok(hold.held);
            }
            choice = self.shared.sticky.switch(choice, draw());
            memory = Memory::Try;
        }
    }

    /// None: every batch of the partition is full, and `memory` allows no new one.
    fn hold_in(
        &self,
        partition: i32,
        vacant: &Vacant<'_>,
        memory: Memory,
    ) -> Result<Option<Hold<'_>>, Blocked> {
        match self.ring(partition)?.reserve(vacant, memory) {
            Ok(hold) => {
                if hold.opened {
                    self.shared.entry.touch(clock::now_nanos());
                }
                Ok(Some(hold))
            }
            Err(append) => self.placed(partition, append).map(|_| None),
        }
    }

    /// The delivery of an append, if there is one; None when there was no room.
    fn placed(&self, partition: i32, append: Append) -> Result<Option<Delivery>, Blocked> {
        match append {
            Append::Done { delivery, opened, .. } => {
                if opened {
                    self.shared.entry.touch(clock::now_nanos());
                }
                Ok(Some(delivery))
            }
            Append::Full => Ok(None),
            Append::NoMemory(need) => Err(self.blocked(partition, need)),
            Append::NoSlot => Err(self.blocked(partition, Need::default())),
            Append::Closed => Err(self.closed()),
        }
    }
}

/// A record whose value the caller writes in place: the bytes of the value, in the memory that they
/// are sent from. Made by [`Topic::reserve`].
///
/// What the bytes are before they are written is not specified. A reservation that is dropped, also
/// by a panic, was never there: the batch goes without it, and leaves no gap in the offsets. A
/// flush, or a close, counts it when it is committed in time for its batch, and waits no longer.
///
/// Keep it for microseconds. While it lives its batch waits, up to `kuring.reserve.max.ms`, and
/// when that is over its memory stays with it. One that is forgotten ([`std::mem::forget`]) keeps
/// one buffer for good, and delays nobody for longer.
///
/// Borrows its topic, so that it counts no references; a topic in a `static` or a scope serves
/// those that go to other threads. The producer may be closed and dropped meanwhile.
#[must_use = "a reservation that is not committed sends nothing"]
pub struct Reservation<'t> {
    topic: &'t Topic,
    held: Held<'t>,
}

impl Reservation<'_> {
    /// Sends the record, with the value as it is now; the promise of its verdict.
    ///
    /// # Errors
    /// Only of a reservation that is late, which has to find a new place: as
    /// [`Topic::try_send`]. The record was not written. Where the value must not be lost, use
    /// [`try_commit`](Self::try_commit).
    pub fn commit(mut self) -> Result<Delivery, TrySendError> {
        self.try_commit()
    }

    /// As [`commit`](Self::commit), but after an error the reservation is as it was: commit it once
    /// more, or send its bytes otherwise. After a delivery it has no bytes any more.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    ///
    /// # Panics
    /// When it has given a delivery before.
    pub fn try_commit(&mut self) -> Result<Delivery, TrySendError> {
        if self.topic.producer.is_copy() {
            let error = SendError::Forked { possibly_written: false };
            return Err(TrySendError::Rejected(error));
        }
        match self.held.commit() {
            Some(delivery) => Ok(delivery),
            None => self.commit_late(),
        }
    }

    #[cold]
    fn commit_late(&mut self) -> Result<Delivery, TrySendError> {
        let append = self.held.append();
        match self.topic.placed(self.held.partition(), append) {
            Ok(Some(delivery)) => Ok(delivery),
            Ok(None) => unreachable!("only Memory::None is answered by Full"),
            Err(blocked) => Err(self.topic.not_now(blocked)),
        }
    }

    /// Whether the batch has gone without it: committed now, it is copied to another place.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.held.is_evicted()
    }
}

impl Deref for Reservation<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.held.value()
    }
}

impl DerefMut for Reservation<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.held.value_mut()
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Reservation");
        out.field("topic", self.topic.name()).field("partition", &self.held.partition());
        out.field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.topic.producer.is_copy() {
            // The batch is the parent's.
            self.held.forget();
        }
    }
}
