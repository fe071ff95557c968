//! The life of a drained batch: answers, retries, expiry, release.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::backoff::backoff;
use super::batches::NEVER_DRAINED;
use super::events::limited;
use super::node::{Entry, Request};
use super::record_errors::{self, Named};
use super::recovery::{Recovery, recovery};
use super::{Outcome, Sender, Verdict};
use crate::clock;
use crate::error::SendError;
use crate::ids::Sequence;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::produce::{self, PartitionResponse, TopicRef};
use crate::protocol::wire::WireError;

/// What a produce answer says about one batch.
#[derive(Debug)]
pub(super) struct Answer {
    batch: u32,
    pub(super) error: ErrorCode,
    /// The leader that it names is the one that was asked, in the epoch in which it was asked.
    is_leader_unmoved: bool,
    base_offset: i64,
    log_append_time: i64,
    log_start_offset: i64,
    pub(super) message: Option<Arc<str>>,
    pub(super) named: Named,
}

impl Sender {
    /// Reads a produce answer and settles its batches. An error means that the answer is not one:
    /// the connection has to go, and the batches are uncertain.
    pub(super) fn handle_produce_answer(
        &mut self,
        request: &mut Request,
        node: u32,
        body: &[u8],
        now: Instant,
    ) -> Result<(), WireError> {
        let moment = clock::to_nanos(now);
        self.count_answered(request, node, moment);
        let mut cursor = 0;
        let mut unknown = false;
        let mut refresh = false;
        let mut hints = Vec::new();
        let summary = produce::decode_response(request.version, body, &mut |answer| {
            let Some(entry) = self.find_entry(&request.entries, cursor, &answer) else {
                unknown = true;
                return;
            };
            cursor = entry + 1;
            request.entries[entry].answered = true;
            let hint = self.hint_of(&request.entries[entry], &answer);
            let batch = request.entries[entry].batch;
            let is_leader_unmoved = hint
                .as_ref()
                .is_some_and(|hint| hint.leader_epoch == self.batches.get(batch).leader_epoch);
            hints.extend(hint);
            let answer = Answer {
                batch,
                error: answer.error,
                is_leader_unmoved,
                base_offset: answer.base_offset,
                log_append_time: answer.log_append_time_ms,
                log_start_offset: answer.log_start_offset,
                message: answer.error_message.map(Into::into),
                named: record_errors::named(&answer, self.batches.get(batch).sealed.records),
            };
            refresh |= self.handle_answer(&answer, now, moment);
        })?;
        let throttle = u64::try_from(summary.throttle_ms).unwrap_or(0);
        if throttle > 0 {
            self.nodes[node as usize].meters.counts.throttle_ms.add(throttle);
            self.meters.own.throttle_ms_max.raise(throttle);
        }
        self.throttle(node, throttle, request.version >= 6, now);
        if refresh {
            // LDR-3: also when the answer names the leader.
            self.refresh_metadata();
        }
        self.handle_hints(&hints, summary.node_endpoints, now);
        if unknown || request.entries.iter().any(|entry| !entry.answered) {
            // TID-4: an answer about other partitions than were asked.
            return Err(WireError::Unsupported { field: "partitions", version: request.version });
        }
        Ok(())
    }

    fn count_answered(&self, request: &Request, node: u32, moment: u64) {
        let meters = &self.nodes[node as usize].meters;
        let took = moment.saturating_sub(request.sent_at);
        meters.counts.produce_responses.add(1);
        meters.counts.latency_nanos.add(took);
        if self.measures {
            meters.counts.latency_nanos_max.raise(took);
            meters.latency.record(took, 1);
        }
    }

    /// The entry an answer is about. Brokers answer in the order of the request, so the first guess
    /// is right; anything else is looked for. Each entry is answered once.
    fn find_entry(
        &self,
        entries: &[Entry],
        cursor: usize,
        answer: &PartitionResponse<'_>,
    ) -> Option<usize> {
        let matches = |entry: &&Entry| {
            let ring = &self.partitions[entry.partition as usize].ring;
            !entry.answered
                && ring.partition() == answer.index
                && match answer.topic {
                    TopicRef::Name(name) => **ring.topic() == *name,
                    TopicRef::Id(id) => entry.topic_id == id,
                }
        };
        if entries.get(cursor).as_ref().is_some_and(matches) {
            return Some(cursor);
        }
        entries.iter().position(|entry| matches(&entry))
    }

