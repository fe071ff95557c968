//! What a verified record's value says of itself.
//!
//! | field | type |
//! |---|---|
//! | magic | 8 bytes, `KURINGVF` |
//! | run | u64, another for every run |
//! | thread, sequence | u32, u64: which record of the run; sequences count from 0 in each thread |
//! | partition | i32, the one it was meant for; -1 where the producer chooses |
//! | topic | u32, CRC-32C of the topic's name |
//! | checksum | u32, CRC-32C of the key and of everything else in the value |
//! | filling | up to the size asked for, of bytes that the checksum covers |
//!
//! Integers are big-endian.
#![forbid(unsafe_code)]

/// The least that a value can be.
pub const STAMP_BYTES: usize = 40;

const MAGIC: &[u8; 8] = b"KURINGVF";
const CHECKSUM: std::ops::Range<usize> = 36..40;
/// In place of a partition: the producer chooses.
const ANY: i32 = -1;

/// Which record it is, and where it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The run.
    pub run: u64,
    /// The sending thread.
    pub thread: u32,
    /// Its place among the thread's records.
    pub sequence: u64,
    /// The partition that its key means; None without a key.
    pub meant_for: Option<i32>,
    /// Of the topic's name.
    pub topic: u32,
}

/// What a value is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A record of the run, as it was sent.
    Own(Stamp),
    /// It claims to be one, and its checksum is wrong.
    Damaged,
    /// Somebody else's, or another run's.
    Foreign,
}

/// What stands in a stamp for a topic.
pub fn topic_mark(topic: &str) -> u32 {
    crc32c::crc32c(topic.as_bytes())
}

impl Stamp {
    /// Makes `value` this record's, filling included; its length stays. Needs `STAMP_BYTES`.
    pub fn write(&self, key: Option<&[u8]>, value: &mut [u8]) {
        value[..8].copy_from_slice(MAGIC);
        value[8..16].copy_from_slice(&self.run.to_be_bytes());
        value[16..20].copy_from_slice(&self.thread.to_be_bytes());
        value[20..28].copy_from_slice(&self.sequence.to_be_bytes());
        value[28..32].copy_from_slice(&self.meant_for.unwrap_or(ANY).to_be_bytes());
        value[32..36].copy_from_slice(&self.topic.to_be_bytes());
        fill(&mut value[STAMP_BYTES..], self.sequence ^ (u64::from(self.thread) << 40));
        let checksum = checksum(key, value);
        value[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }

    /// What a value is to the run.
    pub fn read(run: u64, key: Option<&[u8]>, value: Option<&[u8]>) -> Reading {
        let Some(value) = value.filter(|it| it.len() >= STAMP_BYTES && it.starts_with(MAGIC))
        else {
            return Reading::Foreign;
        };
        let u64_at = |at: usize| u64::from_be_bytes(bytes_at(value, at));
        let u32_at = |at: usize| u32::from_be_bytes(bytes_at(value, at));
        if u64_at(8) != run {
            return Reading::Foreign;
        }
        if u32_at(CHECKSUM.start) != checksum(key, value) {
            return Reading::Damaged;
        }
        Reading::Own(Self {
            run,
            thread: u32_at(16),
            sequence: u64_at(20),
            meant_for: Some(u32_at(28) as i32).filter(|partition| *partition != ANY),
            topic: u32_at(32),
        })
    }
}

fn bytes_at<const N: usize>(value: &[u8], at: usize) -> [u8; N] {
    value[at..at + N].try_into().expect("a stamp's length was checked")
}

/// A missing key and an empty one differ.
fn checksum(key: Option<&[u8]>, value: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&[u8::from(key.is_some())]);
    let sum = crc32c::crc32c_append(sum, key.unwrap_or_default());
    let sum = crc32c::crc32c_append(sum, &value[..CHECKSUM.start]);
    crc32c::crc32c_append(sum, &value[STAMP_BYTES..])
}

/// Bytes that differ from record to record (splitmix64).
fn fill(room: &mut [u8], seed: u64) {
    let mut state = seed;
    for piece in room.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        piece.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes()[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { run: 7, thread: 3, sequence: 1 << 33, meant_for: Some(5), topic: topic_mark("t") }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        for meant_for in [None, Some(0), Some(5)] {
            let stamp = Stamp { meant_for, ..stamp() };
            let mut value = [0; 100];
            stamp.write(Some(b"k"), &mut value);
            assert_eq!(Stamp::read(7, Some(b"k"), Some(&value)), Reading::Own(stamp));
            assert_eq!(Stamp::read(8, Some(b"k"), Some(&value)), Reading::Foreign);
        }
    }

    #[test]
    fn a_change_of_any_bit_or_of_the_key_is_seen() {
        let mut value = [0; 61];
        stamp().write(Some(b"k"), &mut value);
        for at in 0..value.len() * 8 {
            let mut other = value;
            other[at / 8] ^= 1 << (at % 8);
            let read = Stamp::read(7, Some(b"k"), Some(&other));
            assert!(!matches!(read, Reading::Own(_)), "{at}");
        }
        for key in [None, Some(&b""[..]), Some(b"K")] {
            assert_eq!(Stamp::read(7, key, Some(&value)), Reading::Damaged);
        }
        assert_eq!(Stamp::read(7, Some(b"k"), Some(&value[..60])), Reading::Damaged);
    }

    #[test]
    fn what_has_no_stamp_is_foreign() {
        for value in [None, Some(&b""[..]), Some(b"KURINGVF"), Some(&[0; 64])] {
            assert_eq!(Stamp::read(7, None, value), Reading::Foreign);
        }
    }
}
