//! A sealed batch cut into smaller ones that are sealed as well (SPL-3 to SPL-5).
//!
//! Thread:   the shard's.
//! Bounds:   the pieces together hold the batch's bytes, and a header and two rooms for each cut.
//! Never:    writes into the batch: the driver may still read it.
//!
//! The first piece stays where it is: its records are the batch's first bytes. Every other piece
//! gets memory of its own beside the arena, since the arena may be full and a split must not wait
//! for it. No byte of the budget changes hands: what was reserved for the batch stays reserved
//! until the last of its pieces is released, so that records in memory stay within
//! `buffer.memory`, and `available + held == total` holds throughout (BUF-2). Beyond the budget
//! there are only the headers and rooms of the pieces, and, where the batch was compressed, what
//! its records are larger by in their plain form.
#![forbid(unsafe_code)]

use super::Accumulator;
use super::batch::{self, Opening, SealedBatch};
use super::buffer_pool::BufferIndex;
use crate::protocol::compression::{self, Codec};
use crate::protocol::record_batch::HEADER_BYTES;
use crate::protocol::split::{self, Piece};

impl Accumulator {
    /// Cuts a batch that was stamped and sent, and whose writers are gone. The pieces are in order,
    /// two or more, without headers and not compressed. None if the batch has one record, or there
    /// is no memory: then nothing has changed. Shard only.
    ///
    /// The first piece of a plain batch has the batch's index, in place of the batch. A compressed
    /// batch stays beside its pieces, with its memory, for the caller to release.
    pub fn split(&self, whole: &SealedBatch) -> Option<Vec<SealedBatch>> {
        let loan = self.lend(whole);
        if whole.codec != Codec::None {
            return self.unpack(whole, loan.bytes());
        }
        let pieces = split::cut(loan.bytes(), self.batch_limit)?;
        let front = part(whole, &pieces[0]);
        let made = self.copy_all(whole, vec![front], &pieces[1..], loan.bytes())?;
        self.batches[whole.index.0 as usize].set_max_timestamp(pieces[0].max_timestamp);
        Some(made)
    }

    /// Cuts a compressed batch: each piece is put into memory of its own.
    fn unpack(&self, whole: &SealedBatch, packed: &[u8]) -> Option<Vec<SealedBatch>> {
        let (header, records) = packed.split_at(HEADER_BYTES);
        let mut plain = vec![0; whole.plain_bytes as usize];
        plain[..HEADER_BYTES].copy_from_slice(header);
        if let Err(error) = compression::decode(whole.codec, records, &mut plain[HEADER_BYTES..]) {
            tracing::error!(%error, "a batch that this process compressed cannot be read back");
            return None;
        }
        let pieces = split::cut(&plain, self.batch_limit)?;
        self.copy_all(whole, Vec::with_capacity(pieces.len()), &pieces, &plain)
    }

    /// Puts pieces into memory of their own, behind those that are `made`.
    fn copy_all(
        &self,
        whole: &SealedBatch,
        mut made: Vec<SealedBatch>,
        pieces: &[Piece],
        plain: &[u8],
    ) -> Option<Vec<SealedBatch>> {
        let kept = made.len();
        for piece in pieces {
            let Some(index) = self.copy(whole, piece, plain) else {
                made[kept..].iter().for_each(|piece| self.release_piece(piece));
                return None;
            };
            made.push(SealedBatch { index, ..part(whole, piece) });
        }
        Some(made)
    }

    /// Puts a piece into memory of its own.
    fn copy(&self, whole: &SealedBatch, piece: &Piece, plain: &[u8]) -> Option<BufferIndex> {
        let index = self.pool.claim_own(piece.bytes)?;
        batch::fill(&self.pool, index, piece.bytes, |out| piece.write_records(plain, out));
        let batch = &self.batches[index.0 as usize];
        batch.open(Opening {
            base: self.pool.base_of(index),
            timestamp: piece.base_timestamp,
            opened_at: whole.opened_at,
            cell: whole.cell,
            flush_epoch: whole.flush_epoch,
            limit: 0,
            // No ring will ever open it.
            word: 0,
            oversized_bytes: 0,
        });
        batch.raise_timestamp(piece.max_timestamp);
        Some(index)
    }
}