    /// One batch is answered. True if the answer says that the metadata may be old.
    fn handle_answer(&mut self, answer: &Answer, now: Instant, moment: u64) -> bool {
        let batch = self.leave_flight(answer.batch);
        let partition = self.batches.get(batch).partition;
        let message = || answer.message.clone();
        let found = recovery(answer.error);
        if let Recovery::Retry { uncertain: true, .. } | Recovery::Fail { uncertain: true } = found
            // Who appends a batch and then stops leading names a leader of a later epoch. The same
            // one: it does not lead yet, as for a moment after a topic was made.
            && !answer.is_leader_unmoved
        {
            self.batches.get_mut(batch).set_uncertain();
        }
        match found {
            Recovery::Success => {
                self.succeed(batch, answer.base_offset, answer.log_append_time, moment);
            }
            Recovery::Duplicate => self.succeed(batch, -1, -1, moment),
            Recovery::Retry { .. } => self.retry_or_fail(batch, answer.error, message(), now),
            Recovery::OutOfOrder => self.out_of_order(batch, answer, now),
            Recovery::UnknownProducer => self.unknown_producer(batch, answer, now),
            Recovery::Split => self.split_or_fail(batch, answer, now),
            Recovery::Fail { .. } => self.reject_records(batch, answer),
            Recovery::Fatal => self.end_writing(batch, answer.error, message(), now),
        }
        self.settled(partition, batch, now);
        matches!(found, Recovery::Retry { refresh: true, .. })
    }

    /// After an answer: frees the batch if it is over, and looks at what its partition does next.
    fn settled(&mut self, partition: u32, batch: u32, now: Instant) {
        self.release_if_over(batch);
        self.restart_if_due(partition, now);
        self.place(partition, now);
    }

    /// The batch is in no unanswered request any more.
    fn leave_flight(&mut self, batch: u32) -> u32 {
        let state = self.batches.get_mut(batch);
        debug_assert!(state.in_flight, "a batch is answered once per attempt");
        state.in_flight = false;
        self.partitions[state.partition as usize].in_flight -= 1;
        self.in_flight_bytes -= self.accumulator.pool().cost(state.sealed.bytes as usize);
        batch
    }

    /// `moment`: now, as atomics hold it.
    fn succeed(&mut self, batch: u32, base_offset: i64, mut log_append_time: i64, moment: u64) {
        let state = self.batches.get(batch);
        // A broker that knows a repeated batch answers with that batch's maximum timestamp in the
        // place of the append time, whatever clock the topic has (3.9 and 4.3 do). Java tells it to
        // every record of the batch; here each record keeps its own time (META-2).
        let repeated = state.attempts > 0;
        if repeated && log_append_time == self.accumulator.max_timestamp(&state.sealed) {
            log_append_time = -1;
        }
        let topic_id = state.topic_id;
        let partition = &mut self.partitions[state.partition as usize];
        partition.settle(batch);
        // A late success in the log of a topic that was made again says nothing about the new one.
        partition.probing &= topic_id != partition.topic_id;
        // EXP-6: the late answer of an expired batch changes no verdict.
        if !state.resolved {
            let records = u64::from(state.sealed.records);
            self.counters.acknowledged += records;
            partition.topic_meters.counts.acknowledged.add(records);
            if self.measures {
                let took = moment.saturating_sub(state.sealed.opened_at);
                self.meters.send_to_ack.record(took, records);
            }
            self.resolve(batch, Outcome::Acknowledged { base_offset, log_append_time });
        }
    }

