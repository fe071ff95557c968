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
            Self::List(_) => None,
        }
    }

    /// The values one thread sends.
    pub(super) fn source(&self, seed: u64) -> Source {
        Source { payloads: self.clone(), at: 0, random: Random::new(seed) }
    }
}

pub(super) struct Source {
    payloads: Payloads,
    at: usize,
    random: Random,
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
        }
    }
}

/// SplitMix64: small, and the same on every machine.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn random_values_are_upper_case_letters_and_repeat_with_their_seed() {
        let first: Vec<_> = Payloads::random(100, 7).source(0).next().to_vec();
        assert_eq!(first.len(), 100);
        assert!(first.iter().all(u8::is_ascii_uppercase));
        assert_eq!(first, Payloads::random(100, 7).source(0).next());
        assert_ne!(first, Payloads::random(100, 8).source(0).next());
    }

    #[test]
    fn values_of_a_file_are_cut_at_the_delimiter_and_all_get_picked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one;two;three;").unwrap();
        let mut source = Payloads::from_file(file.path(), ";").unwrap().source(1);
        let mut seen: Vec<_> = (0..100).map(|_| source.next().to_vec()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [b"one".to_vec(), b"three".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn an_empty_payload_file_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Payloads::from_file(file.path(), "\n").unwrap_err().to_string();
        assert!(error.contains("no value"), "{error}");
    }
}
