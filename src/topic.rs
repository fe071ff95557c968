//! A handle to one topic: the way of a record from the caller into a batch.
//!
//! Thread:   any; the handle is shared freely.
//! Never:    looks a name up, takes a lock or allocates per record, once the topic is known.
#![forbid(unsafe_code)]

mod calling;
mod intercepted;
mod known;
mod options;
mod pause;
mod place;
mod reserve;
mod rings;
mod sending;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use crate::accumulator::batch_ring::{Append, BatchRing, Entry, Memory};
use crate::accumulator::buffer_pool::Need;
use crate::accumulator::packing::Packing;
use crate::clock;
use crate::config::{Compression, Settings};
use crate::delivery::Delivery;
use crate::delivery::tags::{NoTag, Tag, UserData};
use crate::error::{SendError, TrySendError};
use crate::metadata::TopicEntry;
use crate::park::{self, WouldDeadlock};
use crate::partitioner::{Keys, Rule, Spread, Sticky, Way, partition_of_key};
use crate::producer::Inner;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::record_batch;
use crate::record::Record;

pub use calling::SendingWith;
pub use options::TopicOptions;
pub use reserve::Reservation;
use rings::Rings;
pub use sending::{Sending, Submitting};

/// Bytes of a record beside key, value and headers, with room to spare: below
/// `limit - SURE_TO_FIT - 16 per header` no exact check is needed.
const SURE_TO_FIT: usize = 256;

/// What all handles of a topic share.
#[derive(Debug)]
pub(crate) struct Shared {
    entry: Arc<TopicEntry>,
    rings: Rings,
    sticky: Sticky,
    /// Where records go that name no partition.
    rule: Rule,
    /// What a sticky partition is drawn from.
    spread: Spread,
    packing: Arc<Packing>,
}

impl Shared {
    pub(crate) fn new(entry: Arc<TopicEntry>, settings: &Settings, packing: Arc<Packing>) -> Self {
        let rule = place::rule_of(entry.name(), settings);
        let (sticky, spread) = (Sticky::default(), Spread::default());
        Self { entry, rings: Rings::new(), sticky, rule, spread, packing }
    }
}

/// A topic of one producer. Cheap to clone, shared between threads. Sending through a handle looks
/// no name up.
///
/// A handle does not keep its producer open: after the last [`Producer`](crate::Producer) handle is
/// gone, sending fails with [`SendError::Closed`].
#[derive(Clone, Debug)]
pub struct Topic {
    shared: Arc<Shared>,
    producer: Arc<Inner>,
}

/// Why a record was not taken at once.
enum Blocked {
    Memory {
        shard: usize,
        need: Need,
    },
    Metadata {
        partition: Option<i32>,
    },
    Closed,
    Rejected(SendError),
    /// The interceptors have to see it first.
    Intercepted,
}

/// Bytes that a call has reserved in a shard.
#[derive(Clone, Copy, Debug, Default)]
struct Reserved {
    shard: usize,
    bytes: u64,
    /// The caller can wait, and has not just waited: it may be held back (`Memory::Paced`).
    paced: bool,
}

impl Topic {
    pub(crate) fn new(shared: Arc<Shared>, producer: Arc<Inner>) -> Self {
        Self { shared, producer }
    }

    pub(crate) fn packing(&self) -> &Packing {
        &self.shared.packing
    }