    /// RTY-5, EXP-4: again after a wait, or the end.
    pub(super) fn retry_or_fail(
        &mut self,
        batch: u32,
        error: ErrorCode,
        message: Option<Arc<str>>,
        now: Instant,
    ) {
        let (retries, limits) = (self.settings.retries, self.settings.retry_backoff);
        let state = self.batches.get_mut(batch);
        state.last_error = Some(error);
        let expires = clock::from_nanos(state.sealed.opened_at) + self.settings.delivery_timeout;
        let refused = self.fatal.is_some() || self.closing.is_forced();
        if state.resolved || state.attempts >= retries || refused {
            return self.reject(batch, error, message);
        }
        if now >= expires {
            return self.expire(batch, now);
        }
        let partition = &mut self.partitions[state.partition as usize];
        let wait = backoff(limits, state.attempts, &mut self.random);
        // RTY-4: a leader that was not asked yet is asked at once.
        state.retry_at = (state.leader_epoch >= partition.leader_epoch).then(|| now + wait);
        state.attempts += 1;
        let records = u64::from(state.sealed.records);
        partition.requeue(batch, &self.batches);
        self.meters.own.retries.add(1);
        partition.topic_meters.counts.retried.add(records);
        let attempts = self.batches.get(batch).attempts;
        limited!(
            trouble,
            self.events,
            SentAgain,
            now,
            topic = &**partition.ring.topic(),
            partition = partition.ring.partition(),
            records,
            code = error.name(),
            attempts,
            "a batch is sent again"
        );
    }

    /// A sequence that the broker did not expect: behind a batch that is itself to be sent again it
    /// comes right by itself (OOS-1); else the partition starts again under a new epoch (OOS-2).
    fn out_of_order(&mut self, batch: u32, answer: &Answer, now: Instant) {
        let state = self.batches.get_mut(batch);
        let partition = &mut self.partitions[state.partition as usize];
        if state.open_attempt && (partition.gap_open || state.is_answer_stale()) {
            // Its lost request may lie at a broker behind that of the batch that was given up. If
            // that one is written now, so is this one: under a new number it could stand twice.
            return self.reject(batch, answer.error, answer.message.clone());
        }
        // A broker that had written it under this sequence would have called it a success (ORD-5).
        state.open_attempt = false;
        if partition.unsettled.front() == Some(&batch) {
            partition.restart = true;
        }
        self.retry_or_fail(batch, answer.error, answer.message.clone(), now);
    }

    /// The broker has nothing of this producer: retention took it, mostly.
    fn unknown_producer(&mut self, batch: u32, answer: &Answer, now: Instant) {
        let message = answer.message.clone();
        if answer.log_start_offset < 0 {
            // UPI-1: the broker does not say how far its log begins, so it may be catching up.
            self.retry_or_fail(batch, answer.error, message, now);
        } else if self.batches.get(batch).open_attempt {
            // What would tell the broker that it has the batch already is gone. Java sends it
            // again, and writes it twice if an answer was lost before.
            self.reject(batch, answer.error, message);
        } else {
            // UPI-3, UPI-4.
            self.out_of_order(batch, answer, now);
        }
    }

    /// Note c of the source: with idempotence, this shard can write nothing any more.
    fn end_writing(
        &mut self,
        batch: u32,
        code: ErrorCode,
        message: Option<Arc<str>>,
        now: Instant,
    ) {
        if !self.settings.idempotence {
            return self.reject(batch, code, message);
        }
        tracing::error!(code = code.name(), "the brokers take nothing more from this producer");
        self.fatal = Some(code);
        // Also if it has its verdict already: then it is not among those that are left.
        let partition = self.batches.get(batch).partition as usize;
        self.partitions[partition].settle(batch);
        let queued = |sender: &Self, batch: u32| !sender.batches.get(batch).in_flight;
        let mut left = self.batches.unresolved_in_order();
        left.retain(|batch| queued(self, *batch));
        for batch in left {
            let partition = self.batches.get(batch).partition as usize;
            self.partitions[partition].leave_queue(batch);
            self.partitions[partition].settle(batch);
            let possibly_written = self.batches.get(batch).possibly_written();
            self.fail(batch, SendError::Fatal { code, possibly_written });
            self.look_if_filling(partition as u32, now);
        }
    }

