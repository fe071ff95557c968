//! The batch rings of a topic, by partition.
#![forbid(unsafe_code)]

use std::sync::{Arc, OnceLock};

use crate::accumulator::batch_ring::BatchRing;

type Chunk = Box<[OnceLock<Arc<BatchRing>>]>;

/// The rings of a topic by partition number: chunks that double, made when first used.
#[derive(Debug)]
pub(super) struct Rings {
    chunks: [OnceLock<Chunk>; Self::CHUNKS],
}

impl Rings {
    const CHUNKS: usize = 26;
    const FIRST_BITS: u32 = 6;

    pub(super) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; Self::CHUNKS] }
    }

    /// Number of the chunk, and the place in it.
    #[inline]
    fn place(partition: u32) -> (usize, usize) {
        let shifted = u64::from(partition) + (1 << Self::FIRST_BITS);
        let top = shifted.ilog2();
        ((top - Self::FIRST_BITS) as usize, (shifted - (1 << top)) as usize)
    }

    /// The ring, if there is one already.
    #[inline]
    pub(super) fn get(&self, partition: u32) -> Option<&BatchRing> {
        let (chunk, at) = Self::place(partition);
        self.chunks[chunk].get()?[at].get().map(|ring| &**ring)
    }

    pub(super) fn slot(&self, partition: u32) -> &OnceLock<Arc<BatchRing>> {
        let (chunk, at) = Self::place(partition);
        let bytes = 1_u64 << (chunk as u32 + Self::FIRST_BITS);
        let chunk =
            self.chunks[chunk].get_or_init(|| (0..bytes).map(|_| OnceLock::new()).collect());
        &chunk[at]
    }
}
