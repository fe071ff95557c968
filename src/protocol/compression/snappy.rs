//! The stream of snappy-java, which Kafka's Java clients write: not a bare snappy block, and not
//! Google's framing format either.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `82 53 4e 41 50 50 59 00` |
//! | 4 | version, 1, big-endian |
//! | 4 | oldest version that can read it, 1, big-endian |
//! | per block | its length, 4 bytes, big-endian; a raw block of up to 32 KiB plain |
#![forbid(unsafe_code)]

use snap::raw;

use super::{Codec, CodecError};

const HEAD: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Plain bytes of a block.
const BLOCK_BYTES: usize = 32 << 10;
const LENGTH_BYTES: usize = 4;

pub(super) struct Encoder(raw::Encoder);

impl Default for Encoder {
    fn default() -> Self {
        Self(raw::Encoder::new())
    }
}

impl Encoder {
    pub(super) fn encode(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> Result<(), CodecError> {
        packed.extend_from_slice(&HEAD);
        for block in plain.chunks(BLOCK_BYTES) {
            let start = packed.len() + LENGTH_BYTES;
            packed.resize(start + raw::max_compress_len(block.len()), 0);
            let bytes = self.0.compress(block, &mut packed[start..]);
            let bytes = bytes.map_err(|_| CodecError::Failed(Codec::Snappy))?;
            packed.truncate(start + bytes);
            // A block has 32 KiB and little more at most.
            packed[start - LENGTH_BYTES..start].copy_from_slice(&(bytes as u32).to_be_bytes());
        }
        Ok(())
    }
}

pub(super) fn decode(packed: &[u8], plain: &mut [u8]) -> Option<()> {
    let (mut rest, mut plain) = (packed.strip_prefix(&HEAD)?, plain);
    let mut context = raw::Decoder::new();
    while let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let (block, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let bytes = raw::decompress_len(block).ok().filter(|bytes| *bytes <= plain.len())?;
        let (front, left) = plain.split_at_mut(bytes);
        context.decompress(block, front).ok()?;
        (rest, plain) = (behind, left);
    }
    (rest.is_empty() && plain.is_empty()).then_some(())
}
