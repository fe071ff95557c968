//! Flush, warm-up and close: calls that end when the sender says so.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::node::Link;
use super::{Action, Sender};
use crate::accumulator::batch_ring::{Head, Reservations};
use crate::error::SendError;

/// Flushes: one at a time; those that come meanwhile share the next one.
#[derive(Debug, Default)]
pub(super) struct Flush {
    active: Option<(u32, Vec<u64>)>,
    next: Vec<u64>,
}

impl Flush {
    /// While one is active, nothing lingers (RDY-6).
    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }
}

/// A call that waits until the leaders of some topics are connected.
#[derive(Debug)]
pub(super) struct WarmUp {
    number: u64,
    /// Topic and partitions of this shard.
    partitions: Vec<(Arc<str>, i32)>,
}

/// Where a close stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The producer is open.
    No,
    /// Everything is sent, until the deadline (CLS-1).
    Graceful(Instant),
    /// The deadline has passed: everything has failed (CLS-3).
    Forced,
    /// Nothing is left; connections are closed.
    Emptied,
    /// Over.
    Ended,
}

impl Closing {
    pub(super) fn is_closing(self) -> bool {
        !matches!(self, Self::No)
    }

    pub(super) fn is_forced(self) -> bool {
        matches!(self, Self::Forced)
    }

    /// Whether no connection may be made any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Forced | Self::Emptied | Self::Ended)
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Graceful(deadline) => Some(deadline),
            Self::No | Self::Forced | Self::Emptied | Self::Ended => None,
        }
    }
}

impl Sender {
    /// Sends everything that is there now, without linger; `Done(number)` when all of it has its
    /// verdict.
    pub fn handle_flush(&mut self, number: u64, now: Instant) {
        if self.flush.active.is_some() {
            self.flush.next.push(number);
            return;
        }
        self.start_flush(vec![number], now);
        self.poll_ending(now);
    }

    fn start_flush(&mut self, numbers: Vec<u64>, now: Instant) {
        self.flush.active = Some((self.accumulator.start_flush(), numbers));
        self.look_at_lingering(now);
    }

    /// Connects to the leaders of these partitions; `Done(number)` when they are up and the
    /// producer id is there.
    pub fn handle_warm_up(&mut self, number: u64, partitions: Vec<(Arc<str>, i32)>, now: Instant) {
        self.warm_ups.push(WarmUp { number, partitions });
        self.poll_ending(now);
    }

    /// Closes: no more appends, send what is there until `deadline`, then fail the rest. `Ended`
    /// when it is over.
    pub fn handle_close(&mut self, deadline: Instant, now: Instant) {
        self.closing = match self.closing {
            Closing::No => {
                self.close_rings();
                Closing::Graceful(deadline)
            }
            Closing::Graceful(earlier) => Closing::Graceful(earlier.min(deadline)),
            Closing::Forced | Closing::Emptied | Closing::Ended => return,
        };
        (0..self.partitions.len() as u32).for_each(|index| self.look(index, now));
        self.poll_ending(now);
    }

    /// Closes at once: no more appends, everything that has no verdict fails, nothing more is sent.
    /// `Ended` when the driver has given back what it holds.
    pub fn handle_abort(&mut self, now: Instant) {
        match self.closing {
            Closing::No => self.close_rings(),
            Closing::Graceful(_) => {}
            Closing::Forced | Closing::Emptied | Closing::Ended => return,
        }
        self.force(now);
        self.poll_ending(now);
    }

    /// From now on every append is refused, and nobody waits for memory.
    fn close_rings(&mut self) {
        self.accumulator.close_arrivals();
        let accumulator = Arc::clone(&self.accumulator);
        accumulator.take_arrivals(&mut self.rings);
        self.adopt_rings();
        self.rings.iter().for_each(|ring| ring.close());
        accumulator.waiters.close(accumulator.pool());
    }

