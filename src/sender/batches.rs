//! What the sender knows of each batch it holds, by buffer index.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::split::Piece;
use crate::accumulator::batch::SealedBatch;
use crate::ids::{Sequence, TopicId};
use crate::protocol::error_code::ErrorCode;

/// A batch from the moment it leaves its ring until its memory is back in the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchState {
    pub(super) sealed: SealedBatch,
    pub(super) partition: u32,
    /// Attempts that have ended.
    pub(super) attempts: u32,
    /// Its first sequence, once it has been drained with idempotence.
    pub(super) sequence: Option<Sequence>,
    /// Counts the drains of its partition: what was drained earlier is sent again earlier.
    pub(super) order: u64,
    /// Not before (RDY-3).
    pub(super) retry_at: Option<Instant>,
    /// Leader epoch of the last attempt (RTY-4).
    pub(super) leader_epoch: i32,
    /// Highest leader epoch of the attempts that were lost.
    pub(super) lost_epoch: i32,
    /// The node of the last attempt.
    pub(super) asked: u32,
    /// Whose answer was lost.
    lost_by: Lost,
    /// How often a newer leader has ended a wait of the batch (RTY-4).
    pub(super) moves: u8,
    /// Topic id of the last attempt: which log it was for (TID-2).
    pub(super) topic_id: TopicId,
    /// An attempt ended without an answer that settles it: it may have been written.
    uncertain: bool,
    /// Such an attempt was made under the present sequence: only the same sequence, sent once more,
    /// tells whether it was written.
    pub(super) open_attempt: bool,
    /// It is a piece of a batch that was split.
    pub(super) piece: Option<Piece>,
    /// Its records are not those that its header was written for.
    pub(super) reshaped: bool,
    /// How far it is with the compressor.
    pub(super) packed: Packed,
    /// In a request that is not answered.
    pub(super) in_flight: bool,
    /// Its records have their verdict.
    pub(super) resolved: bool,
    pub(super) last_error: Option<ErrorCode>,
}

/// Whether a batch is as it will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packed {
    /// It waits to be compressed.
    Wanted,
    /// It is lent to the compressor.
    Away,
    /// It is compressed, or will not be.
    Done,
}

/// The nodes whose answers to a batch were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Nobody,
    Node(u32),
    Several,
}

/// Order of a batch that was never drained.
pub(super) const NEVER_DRAINED: u64 = u64::MAX;

impl BatchState {
    fn new(sealed: SealedBatch, partition: u32) -> Self {
        Self {
            sealed,
            partition,
            attempts: 0,
            sequence: None,
            order: NEVER_DRAINED,
            retry_at: None,
            leader_epoch: -1,
            lost_epoch: -1,
            asked: 0,
            lost_by: Lost::Nobody,
            moves: 0,
            topic_id: TopicId::ZERO,
            uncertain: false,
            open_attempt: false,
            piece: None,
            reshaped: false,
            packed: Packed::Done,
            in_flight: false,
            resolved: false,
            last_error: None,
        }
    }

    /// A piece of this batch (SPL-4): it has its age, its place in the order, its doubts, and no
    /// attempts yet.
    pub(super) fn cut(
        &self,
        sealed: SealedBatch,
        piece: Piece,
        sequence: Option<Sequence>,
    ) -> Self {
        Self {
            order: self.order,
            leader_epoch: self.leader_epoch,
            topic_id: self.topic_id,
            uncertain: self.uncertain,
            sequence,
            piece: Some(piece),
            reshaped: true,
            ..Self::new(sealed, self.partition)
        }
    }

    /// The attempt that ended may have been written.
    pub(super) fn set_uncertain(&mut self) {
        self.uncertain = true;
        self.open_attempt = true;
        self.lost_epoch = self.lost_epoch.max(self.leader_epoch);
        self.lost_by = match self.lost_by {
            Lost::Nobody => Lost::Node(self.asked),
            Lost::Node(node) if node == self.asked => Lost::Node(node),
            Lost::Node(_) | Lost::Several => Lost::Several,
        };
    }

    /// Whether the broker of the last attempt may not know what a lost attempt wrote: it is an
    /// older leader than the one whose answer was lost, or another one where epochs are not told.
    pub(super) fn is_answer_stale(&self) -> bool {
        if self.leader_epoch < 0 {
            return self.lost_by != Lost::Nobody && self.lost_by != Lost::Node(self.asked);
        }
        self.leader_epoch < self.lost_epoch
    }

