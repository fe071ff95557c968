//! From ready partitions to a produce request.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::batches::{NEVER_DRAINED, Packed};
use super::node::{Entry, Link, Request};
use super::partition::{Partition, Place};
use super::{Action, Sender};
use crate::accumulator::batch::SealedBatch;
use crate::accumulator::frame::{Frame, Part};
use crate::clock;
use crate::config::Acks;
use crate::ids::{Sequence, TopicId};
use crate::meters::OwnMeters;
use crate::protocol::api::{ApiKey, RequestHeader};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::produce::{ProduceOptions, ProduceRequest};
use crate::protocol::record_batch::HEADER_BYTES;

/// Bytes that a partition adds to a request beside its batch, topic name excluded, at most.
const PARTITION_OVERHEAD_BYTES: usize = 64;
/// How many batches of a producer and partition a broker knows again (ORD-5).
const REMEMBERED_BATCHES: u64 = 5;
/// The first version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

impl Sender {
    /// Whether the partition's first batch may go out now: RDY-3, ORD-1, ORD-2, ORD-4, DRN-5,
    /// DRN-6. A close lets go what was paused.
    pub(super) fn is_sendable(&self, index: u32, now: Instant) -> bool {
        let partition = &self.partitions[index as usize];
        let Some(&batch) = partition.queue.front() else { return false };
        let state = self.batches.get(batch);
        let held = partition.restart && (!state.open_attempt || partition.orphaned);
        if held || partition.in_flight >= self.settings.in_flight_max {
            return false;
        }
        if state.packed != Packed::Done || state.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        if self.accumulator.is_lent(&state.sealed) {
            // An attempt that was given up is still in the driver; its return brings us here.
            return false;
        }
        if partition.entry.is_paused() && !self.closing.is_closing() {
            return false;
        }
        if !self.settings.idempotence {
            return true;
        }
        if partition.probing && partition.in_flight > 0 {
            return false;
        }
        if state.sequence.is_some() {
            return partition.unsettled.front() == Some(&batch);
        }
        let Some(&first) = partition.unsettled.front() else {
            return self.identity.current().is_some();
        };
        // The broker must still remember the first one when it is sent again, or a batch that was
        // written looks to it like one out of order.
        let remembered = partition.drains + 1 < self.batches.get(first).order + REMEMBERED_BATCHES;
        remembered && self.identity.current() == Some(partition.identity)
    }

    /// Uses the connection of a node, if there is something to send on it.
    pub(super) fn pump(&mut self, index: u32, now: Instant) {
        self.poll_metadata(now);
        self.poll_identity(now);
        self.use_connection(index, now);
        self.watch(index, now);
    }

    fn use_connection(&mut self, index: u32, now: Instant) {
        let node = &self.nodes[index as usize];
        if node.ready.is_empty() && !node.wanted {
            return;
        }
        match node.link {
            Link::Down => self.connect(index, now),
            Link::Up => self.send_produce(index, now),
            Link::Resolving | Link::Connecting(_) | Link::Greeting | Link::Closing => {}
        }
    }

    /// Gathers one batch of each ready partition into a request (DRN-1 to DRN-4).
    fn send_produce(&mut self, index: u32, now: Instant) {
        let node = &self.nodes[index as usize];
        if !node.can_send(now) || node.in_flight.len() >= self.settings.in_flight_max {
            return;
        }
        let mut entries = self.spare_entries.pop().unwrap_or_default();
        let batch_bytes = self.gather(index, &mut entries, now);
        if entries.is_empty() {
            self.spare_entries.push(entries);
            // What was ready has expired: the connection may be idle now.
            return self.arm_node(index);
        }
        let Some(version) = self.produce_version(index, &entries) else {
            return self.refuse(entries, now);
        };
        entries.sort_unstable_by_key(|entry| self.partitions[entry.partition as usize].topic);
        let moment = clock::to_nanos(now);
        for entry in &entries {
            self.stamp(entry.batch, index, moment);
        }
        let correlation = self.nodes[index as usize].correlation.allot();
        let frame = self.produce_frame(version, correlation, &entries, batch_bytes);
        self.nodes[index as usize].meters.counts.produce_requests.add(1);
        let ready: usize = entries.len();
        self.taken(index);
        let request = Request {
            api: ApiKey::Produce,
            version,
            correlation,
            deadline: now + self.settings.request_timeout,
            sent_at: moment,
            entries,
            asked: None,
            answers: self.settings.acks != Acks::None,
        };
        self.hand_over(index, request, frame, now);
        // What has another batch goes to the end of the line.
        for at in 0..ready {
            let request = self.nodes[index as usize].in_flight.back();
            let Some(entry) = request.and_then(|request| request.entries.get(at)) else { break };
            self.place(entry.partition, now);
        }
    }