    /// Looks whether a flush, a warm-up or the close is over.
    pub fn poll_ending(&mut self, now: Instant) {
        self.poll_flush(now);
        if !self.warm_ups.is_empty() {
            self.poll_warm_ups(now);
        }
        if !self.purges.is_empty() {
            self.poll_purges(now);
        }
        if let Closing::Graceful(deadline) = self.closing {
            let is_late = deadline <= now;
            if self.accumulator.unresolved() == 0 && (is_late || self.is_last_push_over(now)) {
                self.empty(Closing::Emptied);
            } else if is_late {
                self.force(now);
            }
        }
        let all_down =
            || self.nodes.iter().all(|node| matches!(node.link, Link::Down | Link::Resolving));
        if matches!(self.closing, Closing::Forced | Closing::Emptied)
            && self.accumulator.unresolved() == 0
            && self.line.away() == 0
            && all_down()
        {
            self.closing = Closing::Ended;
            self.actions.push_back(Action::Ended);
        }
    }

    fn poll_flush(&mut self, now: Instant) {
        while let Some((epoch, numbers)) = self.flush.active.take() {
            if self.accumulator.unresolved_in(epoch) > 0 {
                self.flush.active = Some((epoch, numbers));
                return;
            }
            self.actions.extend(numbers.into_iter().map(Action::Done));
            let next = std::mem::take(&mut self.flush.next);
            if next.is_empty() {
                return;
            }
            self.start_flush(next, now);
        }
    }

    fn poll_warm_ups(&mut self, now: Instant) {
        let mut waiting = std::mem::take(&mut self.warm_ups);
        waiting.retain(|warm_up| !self.is_warm(warm_up, now));
        self.warm_ups.append(&mut waiting);
    }

    /// Whether a warm-up is over; makes the connections that it lacks.
    fn is_warm(&mut self, warm_up: &WarmUp, now: Instant) -> bool {
        let mut warm = self.identity.is_settled();
        for (topic, partition) in &warm_up.partitions {
            let known = self.snapshot.topic(topic);
            let known = known.and_then(|known| known.partitions.get(*partition as usize));
            let leader = known.and_then(|known| known.leader);
            let Some(&index) = leader.and_then(|leader| self.node_of.get(&leader)) else {
                warm = false;
                continue;
            };
            if self.nodes[index as usize].link != Link::Up {
                warm = false;
                self.nodes[index as usize].wanted = true;
                if self.nodes[index as usize].link == Link::Down {
                    self.connect(index, now);
                }
            }
        }
        if warm || self.closing.is_closing() {
            self.actions.push_back(Action::Done(warm_up.number));
            return true;
        }
        false
    }

    /// The deadline of the close has passed.
    fn force(&mut self, now: Instant) {
        self.empty(Closing::Forced);
        for batch in self.batches.unresolved_in_order() {
            let possibly_written = self.batches.get(batch).possibly_written();
            self.fail(batch, SendError::Closed { possibly_written });
        }
        self.forget_settled();
        // What a writer was still busy with fails when it is done.
        (0..self.partitions.len() as u32).for_each(|index| self.look(index, now));
    }

    /// After every batch has its verdict: only requests that are out are still waited for.
    fn forget_settled(&mut self) {
        for partition in &mut self.partitions {
            partition.queue.clear();
            partition.tell_queued();
            let in_flight = |batch: u32| self.batches.find(batch).is_some_and(|b| b.in_flight);
            partition.unsettled.retain(|batch| in_flight(*batch));
        }
    }

    fn empty(&mut self, closing: Closing) {
        self.closing = closing;
        (0..self.nodes.len() as u32).for_each(|index| self.shut_down(index));
    }

    /// After [`abandon`](Self::abandon), when the driver is gone and with it everything that was
    /// lent: all memory goes back.
    pub fn reclaim(&mut self) {
        self.actions.clear();
        for batch in self.batches.held().collect::<Vec<_>>() {
            self.batches.get_mut(batch).in_flight = false;
            self.release_if_over(batch);
        }
    }

    /// The shard's thread failed: every record that is left gets a verdict.
    pub fn abandon(&mut self) {
        self.close_rings();
        for batch in self.batches.unresolved_in_order() {
            let possibly_written = self.batches.get(batch).possibly_written();
            self.fail(batch, SendError::SenderFailed { possibly_written });
        }
        self.forget_settled();
        for ring in self.rings.clone() {
            loop {
                let sealed = match ring.take_as(Reservations::Ended) {
                    Head::Sealed(sealed) => sealed,
                    Head::Vanished => continue,
                    Head::Empty | Head::Open(_) | Head::Incomplete | Head::Reserved { .. } => break,
                };
                let batch = self.batches.add(sealed, ring.index());
                self.fail(batch, SendError::SenderFailed { possibly_written: false });
            }
        }
    }
}
