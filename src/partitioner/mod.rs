//! Which partition a record goes to: the key's hash, the thread's sticky partition, or the user's
//! choice.
//!
//! Thread:   any; all of it runs on the threads that send.
//! Never:    waits, or knows of brokers and queues: who draws tells it what it has to know.
//! Source:   KIP-480, KIP-794, KIP-1123; PRT-1, PRT-2, STK-1 to STK-7, ADP-1 to ADP-4, AVL-2,
//!           RCK-1, API-4, API-5 of the Java producer.
#![forbid(unsafe_code)]

pub mod custom;
pub mod named;
pub mod rule;
pub mod spread;
pub mod sticky;
pub mod table;

pub use custom::{Partitioner, Partitioners, Unplaced};
pub use named::{PartitionerClass, Way};
pub use rule::{Keys, Rule};
pub use spread::Spread;
pub use sticky::Sticky;

/// Java's 32-bit murmur2 over `bytes`, with the seed that all Kafka clients use.
#[inline]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> R;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let spread = |at: usize| tail.get(at).map_or(0, |byte| u32::from(*byte) << (8 * at));
        hash = (hash ^ spread(0) ^ spread(1) ^ spread(2)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `count`: the hash without its sign bit, modulo the count (PRT-2).
#[inline]
pub fn partition_of_key(key: &[u8], count: u32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % count) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prt_2_keys_hash_as_in_java() {
        let vectors: [(&str, i32, [i32; 3]); 13] = [
            ("21", -973_932_308, [0, 0, 40]),
            ("foobar", -790_332_482, [0, 6, 66]),
            ("a-little-bit-long-string", -985_981_536, [2, 2, 12]),
            ("a-little-bit-longer-string", -1_486_304_829, [2, 9, 19]),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971, [2, 7, 77]),
            ("abc", 479_470_107, [0, 7, 7]),
            ("", 275_646_681, [0, 1, 81]),
            ("0", 971_027_396, [2, 6, 96]),
            ("1", -1_993_445_489, [0, 9, 59]),
            ("a", -1_563_381_124, [1, 4, 24]),
            ("ab", 316_155_434, [2, 4, 34]),
            ("key", -1_079_937_367, [1, 1, 81]),
            ("kafka", -798_503_068, [1, 0, 80]),
        ];
        for (key, hash, partitions) in vectors {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key:?}");
            let found = [3, 10, 100].map(|count| partition_of_key(key.as_bytes(), count));
            assert_eq!(found, partitions, "{key:?}");
        }
    }

    /// Java's SplittableRandom with seed 0.
    struct SplitMix(u64);

    impl SplitMix {
        fn draw(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    #[test]
    fn prt_2_a_hundred_thousand_random_keys_hash_as_in_java() {
        let mut random = SplitMix(0);
        let mut sum = 0_u64;
        for length in 0..=1000 {
            for _ in 0..100 {
                let mut key = vec![0_u8; length];
                for chunk in key.chunks_mut(8) {
                    let drawn = random.draw().to_le_bytes();
                    chunk.copy_from_slice(&drawn[..chunk.len()]);
                }
                sum += u64::from(murmur2(&key));
            }
        }
        assert_eq!(sum, 0xc3b8_cf7c_99fc);
    }
}
