//! The producer id of this shard (SEQ-1), and its epochs.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::backoff::backoff;
use super::events::limited;
use super::metadata::{Choice, PATIENCE};
use super::node::Request;
use super::recovery::{Recovery, for_identity};
use super::timers::{Armed, Timer};
use super::{Sender, batches::BatchState};
use crate::error::SendError;
use crate::ids::ProducerIdentity;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::init_producer_id::{self, InitProducerId};
use crate::protocol::wire::WireError;

#[derive(Debug)]
pub(super) struct Identity {
    wanted: bool,
    current: Option<ProducerIdentity>,
    asked: bool,
    failures: u32,
    not_before: Option<Instant>,
    armed: Armed,
}

impl Identity {
    pub(super) fn new(wanted: bool) -> Self {
        let armed = Armed::default();
        Self { wanted, current: None, asked: false, failures: 0, not_before: None, armed }
    }

    /// The producer id and epoch that new batches get.
    pub(super) fn current(&self) -> Option<ProducerIdentity> {
        self.current
    }

    /// The producer id means nothing any more: another one has to be asked for, at once.
    pub(super) fn forget(&mut self) {
        self.current = None;
        self.failures = 0;
        self.not_before = None;
    }

    /// Whether batches need not wait for a producer id.
    pub(super) fn is_settled(&self) -> bool {
        !self.wanted || self.current.is_some()
    }
}

impl Sender {
    /// Asks for a producer id, if one is missing and a broker is at hand.
    #[inline]
    pub(super) fn poll_identity(&mut self, now: Instant) {
        // Several times a batch, and once there is an id, for nothing.
        if !self.identity.is_settled() {
            self.ask_identity(now);
        }
    }

    #[cold]
    fn ask_identity(&mut self, now: Instant) {
        let identity = &mut self.identity;
        if identity.asked || self.closing.is_over() {
            return;
        }
        if let Some(at) = identity.not_before.filter(|at| *at > now) {
            return self.timers.arm(&mut identity.armed, Timer::Identity, at);
        }
        let index = match self.choose_node(now) {
            Choice::Use(index) => index,
            // Without a producer id no batch is ready, so nothing else would connect.
            Choice::Connect(index) => return self.connect(index, now),
            // A node that comes up, fails or may be tried again brings us here sooner.
            Choice::Wait => {
                let armed = &mut self.identity.armed;
                return self.timers.arm(armed, Timer::Identity, now + PATIENCE);
            }
        };
        let Some(version) = self.nodes[index as usize].versions.init_producer_id else {
            return self.identity_refused(ErrorCode::UnsupportedVersion, now);
        };
        self.identity.asked = true;
        self.request(index, ApiKey::InitProducerId, version, now, |out, header| {
            let wanted = InitProducerId {
                transactional_id: None,
                // Without a transactional id the broker does not read the timeout.
                transaction_timeout_ms: i32::MAX,
                current: ProducerIdentity::NONE,
            };
            init_producer_id::encode_request(out, header, &wanted);
            None
        });
    }

    pub(super) fn handle_identity_answer(
        &mut self,
        index: u32,
        request: &Request,
        body: &[u8],
        now: Instant,
    ) -> Result<(), WireError> {
        let answer = init_producer_id::decode_response(request.version, body)?;
        let throttle = u64::try_from(answer.throttle_ms).unwrap_or(0);
        self.throttle(index, throttle, request.version >= 1, now);
        self.identity.asked = false;
        match for_identity(answer.error) {
            Recovery::Success => {
                self.identity.current = Some(answer.producer);
                self.identity.failures = 0;
                // Once per producer id: everything that waited for it.
                (0..self.partitions.len() as u32).for_each(|index| self.place(index, now));
                self.poll_ending(now);
            }
            Recovery::Retry { .. } => self.identity_failed(now),
            _ => self.identity_refused(answer.error, now),
        }
        Ok(())
    }

    /// The request was lost or has to be repeated.
    pub(super) fn identity_failed(&mut self, now: Instant) {
        let wait = backoff(self.settings.retry_backoff, self.identity.failures, &mut self.random);
        let identity = &mut self.identity;
        identity.asked = false;
        identity.failures += 1;
        identity.not_before = Some(now + wait);
        self.timers.arm(&mut identity.armed, Timer::Identity, now + wait);
    }

    /// The brokers give this client no producer id: what is queued fails, later records may fare
    /// better (SEQ-12).
    fn identity_refused(&mut self, code: ErrorCode, now: Instant) {
        tracing::warn!(code = code.name(), "no producer id: failing what is queued");
        let queued = |state: &BatchState| !state.in_flight;
        let mut failing = self.batches.unresolved_in_order();
        failing.retain(|batch| queued(self.batches.get(*batch)));
        for batch in failing {
            let index = self.batches.get(batch).partition as usize;
            self.partitions[index].leave_queue(batch);
            self.partitions[index].settle(batch);
            let possibly_written = self.batches.get(batch).possibly_written();
            let error = match code {
                ErrorCode::ClusterAuthorizationFailed if !possibly_written => {
                    SendError::Denied { code }
                }
                _ => SendError::Rejected { code, message: None, possibly_written },
            };
            self.fail(batch, error);
            self.look_if_filling(index as u32, now);
        }
        self.identity_failed(now);
    }

    pub(super) fn identity_due(&mut self, at: Instant, now: Instant) {
        if self.identity.armed.fires(at) {
            self.poll_identity(now);
        }
    }

    /// SEQ-6: a new epoch, unless another partition has already made one since `stale`. The last
    /// epoch of a producer id is followed by a new producer id.
    pub(super) fn bump_epoch(&mut self, stale: ProducerIdentity, now: Instant) {
        if self.identity.current != Some(stale) {
            return;
        }
        let next = stale.epoch.checked_add(1).map(|epoch| ProducerIdentity { epoch, ..stale });
        self.identity.current = next;
        limited!(
            news,
            self.events,
            EpochBumped,
            now,
            producer_id = stale.id,
            epoch = stale.epoch,
            "producer epoch bumped"
        );
        if next.is_none() {
            // Asked for in the next turn: a request may be on its way out just now.
            self.timers.arm(&mut self.identity.armed, Timer::Identity, now);
        }
        self.meters.own.epoch_bumps.add(1);
    }
}
