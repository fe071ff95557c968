//! Records of compressed batches, whichever client compressed them.
//!
//! Bounds:   `PLAIN_BYTES_MAX` per batch: a few bytes can claim to be gigabytes.
//! Never:    guesses: bytes that are not wholly what their batch says are no records.
//! Source:   CMP-1 of the Java producer; RFC 1952 (gzip), RFC 8878 (zstd), the LZ4 frame and block
//!           formats, the stream format of snappy-java.
//!
//! `protocol::compression` takes apart what it made itself, whose size it knows; these bytes are
//! anybody's, of any size and with any options of their formats.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::protocol::compression::Codec;

/// Far above what fits in `message.max.bytes` of ordinary records.
#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
const PLAIN_BYTES_MAX: usize = 256 << 20;

/// The records as they were before compression; None where the build has no such codec, or the
/// bytes are not its.
pub(super) fn unpack(codec: Codec, packed: &[u8]) -> Option<Cow<'_, [u8]>> {
    match codec {
        Codec::None => Some(Cow::Borrowed(packed)),
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip(packed).map(Cow::Owned),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy(packed).map(Cow::Owned),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4(packed).map(Cow::Owned),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd(packed).map(Cow::Owned),
        #[allow(unreachable_patterns, reason = "with every codec built none is left")]
        _ => None,
    }
}

/// One member, all of `packed`.
#[cfg(feature = "gzip")]
fn gzip(packed: &[u8]) -> Option<Vec<u8>> {
    use flate2::{Decompress, FlushDecompress, Status};

    const WINDOW_BITS: u8 = 15;
    let mut context = Decompress::new_gzip(WINDOW_BITS);
    let mut plain = Vec::new();
    while plain.len() <= PLAIN_BYTES_MAX {
        plain.reserve(packed.len().max(4096));
        let rest = &packed[context.total_in() as usize..];
        let status = context.decompress_vec(rest, &mut plain, FlushDecompress::None).ok()?;
        let is_full = plain.len() == plain.capacity();
        match status {
            Status::StreamEnd => {
                return (context.total_in() == packed.len() as u64).then_some(plain);
            }
            Status::Ok | Status::BufError if is_full => {}
            Status::Ok | Status::BufError => return None,
        }
    }
    None
}

/// The stream of snappy-java, or a bare block, which librdkafka writes.
#[cfg(feature = "snappy")]
fn snappy(packed: &[u8]) -> Option<Vec<u8>> {
    use snap::raw::{Decoder, decompress_len};

    const HEAD: &[u8] = b"\x82SNAPPY\0";
    const VERSIONS_BYTES: usize = 8;
    let mut context = Decoder::new();
    let mut plain = Vec::new();
    let mut add = |block: &[u8]| {
        let (start, bytes) = (plain.len(), decompress_len(block).ok()?);
        if start + bytes > PLAIN_BYTES_MAX {
            return None;
        }
        plain.resize(start + bytes, 0);
        context.decompress(block, &mut plain[start..]).ok()
    };
    let Some(stream) = packed.strip_prefix(HEAD) else {
        add(packed)?;
        return Some(plain);
    };
    let mut rest = stream.get(VERSIONS_BYTES..)?;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        add(block)?;
        rest = behind;
    }
    rest.is_empty().then_some(plain)
}

/// One LZ4 frame, with any of the options that its format has but dictionaries. Checksums are
/// passed over: the batch has one.
#[cfg(feature = "lz4")]
fn lz4(packed: &[u8]) -> Option<Vec<u8>> {
    use lz4_flex::block::decompress_into_with_dict;

    const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
    const STORED: u32 = 1 << 31;
    /// How far back a block may refer to the ones before it.
    const WINDOW_BYTES: usize = 64 << 10;
    let (&[flags, sizes], rest) = packed.strip_prefix(&MAGIC)?.split_first_chunk()?;
    let has = |bit: u8| flags >> bit & 1 == 1;
    let (is_independent, has_block_checksum) = (has(5), has(4));
    let (has_size, has_checksum, has_dictionary) = (has(3), has(2), has(0));
    if flags >> 6 != 1 || has_dictionary {
        return None;
    }
    // 4 to 7: 64 KiB, 256 KiB, 1 MiB, 4 MiB.
    let block_bytes_max = 1_usize << (8 + 2 * u32::from(sizes >> 4 & 7));
    let mut rest = rest.get(if has_size { 9 } else { 1 }..)?;
    let mut plain = Vec::new();
    loop {
        let (length, behind) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            let tail = if has_checksum { 4 } else { 0 };
            return (behind.len() == tail).then_some(plain);
        }
        let (block, behind) = behind.split_at_checked((length & !STORED) as usize)?;
        rest = behind.get(if has_block_checksum { 4 } else { 0 }..)?;
        if plain.len() + block_bytes_max > PLAIN_BYTES_MAX {
            return None;
        }
        if length & STORED != 0 {
            plain.extend_from_slice(block);
            continue;
        }
        let start = plain.len();
        plain.resize(start + block_bytes_max, 0);
        let (before, room) = plain.split_at_mut(start);
        let window = if is_independent { start } else { start.saturating_sub(WINDOW_BYTES) };
        let bytes = decompress_into_with_dict(block, room, &before[window..]).ok()?;
        plain.truncate(start + bytes);
    }
}

/// One frame, all of `packed`.
#[cfg(feature = "zstd")]
fn zstd(packed: &[u8]) -> Option<Vec<u8>> {
    use zstd_safe::{DCtx, InBuffer, OutBuffer};

    let mut context = DCtx::try_create()?;
    let mut input = InBuffer::around(packed);
    let mut plain: Vec<u8> = Vec::new();
    while plain.len() <= PLAIN_BYTES_MAX {
        plain.reserve(packed.len().max(4096));
        let (filled, taken) = (plain.len(), input.pos());
        let mut output = OutBuffer::around_pos(&mut plain, filled);
        let left = context.decompress_stream(&mut output, &mut input).ok()?;
        let is_stuck = output.pos() == filled && input.pos() == taken;
        if left == 0 {
            return (input.pos() == packed.len()).then_some(plain);
        }
        if is_stuck {
            return None;
        }
    }
    None
}
