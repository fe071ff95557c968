//! The usual record in few instructions: no headers, less than 8 KiB, a small place and time in its
//! batch, so that each of its numbers takes one or two bytes.
//!
//! The bytes are those of [`encode_record`](super::record_batch::encode_record), which encodes all
//! other records.
//!
//! Never:    allocates. Runs on application threads, per record.
//! Source:   RBF-5 to RBF-9 of the Java producer; KIP-98.
#![forbid(unsafe_code)]

use super::varint::{zigzag, zigzag_long};

/// Below this a zig-zag value takes at most two bytes.
const TWO_BYTES: u64 = 1 << 14;
/// The numbers in front of a record's content are stored eight bytes at a time, twice, the second
/// time at byte 5 at the latest. What they overshoot is written afterwards, and is the record's
/// own: it has six bytes beside its content at least.
const CONTENT_MIN: usize = 7;
/// With what is beside it, a record's length is below 8 KiB, and twice that takes two bytes.
const CONTENT_MAX: usize = 8000;

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
        // The same way for nearly all records of a batch: a branch that is foreseen costs least.
        if value < 0x80 {
            return Self { bits: value, width: 8 };
        }
        Self { bits: value & 0x7f | 0x80 | (value >> 7) << 8, width: 16 }
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

/// The numbers of a record, packed before its place is claimed, because their widths are a part of
/// its size.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Length, attributes, time.
    front: Packed,
    /// Place and the key's length; without a key also the value's.
    rest: Packed,
    /// Behind a key.
    value_length: Packed,
    bytes: usize,
}

impl Plan {
    /// The plan for a record without headers; None when some number needs more than two bytes, or
    /// the record is so small that the stores would reach beyond it.
    #[inline(always)]
    pub fn new(ordinal: u32, delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let (place, time) = (u64::from(zigzag(ordinal as i32)), zigzag_long(delta));
        let content = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if !(CONTENT_MIN..=CONTENT_MAX).contains(&content) || time | place >= TWO_BYTES {
            return None;
        }
        let (time, place) = (Packed::new(time), Packed::new(place));
        let (key_length, value_length) = (Packed::new(length(key)), Packed::new(length(value)));
        // Attributes, and the count of no headers: a byte each.
        let bits = 16 + time.width + place.width + key_length.width + value_length.width;
        let body = bits as usize / 8 + content;
        let prefix = Packed::new((body as u64) << 1);
        let attributes = Packed { bits: 0, width: 8 };
        let front = prefix.and(attributes).and(time);
        let mut rest = place.and(key_length);
        if key.is_none() {
            rest = rest.and(value_length);
        }
        Some(Self { front, rest, value_length, bytes: prefix.bytes() + body })
    }

    /// How many bytes the record takes:
    /// [`record_bytes`](super::record_batch::record_bytes) of the same arguments.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the record that was planned into `out`.
    ///
    /// # Panics
    /// When `out` has another length than planned, or the fields have.
    #[inline(always)]
    pub fn write(self, out: &mut [u8], key: Option<&[u8]>, value: Option<&[u8]>) {
        out[..8].copy_from_slice(&self.front.bits.to_le_bytes());
        let mut at = self.front.bytes();
        out[at..at + 8].copy_from_slice(&self.rest.bits.to_le_bytes());
        at += self.rest.bytes();
        if let Some(key) = key {
            out[at..at + key.len()].copy_from_slice(key);
            at += key.len();
            out[at] = self.value_length.bits as u8;
            if self.value_length.width > 8 {
                out[at + 1] = (self.value_length.bits >> 8) as u8;
            }
            at += self.value_length.bytes();
        }
        let value = value.unwrap_or_default();
        out[at..at + value.len()].copy_from_slice(value);
        at += value.len();
        assert!(at + 1 == out.len(), "a record has another size than was claimed for it");
        out[at] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::record_batch::{encode_record, record_bytes};
    use super::*;

    #[test]
    fn plain_records_have_the_bytes_of_the_encoder_for_all_records() {
        let content: Vec<u8> = (0..20_000_u32).map(|at| (at * 31) as u8 | 1).collect();
        let lengths =
            [0, 1, 2, 5, 7, 8, 9, 15, 16, 62, 63, 64, 65, 100, 127, 128, 7990, 8000, 9000];
        let fields: Vec<Option<usize>> =
            std::iter::once(None).chain(lengths.into_iter().map(Some)).collect();
        let deltas = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193, i64::MAX, i64::MIN];
        let mut planned = 0;
        for (ordinal, delta) in [0, 63, 64, 8191, 8192, 500_000]
            .into_iter()
            .flat_map(|ordinal| deltas.map(|delta| (ordinal, delta)))
        {
            for (key, value) in fields.iter().flat_map(|key| fields.iter().map(move |v| (key, v))) {
                let bytes = record_bytes(ordinal, delta, *key, *value, &[]);
                let key = key.map(|length| &content[..length]);
                let value = value.map(|length| &content[content.len() - length..]);
                let Some(plan) = Plan::new(ordinal, delta, key, value) else { continue };
                planned += 1;
                assert_eq!(plan.bytes(), bytes);
                let (mut quick, mut known) = (vec![0xee; bytes], vec![0xdd; bytes]);
                plan.write(&mut quick, key, value);
                encode_record(&mut known, ordinal, delta, key, value, &[]);
                assert!(quick == known, "{ordinal} {delta} {bytes}");
            }
        }
        assert!(planned > 8_000, "most of these are plain: {planned}");
    }

    #[test]
    fn records_with_large_numbers_and_tiny_ones_are_not_planned() {
        let value = |bytes: usize| Some(&[7; 9000][..bytes]);
        assert!(Plan::new(0, 0, None, value(CONTENT_MIN)).is_some());
        assert!(Plan::new(0, 0, None, value(CONTENT_MIN - 1)).is_none());
        assert!(Plan::new(0, 0, None, value(CONTENT_MAX)).is_some());
        assert!(Plan::new(0, 0, None, value(CONTENT_MAX + 1)).is_none());
        assert!(Plan::new(8191, 8191, None, value(10)).is_some());
        assert!(Plan::new(8192, 0, None, value(10)).is_none());
        assert!(Plan::new(0, 8192, None, value(10)).is_none());
        assert!(Plan::new(0, i64::MIN, None, value(10)).is_none());
    }

    #[test]
    #[should_panic(expected = "another size")]
    fn a_claim_of_another_size_is_noticed() {
        let value = Some(&[7; 30][..]);
        let plan = Plan::new(0, 0, None, value).unwrap();
        plan.write(&mut [0; 60], None, value);
    }
}
