//! The usual record in few instructions: no headers, less than 8 KiB, a small place and time in its
//! batch, so that each of its numbers takes one or two bytes.
//!
//! The bytes are those of [`record_batch::encode_record`], which encodes all other records.
//!
//! Never:    allocates. Runs on application threads, per record.
//! Source:   RBF-5 to RBF-9 of the Java producer; KIP-98.
#![forbid(unsafe_code)]

use super::record_batch;
use super::varint::{zigzag, zigzag_long};

/// Below this a zig-zag value takes at most two bytes.
const TWO_BYTES: u64 = 1 << 14;
/// The numbers in front of a record's content are stored eight bytes at a time, twice, the second
/// time at byte 5 at the latest; what they overshoot is written afterwards.
const STORED_AHEAD: usize = 16;

/// Small numbers side by side, as they will lie in memory.
#[derive(Clone, Copy)]
struct Packed {
    bits: u64,
    /// Bits in use, a multiple of eight.
    width: u32,
}

impl Packed {
    /// A zig-zag value below [`TWO_BYTES`].
    #[inline(always)]
    fn new(value: u64) -> Self {
        let long = u64::from(value >= 0x80);
        Self { bits: value & 0x7f | long << 7 | (value >> 7) << 8, width: 8 + 8 * long as u32 }
    }

    /// With another one behind it; both together take at most seven bytes.
    #[inline(always)]
    fn and(self, next: Self) -> Self {
        Self { bits: self.bits | next.bits << self.width, width: self.width + next.width }
    }

    #[inline(always)]
    fn bytes(self) -> usize {
        self.width as usize / 8
    }
}

/// Zig-zag of a field's length; null is -1.
#[inline(always)]
fn length(field: Option<&[u8]>) -> u64 {
    field.map_or(1, |content| (content.len() as u64) << 1)
}

/// Writes a record without headers into `out`, which has exactly
/// [`record_bytes`](record_batch::record_bytes) of the same arguments.
///
/// # Panics
/// As [`record_batch::encode_record`].
#[inline(always)]
pub fn encode(out: &mut [u8], ordinal: u32, delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
    let (place, time) = (zigzag(ordinal as i32), zigzag_long(delta));
    // The length, which counts what is behind it, is the largest of the numbers; twice it is small
    // enough when the record is.
    let is_small = out.len() <= TWO_BYTES as usize / 2 && time | u64::from(place) < TWO_BYTES;
    if !is_small || out.len() < STORED_AHEAD {
        return record_batch::encode_record(out, ordinal, delta, key, value, &[]);
    }
    let body = out.len() - record_batch::prefix_bytes(out.len());
    let attributes = Packed { bits: 0, width: 8 };
    let front = Packed::new((body as u64) << 1).and(attributes).and(Packed::new(time));
    let mut rest = Packed::new(u64::from(place)).and(Packed::new(length(key)));
    if key.is_none() {
        rest = rest.and(Packed::new(length(value)));
    }
    out[..8].copy_from_slice(&front.bits.to_le_bytes());
    let mut at = front.bytes();
    out[at..at + 8].copy_from_slice(&rest.bits.to_le_bytes());
    at += rest.bytes();
    if let Some(key) = key {
        out[at..at + key.len()].copy_from_slice(key);
        at += key.len();
        let length = Packed::new(length(value));
        out[at] = length.bits as u8;
        if length.width > 8 {
            out[at + 1] = (length.bits >> 8) as u8;
        }
        at += length.bytes();
    }
    let value = value.unwrap_or_default();
    out[at..at + value.len()].copy_from_slice(value);
    at += value.len();
    assert!(at + 1 == out.len(), "a record has another size than was claimed for it");
    out[at] = 0;
}

#[cfg(test)]
mod tests {
    use super::super::record_batch::{encode_record, record_bytes};
    use super::*;

    #[test]
    fn plain_records_have_the_bytes_of_the_encoder_for_all_records() {
        let content: Vec<u8> = (0..20_000_u32).map(|at| (at * 31) as u8 | 1).collect();
        let lengths = [0, 1, 2, 5, 8, 9, 15, 16, 62, 63, 64, 65, 100, 127, 128, 8000, 8191, 9000];
        let fields: Vec<Option<usize>> =
            std::iter::once(None).chain(lengths.into_iter().map(Some)).collect();
        let deltas = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, i64::MAX, i64::MIN];
        for (ordinal, delta) in [0, 63, 64, 8191, 8192, 500_000]
            .into_iter()
            .flat_map(|ordinal| deltas.map(|delta| (ordinal, delta)))
        {
            for (key, value) in fields.iter().flat_map(|key| fields.iter().map(move |v| (key, v))) {
                let bytes = record_bytes(ordinal, delta, *key, *value, &[]);
                let (mut quick, mut known) = (vec![0xee; bytes], vec![0xdd; bytes]);
                let key = key.map(|length| &content[..length]);
                let value = value.map(|length| &content[content.len() - length..]);
                encode(&mut quick, ordinal, delta, key, value);
                encode_record(&mut known, ordinal, delta, key, value, &[]);
                assert!(quick == known, "{ordinal} {delta} {bytes}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "another size")]
    fn a_claim_of_another_size_is_noticed() {
        encode(&mut [0; 60], 0, 0, None, Some(&[7; 30]));
    }
}
