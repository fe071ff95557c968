//! Brokers that take nothing: their partitions get no records that could go elsewhere.
//!
//! A broker is *blocked* when there has been something for it for longer than
//! `partitioner.availability.timeout.ms`, and no request could be handed over in that time: it is
//! not connected, or has not answered, or asked for a rest. It is no more when it takes a request,
//! and also when nothing is left for it: Java, which waits for a request to be taken, leaves such a
//! broker out until a keyed record comes by. Nor does time without anything to send count here.
//!
//! Source:   AVL-1 and AVL-2 of the Java producer; KIP-794.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use super::Sender;
use super::partition::Place;
use super::timers::Timer;

impl Sender {
    #[inline]
    fn availability_timeout(&self) -> Option<Duration> {
        self.settings.availability_timeout.filter(|_| self.settings.adaptive_partitioning)
    }

    /// After the connection was used: whether the node takes what is there for it.
    #[inline]
    pub(super) fn watch(&mut self, index: u32, now: Instant) {
        // Most producers do not want to know, and this is asked for every batch.
        if let Some(timeout) = self.availability_timeout() {
            self.watch_ready(index, timeout, now);
        }
    }

    // Not within `watch`: its registers would be saved for every batch that nobody watches.
    #[inline(never)]
    fn watch_ready(&mut self, index: u32, timeout: Duration, now: Instant) {
        let node = &self.nodes[index as usize];
        let waits = |partition: &u32| {
            let partition = &self.partitions[*partition as usize];
            partition.place == Place::Ready(index) && !partition.queue.is_empty()
        };
        if node.ready.iter().any(waits) {
            self.refused(index, timeout, now);
        } else if node.in_flight.len() < self.settings.in_flight_max {
            self.taken(index);
        } else if node.refuses_since.is_some() {
            // What waits for an answer, as `watch_full` has found.
            self.refused(index, timeout, now);
        }
    }

    /// The partition may wait because as many of its batches as may be are not answered: then its
    /// leader's connection is full, too.
    #[inline]
    pub(super) fn watch_full(&mut self, index: u32, now: Instant) {
        if let Some(timeout) = self.availability_timeout() {
            self.watch_partition(index, timeout, now);
        }
    }

    #[inline(never)]
    fn watch_partition(&mut self, index: u32, timeout: Duration, now: Instant) {
        let partition = &self.partitions[index as usize];
        if let Some(leader) = partition.leader
            && !partition.queue.is_empty()
            && partition.in_flight >= self.settings.in_flight_max
        {
            self.refused(leader, timeout, now);
        }
    }

    /// The node takes what is there for it.
    #[inline]
    pub(super) fn taken(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.refuses_since = None;
        if node.is_blocked {
            self.set_blocked(index, false);
        }
    }

    fn refused(&mut self, index: u32, timeout: Duration, now: Instant) {
        let node = &mut self.nodes[index as usize];
        let until = *node.refuses_since.get_or_insert(now) + timeout;
        if now < until {
            self.timers.arm(&mut node.armed, Timer::Node(index), until);
        }
        self.set_blocked(index, now >= until);
    }

    /// Tells those who choose partitions; looks at all partitions, but only when it is news.
    fn set_blocked(&mut self, index: u32, is_blocked: bool) {
        let node = &mut self.nodes[index as usize];
        if node.is_blocked == is_blocked {
            return;
        }
        node.is_blocked = is_blocked;
        tracing::debug!(broker = node.id.0, is_blocked, "takes what is there for it, or not");
        for partition in self.partitions.iter().filter(|found| found.leader == Some(index)) {
            partition.ring.set_blocked(is_blocked);
        }
    }
}
