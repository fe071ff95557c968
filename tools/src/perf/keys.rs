//! The records' keys: the integers of a range as text, in turn or at random.
//!
//! Source:   KIP-1299: `--record-key-range`, `--key-distribution`.
#![forbid(unsafe_code)]

use super::payload::{Digits, Random};

/// Which key a record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// None.
    None,
    /// 0 to one below this, one after the other.
    InTurn(u64),
    /// 0 to one below this, each as likely as any other.
    AtRandom(u64),
}

/// The keys of one thread, which sends the records `index`, `index + threads`, ... of the run.
pub(super) struct KeySource {
    keys: Keys,
    next: u64,
    step: u64,
    random: Random,
    text: Digits,
}

impl KeySource {
    pub(super) fn new(keys: Keys, index: u64, threads: u64, seed: u64) -> Self {
        // Of another stream than the values, which start from the seed itself.
        let random = Random::new(seed ^ 0x5bd1_e995_9747_b28c);
        Self { keys, next: index, step: threads, random, text: Digits::new() }
    }

    /// The next record's key.
    #[inline]
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let number = match self.keys {
            Keys::None => return None,
            Keys::InTurn(range) => {
                let number = self.next % range;
                self.next += self.step;
                number
            }
            Keys::AtRandom(range) => self.random.below(range),
        };
        Some(self.text.of(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(mut source: KeySource, count: usize) -> Vec<String> {
        let mut next = || source.next().map(|key| String::from_utf8_lossy(key).into_owned());
        (0..count).map_while(|_| next()).collect()
    }

    #[test]
    fn keys_in_turn_are_the_run_s_whatever_the_number_of_threads() {
        assert_eq!(taken(KeySource::new(Keys::InTurn(3), 0, 1, 0), 5), ["0", "1", "2", "0", "1"]);
        assert_eq!(taken(KeySource::new(Keys::InTurn(4), 1, 2, 0), 4), ["1", "3", "1", "3"]);
        assert_eq!(taken(KeySource::new(Keys::None, 0, 1, 0), 4), [""; 0]);
    }

    #[test]
    fn keys_at_random_repeat_with_their_seed_and_use_the_whole_range() {
        let keys = |seed| taken(KeySource::new(Keys::AtRandom(10), 0, 1, seed), 200);
        assert_eq!(keys(1), keys(1));
        assert_ne!(keys(1), keys(2));
        let mut seen = keys(1);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 10);
    }
}