    /// Where it stands among the drained batches of its partition.
    pub(super) fn rank(&self) -> (u64, u32) {
        (self.order, self.piece.map_or(0, |piece| piece.first))
    }

    /// Whether its records were never in a request, not even in that of a batch that was split.
    pub(super) fn is_fresh(&self) -> bool {
        self.order == NEVER_DRAINED && self.attempts == 0 && self.piece.is_none()
    }

    /// Whether its records may be in the log.
    pub(super) fn possibly_written(&self) -> bool {
        self.uncertain || self.in_flight
    }
}

/// All batches the sender holds. Grows with the highest buffer index in use.
#[derive(Debug, Default)]
pub(super) struct BatchTable {
    slots: Vec<Option<BatchState>>,
}

impl BatchTable {
    pub(super) fn add(&mut self, sealed: SealedBatch, partition: u32) -> u32 {
        let index = sealed.index.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        debug_assert!(self.slots[index].is_none(), "a buffer holds one batch at a time");
        self.slots[index] = Some(BatchState::new(sealed, partition));
        sealed.index.0
    }

    pub(super) fn get(&self, index: u32) -> &BatchState {
        self.slots[index as usize].as_ref().expect("a batch is in the table until its release")
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut BatchState {
        self.slots[index as usize].as_mut().expect("a batch is in the table until its release")
    }

    pub(super) fn find(&self, index: u32) -> Option<&BatchState> {
        self.slots.get(index as usize)?.as_ref()
    }

    pub(super) fn remove(&mut self, index: u32) {
        self.slots[index as usize] = None;
    }

    /// The batch has moved to another buffer.
    pub(super) fn rename(&mut self, from: u32, to: u32) {
        let state = self.slots[from as usize].take();
        if to as usize >= self.slots.len() {
            self.slots.resize(to as usize + 1, None);
        }
        debug_assert!(self.slots[to as usize].is_none(), "a buffer holds one batch at a time");
        self.slots[to as usize] = state;
    }

    /// All batches.
    pub(super) fn held(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().zip(0_u32..).filter(|(slot, _)| slot.is_some()).map(|(_, index)| index)
    }

    /// Adds a piece of a batch that was split.
    pub(super) fn add_piece(&mut self, piece: BatchState) -> u32 {
        let index = self.add(piece.sealed, piece.partition);
        *self.get_mut(index) = piece;
        index
    }

    /// The batches without a verdict.
    pub(super) fn unresolved(&self) -> impl Iterator<Item = u32> + '_ {
        let indexed = self.slots.iter().zip(0_u32..);
        indexed.filter_map(|(slot, index)| slot.as_ref().filter(|b| !b.resolved).map(|_| index))
    }

    /// The batches without a verdict, each partition's in the order of its records.
    pub(super) fn unresolved_in_order(&self) -> Vec<u32> {
        let mut found: Vec<_> = self.unresolved().collect();
        found.sort_by_key(|index| {
            let batch = self.get(*index);
            let (order, first) = batch.rank();
            (batch.partition, order, batch.sealed.opened_at, first)
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulator::buffer_pool::BufferIndex;

    fn attempts(asked: &[(u32, i32)]) -> bool {
        let mut state = BatchState::new(SealedBatch::of_test(BufferIndex(0)), 0);
        for (at, &(node, epoch)) in asked.iter().enumerate() {
            if at > 0 {
                state.set_uncertain();
            }
            (state.asked, state.leader_epoch) = (node, epoch);
        }
        state.is_answer_stale()
    }

    #[test]
    fn an_older_leader_does_not_know_what_a_lost_attempt_wrote() {
        assert!(!attempts(&[(0, 5)]), "nothing was lost");
        assert!(!attempts(&[(0, 5), (0, 5)]));
        assert!(!attempts(&[(0, 5), (1, 6)]), "a later leader has all that was acknowledged");
        assert!(attempts(&[(0, 5), (1, 4)]));
    }

    #[test]
    fn without_epochs_another_broker_may_not_know_what_a_lost_attempt_wrote() {
        assert!(!attempts(&[(0, -1)]));
        assert!(!attempts(&[(0, -1), (0, -1)]), "the same broker does");
        assert!(attempts(&[(0, -1), (1, -1)]));
        assert!(attempts(&[(0, -1), (1, -1), (1, -1)]), "the first one's answer is still lost");
        assert!(attempts(&[(0, -1), (1, -1), (0, -1)]));
    }
}