    /// The end of a batch that the broker refused.
    pub(super) fn reject(&mut self, batch: u32, code: ErrorCode, message: Option<Arc<str>>) {
        let state = self.batches.get(batch);
        let possibly_written = state.possibly_written();
        let error = match code {
            ErrorCode::TopicAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed
                if !possibly_written =>
            {
                SendError::Denied { code }
            }
            _ => SendError::Rejected { code, message, possibly_written },
        };
        self.give_up(batch, error);
    }

    /// Fails the batch and, with idempotence, starts its partition's sequences again: its own
    /// numbers are used up.
    pub(super) fn give_up(&mut self, batch: u32, error: SendError) {
        self.give_up_sequence(batch);
        self.fail(batch, error);
    }

    /// The batch will not be sent again, so its numbers are missing in the log.
    pub(super) fn give_up_sequence(&mut self, batch: u32) {
        let state = self.batches.get(batch);
        let (sequenced, open) = (state.sequence.is_some(), state.open_attempt);
        let partition = &mut self.partitions[state.partition as usize];
        partition.settle(batch);
        partition.restart |= sequenced;
        partition.gap_open |= open;
    }

    /// The verdict of a batch that failed, unless it has one.
    pub(super) fn fail(&mut self, batch: u32, error: SendError) {
        let state = self.batches.get(batch);
        if state.resolved {
            return;
        }
        let records = u64::from(state.sealed.records);
        self.partitions[state.partition as usize].topic_meters.counts.failed.add(records);
        if error.possibly_written() {
            self.counters.possibly_written += records;
        } else {
            self.counters.failed += records;
            if state.is_fresh() {
                self.counters.never_sent += records;
            }
        }
        self.resolve(batch, Outcome::Failed(error));
    }

    pub(super) fn resolve(&mut self, batch: u32, outcome: Outcome) {
        let state = self.batches.get_mut(batch);
        debug_assert!(!state.resolved, "one verdict per batch");
        state.resolved = true;
        let (sealed, piece) = (state.sealed, state.piece);
        if self.families.settle(piece) {
            self.accumulator.resolved(&sealed);
        }
        let span = self.families.span(piece, sealed.records);
        let (cell, has_holes) = (sealed.cell, sealed.has_holes());
        self.verdicts.push_back(Verdict { cell, span, has_holes, outcome });
        self.release_if_over(batch);
    }

    /// The buffer goes back when the verdict is out, no answer is awaited and nothing is lent.
    pub(super) fn release_if_over(&mut self, batch: u32) {
        let Some(state) = self.batches.find(batch) else { return };
        if !state.resolved || state.in_flight {
            return;
        }
        let (sealed, piece) = (state.sealed, state.piece);
        if self.accumulator.is_lent(&sealed) {
            // The frame's return brings it here again.
            return;
        }
        self.batches.remove(batch);
        match piece {
            None => self.accumulator.release(&sealed),
            Some(piece) => self.release_piece(piece, &sealed),
        }
    }

    /// The connection of a request is gone, or the request took too long: its batches may have been
    /// written. NET-4.
    pub(super) fn lose(&mut self, entries: &[Entry], code: ErrorCode, now: Instant) {
        for entry in entries.iter().filter(|entry| !entry.answered) {
            let batch = self.leave_flight(entry.batch);
            self.batches.get_mut(batch).set_uncertain();
            self.retry_or_fail(batch, code, None, now);
        }
        for entry in entries.iter().filter(|entry| !entry.answered) {
            self.settled(entry.partition, entry.batch, now);
        }
    }

    /// `acks=0`: handed to the socket is success (META-3, NET-7).
    pub(super) fn settle_unanswered(&mut self, entries: &[Entry], now: Instant) {
        let moment = clock::to_nanos(now);
        for entry in entries {
            let batch = self.leave_flight(entry.batch);
            self.succeed(batch, -1, -1, moment);
            self.settled(entry.partition, batch, now);
        }
    }

