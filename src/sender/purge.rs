//! Purges, and topics that go on after a pause: what the caller decides about records that wait.
//!
//! A purge gives batches up as their expiry would (EXP-1 to EXP-6): one that waits takes its
//! sequence with it, and the partition starts again under a new epoch; one in flight gets its
//! verdict at once, and its memory and its sequence stay until its answer or the end of its
//! connection.
//!
//! A paused topic is a flag that both sides see; `is_sendable` asks it. Time goes on for its
//! batches: they linger, fill the memory and expire.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::{Action, Sender};
use crate::error::SendError;

/// What is to be purged.
#[derive(Clone, Debug)]
pub struct PurgeOrder {
    /// Only records of this topic.
    pub topic: Option<Arc<str>>,
    /// Records that are in no request, batches that wait for another attempt included.
    pub queued: bool,
    /// Records in requests that are not answered.
    pub in_flight: bool,
    /// Queued batches that were opened at this time or later stay (nanoseconds on the process's
    /// clock).
    pub opened_before: u64,
}

/// A purge that waits for application threads that are just writing into purged batches.
#[derive(Debug)]
pub(super) struct Purging {
    number: u64,
    partitions: Vec<u32>,
}

impl Sender {
    /// Purges; `Done(number)` when all that was meant has its verdict.
    pub fn handle_purge(&mut self, number: u64, order: &PurgeOrder, now: Instant) {
        let mut partitions = Vec::new();
        for index in 0..self.partitions.len() as u32 {
            let topic = self.partitions[index as usize].ring.topic();
            if order.topic.as_ref().is_some_and(|wanted| wanted != topic) {
                continue;
            }
            if order.in_flight {
                self.purge_in_flight(index);
            }
            if order.queued {
                self.purge_queued(index, order.opened_before, now);
                partitions.push(index);
            }
        }
        self.purges.push(Purging { number, partitions });
        self.poll_ending(now);
    }

    /// The request stays out; its answer settles the sequence.
    fn purge_in_flight(&mut self, index: u32) {
        for at in 0.. {
            let Some(&batch) = self.partitions[index as usize].unsettled.get(at) else { return };
            let state = self.batches.get(batch);
            if state.in_flight && !state.resolved {
                self.fail(batch, SendError::Purged { possibly_written: true });
            }
        }
    }

    fn purge_queued(&mut self, index: u32, opened_before: u64, now: Instant) {
        let partition = &mut self.partitions[index as usize];
        partition.purge_before = partition.purge_before.max(opened_before);
        for _ in 0..partition.queue.len() {
            let partition = &mut self.partitions[index as usize];
            let Some(batch) = partition.queue.pop_front() else { break };
            let state = self.batches.get(batch);
            if state.sealed.opened_at >= opened_before {
                partition.queue.push_back(batch);
                continue;
            }
            let possibly_written = state.possibly_written();
            self.give_up(batch, SendError::Purged { possibly_written });
            self.release_if_over(batch);
        }
        self.restart_if_due(index, now);
        self.look(index, now);
    }

    /// Looks whether purges are over.
    pub(super) fn poll_purges(&mut self, now: Instant) {
        let mut purges = std::mem::take(&mut self.purges);
        for purging in &mut purges {
            purging.partitions.retain(|index| {
                self.partitions[*index as usize].was_incomplete = false;
                self.look(*index, now);
                self.partitions[*index as usize].was_incomplete
            });
        }
        purges.retain(|purging| {
            let is_over = purging.partitions.is_empty();
            if is_over {
                self.actions.push_back(Action::Done(purging.number));
            }
            !is_over
        });
        self.purges.append(&mut purges);
    }

    /// A paused topic goes on.
    pub fn handle_resume(&mut self, topic: &str, now: Instant) {
        for index in 0..self.partitions.len() as u32 {
            if **self.partitions[index as usize].ring.topic() == *topic {
                self.look(index, now);
            }
        }
    }
}
