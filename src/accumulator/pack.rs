//! Batches of compressed topics: the memory that they are filled in, and where they go compressed.
//!
//! Owns:     which buffer a batch is in before and after.
//! Thread:   appenders take chunks; all else is the shard's.
//! Bounds:   a batch that is filled costs the budget what it may fill; compressed, one pooled
//!           buffer.
//! Never:    waits for memory of the pool: a chunk costs no less than the pooled buffer that takes
//!           its batch, so there is always one.
//!
//! Plain, a batch lies in a chunk, several times as large as a pooled buffer. Its compressed
//! records go to a pooled buffer, which the kernel knows, and the chunk to the next batch. Where
//! they do not fit there, or the buffer is shared by others (a batch with holes, a piece), they
//! stand over the front of the plain ones.
//!
//! Records that the codec cannot make smaller are sent as they are, which a batch's attributes can
//! say; Java sends the larger form.
#![forbid(unsafe_code)]

use super::batch::{self, Opening, SealedBatch};
use super::batch_ring::{Append, BatchRing, Memory};
use super::buffer_pool::{self, BufferIndex, Loan, Need};
use super::{Accumulator, Taken};
use crate::protocol::compression::Codec;
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::atomic::Ordering::Relaxed;

impl Accumulator {
    /// Memory for a batch that will be compressed, and that begins with `bytes`.
    pub(super) fn take_chunk(
        &self,
        bytes: usize,
        ring: &BatchRing,
        memory: Memory,
    ) -> Result<Taken, Append> {
        let mut limit = ring.packing().limit();
        if bytes > self.pool.chunk_bytes() {
            // A record beyond all batches has memory for itself, as in topics that are plain.
            let cost = self.pool.cost(bytes);
            let used_reserved = self.take_bytes(cost, ring, memory)?;
            return match self.pool.claim_reserved(bytes) {
                Some(buffer) => Ok(Taken { buffer, limit, used_reserved }),
                None => {
                    self.return_bytes(cost, used_reserved);
                    Err(Append::NoMemory(Need::new(cost, ring.has_backlog())))
                }
            };
        }
        let mut cost = self.pool.chunk_cost(bytes.max(limit));
        // The estimate may have moved since the caller asked for memory. What it waited for is
        // enough if the batch can begin with it, and all of it is used up.
        if let Memory::Reserved(held) = memory
            && held >= self.pool.chunk_cost(bytes.max(self.batch_limit))
        {
            let missing = usize::try_from(cost.saturating_sub(held)).unwrap_or(usize::MAX);
            limit -= missing.min(limit - self.batch_limit);
            cost = held;
        }
        let used_reserved = self.take_bytes(cost, ring, memory)?;
        match self.pool.claim_chunk(cost) {
            Some(buffer) => Ok(Taken { buffer, limit, used_reserved }),
            None => {
                self.return_bytes(cost, used_reserved);
                // The kernel gives no memory. There are bytes, so waiting for bytes would not be
                // waiting.
                Err(Append::NoSlot)
            }
        }
    }

    /// Lends the records of a sealed batch, to be read by whoever compresses them. Shard only.
    pub fn lend_records(&self, batch: &SealedBatch) -> Loan {
        let start = buffer_pool::HEAD_ROOM_BYTES + HEADER_BYTES;
        self.pool.lend(batch.index, start, batch.bytes as usize - HEADER_BYTES)
    }

    /// Puts the compressed records of a batch in the place of the plain ones; returns the batch as
    /// it is now, perhaps under another index: then the old one is free. `is_alone`: nobody else
    /// counts on the buffer. Shard only; when nothing of the batch is lent.
    pub fn pack(
        &self,
        plain: &SealedBatch,
        codec: Codec,
        records: &[u8],
        is_alone: bool,
    ) -> SealedBatch {
        let bytes = HEADER_BYTES + records.len();
        debug_assert!(bytes < plain.bytes as usize, "otherwise the plain form is sent");
        let may_move = is_alone
            && !plain.has_holes()
            && !self.pool.is_pooled(plain.index)
            && bytes <= self.pool.area();
        let pooled = if may_move { self.pool.claim_reserved(bytes) } else { None };
        let index = pooled.unwrap_or(plain.index);
        batch::write_records(&self.pool, index, records);
        if pooled.is_some() {
            self.move_batch(plain, index);
        }
        // No larger than the plain form.
        SealedBatch { index, codec, bytes: bytes as u32, plain_bytes: plain.bytes, ..*plain }
    }

