//! How a topic's batches are packed: its codec, and how much plain goes into one of them.
//!
//! Owns:     the estimate of what the codec makes of the topic's records.
//! Thread:   appenders read the limit when they open a batch; shards correct the estimate.
//! Bounds:   [`EXPANSION_MAX`] times `batch.size`, and [`PLAIN_BYTES_MAX`], of plain bytes a batch.
//! Never:    changes the codec once the topic has a batch ring.
//! Source:   EST-1 to EST-5 and SPL-2 of the Java producer. Java keeps one estimate per topic and
//!           codec for the whole process, so that producers disturb each other; here it is the
//!           producer's own.
//!
//! A batch takes records until it is expected to have `batch.size` bytes compressed. Every batch of
//! a compressed topic lies in memory of the same size, whatever its own limit is: a thread that was
//! stopped between looking and claiming may claim by an earlier batch's limit (see `batch_ring`).
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use super::BATCH_BYTES_MAX;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::HEADER_BYTES;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicU32, AtomicUsize};

/// A batch collects at most so many times `batch.size`, however well its topic compresses: memory
/// that it would fill with records which wait, and what a surprise may grow to on the wire.
pub const EXPANSION_MAX: usize = 16;
/// And at most so many bytes, unless `batch.size` is above: what a broker takes as one batch by
/// default, if the estimate was wrong and nothing of it can be compressed.
pub const PLAIN_BYTES_MAX: usize = 1 << 20;

/// Bytes are expected to be more than the estimate says by this factor (EST-3).
const SAFETY: f32 = 1.05;
/// How fast the estimate follows (EST-2): at once when batches come out larger, slowly when they
/// come out smaller.
const STEP_UP: f32 = 0.05;
const STEP_DOWN: f32 = 0.005;
/// Of a topic that nothing is known of yet (EST-1).
const FIRST: f32 = 1.0;

/// How many plain bytes one batch of a compressed topic can hold, in a shard with so much memory.
pub(super) fn capacity(batch_limit: usize, memory: u64) -> usize {
    let memory = usize::try_from(memory / 4).unwrap_or(usize::MAX);
    let most = (batch_limit * EXPANSION_MAX).min(PLAIN_BYTES_MAX).min(BATCH_BYTES_MAX);
    most.min(memory).max(batch_limit)
}

/// How one topic's batches are packed. Shared by its handles and its batch rings.
#[derive(Debug)]
pub struct Packing {
    /// Fixed by the first ring, or before.
    compression: OnceLock<Compression>,
    /// What holds if nothing else is said until then.
    usual: Compression,
    batch_limit: usize,
    /// Most plain bytes of a batch.
    capacity: usize,
    /// Compressed size by plain size: the bits of an f32.
    ratio: AtomicU32,
    /// Plain bytes that the next batch takes, its header included.
    limit: AtomicUsize,
}

impl Packing {
    pub(super) fn new(usual: Compression, batch_limit: usize, capacity: usize) -> Self {
        Self {
            compression: OnceLock::new(),
            usual,
            batch_limit,
            capacity,
            ratio: AtomicU32::new(FIRST.to_bits()),
            limit: AtomicUsize::new(batch_limit),
        }
    }

    /// Records as they are, and nothing can change that.
    pub(super) fn plain(batch_limit: usize) -> Self {
        let packing = Self::new(Compression::None, batch_limit, batch_limit);
        packing.fix();
        packing
    }

    /// Chooses the codec, before the topic has a ring.
    ///
    /// # Errors
    /// The one that it has already, if that is another one.
    pub fn choose(&self, compression: Compression) -> Result<(), Compression> {
        let fixed = *self.compression.get_or_init(|| compression);
        if fixed == compression { Ok(()) } else { Err(fixed) }
    }

    /// From now on nothing can be chosen any more.
    pub(super) fn fix(&self) {
        self.compression.get_or_init(|| self.usual);
    }

    /// The codec.
    pub fn compression(&self) -> Compression {
        self.compression.get().copied().unwrap_or(self.usual)
    }

    /// Plain bytes that a batch takes now, its header included: what is counted against when a
    /// sticky partition is changed. `batch.size` for a topic that is not compressed.
    #[inline]
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// What the codec is expected to make of a byte.
    pub fn ratio(&self) -> f32 {
        f32::from_bits(self.ratio.load(Relaxed))
    }

    /// EST-2: what the codec made of a batch's records. Shards of one topic may overwrite each
    /// other's step.
    pub fn observe(&self, plain: usize, packed: usize) {
        let (estimate, observed) = (self.ratio(), ratio_of(plain, packed));
        if observed > estimate {
            self.set((estimate + STEP_UP).max(observed));
        } else if observed < estimate {
            self.set((estimate - STEP_DOWN).max(observed));
        }
    }

