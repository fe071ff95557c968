//! The LZ4 compressor that looks harder: every earlier place with the same four bytes, along a
//! chain, as deep as the level says.
//!
//! Bounds:   one block of 64 KiB; `depth` places are looked at per byte.
//! Source:   the LZ4 block format; what LZ4's HC mode does for its lower levels: chains, and a look
//!           at the next byte before a match is taken. The crate for the fast mode has no other.
#![forbid(unsafe_code)]

use super::{Codec, CodecError};

const HASH_BITS: u32 = 15;
/// The shortest match that the format can say.
const MATCH_BYTES_MIN: usize = 4;
/// The format: no match begins in the last bytes of a block, and none covers the very last.
const NO_MATCH_BYTES: usize = 12;
const LITERALS_LAST: usize = 5;
/// A length that a token holds; what is above follows in bytes of 255 and a smaller one.
const TOKEN_MAX: usize = 15;
/// The most places that any level looks at.
const DEPTH_BITS_MAX: u32 = 12;

/// Where earlier bytes are, by what they are. Places are counted from 1, 0 is none.
pub(super) struct Searcher {
    /// The last place with this hash.
    heads: Vec<u16>,
    /// By place: the one before it with the same hash.
    before: Vec<u16>,
    /// Places up to here are known.
    known: usize,
}

impl Default for Searcher {
    fn default() -> Self {
        Self { heads: vec![0; 1 << HASH_BITS], before: vec![0; 1 << 16], known: 0 }
    }
}

/// A run of bytes that was there before.
#[derive(Clone, Copy, Debug, Default)]
struct Match {
    from: usize,
    bytes: usize,
}

fn four(block: &[u8], at: usize) -> u32 {
    block[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn hash(block: &[u8], at: usize) -> usize {
    (four(block, at).wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

impl Searcher {
    /// Appends the compressed form of a block of at most 64 KiB.
    pub(super) fn encode(
        &mut self,
        level: i32,
        block: &[u8],
        packed: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if block.len() > 1 << 16 {
            return Err(CodecError::Failed(Codec::Lz4));
        }
        let depth = 1_usize << level.clamp(1, DEPTH_BITS_MAX as i32);
        self.heads.fill(0);
        self.known = 0;
        let (mut at, mut anchor) = (0, 0);
        let end = (block.len() + 1).saturating_sub(NO_MATCH_BYTES);
        while at < end {
            let mut found = self.find(block, at, depth);
            if found.bytes < MATCH_BYTES_MIN {
                at += 1;
                continue;
            }
            // One byte later there may be a longer one, which is worth a literal.
            while at + 1 < end {
                let next = self.find(block, at + 1, depth);
                if next.bytes <= found.bytes {
                    break;
                }
                (at, found) = (at + 1, next);
            }
            put_sequence(packed, &block[anchor..at], Some((at - found.from, found.bytes)));
            at += found.bytes;
            anchor = at;
        }
        put_sequence(packed, &block[anchor..], None);
        Ok(())
    }

    /// The longest earlier run that is the same as the bytes from `at` on.
    fn find(&mut self, block: &[u8], at: usize, depth: usize) -> Match {
        while self.known < at {
            let hash = hash(block, self.known);
            self.before[self.known] = self.heads[hash];
            self.known += 1;
            // A place in the last bytes is none from which anything is found.
            self.heads[hash] = self.known as u16;
        }
        let limit = block.len() - LITERALS_LAST;
        let mut best = Match::default();
        let mut place = self.heads[hash(block, at)];
        for _ in 0..depth {
            let Some(from) = usize::from(place).checked_sub(1) else { break };
            let (here, there) = (&block[at..limit], &block[from..]);
            // What cannot become longer is not compared.
            if there[best.bytes] == here[best.bytes] && four(block, from) == four(block, at) {
                let same = here.iter().zip(there).take_while(|(here, there)| here == there);
                let bytes = same.count();
                if bytes > best.bytes {
                    best = Match { from, bytes };
                    if at + bytes == limit {
                        break;
                    }
                }
            }
            place = self.before[from];
        }
        best
    }
}

/// Literals, and the match behind them: its distance and its length.
fn put_sequence(packed: &mut Vec<u8>, literals: &[u8], found: Option<(usize, usize)>) {
    let behind = found.map_or(0, |(_, bytes)| bytes - MATCH_BYTES_MIN);
    let token = literals.len().min(TOKEN_MAX) << 4 | behind.min(TOKEN_MAX);
    packed.push(token as u8);
    put_rest(packed, literals.len());
    packed.extend_from_slice(literals);
    if let Some((distance, _)) = found {
        packed.extend_from_slice(&(distance as u16).to_le_bytes());
        put_rest(packed, behind);
    }
}

fn put_rest(packed: &mut Vec<u8>, length: usize) {
    let Some(rest) = length.checked_sub(TOKEN_MAX) else { return };
    packed.resize(packed.len() + rest / 255, 255);
    packed.push((rest % 255) as u8);
}
