//! Verdicts that call somebody: the delivery handler, a record's own closure, the interceptors.
//!
//! Owns:     what is kept for each record whose verdict causes a call of its own: the closure, and
//!           the headers that the interceptors are to see.
//! Thread:   the shard's, when a batch has its verdict, before its deliveries have theirs (ACK-2);
//!           the caller's for what interceptors are told about a record that was not taken.
//! Bounds:   as many entries as records with calls of their own were ever under way at once; they
//!           are used again.
//! Never:    calls anybody under a lock; lets a panic of theirs out.
//! Source:   ACK-1 to ACK-8; KAFKA-8830 for the headers.
#![forbid(unsafe_code)]

mod kept;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::delivery::tags::Kind;
use crate::delivery::{CellIndex, Span, Written};
use crate::error::SendError;
use crate::interceptor::throttle::Throttle;
use crate::interceptor::{Chain, Draft, Interceptor};
use crate::record::{Acknowledged, HeaderList, Record, RecordMetadata};
pub(crate) use kept::Owner;
use kept::{Entries, Entry};

/// What became of one record, as callbacks are told it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeliveryReport<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// The partition; None where a record was refused before it had one (ACK-6).
    pub partition: Option<i32>,
    /// Where the record is, or why it was not acknowledged.
    pub verdict: Result<Acknowledged, &'a SendError>,
}

impl DeliveryReport<'_> {
    /// The verdict as a [`Delivery`](crate::Delivery) gives it, to be kept. Allocates nothing.
    ///
    /// # Errors
    /// Why the record was not acknowledged.
    pub fn to_result(&self) -> Result<RecordMetadata, SendError> {
        let Acknowledged { partition, offset, timestamp, .. } =
            self.verdict.map_err(Clone::clone)?;
        Ok(RecordMetadata { topic: Arc::clone(self.topic), partition, offset, timestamp })
    }
}

/// Told the verdict of each record that was submitted, with the number it was submitted with.
pub(crate) type Handler = dyn Fn(u64, &DeliveryReport<'_>) + Send + Sync;

/// What a producer was given to call.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(crate) handler: Option<Arc<Handler>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Hooks");
        out.field("interceptors", &self.interceptors.len());
        out.field("delivery_handler", &self.handler.is_some()).finish()
    }
}

/// The same things to call, not only equal ones.
impl PartialEq for Hooks {
    fn eq(&self, other: &Self) -> bool {
        fn same<T: ?Sized>(one: &Arc<T>, other: &Arc<T>) -> bool {
            std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
        }
        let handlers = match (&self.handler, &other.handler) {
            (Some(one), Some(other)) => same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let pairs = self.interceptors.iter().zip(&other.interceptors);
        handlers
            && self.interceptors.len() == other.interceptors.len()
            && pairs.into_iter().all(|(one, other)| same(one, other))
    }
}

impl Eq for Hooks {}

/// The calls of one producer, as far as its handles need them. The delivery handler is the shards'
/// alone, so that one that holds a topic ends with them.
#[derive(Debug)]
pub(crate) struct Callbacks {
    chain: Chain,
    entries: Entries,
    /// What calls take that show a record to the interceptors; kept for their memory.
    drafts: Mutex<Vec<(Draft, HeaderList)>>,
}

impl Callbacks {
    pub(crate) fn new(interceptors: Vec<Arc<dyn Interceptor>>) -> Self {
        let (chain, entries) = (Chain::new(interceptors), Entries::default());
        Self { chain, entries, drafts: Mutex::default() }
    }

    fn drafts(&self) -> MutexGuard<'_, Vec<(Draft, HeaderList)>> {
        self.drafts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty draft, and an empty list of headers.
    pub(crate) fn draft(&self) -> (Draft, HeaderList) {
        self.drafts().pop().unwrap_or_default()
    }

    /// Takes both back.
    pub(crate) fn give_back(&self, mut draft: Draft, mut headers: HeaderList) {
        draft.clear();
        headers.clear();
        self.drafts().push((draft, headers));
    }

