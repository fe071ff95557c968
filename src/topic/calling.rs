//! Records with a closure of their own for their verdict.
//!
//! Thread:   the sends are the caller's; the closure runs on the sender thread.
//! Bounds:   one allocation for each closure that holds something.
//! Never:    calls a closure of a record that was not taken: the call's error says so.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Sending, Topic};
use crate::callback::{DeliveryReport, Owner};
use crate::delivery::tags::Kept;
use crate::error::{SendError, TrySendError};
use crate::record::Record;

/// A closure that is kept for a verdict; it goes unless its record is taken.
#[derive(Debug)]
struct Closure<'t> {
    topic: &'t Topic,
    number: Option<u32>,
}

impl<'t> Closure<'t> {
    fn keep(
        topic: &'t Topic,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<Self, SendError> {
        // In a fork's copy a lock may be held for ever.
        topic.own_process()?;
        let number = topic.producer.callbacks.keep(Owner::Closure(Box::new(call)));
        Ok(Self { topic, number: Some(number) })
    }

    fn tag(&self) -> Kept<false> {
        Kept(self.number.expect("a closure is kept until its record is taken"))
    }

    /// The record is in a batch: its verdict makes the call.
    fn taken(mut self) {
        self.number = None;
    }
}

impl Drop for Closure<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number
            && !self.topic.producer.is_copy()
        {
            self.topic.producer.callbacks.release(number);
        }
    }
}

impl Topic {
    /// [`send`](Self::send) with a closure instead of a delivery: it is called with the record's
    /// verdict, exactly once, if the record is accepted.
    ///
    /// It runs on the sender thread (in a turn of an embedded producer), in the order of the
    /// records of a partition as far as their verdicts come in it (ACK-1), before a flush or close
    /// that waits for the record is over (ACK-3). While it runs nothing goes out and nothing comes
    /// in: it may not take long. Calls that would wait are refused there
    /// ([`SendError::OnSenderThread`]); to send from it is allowed. A panic of it is logged, and
    /// the next ones are called (ACK-4).
    ///
    /// Allocates once per record, for a closure that holds anything: where that is too much, see
    /// [`submit`](Self::submit) and
    /// [`delivery_handler`](crate::ConfigBuilder::delivery_handler). Cancel-safe: a future that is
    /// dropped before it is ready has sent nothing, and the closure is dropped.
    ///
    /// ```no_run
    /// # async fn example(topic: kuring::Topic) -> Result<(), kuring::SendError> {
    /// use kuring::Record;
    /// topic
    ///     .send_with(Record::new().value("clicked"), |report| match report.verdict {
    ///         Ok(place) => println!("{} {:?}", place.partition, place.offset),
    ///         Err(error) => eprintln!("{error}"),
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send): the record was not taken, and the closure is dropped.
    pub fn send_with<'a>(
        &'a self,
        record: Record<'a>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> SendingWith<'a> {
        let (closure, refused) = match Closure::keep(self, call) {
            Ok(closure) => (Some(closure), None),
            Err(error) => (None, Some(error)),
        };
        SendingWith { sending: self.send(record), closure, refused }
    }

    /// [`try_send`](Self::try_send) with a closure instead of a delivery, as
    /// [`send_with`](Self::send_with). Never waits.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): the record was not taken, and the closure is dropped.
    pub fn try_send_with(
        &self,
        record: Record<'_>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TrySendError> {
        let closure = Closure::keep(self, call)?;
        self.try_send_anew(&record, closure.tag())?.leave_to_queue();
        closure.taken();
        Ok(())
    }

    /// [`send_with`](Self::send_with) for threads without a runtime: blocks, at most
    /// `max.block.ms`.
    ///
    /// # Errors
    /// As [`blocking_send`](Self::blocking_send): the record was not taken, and the closure is
    /// dropped.
    pub fn blocking_send_with(
        &self,
        record: Record<'_>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), SendError> {
        let closure = Closure::keep(self, call)?;
        self.blocking_send_anew(&record, closure.tag())?.leave_to_queue();
        closure.taken();
        Ok(())
    }
}

/// The future of [`Topic::send_with`]. Needs no runtime. Cancel-safe: dropped before it is ready,
/// it has sent nothing. The record's borrows last as long as it does.
#[derive(Debug)]
#[must_use = "a record is sent when the future is polled"]
pub struct SendingWith<'a> {
    sending: Sending<'a>,
    closure: Option<Closure<'a>>,
    refused: Option<SendError>,
}

impl Future for SendingWith<'_> {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refused.take() {
            return Poll::Ready(Err(error));
        }
        let tag = self.closure.as_ref().expect("polled again after it was ready").tag();
        let sent = std::task::ready!(self.sending.poll_append(context, tag));
        let closure = self.closure.take();
        sent?.leave_to_queue();
        closure.into_iter().for_each(Closure::taken);
        Poll::Ready(Ok(()))
    }
}
