//! What the codecs write, byte by byte, and read back by decoders that others wrote.
#![forbid(unsafe_code)]

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};

use super::*;

const ALL: [Compression; 10] = [
    Compression::GZIP,
    Compression::Gzip(1),
    Compression::Gzip(9),
    Compression::Snappy,
    Compression::LZ4,
    Compression::Lz4(1),
    Compression::Lz4(12),
    Compression::Lz4(17),
    Compression::ZSTD,
    Compression::Zstd(-5),
];

/// Text of so many bytes that compresses as logs do.
fn text(bytes: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut out = Vec::with_capacity(bytes + 80);
    while out.len() < bytes {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let line = format!("2026-01-01T00:00:{:02} INFO request {state} took 3 ms\n", state >> 26);
        out.extend_from_slice(line.as_bytes());
    }
    out.truncate(bytes);
    out
}

/// Bytes that no codec makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(next).collect()
}

fn encoded(compression: Compression, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Encoder::default().encode(compression, plain, &mut packed).unwrap();
    packed
}

/// As read by the decoders of a crate that shares only gzip's and snappy's with ours: its lz4 and
/// zstd are the C libraries.
fn read_by_others(codec: Codec, packed: &[u8]) -> Vec<u8> {
    let mut packed = Bytes::copy_from_slice(packed);
    let take = |plain: &mut Bytes| Ok(plain.to_vec());
    match codec {
        Codec::None => Ok(packed.to_vec()),
        Codec::Gzip => Gzip::decompress(&mut packed, take),
        Codec::Snappy => Snappy::decompress(&mut packed, take),
        Codec::Lz4 => Lz4::decompress(&mut packed, take),
        Codec::Zstd => Zstd::decompress(&mut packed, take),
    }
    .expect("what was written can be read")
}

#[test]
fn what_is_written_is_read_back_by_us_and_by_others() {
    let mut encoder = Encoder::default();
    let mut packed = Vec::new();
    for bytes in [0, 1, 100, 16_384, 32_768, 65_535, 65_536, 65_537, 300_000] {
        for plain in [text(bytes), noise(bytes), vec![0; bytes]] {
            for compression in ALL {
                encoder.encode(compression, &plain, &mut packed).unwrap();
                let codec = Codec::from(compression);
                assert!(read_by_others(codec, &packed) == plain, "{compression} of {bytes}");
                let mut back = vec![0xee; bytes];
                decode(codec, &packed, &mut back).unwrap();
                assert!(back == plain, "{compression} of {bytes}");
            }
        }
    }
}

#[test]
fn an_encoder_that_was_used_writes_the_same_bytes_as_a_new_one() {
    let mut encoder = Encoder::default();
    let mut packed = Vec::new();
    for plain in [text(70_000), noise(5_000), text(900)] {
        for compression in ALL {
            encoder.encode(compression, &plain, &mut packed).unwrap();
            assert!(packed == encoded(compression, &plain), "{compression}");
        }
    }
}

#[test]
fn text_becomes_a_fraction_and_noise_little_more_than_it_was() {
    for compression in ALL {
        let (small, large) = (encoded(compression, &text(64_000)), noise(64_000));
        assert!(small.len() < 32_000, "{compression}: {}", small.len());
        let large = encoded(compression, &large);
        // Level 1 of gzip has no stored blocks, and takes nine bits for some bytes.
        assert!(large.len() < 64_000 + 64_000 / 16, "{compression}: {}", large.len());
    }
}

#[test]
fn cmp_1_gzip_is_one_member() {
    let packed = encoded(Compression::GZIP, b"abc");
    assert_eq!(packed[..4], [0x1f, 0x8b, 8, 0], "deflate, without name and extras");
    assert_eq!(packed[4..8], [0; 4], "without a time");
    let tail = &packed[packed.len() - 8..];
    assert_eq!(tail[..4], 0x3524_41c2_u32.to_le_bytes(), "CRC-32 of abc");
    assert_eq!(tail[4..], [3, 0, 0, 0]);
}

#[test]
fn cmp_1_snappy_has_the_framing_of_java() {
    let plain = text(40_000);
    let packed = encoded(Compression::Snappy, &plain);
    assert_eq!(packed[..8], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0]);
    assert_eq!(packed[8..16], [0, 0, 0, 1, 0, 0, 0, 1], "version 1, read by 1");
    let length = |at: usize| u32::from_be_bytes(*packed[at..].first_chunk().unwrap()) as usize;
    // A raw block begins with its plain length, as a varint: 32768, and the 7232 that are left.
    assert_eq!(packed[20..23], [0x80, 0x80, 0x02]);
    let second = 20 + length(16);
    assert_eq!(packed[second + 4..second + 6], [0xc0, 0x38]);
    assert_eq!(second + 4 + length(second), packed.len());
}

#[test]
fn cmp_1_lz4_is_a_frame_of_independent_blocks_without_sums() {
    let plain = text(100_000);
    let packed = encoded(Compression::LZ4, &plain);
    assert_eq!(packed[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    let length = |at: usize| u32::from_le_bytes(*packed[at..].first_chunk().unwrap()) as usize;
    let second = 11 + length(7);
    let end = second + 4 + length(second);
    assert_eq!(packed[end..], [0; 4], "two blocks and the end mark");
    let stored = encoded(Compression::LZ4, &noise(10));
    assert_eq!(stored[7..11], [10, 0, 0, 0x80], "what does not shrink is stored");
    assert_eq!(stored[11..21], noise(10));
}

#[test]
fn cmp_1_zstd_is_one_frame_without_a_checksum() {
    let packed = encoded(Compression::ZSTD, &text(1_000));
    assert_eq!(packed[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    assert_eq!(packed[4] & 0b100, 0, "frame header descriptor: no checksum");
}

#[test]
fn a_higher_level_makes_less_of_it() {
    let plain = text(64_000);
    let bytes = |compression| encoded(compression, &plain).len();
    assert!(bytes(Compression::Gzip(9)) <= bytes(Compression::Gzip(1)));
    assert!(bytes(Compression::Lz4(12)) < bytes(Compression::Lz4(1)));
    assert!(bytes(Compression::Lz4(12)) < bytes(Compression::LZ4));
    assert!(bytes(Compression::Zstd(19)) < bytes(Compression::Zstd(-50)));
}

#[test]
fn what_is_not_what_we_wrote_is_an_error() {
    let plain = text(5_000);
    for compression in ALL {
        let codec = Codec::from(compression);
        let packed = encoded(compression, &plain);
        let mut back = vec![0; plain.len()];
        for cut in [0, 1, 5, 10, packed.len() / 2, packed.len() - 1] {
            assert_eq!(
                decode(codec, &packed[..cut], &mut back),
                Err(CodecError::Failed(codec)),
                "{compression} cut at {cut}"
            );
        }
        let mut short = vec![0; plain.len() - 1];
        assert!(decode(codec, &packed, &mut short).is_err(), "{compression}");
        let mut long = vec![0; plain.len() + 1];
        assert!(decode(codec, &packed, &mut long).is_err(), "{compression}");
    }
}
