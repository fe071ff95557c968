//! The one source of chance of a run: everything random is drawn from generators that come from
//! its seed, so that the seed alone replays it.
#![forbid(unsafe_code)]

/// A seeded generator (splitmix64): tiny, fast, the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for one part of the run: what it draws does not shift what others
    /// draw. The same label gives the same generator.
    pub(crate) fn fork(&self, label: u64) -> Self {
        let mut child = Self(self.0 ^ label.wrapping_mul(0xA24B_AED4_963E_E407));
        child.next();
        child
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// [`below`](Self::below) for places in lists.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number from `low` to `high` whose magnitude is drawn first: small ones are as frequent as
    /// large ones.
    pub(crate) fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let (from, to) = (u64::from(low.max(1).ilog2()), u64::from(high.max(1).ilog2()));
        let top = 1_u64 << self.between(from, to);
        self.between(top.max(low).min(high), (top * 2 - 1).clamp(low, high))
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times.max(1)) == 0
    }

    /// True with this many chances in a million.
    pub(crate) fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
}