    /// EXP-1 to EXP-3: the batch was not acknowledged in time.
    pub(super) fn expire(&mut self, batch: u32, now: Instant) {
        let state = self.batches.get(batch);
        let elapsed = now.saturating_duration_since(clock::from_nanos(state.sealed.opened_at));
        let cause = self.obstacle(batch);
        let possibly_written = state.possibly_written();
        let error = SendError::TimedOut { elapsed, cause, possibly_written };
        let ring = &self.partitions[state.partition as usize].ring;
        limited!(
            trouble,
            self.events,
            Expired,
            now,
            topic = &**ring.topic(),
            partition = ring.partition(),
            records = state.sealed.records,
            ?elapsed,
            ?cause,
            possibly_written,
            "records were not acknowledged in time"
        );
        if state.in_flight {
            // EXP-6: the request stays out; its answer settles the sequence.
            self.fail(batch, error);
        } else {
            self.give_up(batch, error);
        }
    }

    pub(super) fn is_expired(&self, batch: u32, now: Instant) -> bool {
        let opened = clock::from_nanos(self.batches.get(batch).sealed.opened_at);
        now >= opened + self.settings.delivery_timeout
    }

    /// Expires queued batches, oldest first (EXP-2, EXP-9: muted or not).
    pub(super) fn expire_queued(&mut self, index: u32, now: Instant) {
        while let Some(&batch) = self.partitions[index as usize].queue.front() {
            if !self.is_expired(batch, now) {
                break;
            }
            self.partitions[index as usize].queue.pop_front();
            self.expire(batch, now);
            self.release_if_over(batch);
        }
        self.restart_if_due(index, now);
    }

    /// Expires batches in flight.
    pub(super) fn expire_unsettled(&mut self, index: u32, now: Instant) {
        for at in 0.. {
            let Some(&batch) = self.partitions[index as usize].unsettled.get(at) else { break };
            let state = self.batches.get(batch);
            if state.in_flight && !state.resolved && self.is_expired(batch, now) {
                self.expire(batch, now);
            }
        }
        self.restart_if_due(index, now);
    }

    /// Arms the partition's timer for its oldest batch's expiry and its first batch's retry.
    pub(super) fn arm_expiry(&mut self, index: u32, now: Instant) {
        let partition = &self.partitions[index as usize];
        let queued = partition.queue.front().copied();
        let unresolved = |batch: &&u32| !self.batches.get(**batch).resolved;
        let oldest = partition.unsettled.iter().find(unresolved).copied();
        let opened = |batch: u32| self.batches.get(batch).sealed.opened_at;
        let Some(opened) = [queued, oldest].into_iter().flatten().map(opened).min() else {
            return;
        };
        let expires = clock::from_nanos(opened) + self.settings.delivery_timeout;
        // A retry that is due and cannot go out waits for something else than time.
        let retry =
            queued.and_then(|batch| self.batches.get(batch).retry_at.filter(|at| *at > now));
        self.arm_partition(index, retry.map_or(expires, |retry| retry.min(expires)));
    }

    /// Starts the partition's sequences again if one of them was used up and the time has come.
    #[inline]
    pub(super) fn restart_if_due(&mut self, index: u32, now: Instant) {
        if self.partitions[index as usize].restart {
            self.restart(index, now);
        }
    }

    /// SEQ-6: once nothing of the partition is in flight, its sequences start again under a new
    /// epoch, and what was waiting for a retry is numbered anew. SEQ-8: not as long as the first of
    /// these may have been written under its old number; if it was not, the ones behind it were not
    /// either.
    #[cold]
    fn restart(&mut self, index: u32, now: Instant) {
        let partition = &mut self.partitions[index as usize];
        let first = partition.unsettled.front().map(|batch| self.batches.get(*batch));
        let open = first.is_some_and(|first| first.open_attempt) && !partition.orphaned;
        if partition.in_flight > 0 || open {
            return;
        }
        partition.restart = false;
        partition.gap_open = false;
        partition.orphaned = false;
        partition.next_sequence = Sequence::ZERO;
        partition.unsettled.clear();
        for batch in &partition.queue {
            let state = self.batches.get_mut(*batch);
            state.sequence = None;
            state.order = NEVER_DRAINED;
        }
        let stale = partition.identity;
        self.bump_epoch(stale, now);
    }
}