/// A piece, still under the index of its batch.
fn part(whole: &SealedBatch, piece: &Piece) -> SealedBatch {
    let bytes = u32::try_from(piece.bytes).expect("a piece is smaller than its batch");
    let (records, codec) = (piece.records, Codec::None);
    SealedBatch { records, bytes, codec, plain_bytes: bytes, ..*whole }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::batch_ring::{Append, Entry, Head, Memory};
    use super::*;
    use crate::ids::{ProducerIdentity, Sequence};

    const WHO: ProducerIdentity = ProducerIdentity { id: 7, epoch: 3 };

    /// A sealed and stamped batch of `count` records.
    fn sealed(accumulator: &Arc<Accumulator>, count: i64) -> SealedBatch {
        let ring = accumulator.new_ring(&"t".into(), 0).unwrap();
        for number in 0..count {
            let value = [number as u8; 40];
            // Later records are older, all but one.
            let timestamp = 5_000 - 70 * number + if number == 6 { 10_000 } else { 0 };
            let entry = Entry { key: Some(b"k"), value: Some(&value), headers: &[], timestamp };
            let Append::Done { .. } = ring.append(&entry, Memory::Try) else { panic!("no room") };
        }
        ring.seal_open();
        let Head::Sealed(sealed) = ring.take() else { panic!("not sealed") };
        accumulator.stamp(&sealed, WHO, Some(Sequence::new(10)));
        sealed
    }

    fn accumulator() -> Arc<Accumulator> {
        Accumulator::new(1 << 16, 1_000, Duration::ZERO).unwrap()
    }

    #[test]
    fn spl_5_the_parents_bytes_of_the_budget_stay_reserved_and_come_back_once() {
        let accumulator = accumulator();
        let whole = sealed(&accumulator, 10);
        let pool = accumulator.pool();
        let cost = pool.cost(whole.bytes as usize);
        assert_eq!(pool.total() - pool.available(), cost);
        let pieces = accumulator.split(&whole).unwrap();
        assert!(pieces.len() >= 2);
        assert_eq!((pieces[0].index, pieces[0].opened_at), (whole.index, whole.opened_at));
        pieces.iter().for_each(|piece| accumulator.release_piece(piece));
        assert_eq!(pool.total() - pool.available(), cost, "not with the pieces");
        pool.unreserve(cost);
        assert_eq!(pool.available(), pool.total());
    }

    #[test]
    fn k19012_4_a_batch_that_the_driver_still_reads_is_cut_and_not_written_to() {
        let accumulator = accumulator();
        let whole = sealed(&accumulator, 10);
        let loan = accumulator.lend(&whole);
        let before = loan.bytes().to_vec();
        let pieces = accumulator.split(&whole).unwrap();
        assert_eq!(loan.bytes(), before);
        for piece in &pieces[1..] {
            accumulator.stamp(piece, WHO, Some(Sequence::new(10)));
            assert_eq!(accumulator.lend(piece).len(), piece.bytes as usize);
        }
    }

    #[test]
    fn spl_4_each_piece_has_its_own_latest_time() {
        let accumulator = accumulator();
        let pieces = accumulator.split(&sealed(&accumulator, 10)).unwrap();
        let latest: Vec<_> = pieces.iter().map(|piece| accumulator.max_timestamp(piece)).collect();
        assert_eq!(pieces.iter().map(|piece| piece.records).collect::<Vec<_>>(), [5, 5]);
        assert_eq!(latest, [5_000, 5_000 - 70 * 6 + 10_000]);
    }

    #[test]
    fn spl_5_without_memory_for_the_pieces_nothing_has_changed() {
        let accumulator = accumulator();
        let whole = sealed(&accumulator, 7);
        let pool = accumulator.pool();
        let mut taken: Vec<_> = std::iter::from_fn(|| pool.claim_own(1)).collect();
        // Three, three and one: something is left for the second piece and nothing for the third.
        pool.release(taken.pop().unwrap());
        assert!(accumulator.split(&whole).is_none());
        taken.push(pool.claim_own(1).expect("the piece that was made is gone again"));
        assert_eq!(accumulator.max_timestamp(&whole), 5_000 - 70 * 6 + 10_000);
        taken.into_iter().for_each(|index| {
            pool.release(index);
        });
        accumulator.release(&whole);
        assert_eq!(pool.available(), pool.total());
    }
}
