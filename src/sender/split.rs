//! Batches that are too large for their topic: cut into pieces, which go in their place.
//!
//! Owns:     what the pieces of one batch share: its cell, its bytes of the budget, its flush.
//! Bounds:   a batch of n records is split n - 1 times at most; each split takes one piece's place.
//! Never:    splits what may have been written; lets a flush end before the last piece's verdict.
//! Source:   SPL-1, SPL-3 to SPL-8 of the Java producer; KAFKA-8350, KAFKA-19479.
//!
//! The pieces of a batch, and the pieces of its pieces, are a *family*. To the sender each is a
//! batch like others: it has a place in the queue and among the unsettled, a sequence, retries of
//! its own, an answer of its own. Only three things happen once per family: the budget comes back
//! with its last release, the flush counts its last verdict, and its records share one cell, whose
//! parts they settle.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::Sender;
use super::batches::BatchState;
use super::produce::Answer;
use crate::accumulator::batch::SealedBatch;
use crate::delivery::Span;
use crate::protocol::record_batch::HEADER_BYTES;

/// Where a piece belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    family: u32,
    /// Place of its first record in the batch that was split first.
    pub(super) first: u32,
}

#[derive(Debug, Default)]
struct Family {
    /// Records of the batch that was split first.
    records: u32,
    /// Bytes of the budget that were reserved for it.
    cost: u64,
    /// Pieces without a verdict.
    unresolved: u32,
    /// Pieces whose memory is in use.
    held: u32,
}

/// All families. Grows with the most that there ever were at one time.
#[derive(Debug, Default)]
pub(super) struct Families {
    slots: Vec<Family>,
    free: Vec<u32>,
}

impl Families {
    /// The place of a batch before it is cut: in the family it has, or as the first of a new one.
    fn join(&mut self, whole: &BatchState, cost: u64) -> Piece {
        if let Some(piece) = whole.piece {
            return piece;
        }
        let records = whole.sealed.records;
        let family = Family { records, cost, unresolved: 1, held: 1 };
        let index = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(index as usize) {
            Some(slot) => *slot = family,
            None => self.slots.push(family),
        }
        Piece { family: index, first: 0 }
    }

    /// One piece became so many.
    fn grow(&mut self, piece: Piece, pieces: u32) {
        let family = &mut self.slots[piece.family as usize];
        family.unresolved += pieces - 1;
        family.held += pieces - 1;
    }

    /// What the pieces were cut from keeps its memory beside them.
    fn keep(&mut self, piece: Piece) {
        self.slots[piece.family as usize].held += 1;
    }

    /// A batch has its verdict. True if nothing of what was opened as one batch is without one.
    pub(super) fn settle(&mut self, piece: Option<Piece>) -> bool {
        let Some(piece) = piece else { return true };
        let family = &mut self.slots[piece.family as usize];
        family.unresolved -= 1;
        family.unresolved == 0
    }

    /// The memory of a piece is free: the bytes of the budget that come back with it.
    fn release(&mut self, piece: Piece) -> Option<u64> {
        let family = &mut self.slots[piece.family as usize];
        family.held -= 1;
        if family.held > 0 {
            return None;
        }
        let cost = family.cost;
        self.free.push(piece.family);
        Some(cost)
    }

    /// Which records of their cell a batch has.
    pub(super) fn span(&self, piece: Option<Piece>, records: u32) -> Span {
        let Some(piece) = piece else { return Span::whole(records) };
        let of = self.slots[piece.family as usize].records;
        Span { first: piece.first, records, of }
    }
}

impl Sender {
    /// SPL-1: the broker finds the batch too large. Several records are sent again in pieces; one
    /// alone is refused for good.
    pub(super) fn split_or_fail(&mut self, batch: u32, answer: &Answer, now: Instant) {
        let state = self.batches.get(batch);
        // A broker looks at the size before it looks for duplicates. So this answer does not say
        // that an earlier attempt was not written: the limit may have been higher then. Pieces have
        // other sequences than the batch had, a broker would not know them again, and they could be
        // written a second time. Without idempotence every retry can do that.
        let doubtful = state.open_attempt && self.settings.idempotence;
        // SPL-8: what has its verdict is not sent again; a purge may have given it one.
        let over = state.resolved || self.fatal.is_some() || self.closing.is_forced();
        if state.sealed.records == 1 || doubtful || over {
            return self.reject(batch, answer.error, answer.message.clone());
        }
        if self.is_expired(batch, now) {
            // SPL-8: what has its verdict, or gets it now, is not sent again.
            return self.expire(batch, now);
        }
        match self.accumulator.split(&state.sealed) {
            Some(pieces) => self.replace(batch, &pieces),
            // No memory for pieces now. There may be some after the next refusal.
            None => self.retry_or_fail(batch, answer.error, answer.message.clone(), now),
        }
    }

    /// SPL-4, SPL-6: the pieces take the batch's place in every order. The first one of a plain
    /// batch takes its index too.
    fn replace(&mut self, batch: u32, pieces: &[SealedBatch]) {
        let whole = *self.batches.get(batch);
        let cost = self.accumulator.pool().charge_of(whole.sealed.index);
        let mut piece = self.families.join(&whole, cost);
        self.families.grow(piece, pieces.len() as u32);
        self.meters.own.splits.add(1);
        let mut sequence = whole.sequence;
        let is_left = pieces[0].index != whole.sealed.index;
        if is_left {
            self.leave_behind(batch, piece);
        } else {
            self.batches.remove(batch);
        }
        let partition = &mut self.partitions[whole.partition as usize];
        // Absent only if the partition has started again, and then it numbers all it has anew.
        let mut at = partition.unsettled.iter().position(|other| *other == batch);
        if is_left && let Some(at) = at {
            partition.unsettled.remove(at);
        }
        for sealed in pieces {
            let index = self.batches.add_piece(whole.cut(*sealed, piece, sequence));
            partition.requeue(index, &self.batches);
            if let Some(at) = at.as_mut() {
                if index != batch {
                    partition.unsettled.insert(*at, index);
                }
                *at += 1;
            }
            piece.first += sealed.records;
            sequence = sequence.map(|sequence| sequence.advance(sealed.records));
        }
        for sealed in pieces {
            self.want_compression(sealed.index.0, whole.partition);
        }
        if is_left {
            self.release_if_over(batch);
        }
    }

    /// A compressed batch was taken apart, and its records have gone to its pieces. Its own memory
    /// may still be lent: it goes back as that of a batch which has its verdict, and belongs to the
    /// family until then. SPL-2: the next batches are filled as if nothing was known.
    fn leave_behind(&mut self, batch: u32, piece: Piece) {
        self.families.keep(piece);
        let state = self.batches.get_mut(batch);
        state.piece = Some(piece);
        state.resolved = true;
        let (sealed, partition) = (state.sealed, state.partition as usize);
        let records = |bytes: u32| bytes as usize - HEADER_BYTES;
        let packing = self.partitions[partition].ring.packing();
        packing.reset(records(sealed.plain_bytes), records(sealed.bytes));
    }

    /// Gives the memory of a piece back; the budget's bytes come with the last of the family.
    pub(super) fn release_piece(&mut self, piece: Piece, sealed: &SealedBatch) {
        self.accumulator.release_piece(sealed);
        if let Some(cost) = self.families.release(piece) {
            self.accumulator.release_budget(sealed, cost);
        }
    }
}
