//! What the records carry.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::sync::Arc;

/// How far values move along the random block. It stays in the first-level cache, and the values
/// still differ from each other.
const WINDOW_BYTES: usize = 4096;
/// Odd, so that every place of the window is used.
const STEP_BYTES: usize = 61;

/// The values to send.
#[derive(Debug, Clone)]
pub enum Payloads {
    /// Upper-case letters, this many a record: made once, because making them for each record would
    /// be most of what is measured.
    Random {
        /// Bytes of a value.
        bytes: usize,
        /// `WINDOW_BYTES` longer than a value.
        letters: Arc<[u8]>,
    },
    /// Values of a file, picked at random.
    List(Arc<[Box<[u8]>]>),
    /// The record's number in the run, as text.
    Monotonic,
}

impl Payloads {
    /// Random letters; the same for the same seed.
    pub fn random(bytes: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let letter = |_| b'A' + u8::try_from(random.below(26)).expect("26 letters");
        Self::Random { bytes, letters: (0..bytes + WINDOW_BYTES).map(letter).collect() }
    }

    /// The pieces of a file between delimiters; the last may lack its delimiter.
    ///
    /// # Errors
    /// The file cannot be read, or has no value in it.
    pub fn from_file(path: &Path, delimiter: &str) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("payload file {}: {error}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(named)?;
        let text = text.strip_suffix(delimiter).unwrap_or(&text);
        if text.is_empty() {
            return Err(named(io::Error::new(io::ErrorKind::InvalidData, "has no value in it")));
        }
        Ok(Self::List(text.split(delimiter).map(|value| value.as_bytes().into()).collect()))
    }

    /// The size of every value, when they all have the same.
    pub(super) fn uniform_bytes(&self) -> Option<usize> {
        match self {
            Self::Random { bytes, .. } => Some(*bytes),
            Self::List(_) | Self::Monotonic => None,
        }
    }

    /// The values of one thread, which sends the records `index`, `index + threads`, ... of a run.
    pub(super) fn source(&self, index: u64, threads: u64, seed: u64) -> Source {
        let random = Random::new(seed.wrapping_add(index));
        let digits = Digits::new();
        Source { payloads: self.clone(), at: 0, random, number: index, step: threads, digits }
    }
}

pub(super) struct Source {
    payloads: Payloads,
    at: usize,
    random: Random,
    /// Of the record that is sent next, in the run.
    number: u64,
    step: u64,
    digits: Digits,
}

impl Source {
    #[inline]
    pub(super) fn is_uniform(&self) -> bool {
        matches!(self.payloads, Payloads::Random { .. })
    }

    #[inline]
    pub(super) fn next(&mut self) -> &[u8] {
        match &self.payloads {
            Payloads::Random { bytes, letters } => {
                self.at = (self.at + STEP_BYTES) % WINDOW_BYTES;
                &letters[self.at..self.at + bytes]
            }
            Payloads::List(values) => &values[self.random.below(values.len() as u64) as usize],
            Payloads::Monotonic => {
                let number = self.number;
                self.number += self.step;
                self.digits.of(number)
            }
        }
    }
}

/// SplitMix64: small, and the same on every machine.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}

/// Writes numbers without allocating.
pub(super) struct Digits([u8; 20]);

impl Digits {
    pub(super) fn new() -> Self {
        Self([0; 20])
    }

    /// The number as text.
    #[inline]
    pub(super) fn of(&mut self, mut number: u64) -> &[u8] {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn random_values_are_upper_case_letters_and_repeat_with_their_seed() {
        let first: Vec<_> = Payloads::random(100, 7).source(0, 1, 0).next().to_vec();
        assert_eq!(first.len(), 100);
        assert!(first.iter().all(u8::is_ascii_uppercase));
        assert_eq!(first, Payloads::random(100, 7).source(0, 1, 0).next());
        assert_ne!(first, Payloads::random(100, 8).source(0, 1, 0).next());
    }

    #[test]
    fn values_of_a_file_are_cut_at_the_delimiter_and_all_get_picked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one;two;three;").unwrap();
        let mut source = Payloads::from_file(file.path(), ";").unwrap().source(0, 1, 1);
        let mut seen: Vec<_> = (0..100).map(|_| source.next().to_vec()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [b"one".to_vec(), b"three".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn monotonic_values_count_the_records_of_the_run() {
        let mut source = Payloads::Monotonic.source(1, 3, 0);
        let values: Vec<_> = (0..4).map(|_| source.next().to_vec()).collect();
        assert_eq!(values, [b"1".to_vec(), b"4".to_vec(), b"7".to_vec(), b"10".to_vec()]);
        assert_eq!(Digits::new().of(u64::MAX), b"18446744073709551615");
        assert_eq!(Digits::new().of(0), b"0");
    }

    #[test]
    fn an_empty_payload_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Payloads::from_file(file.path(), "\n").unwrap_err().to_string();
        assert!(error.contains("no value"), "{error}");
    }
}
