//! Where a key belongs, worked out apart from the producer, whose choice is judged by it.
//!
//! Source:   `Utils.murmur2` and `toPositive` of the Java client.
#![forbid(unsafe_code)]

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;

fn murmur2(key: &[u8]) -> u32 {
    let mut hash = SEED ^ key.len() as u32;
    for piece in key.chunks(4) {
        let mut word = [0; 4];
        word[..piece.len()].copy_from_slice(piece);
        let word = u32::from_le_bytes(word);
        if piece.len() < 4 {
            hash = (hash ^ word).wrapping_mul(MIX);
        } else {
            let scattered = word.wrapping_mul(MIX);
            hash = hash.wrapping_mul(MIX) ^ (scattered ^ (scattered >> 24)).wrapping_mul(MIX);
        }
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// The partition that a key means among `partitions`, of which there is at least one.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) as i32 % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prt_2_keys_hash_as_in_java() {
        // UtilsTest of the Java client.
        let vectors = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
        assert_eq!(partition_of(b"21", 100), (-973_932_308 & i32::MAX) % 100);
    }
}
