//! One LZ4 frame per batch, as Kafka's Java clients write it.
//!
//! | bytes | |
//! |---|---|
//! | 4 | magic, `04 22 4d 18` |
//! | 1 | flags, `60`: version 1, independent blocks, no checksums, no content size |
//! | 1 | block size, `40`: 64 KiB |
//! | 1 | second byte of the xxHash-32 of the two before, `82` |
//! | per block | its bytes, little-endian, top bit set where it is stored as it is; the block |
//! | 4 | end mark, 0 |
//!
//! Kafka's quirk of levels: 9, the default, is the fast compressor, and every other level the one
//! that looks harder.
#![forbid(unsafe_code)]

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::lz4_search::Searcher;
use super::{Codec, CodecError};

const HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
/// Plain bytes of a block.
const BLOCK_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;
/// The level of the fast compressor.
const FAST: i32 = 9;
/// The block is stored as it is.
const STORED: u32 = 1 << 31;

/// The table of recent places, one for blocks that are full and one for the last one: a block below
/// 64 KiB takes one of half the size, which is sooner emptied.
pub(super) struct Encoder {
    full: CompressTable,
    last: CompressTable,
    /// For the levels that look harder; made by the first of them.
    searcher: Option<Searcher>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { full: CompressTable::large(), last: CompressTable::small(), searcher: None }
    }
}

impl Encoder {
    pub(super) fn encode(
        &mut self,
        level: i32,
        plain: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        packed.extend_from_slice(&HEAD);
        for block in plain.chunks(BLOCK_BYTES) {
            let start = packed.len() + LENGTH_BYTES;
            packed.resize(start, 0);
            if level == FAST {
                self.encode_fast(block, packed)?;
            } else {
                packed.reserve(get_maximum_output_size(block.len()));
                self.searcher.get_or_insert_default().encode(level, block, packed)?;
            }
            // A block has 64 KiB and little more at most.
            let mut length = (packed.len() - start) as u32;
            if packed.len() - start >= block.len() {
                packed.truncate(start);
                packed.extend_from_slice(block);
                length = block.len() as u32 | STORED;
            }
            packed[start - LENGTH_BYTES..start].copy_from_slice(&length.to_le_bytes());
        }
        packed.extend_from_slice(&[0; LENGTH_BYTES]);
        Ok(())
    }

    fn encode_fast(&mut self, block: &[u8], packed: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = packed.len();
        packed.resize(start + get_maximum_output_size(block.len()), 0);
        let is_full = block.len() >= usize::from(u16::MAX);
        let table = if is_full { &mut self.full } else { &mut self.last };
        let bytes = compress_into_with_table(block, &mut packed[start..], table);
        let bytes = bytes.map_err(|_| CodecError::Failed(Codec::Lz4))?;
        packed.truncate(start + bytes);
        Ok(())
    }
}

pub(super) fn decode(packed: &[u8], plain: &mut [u8]) -> Option<()> {
    let (mut rest, mut plain) = (packed.strip_prefix(&HEAD)?, plain);
    loop {
        let (length, behind) = rest.split_first_chunk::<LENGTH_BYTES>()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return (behind.is_empty() && plain.is_empty()).then_some(());
        }
        let (block, behind) = behind.split_at_checked((length & !STORED) as usize)?;
        let front = plain.len().min(BLOCK_BYTES);
        let (front, left) = plain.split_at_mut(front);
        if length & STORED == 0 {
            decompress_into(block, front).ok().filter(|bytes| *bytes == front.len())?;
        } else {
            (block.len() == front.len()).then(|| front.copy_from_slice(block))?;
        }
        (rest, plain) = (behind, left);
    }
}
