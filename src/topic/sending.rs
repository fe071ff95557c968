//! The futures of a send: one attempt to append, and what it waits for between two.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::intercepted::Intercepted;
use super::known::MetadataWait;
use super::{Blocked, Reserved, Topic};
use crate::accumulator::waiters::Waited;
use crate::clock;
use crate::delivery::Delivery;
use crate::delivery::tags::{NoTag, Tag, UserData};
use crate::error::SendError;
use crate::record::Record;

/// What a [`Sending`] waits for.
#[derive(Debug)]
enum Wait<'a> {
    No,
    Metadata(MetadataWait<'a>),
    Memory {
        shard: usize,
        bytes: u64,
        ticket: u64,
        since: Instant,
    },
    /// As another send does, of the record that the interceptors made of it.
    Intercepted(Box<Intercepted<'a>>),
}

/// The future of [`Topic::send`]. Needs no runtime. Cancel-safe: dropped before it is ready, it has
/// sent nothing. The record's borrows last as long as it does.
#[derive(Debug)]
#[must_use = "a record is sent when the future is polled"]
pub struct Sending<'a> {
    pub(super) topic: &'a Topic,
    pub(super) record: Record<'a>,
    /// When the call first had to wait, and until when it may: one budget for all waits.
    deadline: Option<(Instant, Instant)>,
    wait: Wait<'a>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(topic: &'a Topic, record: Record<'a>) -> Self {
        Self { topic, record, deadline: None, wait: Wait::No }
    }

    fn budget(&mut self) -> (Instant, Instant) {
        let max_block = self.topic.producer.settings.max_block;
        *self.deadline.get_or_insert_with(|| {
            let now = clock::now();
            (now, now + max_block)
        })
    }

    pub(super) fn start_wait(&mut self, blocked: Blocked) -> Result<(), SendError> {
        let (started, deadline) = self.budget();
        let topic = self.topic;
        self.wait = match blocked {
            Blocked::Rejected(error) => return Err(error),
            Blocked::Closed => return Err(SendError::Closed { possibly_written: false }),
            Blocked::Metadata { partition } => {
                Wait::Metadata(MetadataWait::new(topic, partition, started, deadline))
            }
            Blocked::Memory { shard, need } => {
                let accumulator = &topic.producer.shards[shard].accumulator;
                let ticket = accumulator.waiters.enqueue(need, clock::to_nanos(deadline));
                accumulator.nudge();
                Wait::Memory { shard, bytes: need.bytes(), ticket, since: clock::now() }
            }
            Blocked::Intercepted => unreachable!("handled where the record is appended"),
        };
        Ok(())
    }

    /// How the current wait ended.
    pub(super) fn poll_wait(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Reserved, SendError>> {
        let reserved = match &mut self.wait {
            Wait::No => Reserved { paced: true, ..Reserved::default() },
            Wait::Metadata(wait) => {
                std::task::ready!(wait.poll(context))?;
                Reserved::default()
            }
            Wait::Intercepted(_) => unreachable!("polled where the record is appended"),
            Wait::Memory { shard, bytes, ticket, since } => {
                self.topic.own_process()?;
                let shared = &self.topic.producer.shards[*shard];
                let outcome = std::task::ready!(shared.accumulator.waiters.poll(*ticket, context));
                if *bytes > 0 {
                    let in_vain = outcome == Waited::TimedOut;
                    shared.meters.calls.waited_for_memory(clock::now() - *since, in_vain);
                }
                let reserved = Reserved { shard: *shard, bytes: *bytes, paced: false };
                self.wait = Wait::No;
                match outcome {
                    Waited::Granted => reserved,
                    Waited::TimedOut => return Poll::Ready(Err(self.exhausted())),
                    Waited::Closed => {
                        return Poll::Ready(Err(SendError::Closed { possibly_written: false }));
                    }
                }
            }
        };
        self.wait = Wait::No;
        Poll::Ready(Ok(reserved))
    }

    fn exhausted(&self) -> SendError {
        let waited = self.deadline.map_or(Duration::ZERO, |(started, _)| clock::now() - started);
        SendError::MemoryExhausted { waited }
    }

    pub(super) fn give_back(&self, reserved: Reserved) {
        if reserved.bytes > 0 {
            let accumulator = &self.topic.producer.shards[reserved.shard].accumulator;
            accumulator.pool().unreserve(reserved.bytes);
            accumulator.nudge();
        }
    }

    #[inline]
    pub(super) fn poll_append<T: Tag>(
        &mut self,
        context: &mut Context<'_>,
        tag: T,
    ) -> Poll<Result<Delivery, SendError>> {
        loop {
            if matches!(self.wait, Wait::No)
                && let Some(delivery) = self.topic.append_to_open(&self.record, tag)
            {
                return Poll::Ready(Ok(delivery));
            }
            if let Wait::Intercepted(intercepted) = &mut self.wait {
                return intercepted.poll(context);
            }
            let mut reserved = std::task::ready!(self.poll_wait(context))?;
            let topic = self.topic;
            let appended = topic.append(&mut self.record, &mut reserved, tag);
            self.give_back(reserved);
            match appended {
                Ok(delivery) => return Poll::Ready(Ok(delivery)),
                Err(Blocked::Intercepted) => {
                    let intercepted = Intercepted::new(self.topic, self.record, tag)?;
                    self.wait = Wait::Intercepted(Box::new(intercepted));
                }
                Err(blocked) => self.start_wait(blocked)?,
            }
        }
    }
}

impl Future for Sending<'_> {
    type Output = Result<Delivery, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_append(context, NoTag)
    }
}

/// The future of [`Topic::submit`]. Needs no runtime. Cancel-safe: dropped before it is ready, it
/// has submitted nothing. The record's borrows last as long as it does.
#[derive(Debug)]
#[must_use = "a record is submitted when the future is polled"]
pub struct Submitting<'a> {
    sending: Sending<'a>,
    user_data: UserData,
}

impl<'a> Submitting<'a> {
    pub(super) fn new(sending: Sending<'a>, user_data: u64) -> Self {
        Self { sending, user_data: UserData(user_data) }
    }
}

impl Future for Submitting<'_> {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let user_data = self.user_data;
        let delivery = std::task::ready!(self.sending.poll_append(context, user_data))?;
        delivery.leave_to_queue();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Wait::Memory { shard, ticket, .. } = self.wait
            && !self.topic.producer.is_copy()
        {
            let accumulator = &self.topic.producer.shards[shard].accumulator;
            accumulator.waiters.leave(ticket, accumulator.pool());
            accumulator.nudge();
        }
    }
}
