//! Numbers that look random and are the same in every run.
#![forbid(unsafe_code)]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

/// SplitMix64.
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// Often small, sometimes an end of the range.
    pub(crate) fn i32(&mut self) -> i32 {
        match self.below(4) {
            0 => self.number() as i32,
            1 => [i32::MIN, -1, 0, i32::MAX][self.below(4)],
            _ => self.below(1000) as i32,
        }
    }

    pub(crate) fn i64(&mut self) -> i64 {
        match self.below(4) {
            0 => self.number() as i64,
            1 => [i64::MIN, -1, 0, i64::MAX][self.below(4)],
            _ => self.below(100_000) as i64,
        }
    }

    /// An error code: mostly known ones, but not the refusal that ApiVersions reads as version 0.
    pub(crate) fn error(&mut self) -> i16 {
        match self.below(140) as i16 - 1 {
            35 => 0,
            known_or_a_little_beyond => known_or_a_little_beyond,
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }

    pub(crate) fn text(&mut self, count_end: usize) -> String {
        let letters = ['a', 'Z', '0', '-', '.', 'ß', '環'];
        (0..self.below(count_end)).map(|_| letters[self.below(letters.len())]).collect()
    }

    pub(crate) fn string(&mut self) -> StrBytes {
        // One in sixteen is long enough for a length of two bytes.
        let count_end = if self.below(16) == 0 { 200 } else { 12 };
        StrBytes::from_string(self.text(count_end))
    }

    pub(crate) fn nullable(&mut self) -> Option<StrBytes> {
        self.flag().then(|| self.string())
    }

    /// A tagged field that nobody knows.
    pub(crate) fn unknown_tag(&mut self) -> (i32, Bytes) {
        let count = self.below(9);
        (100 + self.below(1000) as i32, Bytes::from(self.bytes(count)))
    }
}