    /// SPL-2: a batch was too large for the broker.
    pub fn reset(&self, plain: usize, packed: usize) {
        self.set(ratio_of(plain, packed).max(FIRST));
    }

    fn set(&self, ratio: f32) {
        self.ratio.store(ratio.to_bits(), Relaxed);
        // EST-3, solved for the plain bytes.
        let records = self.batch_limit.saturating_sub(HEADER_BYTES) as f32 / (ratio * SAFETY);
        let limit = (HEADER_BYTES + records as usize).clamp(self.batch_limit, self.capacity);
        self.limit.store(limit, Relaxed);
    }
}

fn ratio_of(plain: usize, packed: usize) -> f32 {
    packed as f32 / plain.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packing() -> Packing {
        Packing::new(Compression::ZSTD, 16_384, capacity(16_384, 32 << 20))
    }

    #[test]
    fn est_1_a_topic_that_nothing_is_known_of_is_taken_to_be_incompressible() {
        let packing = packing();
        assert_eq!((packing.ratio(), packing.limit()), (1.0, 16_384));
    }

    #[test]
    fn est_2_the_estimate_rises_at_once_and_falls_in_small_steps() {
        // Estimate, observed, estimate afterwards.
        let table = [
            (0.5, 0.5, 0.5),
            (0.5, 0.51, 0.55),
            (0.5, 0.9, 0.9),
            (0.5, 0.2, 0.495),
            (0.5, 0.498, 0.498),
            (1.0, 0.1, 0.995),
        ];
        for (estimate, observed, after) in table {
            let packing = packing();
            packing.set(estimate);
            packing.observe(10_000, (observed * 10_000.0) as usize);
            let found = packing.ratio();
            assert!((found - after).abs() < 0.000_2, "{estimate} {observed}: {found}");
        }
    }

    #[test]
    fn est_3_a_batch_takes_what_is_expected_to_become_batch_size() {
        let packing = packing();
        packing.set(0.25);
        let expected = HEADER_BYTES as f32 + (packing.limit() - HEADER_BYTES) as f32 * 0.25 * 1.05;
        assert!((16_380.0..=16_384.0).contains(&expected), "{expected}");
        packing.set(0.001);
        assert_eq!(packing.limit(), 16 * 16_384, "not without bounds");
        packing.set(1.3);
        assert_eq!(packing.limit(), 16_384, "never below batch.size");
    }

    /// Java's stress test of its estimator: ratios that jump between bad and good.
    #[test]
    fn est_4_less_than_a_tenth_of_the_batches_come_out_too_large() {
        let mut state = 1_u64;
        for (good, bad, bad_of_100) in [(0.1, 0.9, 2), (0.3, 0.35, 50), (0.2, 0.8, 20)] {
            let packing = packing();
            let mut above = 0;
            for _ in 0..10_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let ratio = if (state >> 33) % 100 < bad_of_100 { bad } else { good };
                let plain = packing.limit() - HEADER_BYTES;
                let packed = (plain as f64 * ratio) as usize;
                above += usize::from(HEADER_BYTES + packed > 16_384);
                packing.observe(plain, packed);
            }
            assert!(above < 1_000, "{above} of 10000 for {good}/{bad}");
        }
    }

    #[test]
    fn spl_2_a_batch_that_was_too_large_takes_the_estimate_back() {
        let packing = packing();
        packing.set(0.2);
        packing.reset(10_000, 2_000);
        assert_eq!(packing.ratio(), 1.0);
        packing.reset(10_000, 12_000);
        assert_eq!(packing.ratio(), 1.2);
    }

    #[test]
    fn the_codec_is_fixed_once() {
        let packing = packing();
        assert_eq!(packing.compression(), Compression::ZSTD);
        assert_eq!(packing.choose(Compression::Snappy), Ok(()));
        assert_eq!(packing.choose(Compression::Snappy), Ok(()));
        assert_eq!(packing.choose(Compression::None), Err(Compression::Snappy));
        packing.fix();
        assert_eq!(packing.compression(), Compression::Snappy);
        assert_eq!(Packing::plain(100).choose(Compression::ZSTD), Err(Compression::None));
    }

    #[test]
    fn a_batch_holds_no_more_than_its_share_of_the_memory() {
        assert_eq!(capacity(16_384, 32 << 20), 16 * 16_384);
        assert_eq!(capacity(1 << 20, 32 << 20), 1 << 20);
        assert_eq!(capacity(2 << 20, 32 << 20), 2 << 20);
        assert_eq!(capacity(16_384, 200_000), 50_000);
        assert_eq!(capacity(16_384, 20_000), 16_384);
    }
}
