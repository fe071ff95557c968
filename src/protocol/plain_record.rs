//! The usual record in few instructions: no headers, less than 8 KiB, a small place and time in its
//! batch, so that each of its numbers takes one or two bytes.
//!
//! The bytes are those of [`encode_record`](super::record_batch::encode_record), which encodes all
//! other records.
//!
//! Never:    allocates. Runs on application threads, per record.
//! Source:   RBF-5 to RBF-9 of the Java producer; KIP-98.
#![forbid(unsafe_code)]

use super::varint::zigzag_long;

/// A record's attributes, of which none are defined.
const ATTRIBUTES: u8 = 0;
/// Zig-zag of -1, the length of a null.
const NULL: u8 = 1;
/// Zig-zag of the count of headers.
const NO_HEADERS: u8 = 0;
/// Below this a zig-zag value takes one byte.
const ONE_BYTE: u64 = 1 << 7;
/// Below this it takes two at most.
const TWO_BYTES: u64 = 1 << 14;
/// The numbers in front of a record's content are stored eight bytes at a time, twice, the second
/// time at byte 5 at the latest. What they overshoot is written afterwards, and is the record's
/// own: it has six bytes beside its content at least.
const CONTENT_MIN: usize = 7;
/// With what is beside it, a record's length is below 8 KiB, and twice that takes two bytes.
const CONTENT_MAX: usize = 8000;

/// Small numbers side by side, as they will lie in memory: seven bytes at most.
#[derive(Clone, Copy)]
struct Packed {
    bits: u64,
    bytes: usize,
}

impl Packed {
    const NOTHING: Self = Self { bits: 0, bytes: 0 };

    /// With one more byte in front.
    #[inline(always)]
    fn behind_byte(self, byte: u8) -> Self {
        Self { bits: u64::from(byte) | self.bits << 8, bytes: 1 + self.bytes }
    }

    /// With a zig-zag value in front; None if that takes more than two bytes.
    #[inline(always)]
    fn behind(self, value: u64) -> Option<Self> {
        // The same way for nearly all records of a batch: a branch that is foreseen costs least.
        if value < ONE_BYTE {
            return Some(Self { bits: value | self.bits << 8, bytes: 1 + self.bytes });
        }
        if value >= TWO_BYTES {
            return None;
        }
        // What is above the lowest seven bits, added once more, has moved up by one.
        let spread = (value + (value & !0x7f)) | 0x80;
        Some(Self { bits: spread | self.bits << 16, bytes: 2 + self.bytes })
    }
}

/// Zig-zag of a field's length; null is -1.
#[inline(always)]
fn length(field: Option<&[u8]>) -> u64 {
    field.map_or_else(|| u64::from(NULL), |content| (content.len() as u64) << 1)
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
    /// The plan for a record without headers that came soon after the first one of its batch. None
    /// when the time between them needs more than one byte ([`new_late`](Self::new_late)) or
    /// another number more than two, or the record is so small that the stores would reach beyond.
    #[inline(always)]
    pub fn new(ordinal: u32, delta: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Self> {
        let time = zigzag_long(delta);
        if time >= ONE_BYTE {
            return None;
        }
        Self::around(Packed { bits: time, bytes: 1 }, ordinal, key, value)
    }

    /// [`new`](Self::new) for times of one byte or two.
    #[inline(always)]
    pub fn new_late(
        ordinal: u32,
        delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Option<Self> {
        Self::around(Packed::NOTHING.behind(zigzag_long(delta))?, ordinal, key, value)
    }

    #[inline(always)]
    fn around(
        time: Packed,
        ordinal: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Option<Self> {
        let content = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        if !(CONTENT_MIN..=CONTENT_MAX).contains(&content) {
            return None;
        }
        let value_length = Packed::NOTHING.behind(length(value))?;
        let (fields, beside) = match key {
            Some(_) => (Packed::NOTHING.behind(length(key))?, value_length.bytes),
            None => (value_length.behind_byte(NULL), 0),
        };
        let rest = fields.behind(u64::from(ordinal) << 1)?;
        let front = time.behind_byte(ATTRIBUTES);
        // And the count of no headers, a byte.
        let body = front.bytes + rest.bytes + beside + content + 1;
        let front = front.behind((body as u64) << 1)?;
        let bytes = front.bytes + rest.bytes + beside + content + 1;
        Some(Self { front, rest, value_length, bytes })
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
        let mut at = self.front.bytes;
        out[at..at + 8].copy_from_slice(&self.rest.bits.to_le_bytes());
        at += self.rest.bytes;
        if let Some(key) = key {
            out[at..at + key.len()].copy_from_slice(key);
            at += key.len();
            out[at] = self.value_length.bits as u8;
            if self.value_length.bytes > 1 {
                out[at + 1] = (self.value_length.bits >> 8) as u8;
            }
            at += self.value_length.bytes;
        }
        let value = value.unwrap_or_default();
        out[at..at + value.len()].copy_from_slice(value);
        at += value.len();
        assert!(at + 1 == out.len(), "a record has another size than was claimed for it");
        out[at] = NO_HEADERS;
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
                let mut known = vec![0xdd; bytes];
                encode_record(&mut known, ordinal, delta, key, value, &[]);
                let soon = Plan::new(ordinal, delta, key, value);
                let late = Plan::new_late(ordinal, delta, key, value);
                assert_eq!(soon.is_some(), late.is_some() && (-64..64).contains(&delta));
                for plan in soon.into_iter().chain(late) {
                    planned += 1;
                    assert_eq!(plan.bytes(), bytes);
                    let mut quick = vec![0xee; bytes];
                    plan.write(&mut quick, key, value);
                    assert!(quick == known, "{ordinal} {delta} {bytes}");
                }
            }
        }
        assert!(planned > 12_000, "most of these are plain: {planned}");
    }

    #[test]
    fn records_with_large_numbers_and_tiny_ones_are_not_planned() {
        let value = |bytes: usize| Some(&[7; 9000][..bytes]);
        for plan in [Plan::new, Plan::new_late] {
            assert!(plan(0, 0, None, value(CONTENT_MIN)).is_some());
            assert!(plan(0, 0, None, value(CONTENT_MIN - 1)).is_none());
            assert!(plan(0, 0, None, value(CONTENT_MAX)).is_some());
            assert!(plan(0, 0, None, value(CONTENT_MAX + 1)).is_none());
            assert!(plan(8191, 63, None, value(10)).is_some());
            assert!(plan(8192, 0, None, value(10)).is_none());
            assert!(plan(u32::MAX, 0, None, value(10)).is_none());
            assert!(plan(0, 8192, None, value(10)).is_none());
            assert!(plan(0, i64::MIN, None, value(10)).is_none());
        }
        assert!(Plan::new(0, 64, None, value(10)).is_none());
        assert!(Plan::new_late(0, 8191, None, value(10)).is_some());
    }

    #[test]
    #[should_panic(expected = "another size")]
    fn a_claim_of_another_size_is_noticed() {
        let value = Some(&[7; 30][..]);
        let plan = Plan::new(0, 0, None, value).unwrap();
        plan.write(&mut [0; 60], None, value);
    }
}