    /// The batch is in the pooled buffer `to` from now on, and paid for out of what its chunk cost.
    fn move_batch(&self, from: &SealedBatch, to: BufferIndex) {
        let (old, new) = (&self.batches[from.index.0 as usize], &self.batches[to.0 as usize]);
        new.open(Opening {
            base: self.pool.base_of(to),
            timestamp: old.base_timestamp.load(Relaxed),
            opened_at: from.opened_at,
            cell: from.cell,
            flush_epoch: from.flush_epoch,
            limit: 0,
            // No ring will ever open it.
            word: 0,
            oversized_bytes: 0,
        });
        new.set_max_timestamp(old.max_timestamp());
        let cost = self.pool.release(from.index);
        self.pool.unreserve(cost - self.pool.charge_of(to));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::batch_ring::{BatchRing, Entry, Head};
    use super::*;
    use crate::ids::{ProducerIdentity, Sequence};
    use crate::protocol::compression::Compression;

    const WHO: ProducerIdentity = ProducerIdentity { id: 7, epoch: 3 };

    fn accumulator(memory: u64) -> Arc<Accumulator> {
        Accumulator::new(memory, 1_000, Duration::ZERO).unwrap()
    }

    fn ring(accumulator: &Arc<Accumulator>) -> Arc<BatchRing> {
        let packing = accumulator.new_packing(Compression::ZSTD);
        accumulator.new_packed_ring(&"t".into(), 0, &packing).unwrap()
    }

    fn append(ring: &BatchRing, bytes: usize, memory: Memory) -> Append {
        let value = vec![b'v'; bytes];
        ring.append(
            &Entry { key: None, value: Some(&value), headers: &[], timestamp: 1_000 },
            memory,
        )
    }

    fn sealed(ring: &BatchRing) -> SealedBatch {
        ring.seal_open();
        let Head::Sealed(sealed) = ring.take() else { panic!("not sealed") };
        sealed
    }

    #[test]
    fn est_5_a_batch_keeps_the_limit_that_it_was_opened_with() {
        let accumulator = accumulator(1 << 20);
        let ring = ring(&accumulator);
        let Append::Done { .. } = append(&ring, 400, Memory::Try) else { panic!() };
        for _ in 0..200 {
            ring.packing().observe(1_000, 100);
        }
        assert!(ring.packing().limit() > 5_000);
        let Append::Done { opened: false, .. } = append(&ring, 400, Memory::Try) else { panic!() };
        let Append::Done { opened: true, .. } = append(&ring, 400, Memory::Try) else { panic!() };
        for _ in 0..9 {
            let Append::Done { opened: false, .. } = append(&ring, 400, Memory::Try) else {
                panic!("the new batch takes several times batch.size")
            };
        }
        let (first, second) = (sealed(&ring), sealed(&ring));
        assert!(first.bytes < 1_000 && second.bytes > 4_000);
        accumulator.release(&first);
        accumulator.release(&second);
        assert_eq!(accumulator.pool().available(), accumulator.pool().total());
    }

    #[test]
    fn a_compressed_batch_moves_to_the_arena_and_its_chunk_serves_the_next_one() {
        let accumulator = accumulator(1 << 20);
        let (ring, pool) = (ring(&accumulator), accumulator.pool());
        for _ in 0..160 {
            ring.packing().observe(1_000, 100);
        }
        let Append::Done { .. } = append(&ring, 2_000, Memory::Try) else { panic!() };
        let limit = ring.packing().limit();
        let plain = sealed(&ring);
        assert_eq!(pool.total() - pool.available(), pool.chunk_cost(limit));
        assert!(!pool.is_pooled(plain.index));
        let packed = accumulator.pack(&plain, Codec::Zstd, &[9; 300], true);
        assert!(pool.is_pooled(packed.index));
        assert_eq!((packed.bytes, packed.plain_bytes), (361, plain.bytes));
        assert_eq!(pool.total() - pool.available(), pool.cost(361));
        accumulator.stamp(&packed, WHO, Some(Sequence::new(4)));
        let loan = accumulator.lend(&packed);
        assert_eq!((loan.bytes()[22], &loan.bytes()[61..]), (4, &[9; 300][..]));
        drop(loan);
        assert_eq!(accumulator.max_timestamp(&packed), 1_000);
        let Append::Done { .. } = append(&ring, 2_000, Memory::Try) else { panic!() };
        let next = sealed(&ring);
        assert_eq!(next.index, plain.index, "the chunk is used again");
        accumulator.release(&packed);
        accumulator.release(&next);
        assert_eq!(pool.available(), pool.total());
    }

    #[test]
    fn what_is_still_too_large_for_the_arena_or_shared_stays_where_it_is() {
        let accumulator = accumulator(1 << 20);
        let (ring, pool) = (ring(&accumulator), accumulator.pool());
        for (records, is_alone) in [(1_500, true), (300, false)] {
            let Append::Done { .. } = append(&ring, 2_000, Memory::Try) else { panic!() };
            let plain = sealed(&ring);
            let packed = accumulator.pack(&plain, Codec::Lz4, &vec![7; records], is_alone);
            assert_eq!((packed.index, packed.bytes as usize), (plain.index, 61 + records));
            accumulator.release(&packed);
            assert_eq!(pool.available(), pool.total());
        }
    }

    #[test]
    fn there_is_always_a_pooled_buffer_for_what_was_compressed() {
        let accumulator = accumulator(40_000);
        let pool = accumulator.pool();
        let topics: Vec<_> = (0..200).map(|_| ring(&accumulator)).collect();
        let opened = topics
            .iter()
            .filter(|ring| matches!(append(ring, 500, Memory::Try), Append::Done { .. }));
        let plain: Vec<_> = opened.map(|ring| sealed(ring)).collect();
        assert!(plain.len() > 10 && pool.available() < pool.cost(1));
        let packed = plain.iter().map(|plain| accumulator.pack(plain, Codec::Lz4, &[7; 80], true));
        let packed: Vec<_> = packed.collect();
        assert!(packed.iter().all(|packed| pool.is_pooled(packed.index)));
        packed.iter().for_each(|packed| accumulator.release(packed));
        assert_eq!(pool.available(), pool.total());
    }

    #[test]
    fn buf_3_reserved_bytes_are_enough_although_the_estimate_has_moved() {
        let accumulator = accumulator(1 << 20);
        let (ring, pool) = (ring(&accumulator), accumulator.pool());
        for held in [pool.chunk_cost(1_000), pool.chunk_cost(9_000)] {
            assert!(pool.try_reserve(held));
            for _ in 0..100 {
                ring.packing().observe(1_000, 100);
            }
            let done = append(&ring, 100, Memory::Reserved(held));
            let Append::Done { used_reserved: true, .. } = done else { panic!("{done:?}") };
            assert_eq!(pool.total() - pool.available(), held, "all of it, and no more");
            accumulator.release(&sealed(&ring));
            assert_eq!(pool.available(), pool.total());
        }
    }

    /// Who lacks a chunk must lack bytes too: for these it can wait, while a shard that has caught
    /// up sends whoever waits for its turn straight back, again and again.
    #[test]
    fn the_bytes_are_used_up_no_later_than_the_chunks() {
        for memory in [100_000, 4 << 20, 32 << 20] {
            let accumulator = accumulator(memory);
            let rings = (0..).map(|_| ring(&accumulator)).map_while(|ring| {
                match append(&ring, 1, Memory::Try) {
                    Append::Done { .. } => Some(ring),
                    Append::NoMemory(_) => None,
                    other => panic!("{other:?}"),
                }
            });
            let open = rings.collect::<Vec<_>>().len();
            let pooled = accumulator.pool().pooled_count();
            assert!((pooled / 9..=pooled).contains(&open), "{open} of {pooled}");
        }
    }

    #[test]
    fn a_record_beyond_all_chunks_has_memory_of_its_own() {
        let accumulator = accumulator(1 << 20);
        let (ring, pool) = (ring(&accumulator), accumulator.pool());
        let Append::Done { .. } = append(&ring, 100_000, Memory::Try) else { panic!() };
        let plain = sealed(&ring);
        assert_eq!(pool.total() - pool.available(), pool.cost(plain.bytes as usize));
        let packed = accumulator.pack(&plain, Codec::Gzip, &[1; 500], true);
        assert_eq!(pool.total() - pool.available(), pool.cost(1));
        accumulator.release(&packed);
        assert_eq!(pool.available(), pool.total());
    }
}
