//! Waits that double with each failure (KIP-580), and the sender's random source.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::Backoff;

/// A small generator, seeded by the shard, so that a run can be repeated.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

/// The wait after `failures` failures in a row, counted from 0 for the first (RTY-1, RTY-2).
/// Drawn once per attempt.
pub(super) fn backoff(limits: Backoff, failures: u32, random: &mut Random) -> Duration {
    if limits.base >= limits.max {
        return limits.max;
    }
    let doubled =
        limits.base.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(1 << 31));
    // Past the cap the jitter may only take away, so a huge product needs no exact arithmetic.
    let doubled = doubled.min(limits.max.saturating_mul(2));
    let jittered = doubled.mul_f64(0.8 + random.below(400_000) as f64 / 1_000_000.0);
    jittered.min(limits.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn rty_1_rty_6_waits_double_with_jitter_up_to_the_cap() {
        let limits = Backoff { base: ms(100), max: ms(1000) };
        let mut random = Random::new(7);
        for _ in 0..1000 {
            for (failures, from, to) in
                [(0, 80, 120), (1, 160, 240), (2, 320, 480), (3, 640, 960), (4, 1000, 1000)]
            {
                let wait = backoff(limits, failures, &mut random);
                let low = if failures == 4 { 1000 } else { from };
                assert!(wait >= ms(low) && wait <= ms(to), "{failures}: {wait:?}");
            }
            assert_eq!(backoff(limits, u32::MAX, &mut random), ms(1000));
        }
    }

    #[test]
    fn rty_2_a_base_at_the_cap_is_constant() {
        let limits = Backoff { base: ms(500), max: ms(500) };
        assert_eq!(backoff(limits, 9, &mut Random::new(1)), ms(500));
    }
}