    /// Hands a request to the driver.
    pub(super) fn hand_over(&mut self, index: u32, request: Request, frame: Frame, now: Instant) {
        let node = &mut self.nodes[index as usize];
        node.in_flight.push_back(request);
        let (meters, bytes) = (&node.meters, frame.len() as u64);
        meters.counts.requests.add(1);
        meters.counts.bytes_out.add(bytes);
        meters.in_flight.set(node.in_flight.len() as u64);
        if self.measures {
            meters.counts.request_bytes_max.raise(bytes);
        }
        node.writing = true;
        node.used_at = now;
        let connection = node.connection(index);
        self.actions.push_back(Action::Send { connection, frame });
        self.arm_node(index);
    }

    /// Takes the first batch of each ready partition while they fit; returns their bytes.
    fn gather(&mut self, index: u32, entries: &mut Vec<Entry>, now: Instant) -> usize {
        let (mut request_bytes, mut batch_bytes) = (0, 0);
        for _ in 0..self.nodes[index as usize].ready.len() {
            let Some(at) = self.nodes[index as usize].ready.pop_front() else { break };
            let partition = &mut self.partitions[at as usize];
            if partition.place != Place::Ready(index) {
                // It went to another leader. If it came back, it stands further on once more.
                continue;
            }
            partition.place = Place::Idle;
            // EXP-11: what is too old is never put on the wire.
            self.expire_queued(at, now);
            if !self.is_sendable(at, now) {
                self.partitions[at as usize].tell_queued();
                self.arm_expiry(at, now);
                self.look_if_filling(at, now);
                continue;
            }
            let partition = &mut self.partitions[at as usize];
            let Some(&batch) = partition.queue.front() else { continue };
            let bytes = self.batches.get(batch).sealed.bytes as usize;
            let cost = bytes + PARTITION_OVERHEAD_BYTES + partition.ring.topic().len();
            if !entries.is_empty() && request_bytes + cost > self.settings.request_bytes_max {
                partition.place = Place::Ready(index);
                self.nodes[index as usize].ready.push_front(at);
                break;
            }
            partition.queue.pop_front();
            request_bytes += cost;
            batch_bytes += bytes;
            let topic_id = partition.topic_id;
            entries.push(Entry { batch, partition: at, topic_id, answered: false });
        }
        batch_bytes
    }

    /// The version for these batches: topic ids only if all are known (TID-1, TID-5).
    fn produce_version(&self, index: u32, entries: &[Entry]) -> Option<i16> {
        let version = self.nodes[index as usize].versions.produce?;
        let all_known = entries.iter().all(|entry| entry.topic_id != TopicId::ZERO);
        Some(if all_known { version } else { version.min(TOPIC_IDS_FROM - 1) })
    }

    /// NET-15: the broker speaks no version of Produce that this client speaks, so it gets none of
    /// what these partitions have.
    fn refuse(&mut self, mut entries: Vec<Entry>, now: Instant) {
        for entry in entries.drain(..) {
            let queue = std::mem::take(&mut self.partitions[entry.partition as usize].queue);
            for batch in std::iter::once(entry.batch).chain(queue) {
                self.reject(batch, ErrorCode::UnsupportedVersion, None);
            }
            self.partitions[entry.partition as usize].tell_queued();
            self.restart_if_due(entry.partition, now);
            self.look_if_filling(entry.partition, now);
        }
        self.spare_entries.push(entries);
    }