    /// How the topic's batches are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.packing().compression()
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.shared.entry.name()
    }

    /// Sends a record: waits until it is in a batch, at most `max.block.ms` for metadata and memory
    /// together, then returns the promise of its verdict. Records of one partition sent one after
    /// another are written in that order.
    ///
    /// Nothing happens until the future is polled. Cancel-safe: a future that is dropped before it
    /// is ready has sent nothing. Allocates nothing once the topic is known, unless it has to wait
    /// or the record is larger than `batch.size`.
    ///
    /// # Errors
    /// Why the record was not taken; it was not written.
    pub fn send<'a>(&'a self, record: Record<'a>) -> Sending<'a> {
        Sending::new(self, record)
    }

    /// Sends a record without ever blocking or waiting. The record is borrowed: on an error the
    /// caller still has it.
    ///
    /// # Errors
    /// Which of memory and metadata was missing, that the producer is closed, or why the record can
    /// never be sent.
    #[inline]
    pub fn try_send(&self, record: Record<'_>) -> Result<Delivery, TrySendError> {
        match self.append_to_open(&record, NoTag) {
            Some(delivery) => Ok(delivery),
            None => self.try_send_anew(&record, NoTag),
        }
    }

    #[inline(never)]
    fn try_send_anew<T: Tag>(&self, record: &Record<'_>, tag: T) -> Result<Delivery, TrySendError> {
        let mut unplaced = *record;
        let appended = self.append(&mut unplaced, &mut Reserved::default(), tag);
        appended.or_else(|blocked| match blocked {
            Blocked::Intercepted => self.try_send_intercepted(record, tag),
            blocked => Err(self.not_now(blocked)),
        })
    }

    /// What a call that does not wait says of what it would have to wait for.
    #[cold]
    fn not_now(&self, blocked: Blocked) -> TrySendError {
        match blocked {
            Blocked::Memory { .. } => TrySendError::Memory,
            Blocked::Metadata { .. } => {
                self.ask_for_metadata();
                self.refusal().map_or(TrySendError::Metadata, TrySendError::Rejected)
            }
            Blocked::Closed => TrySendError::Closed,
            Blocked::Rejected(error) => TrySendError::Rejected(error),
            Blocked::Intercepted => unreachable!("only of a record that nobody has seen yet"),
        }
    }

    /// [`send`](Self::send) for threads without a runtime: blocks, at most `max.block.ms`.
    ///
    /// # Errors
    /// As [`send`](Self::send). From a waker on a sender thread it does not wait: then what
    /// [`try_send`](Self::try_send) cannot do is [`SendError::OnSenderThread`].
    #[inline]
    pub fn blocking_send(&self, record: Record<'_>) -> Result<Delivery, SendError> {
        match self.append_to_open(&record, NoTag) {
            Some(delivery) => Ok(delivery),
            None => self.blocking_send_anew(&record, NoTag),
        }
    }

    #[inline(never)]
    fn blocking_send_anew<T: Tag>(
        &self,
        record: &Record<'_>,
        tag: T,
    ) -> Result<Delivery, SendError> {
        // A copy, which keeps the answer of a partitioner: it is asked once.
        let mut record = *record;
        let mut reserved = Reserved { paced: true, ..Reserved::default() };
        match self.append(&mut record, &mut reserved, tag) {
            Ok(delivery) => Ok(delivery),
            Err(Blocked::Rejected(error)) => Err(error),
            Err(Blocked::Intercepted) => self.blocking_send_intercepted(&record, tag),
            Err(_) => {
                let mut sending = self.send(record);
                let sent = poll_fn(|context| sending.poll_append(context, tag));
                // A sender thread does not wait to be caught up with: it would wait for itself.
                park::block_on(sent).unwrap_or_else(|WouldDeadlock| {
                    self.try_send_anew(&record, tag).map_err(for_waker)
                })
            }
        }
    }

    /// [`send`](Self::send) for loops that poll their verdicts: the record has no delivery, its
    /// verdict comes out of [`Producer::poll_deliveries`](crate::Producer::poll_deliveries),
    /// together with `user_data`, which means nothing to the producer and need not be unique. A
    /// record that is accepted has exactly one completion. Submitted and sent records may be mixed.
    /// Allocates as `send`, and where a batch has more submitted records than its cell ever had.
    ///
    /// # Errors
    /// As [`send`](Self::send): the record was not taken, and has no completion.
    pub fn submit<'a>(&'a self, record: Record<'a>, user_data: u64) -> Submitting<'a> {
        Submitting::new(self.send(record), user_data)
    }

    /// [`try_send`](Self::try_send) with a completion instead of a delivery, as
    /// [`submit`](Self::submit). Never waits.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): the record was not taken, and has no completion.
    #[inline]
    pub fn try_submit(&self, record: Record<'_>, user_data: u64) -> Result<(), TrySendError> {
        let tag = UserData(user_data);
        let delivery = match self.append_to_open(&record, tag) {
            Some(delivery) => delivery,
            None => self.try_send_anew(&record, tag)?,
        };
        delivery.leave_to_queue();
        Ok(())
    }

    /// [`submit`](Self::submit) for threads without a runtime: blocks, at most `max.block.ms`.
    ///
    /// # Errors
    /// As [`blocking_send`](Self::blocking_send).
    #[inline]
    pub fn blocking_submit(&self, record: Record<'_>, user_data: u64) -> Result<(), SendError> {
        let tag = UserData(user_data);
        let delivery = match self.append_to_open(&record, tag) {
            Some(delivery) => delivery,
            None => self.blocking_send_anew(&record, tag)?,
        };
        delivery.leave_to_queue();
        Ok(())
    }

    /// Sends many records, as [`send`](Self::send) each, but claims room for as many as go to one
    /// batch at once. Their deliveries are pushed to `deliveries`, in order; reuse its memory and
    /// the call allocates nothing. A future that is dropped in the middle has sent as many records
    /// as deliveries were pushed.
    ///
    /// # Errors
    /// Why a record was not taken. The records before it were: as many as deliveries were pushed.
    pub async fn send_batch(
        &self,
        records: &[Record<'_>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), SendError> {
        self.send_batch_as(records, deliveries).await
    }

    /// [`send_batch`](Self::send_batch), with deliveries as the caller wants them.
    pub(crate) async fn send_batch_as<D: From<Delivery>>(
        &self,
        records: &[Record<'_>],
        deliveries: &mut Vec<D>,
    ) -> Result<(), SendError> {
        let mut at = 0;
        while let Some(record) = records.get(at) {
            let taken = self.append_run(&records[at..], deliveries);
            if taken == 0 {
                deliveries.push(self.send(*record).await?.into());
            }
            at += taken.max(1);
        }
        Ok(())
    }

    /// [`send_batch`](Self::send_batch) for threads without a runtime.
    ///
    /// # Errors
    /// As [`send_batch`](Self::send_batch).
    pub fn blocking_send_batch(
        &self,
        records: &[Record<'_>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), SendError> {
        park::block_on(self.send_batch(records, deliveries)).unwrap_or_else(|_| Err(refused()))
    }

    /// The usual case of [`append`](Self::append): the record has no headers, and the batch that is
    /// open has room for it. None: nothing happened.
    #[inline(always)]
    fn append_to_open<T: Tag>(&self, record: &Record<'_>, tag: T) -> Option<Delivery> {
        let (producer, shared) = (&*self.producer, &*self.shared);
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let rough = length(record.key) + length(record.value) + SURE_TO_FIT;
        if !record.headers.is_empty() || rough > producer.record_bytes_sure.get() {
            return None;
        }
        let count = shared.entry.partition_count();
        let timestamp = record.timestamp.unwrap_or_else(clock::wall_ms);
        if timestamp < 0 || count == 0 {
            return None;
        }
        let entry = Entry { key: record.key, value: record.value, headers: &[], timestamp };
        // Without a key, `Otherwise` may have other ways than sticky ones: then nothing is chosen.
        let keys = shared.rule.keys;
        if record.partition.is_none() && (record.key.is_none() || keys == Keys::Ignored) {
            let choice = shared.sticky.standing_choice(count)?;
            let ring = shared.rings.get(choice.partition as u32)?;
            let (delivery, bytes) = ring.append_to_open(&entry, tag)?;
            let batch_bytes = shared.packing.limit();
            shared.sticky.appended(choice, bytes, batch_bytes, || self.draw(count));
            return Some(delivery);
        }
        let partition = match record.partition {
            Some(partition) if (partition as u32) < count => partition,
            Some(_) => return None,
            None if keys == Keys::Murmur2 => partition_of_key(record.key?, count),
            None => shared.rule.partition_of(record.key?, count)?,
        };
        Some(shared.rings.get(partition as u32)?.append_to_open(&entry, tag)?.0)
    }

    fn append<T: Tag>(
        &self,
        record: &mut Record<'_>,
        reserved: &mut Reserved,
        tag: T,
    ) -> Result<Delivery, Blocked> {
        let count = self.shared.entry.partition_count();
        if count == 0 {
            return Err(self.unknown_to::<T>());
        }
        self.check::<T>(record)?;
        let entry = entry_of(record)?;
        if let Some(partition) = self.partition_of(record, count)? {
            let memory = self.memory(reserved, partition);
            return match self.append_to(partition, &entry, memory, reserved, tag)? {
                Appended::Done { delivery, .. } => Ok(delivery),
                Appended::Full => unreachable!("only Memory::None is answered by Full"),
            };
        }
        self.append_sticky(&entry, count, reserved, tag)
    }

    fn append_sticky<T: Tag>(
        &self,
        entry: &Entry<'_>,
        count: u32,
        reserved: &mut Reserved,
        tag: T,
    ) -> Result<Delivery, Blocked> {
        let batch_bytes = self.shared.packing.limit();
        let draw = || self.draw(count);
        let mut choice = self.shared.sticky.choice(count, draw);
        let mut memory = if choice.is_due(batch_bytes) {
            Memory::None
        } else {
            self.memory(reserved, choice.partition)
        };
        loop {
            match self.append_to(choice.partition, entry, memory, reserved, tag)? {
                Appended::Done { delivery, bytes } => {
                    self.shared.sticky.appended(choice, bytes, batch_bytes, draw);
                    return Ok(delivery);
                }
                // STK-5: every batch of the partition is full, so the switch that was due is made.
                Appended::Full => {
                    choice = self.shared.sticky.switch(choice, draw());
                    memory = self.memory(reserved, choice.partition);
                }
            }
        }
    }

    /// The shard of the partition lacks what is needed.
    #[cold]
    fn blocked(&self, partition: i32, need: Need) -> Blocked {
        Blocked::Memory { shard: self.shard_of(partition), need }
    }

    fn shard_of(&self, partition: i32) -> usize {
        self.shared.entry.shard_of(partition, self.producer.shards.len())
    }

    /// The reserved bytes, if they are of the partition's shard.
    #[inline]
    fn memory(&self, reserved: &Reserved, partition: i32) -> Memory {
        if reserved.bytes > 0 && reserved.shard == self.shard_of(partition) {
            Memory::Reserved(reserved.bytes)
        } else if reserved.paced {
            Memory::Paced
        } else {
            Memory::Try
        }
    }

    /// The ring of a partition, made at its first record.
    #[inline]
    fn ring(&self, partition: i32) -> Result<&Arc<BatchRing>, Blocked> {
        let slot = self.shared.rings.slot(partition as u32);
        if let Some(ring) = slot.get() {
            return Ok(ring);
        }
        let accumulator = &self.producer.shards[self.shard_of(partition)].accumulator;
        if self.producer.is_closed() {
            return Err(Blocked::Closed);
        }
        // Made under the slot's lock, so that a partition never has two rings.
        let mut closed = false;
        let packing = &self.shared.packing;
        let made = || accumulator.new_packed_ring(self.name(), partition, packing);
        let ring = slot.get_or_init(|| match made() {
            Some(ring) => ring,
            None => {
                closed = true;
                accumulator.closed_ring(self.name(), partition)
            }
        });
        if closed { Err(Blocked::Closed) } else { Ok(ring) }
    }

    #[inline]
    fn append_to<T: Tag>(
        &self,
        partition: i32,
        entry: &Entry<'_>,
        memory: Memory,
        reserved: &mut Reserved,
        tag: T,
    ) -> Result<Appended, Blocked> {
        match self.ring(partition)?.append_tagged(entry, memory, tag) {
            Append::Done { delivery, bytes, opened, used_reserved } => {
                if opened {
                    self.shared.entry.touch(clock::now_nanos());
                }
                if used_reserved {
                    reserved.bytes = 0;
                }
                Ok(Appended::Done { delivery, bytes })
            }
            Append::Full => Ok(Appended::Full),
            Append::NoMemory(need) => Err(self.blocked(partition, need)),
            Append::NoSlot => Err(self.blocked(partition, Need::default())),
            Append::Closed => Err(self.closed()),
        }
    }

    /// Appends as many of the records as one claim can take; returns how many. 0 when the first
    /// needs the long way.
    fn append_run<D: From<Delivery>>(
        &self,
        records: &[Record<'_>],
        deliveries: &mut Vec<D>,
    ) -> usize {
        let count = self.shared.entry.partition_count();
        let Some(first) = records.first().filter(|_| count > 0) else { return 0 };
        let Ok(way) = self.way(first, count) else { return 0 };
        let usable = |record: &Record<'_>| {
            self.check::<NoTag>(record).is_ok()
                && record.timestamp.is_none_or(|time| time >= 0)
                && matches!(self.way(record, count), Ok(found) if found == way)
        };
        let run = records.iter().take_while(|record| usable(record)).count();
        let (partition, choice) = match way {
            Way::To(partition) => (partition, None),
            Way::Sticky => {
                let choice = self.shared.sticky.choice(count, || self.draw(count));
                (choice.partition, Some(choice))
            }
            Way::Anew => return 0,
        };
        let Ok(ring) = self.ring(partition) else { return 0 };
        let now = clock::wall_ms();
        let entry = |at: usize| entry_at(&records[at], now);
        let (taken, bytes) = ring.append_run(run, entry, deliveries);
        if let Some(choice) = choice
            && taken > 0
        {
            let batch_bytes = self.shared.packing.limit();
            self.shared.sticky.appended(choice, bytes, batch_bytes, || self.draw(count));
        }
        taken
    }

    /// API-1, and that the record can ever fit.
    #[inline]
    fn check<T: Tag>(&self, record: &Record<'_>) -> Result<(), Blocked> {
        let rough = record.payload_bytes() + SURE_TO_FIT + 16 * record.headers.len();
        if rough > self.producer.record_bytes_sure.get() {
            self.check_exactly::<T>(record)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn check_exactly<T: Tag>(&self, record: &Record<'_>) -> Result<(), Blocked> {
        // In a fork's copy nothing is sure to fit, so everything comes by here.
        self.own_process()?;
        // The same where there are interceptors.
        self.seen::<T>()?;
        let length = |field: Option<&[u8]>| field.map(<[u8]>::len);
        let (key, value) = (length(record.key), length(record.value));
        self.check_bytes(record_batch::upper_bound_bytes(key, value, record.headers))
    }

    /// That a record of so many bytes can ever fit.
    fn check_bytes(&self, bytes: usize) -> Result<(), Blocked> {
        let limits = [
            (self.producer.settings.request_bytes_max, "max.request.size"),
            // BUF-5: what could never be reserved is not waited for.
            (self.producer.batch_bytes_max, "buffer.memory"),
        ];
        for (limit, setting) in limits {
            if bytes > limit {
                let limit = limit as u64;
                return Err(Blocked::Rejected(SendError::TooLarge { bytes, limit, setting }));
            }
        }
        Ok(())
    }

    /// That this is no fork's copy of the process that started the producer.
    fn own_process(&self) -> Result<(), SendError> {
        let forked = SendError::Forked { possibly_written: false };
        if self.producer.is_copy() { Err(forked) } else { Ok(()) }
    }

    #[cold]
    fn unknown(&self) -> Blocked {
        if let Err(error) = self.own_process() {
            return Blocked::Rejected(error);
        }
        if self.producer.is_closed() {
            return self.closed();
        }
        if self.producer.cluster.is_unresolved() {
            return Blocked::Rejected(self.unresolved());
        }
        Blocked::Metadata { partition: None }
    }

    /// As `unknown`, but the interceptors see a record before it waits for metadata.
    #[cold]
    fn unknown_to<T: Tag>(&self) -> Blocked {
        match self.unknown() {
            blocked @ Blocked::Metadata { .. } => self.seen::<T>().err().unwrap_or(blocked),
            blocked => blocked,
        }
    }

    /// That interceptors, if there are some, have seen the record.
    fn seen<T: Tag>(&self) -> Result<(), Blocked> {
        let unseen = !T::SEEN && self.producer.callbacks.has_interceptors();
        if unseen { Err(Blocked::Intercepted) } else { Ok(()) }
    }

    /// RBT-7.
    #[cold]
    fn unresolved(&self) -> SendError {
        let servers = self.producer.settings.bootstrap_servers.iter().map(ToString::to_string);
        SendError::Unresolved { servers: servers.collect::<Vec<_>>().join(",").into() }
    }

    #[cold]
    fn closed(&self) -> Blocked {
        if self.producer.shards.iter().any(|shard| shard.has_failed()) {
            return Blocked::Rejected(SendError::SenderFailed { possibly_written: false });
        }
        Blocked::Closed
    }

    fn ask_for_metadata(&self) {
        self.producer.cluster.want(&self.shared.entry, clock::now_nanos());
        self.producer.shards[0].accumulator.nudge();
    }

    /// MD-8: what the brokers said about the topic, where waiting longer would not help. Read once.
    fn refusal(&self) -> Option<SendError> {
        let error = match self.shared.entry.last_error()? {
            ErrorCode::InvalidTopicException => {
                SendError::InvalidTopic { topic: Arc::clone(self.name()) }
            }
            code @ ErrorCode::TopicAuthorizationFailed => SendError::Denied { code },
            _ => return None,
        };
        self.shared.entry.forget_error();
        Some(error)
    }
}

enum Appended {
    Done { delivery: Delivery, bytes: usize },
    Full,
}

/// What a waker on a sender thread is told that wants to wait.
pub(crate) fn refused() -> SendError {
    SendError::OnSenderThread { possibly_written: false }
}

/// What a waker on a sender thread is told by a blocking call, which did not wait.
fn for_waker(error: TrySendError) -> SendError {
    match error {
        TrySendError::Rejected(error) => error,
        TrySendError::Closed => SendError::Closed { possibly_written: false },
        TrySendError::Memory | TrySendError::Metadata => refused(),
    }
}

fn invalid(field: &'static str, value: i64) -> Blocked {
    Blocked::Rejected(SendError::InvalidField { field, value })
}

/// API-2: without a timestamp, the record gets the time at which it goes into its batch.
#[inline]
fn entry_of<'a>(record: &Record<'a>) -> Result<Entry<'a>, Blocked> {
    match record.timestamp {
        Some(time) if time < 0 => Err(invalid("timestamp", time)),
        Some(time) => Ok(entry_at(record, time)),
        None => Ok(entry_at(record, clock::wall_ms())),
    }
}

#[inline]
fn entry_at<'a>(record: &Record<'a>, now: i64) -> Entry<'a> {
    Entry {
        key: record.key,
        value: record.value,
        headers: record.headers,
        timestamp: record.timestamp.unwrap_or(now),
    }
}

impl From<SendError> for Blocked {
    fn from(error: SendError) -> Self {
        Self::Rejected(error)
    }
}

impl Inner {
    /// Whether this is a fork's copy of the process that started the producer.
    pub(crate) fn is_copy(&self) -> bool {
        self.record_bytes_sure.is_copy()
    }

    /// Whether `close` was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}
