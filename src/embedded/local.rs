//! Handles that stay on the thread of their shard.
//!
//! A record that is sent from another thread would have to wake the loop, which no handle does. So
//! these are the handles of a producer with threads, in a wrapper that is not `Send`, and without
//! the calls that would block the loop.
#![forbid(unsafe_code)]

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::callback::DeliveryReport;
use crate::config::Compression;
use crate::delivery::Delivery;
use crate::error::{SendError, TrySendError};
use crate::record::{Acknowledged, Record};
use crate::topic::{SendingWith, Submitting, Topic};

/// Something of an [`Embedded`](super::Embedded) producer, on its thread.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Local<T> {
    pub(super) inner: T,
    stays: PhantomData<Rc<()>>,
}

impl<T> Local<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, stays: PhantomData }
    }
}

impl<T: Future + Unpin> Future for Local<T> {
    type Output = T::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// The promise for one record of an embedded producer: as [`Delivery`], on its thread.
impl Local<Delivery> {
    /// Whether the verdict is there.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    /// The verdict, if it is there: [`Delivery::verdict`].
    #[must_use]
    pub fn verdict(&self) -> Option<Result<Acknowledged, SendError>> {
        self.inner.verdict()
    }
}

impl From<Delivery> for Local<Delivery> {
    fn from(delivery: Delivery) -> Self {
        Self::new(delivery)
    }
}

/// The future of [`LocalTopic::send`].
#[derive(Debug)]
#[must_use = "a record is sent when the future is polled"]
pub struct LocalSending<'a>(Local<crate::topic::Sending<'a>>);

impl Future for LocalSending<'_> {
    type Output = Result<Local<Delivery>, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_ok(Local::new)
    }
}

/// A topic of an [`Embedded`](super::Embedded) producer. Cheap to clone; stays on its thread. It
/// does not keep its producer open.
#[derive(Clone, Debug)]
pub struct LocalTopic {
    pub(super) topic: Topic,
    stays: PhantomData<Rc<()>>,
}

impl LocalTopic {
    pub(super) fn new(topic: Topic) -> Self {
        Self { topic, stays: PhantomData }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.topic.name()
    }

    /// How the topic's batches are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.topic.compression()
    }

    /// Holds the topic's records back: [`Topic::pause`].
    pub fn pause(&self) {
        self.topic.pause();
    }

    /// Lets them go, with the next turn: [`Topic::resume`].
    pub fn resume(&self) {
        self.topic.resume();
    }

    /// Whether they are held back.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.topic.is_paused()
    }

    /// Sends a record without ever waiting: [`Topic::try_send`]. It leaves with one of the next
    /// turns. Up to 64 batches of a partition fit between two turns, and `buffer.memory` in all;
    /// then this says [`TrySendError::Memory`] until there was a turn.
    ///
    /// # Errors
    /// As [`Topic::try_send`].
    pub fn try_send(&self, record: Record<'_>) -> Result<Local<Delivery>, TrySendError> {
        self.topic.try_send(record).map(Local::new)
    }

    /// [`try_send`](Self::try_send) with a completion instead of a delivery:
    /// [`Topic::try_submit`].
    ///
    /// # Errors
    /// As [`Topic::try_submit`].
    pub fn try_submit(&self, record: Record<'_>, user_data: u64) -> Result<(), TrySendError> {
        self.topic.try_submit(record, user_data)
    }

    /// [`try_send`](Self::try_send) with a closure instead of a delivery, which a turn calls:
    /// [`Topic::try_send_with`].
    ///
    /// # Errors
    /// As [`Topic::try_send_with`].
    pub fn try_send_with(
        &self,
        record: Record<'_>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TrySendError> {
        self.topic.try_send_with(record, call)
    }

    /// Sends a record: [`Topic::send`]. Where it has to wait, for memory or for metadata, something
    /// else has to run the turns. Cancel-safe.
    ///
    /// # Errors
    /// As [`Topic::send`].
    pub fn send<'a>(&'a self, record: Record<'a>) -> LocalSending<'a> {
        LocalSending(Local::new(self.topic.send(record)))
    }

    /// [`send`](Self::send) with a completion instead of a delivery: [`Topic::submit`].
    ///
    /// # Errors
    /// As [`Topic::submit`].
    pub fn submit<'a>(&'a self, record: Record<'a>, user_data: u64) -> Local<Submitting<'a>> {
        Local::new(self.topic.submit(record, user_data))
    }

    /// [`send`](Self::send) with a closure instead of a delivery, which a turn calls:
    /// [`Topic::send_with`].
    ///
    /// # Errors
    /// As [`Topic::send_with`].
    pub fn send_with<'a>(
        &'a self,
        record: Record<'a>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Local<SendingWith<'a>> {
        Local::new(self.topic.send_with(record, call))
    }

    /// Sends many records, several at once: [`Topic::send_batch`]. Where it has to wait, something
    /// else has to run the turns.
    ///
    /// # Errors
    /// As [`Topic::send_batch`].
    pub async fn send_batch(
        &self,
        records: &[Record<'_>],
        deliveries: &mut Vec<Local<Delivery>>,
    ) -> Result<(), SendError> {
        self.topic.send_batch_as(records, deliveries).await
    }
}