    /// Whether records have to come by [`on_send`](Self::on_send).
    pub(crate) fn has_interceptors(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Keeps a call for the verdict on a record; its number, which is to be left as its tag.
    pub(crate) fn keep(&self, owner: Owner) -> u32 {
        self.entries.insert(owner)
    }

    /// What is kept has not become a record's after all. Drops it here.
    pub(crate) fn release(&self, number: u32) {
        drop(self.entries.take(number, Entry::default()));
    }

    /// The interceptors see a record and may change it; what they change is in the draft.
    ///
    /// # Errors
    /// One of them rejected the record.
    pub(crate) fn on_send(
        &self,
        topic: &Arc<str>,
        record: &Record<'_>,
        draft: &mut Draft,
    ) -> Result<(), SendError> {
        self.chain.on_send(topic, record, draft)
    }

    /// The headers that the interceptors are to see together with the verdict.
    pub(crate) fn keep_headers(&self, number: u32, record: &Record<'_>) {
        self.entries.set_headers(number, record.headers);
    }

    /// The interceptors are told that a record was not taken. On the caller's thread.
    pub(crate) fn not_taken(
        &self,
        topic: &Arc<str>,
        partition: Option<i32>,
        error: &SendError,
        headers: &HeaderList,
    ) {
        let report = DeliveryReport { topic, partition, verdict: Err(error) };
        self.chain.on_acknowledgement(&report, headers);
    }
}

/// What a shard calls when a batch has its verdict.
pub(crate) struct Caller {
    callbacks: Arc<Callbacks>,
    handler: Option<Arc<Handler>>,
    throttle: Throttle,
    /// What takes the place of an entry while its call is made; kept for its memory.
    spare: Entry,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("callbacks", &self.callbacks).finish_non_exhaustive()
    }
}

/// Some records of a cell, and what became of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) cell: CellIndex,
    pub(crate) span: Span,
    /// Records of the batch were left out.
    pub(crate) has_holes: bool,
    pub(crate) outcome: Result<Written, &'a SendError>,
}

impl Caller {
    pub(crate) fn new(callbacks: Arc<Callbacks>, handler: Option<Arc<Handler>>) -> Self {
        let (throttle, spare) = (Throttle::default(), Entry::default());
        Self { callbacks, handler, throttle, spare }
    }

    /// Whether a verdict on records of this cell calls anybody. Two loads.
    #[inline]
    pub(crate) fn is_due(&self, cell: CellIndex) -> bool {
        cell.has_calls(self.handler.is_some())
    }

    /// Whether the verdicts on submitted records are told here, and not by the completion queue.
    pub(crate) fn handles_submitted(&self) -> bool {
        self.handler.is_some()
    }

    /// Makes the calls that are due for these records, in their order (ACK-1). They have no verdict
    /// yet for anyone else.
    #[cold]
    pub(crate) fn tell(&mut self, told: Told<'_>) {
        let Told { cell, span, has_holes, outcome } = told;
        let (topic, partition) = cell.partition();
        let at = clock::now();
        let claimed = if has_holes { cell.claimed(span) } else { span };
        let mut shares = 0;
        for ordinal in claimed.first..claimed.first + claimed.records {
            let Some(due) = cell.take_call(ordinal, self.handler.is_some()) else { continue };
            let place = if has_holes { cell.place(ordinal) } else { ordinal } - span.first;
            let acknowledged =
                |found: Written| found.acknowledged(partition, place, due.timestamp, at);
            let verdict = outcome.map(acknowledged);
            let report = DeliveryReport { topic: &topic, partition: Some(partition), verdict };
            match due.kind {
                Kind::Number(user_data) => {
                    self.handle(user_data, &report);
                    shares += 1;
                }
                Kind::Kept(number) => match self.call(number, &report) {
                    Some(user_data) => cell.leave_to_queue(ordinal, user_data, due.timestamp),
                    None => shares += u32::from(self.spare.has_own_share()),
                },
                Kind::Delivery => {}
            }
            self.spare.clear();
        }
        cell.give_up_called(shares);
    }

    /// Makes the calls of one record. The number under which its verdict is to go to the completion
    /// queue, if it is.
    fn call(&mut self, number: u32, report: &DeliveryReport<'_>) -> Option<u64> {
        let spare = std::mem::take(&mut self.spare);
        self.spare = self.callbacks.entries.take(number, spare);
        // ACK-8: just before the user's own call.
        self.callbacks.chain.on_acknowledgement(report, &self.spare.headers);
        match self.spare.owner.take_closure() {
            Some(closure) => self.shielded("callback", || closure(report)),
            None => match (self.spare.owner.number(), &self.handler) {
                (Some(user_data), Some(_)) => self.handle(user_data, report),
                (number, _) => return number,
            },
        }
        None
    }

    fn handle(&self, user_data: u64, report: &DeliveryReport<'_>) {
        if let Some(handler) = &self.handler {
            self.shielded("delivery handler", || handler(user_data, report));
        }
    }

    /// ACK-4: a call that panics is logged, and the next ones are made.
    fn shielded(&self, what: &'static str, call: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(call)).is_err() {
            self.throttle.log(|missed| tracing::error!(what, missed, "it panicked; records go on"));
        }
    }
}

#[cfg(all(test, not(kuring_loom)))]
mod tests;
