//! Waiting until a topic, or one of its partitions, is known.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::Topic;
use crate::clock;
use crate::error::SendError;

impl Topic {
    /// Waits until the topic has this partition (or any), then returns how many it has.
    pub(crate) async fn known(&self, partition: Option<i32>) -> Result<u32, SendError> {
        let started = clock::now();
        let deadline = started + self.producer.settings.max_block;
        let mut wait = MetadataWait::new(self, partition, started, deadline);
        poll_fn(|context| wait.poll(context)).await?;
        Ok(self.shared.entry.partition_count())
    }
}

/// A wait for a topic's metadata.
#[derive(Debug)]
pub(super) struct MetadataWait<'a> {
    topic: &'a Topic,
    partition: Option<i32>,
    ticket: u64,
    started: Instant,
    deadline: Instant,
    /// When this wait began, which is not the first of its call, perhaps.
    since: Instant,
}

impl<'a> MetadataWait<'a> {
    pub(super) fn new(
        topic: &'a Topic,
        partition: Option<i32>,
        started: Instant,
        deadline: Instant,
    ) -> Self {
        let ticket = topic.producer.cluster.ticket();
        Self { topic, partition, ticket, started, deadline, since: clock::now() }
    }

    fn is_known(&self) -> bool {
        let count = self.topic.shared.entry.partition_count();
        self.partition.map_or(count > 0, |partition| (partition as u32) < count)
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.topic.own_process()?;
        let cluster = &self.topic.producer.cluster;
        // Joining before looking: news that comes in between wakes this call.
        cluster.wait(self.ticket, clock::to_nanos(self.deadline), context.waker());
        if self.is_known() {
            return Poll::Ready(Ok(()));
        }
        if cluster.is_closed() {
            return Poll::Ready(Err(SendError::Closed { possibly_written: false }));
        }
        if cluster.is_unresolved() {
            return Poll::Ready(Err(self.topic.unresolved()));
        }
        if let Some(error) = self.topic.refusal() {
            return Poll::Ready(Err(error));
        }
        let now = clock::now();
        if now >= self.deadline {
            let count = self.topic.shared.entry.partition_count();
            return Poll::Ready(Err(SendError::Unknown {
                topic: Arc::clone(self.topic.name()),
                partition: self.partition.map(|wanted| (wanted, count as i32)),
                waited: now - self.started,
                cause: self.topic.shared.entry.last_error(),
            }));
        }
        self.topic.ask_for_metadata();
        if self.partition.is_some() {
            // API-6: a partition beyond the known ones may be new.
            cluster.mark_stale();
            self.topic.producer.shards[0].accumulator.nudge();
        }
        Poll::Pending
    }
}

impl Drop for MetadataWait<'_> {
    fn drop(&mut self) {
        // Not in a fork's copy: the lock may be held for ever.
        if !self.topic.producer.is_copy() {
            self.topic.producer.cluster.leave(self.ticket);
            self.topic.producer.calls().waited_for_metadata(clock::now() - self.since);
        }
    }
}
