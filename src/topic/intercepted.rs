//! The way of a record when there are interceptors: they see it first, then it is sent as usual, as
//! the record that they made of it.
//!
//! Thread:   the caller's.
//! Bounds:   one draft for each call that is under way, and one allocation for each awaited send.
//! Never:    passed by without interceptors.
#![forbid(unsafe_code)]

use std::fmt;
use std::task::{Context, Poll};

use super::{Sending, Topic};
use crate::callback::Owner;
use crate::delivery::Delivery;
use crate::delivery::tags::{Kept, Kind, Tag};
use crate::error::{SendError, TrySendError};
use crate::interceptor::Draft;
use crate::partitioner::Way;
use crate::record::{HeaderList, Record};

/// A record between `on_send` and its batch. Whatever becomes of it, the interceptors are told
/// once: by its verdict if it is sent, or else here.
struct Passage<'t> {
    topic: &'t Topic,
    /// Of what is kept for the verdict.
    number: u32,
    /// `send_with` keeps it, and lets it go.
    is_borrowed: bool,
    draft: Draft,
    headers: HeaderList,
    partition: Option<i32>,
    is_over: bool,
}

impl<'t> Passage<'t> {
    /// The interceptors see the record.
    fn start<T: Tag>(topic: &'t Topic, record: &Record<'_>, tag: T) -> Result<Self, SendError> {
        let callbacks = &topic.producer.callbacks;
        let (number, is_borrowed) = match tag.kind() {
            Kind::Kept(number) => (number, true),
            Kind::Number(user_data) => (callbacks.keep(Owner::Number(user_data)), false),
            Kind::Delivery => (callbacks.keep(Owner::Delivery), false),
        };
        let (draft, headers) = callbacks.draft();
        let mut passage = Self {
            topic,
            number,
            is_borrowed,
            draft,
            headers,
            partition: record.partition,
            is_over: false,
        };
        let seen = callbacks.on_send(topic.name(), record, &mut passage.draft);
        passage.keep_headers(record);
        match seen {
            Ok(()) => Ok(passage),
            Err(error) => {
                passage.fail(&error);
                Err(error)
            }
        }
    }

    fn keep_headers(&mut self, plain: &Record<'_>) {
        let Self { topic, number, draft, headers, partition, .. } = self;
        draft.with_record(plain, |record| {
            headers.replace(record.headers);
            topic.producer.callbacks.keep_headers(*number, record);
            // ACK-6: the partition is told where it is clear without a choice.
            let count = topic.shared.entry.partition_count();
            *partition = match (count > 0).then(|| topic.way(record, count)) {
                Some(Ok(Way::To(partition))) => Some(partition),
                _ => record.partition,
            };
        });
    }

    fn tag(&self) -> Kept<true> {
        Kept(self.number)
    }

    fn with_record<R>(&self, plain: &Record<'_>, call: impl FnOnce(&Record<'_>) -> R) -> R {
        self.draft.with_record(plain, call)
    }

    /// The record is in a batch: its verdict does the rest.
    fn end(&mut self) {
        self.is_over = true;
    }

    /// The record was not taken.
    fn fail(&mut self, error: &SendError) {
        self.is_over = true;
        let (topic, callbacks) = (self.topic, &self.topic.producer.callbacks);
        callbacks.not_taken(topic.name(), self.partition, error, &self.headers);
        if !self.is_borrowed {
            callbacks.release(self.number);
        }
    }
}

impl fmt::Debug for Passage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage").field("draft", &self.draft).finish_non_exhaustive()
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // In a fork's copy a lock may be held for ever.
        if self.topic.producer.is_copy() {
            return;
        }
        if !self.is_over {
            self.fail(&SendError::Cancelled);
        }
        let (draft, headers) = (std::mem::take(&mut self.draft), std::mem::take(&mut self.headers));
        self.topic.producer.callbacks.give_back(draft, headers);
    }
}

impl Topic {
    #[cold]
    pub(super) fn try_send_intercepted<T: Tag>(
        &self,
        record: &Record<'_>,
        tag: T,
    ) -> Result<Delivery, TrySendError> {
        let mut passage = Passage::start(self, record, tag)?;
        let tag = passage.tag();
        match passage.with_record(record, |record| self.try_send_anew(record, tag)) {
            Ok(delivery) => {
                passage.end();
                Ok(delivery)
            }
            Err(error) => {
                passage.fail(&self.said_of(&error));
                Err(error)
            }
        }
    }

    #[cold]
    pub(super) fn blocking_send_intercepted<T: Tag>(
        &self,
        record: &Record<'_>,
        tag: T,
    ) -> Result<Delivery, SendError> {
        let mut passage = Passage::start(self, record, tag)?;
        let tag = passage.tag();
        let sent = passage.with_record(record, |record| self.blocking_send_anew(record, tag));
        match &sent {
            Ok(_) => passage.end(),
            Err(error) => passage.fail(error),
        }
        sent
    }

    /// What interceptors are told of a call that did not wait.
    fn said_of(&self, error: &TrySendError) -> SendError {
        let waited = std::time::Duration::ZERO;
        match error {
            TrySendError::Memory => SendError::MemoryExhausted { waited },
            TrySendError::Metadata => SendError::Unknown {
                topic: self.name().clone(),
                partition: None,
                waited,
                cause: self.shared.entry.last_error(),
            },
            TrySendError::Closed => SendError::Closed { possibly_written: false },
            TrySendError::Rejected(error) => error.clone(),
        }
    }
}

/// A send of a record that interceptors have seen.
#[derive(Debug)]
pub(super) struct Intercepted<'a> {
    passage: Passage<'a>,
    /// Of the record as it was; it waits, and this file appends.
    sending: Sending<'a>,
}

impl<'a> Intercepted<'a> {
    pub(super) fn new<T: Tag>(
        topic: &'a Topic,
        record: Record<'a>,
        tag: T,
    ) -> Result<Self, SendError> {
        let passage = Passage::start(topic, &record, tag)?;
        Ok(Self { passage, sending: topic.send(record) })
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery, SendError>> {
        let polled = self.poll_append(context);
        match &polled {
            Poll::Ready(Ok(_)) => self.passage.end(),
            Poll::Ready(Err(error)) => self.passage.fail(error),
            Poll::Pending => {}
        }
        polled
    }

    fn poll_append(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivery, SendError>> {
        let Self { passage, sending } = self;
        loop {
            let mut reserved = std::task::ready!(sending.poll_wait(context))?;
            let (appended, partition) = passage.with_record(&sending.record, |record| {
                let mut record = *record;
                let appended = sending.topic.append(&mut record, &mut reserved, passage.tag());
                (appended, record.partition)
            });
            // A partitioner's answer: it is asked once.
            passage.draft.place(partition);
            sending.give_back(reserved);
            match appended {
                Ok(delivery) => return Poll::Ready(Ok(delivery)),
                Err(blocked) => sending.start_wait(blocked)?,
            }
        }
    }
}