    /// The batch goes out: its first time it gets sequence, header and checksum (DRN-8, SEQ-3);
    /// later its bytes stay as they are (SEQ-4).
    fn stamp(&mut self, batch: u32, node: u32, moment: u64) {
        let state = self.batches.get_mut(batch);
        state.asked = node;
        let partition = &mut self.partitions[state.partition as usize];
        state.in_flight = true;
        state.leader_epoch = partition.leader_epoch;
        state.topic_id = partition.topic_id;
        count_drained(&self.meters.own, partition, &state.sealed, self.measures);
        partition.in_flight += 1;
        self.in_flight_bytes += self.accumulator.pool().cost(state.sealed.bytes as usize);
        let reshaped = std::mem::take(&mut state.reshaped);
        if state.order != NEVER_DRAINED {
            if reshaped {
                self.accumulator.stamp(&state.sealed, partition.identity, state.sequence);
            }
            return;
        }
        partition.drains += 1;
        state.order = partition.drains;
        partition.unsettled.push_back(batch);
        if let Some(current) = self.identity.current() {
            if partition.identity != current {
                partition.identity = current;
                partition.next_sequence = Sequence::ZERO;
                partition.probing = self.probes;
            }
            state.sequence = Some(partition.next_sequence);
            partition.next_sequence = partition.next_sequence.advance(state.sealed.records);
        }
        if state.attempts == 0 && state.piece.is_none() {
            let queued = moment.saturating_sub(state.sealed.opened_at);
            let own = &self.meters.own;
            own.queue_nanos.add(queued);
            own.queued.add(1);
            if self.measures {
                own.queue_nanos_max.raise(queued);
                self.meters.queue_time.record(queued, 1);
            }
            partition.topic_meters.counts.records.add(u64::from(state.sealed.records));
            partition.meters.records.add(u64::from(state.sealed.records));
        }
        self.accumulator.stamp(&state.sealed, partition.identity, state.sequence);
    }

    /// The request around its batches: in the arena itself for one batch, a gather list for more.
    fn produce_frame(
        &mut self,
        version: i16,
        correlation: i32,
        entries: &[Entry],
        batch_bytes: usize,
    ) -> Frame {
        let mut frame = self.spare_frame();
        let mut head = std::mem::take(&mut frame.head);
        let client_id = Some(self.settings.client_id.as_str());
        let header = RequestHeader { version, correlation, client_id };
        let options = ProduceOptions {
            transactional_id: None,
            acks: self.settings.acks.wire(),
            timeout_ms: i32::try_from(self.settings.request_timeout.as_millis())
                .unwrap_or(i32::MAX),
        };
        let topic_of = |entry: &Entry| self.partitions[entry.partition as usize].topic;
        let topics = entries.chunk_by(|left, right| topic_of(left) == topic_of(right));
        let mut start = 0;
        let mut request =
            ProduceRequest::begin(&mut head, &header, &options, topics.clone().count());
        for topic in topics {
            let ring = &self.partitions[topic[0].partition as usize].ring;
            request.begin_topic(ring.topic(), topic[0].topic_id, topic.len());
            for entry in topic {
                let sealed = &self.batches.get(entry.batch).sealed;
                let index = self.partitions[entry.partition as usize].ring.partition();
                let end = request.begin_partition(index, sealed.bytes as usize) as u32;
                frame.parts.push(Part::Head { start, end });
                start = end;
                if entries.len() > 1 {
                    frame.parts.push(Part::Lent(self.accumulator.lend(sealed)));
                }
                request.end_partition();
            }
            request.end_topic();
        }
        request.end(batch_bytes);
        frame.head = head;
        if let [entry] = entries {
            self.frame_in_arena(&mut frame, start as usize, entry);
        } else {
            let end = frame.head.len() as u32;
            frame.parts.push(Part::Head { start, end });
        }
        frame
    }

    /// Puts head and tail of a one-batch request around the batch; falls back to a gather list when
    /// the head is too long for the room.
    fn frame_in_arena(&self, frame: &mut Frame, cut: usize, entry: &Entry) {
        let sealed = &self.batches.get(entry.batch).sealed;
        let (head, tail) = frame.head.split_at(cut);
        match self.accumulator.lend_framed(sealed, head, tail) {
            Some(loan) => {
                frame.parts.clear();
                frame.parts.push(Part::Lent(loan));
            }
            None => {
                frame.parts.push(Part::Lent(self.accumulator.lend(sealed)));
                let (start, end) = (cut as u32, frame.head.len() as u32);
                frame.parts.push(Part::Head { start, end });
            }
        }
    }
}

/// A batch goes into a request, for the first time or again.
#[inline]
fn count_drained(own: &OwnMeters, partition: &Partition, sealed: &SealedBatch, measures: bool) {
    let (bytes, records) = (u64::from(sealed.bytes), u64::from(sealed.records));
    let topic = &partition.topic_meters.counts;
    topic.batches.add(1);
    topic.drained.add(records);
    topic.batch_bytes.add(bytes);
    let plain_bytes = u64::from(sealed.plain_bytes);
    topic.plain_bytes.add(plain_bytes);
    partition.meters.batch_bytes.add(bytes);
    if measures {
        own.batch_bytes_max.raise(bytes);
        let records_bytes = plain_bytes.saturating_sub(HEADER_BYTES as u64);
        own.record_bytes_max.raise(records_bytes / records.max(1));
    }
}
