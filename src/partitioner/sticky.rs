//! The sticky partition of unkeyed records: stay while a batch fills, then draw another one.
//!
//! Owns:     per topic, a choice for each of `STRIPES` groups of threads, so that threads rarely
//!           meet on one partition.
//! Thread:   any; threads of one stripe share its choice, as all threads do in Java.
//! Never:    locks. Two threads of one stripe may lose each other's byte counts; a switch then
//!           comes a little later, which nothing depends on.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_utils::CachePadded;

/// Groups of threads with a choice of their own.
const STRIPES: usize = 16;
/// No partition is chosen.
const UNCHOSEN: u64 = u64::MAX;

thread_local! {
    static STRIPE: Cell<u32> = const { Cell::new(u32::MAX) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}
static NEXT_STRIPE: AtomicU32 = AtomicU32::new(0);

/// The stripe of this thread: threads get them in turn.
#[inline]
fn stripe() -> usize {
    STRIPE.with(|stripe| {
        if stripe.get() == u32::MAX {
            stripe.set(NEXT_STRIPE.fetch_add(1, Relaxed) % STRIPES as u32);
        }
        stripe.get() as usize
    })
}

/// A number below `bound`, from a generator of this thread; 0 when there is none.
pub fn random_below(bound: u64) -> u64 {
    RANDOM.with(|state| {
        if state.get() == 0 {
            // The hasher's random keys are the standard library's one source of randomness.
            use std::hash::{BuildHasher, Hasher, RandomState};
            state.set(RandomState::new().build_hasher().finish() | 1);
        }
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        ((u128::from(x) * u128::from(bound)) >> 64) as u64
    })
}

/// Makes the calling thread choose as the seed says, as if it were a thread of this stripe.
#[cfg(feature = "simulation")]
pub fn simulate(number: u32, seed: u64) {
    STRIPE.set(number % STRIPES as u32);
    RANDOM.set(seed | 1);
}

/// One topic's sticky choices.
#[derive(Debug)]
pub struct Sticky {
    /// `partition << 32 | bytes appended since it was chosen`, or [`UNCHOSEN`].
    choices: [CachePadded<AtomicU64>; STRIPES],
}

impl Default for Sticky {
    fn default() -> Self {
        Self { choices: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(UNCHOSEN))) }
    }
}

/// A stripe's choice as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    stripe: usize,
    /// The partition.
    pub partition: i32,
    bytes: u32,
}

impl Choice {
    /// Whether a batch's worth of bytes went to the partition: then the next append that would
    /// start a batch goes elsewhere (STK-3, STK-5).
    #[inline]
    pub fn is_due(&self, batch_bytes: usize) -> bool {
        self.bytes as usize >= batch_bytes
    }
}

impl Sticky {
    /// This thread's partition among `count`; `draw` picks one where there is none yet (STK-1).
    #[inline]
    pub fn choice(&self, count: u32, draw: impl FnOnce() -> i32) -> Choice {
        self.standing_choice(count).unwrap_or_else(|| {
            self.switch(Choice { stripe: stripe(), partition: 0, bytes: 0 }, draw())
        })
    }

    /// This thread's partition among `count`, if it has chosen one already.
    #[inline(always)]
    pub fn standing_choice(&self, count: u32) -> Option<Choice> {
        let stripe = stripe();
        let word = self.choices[stripe].load(Relaxed);
        // What is not chosen is above every count.
        let partition = (word >> 32) as u32;
        (partition < count).then_some(Choice {
            stripe,
            partition: partition as i32,
            bytes: word as u32,
        })
    }

    /// Goes on with another partition.
    pub fn switch(&self, choice: Choice, partition: i32) -> Choice {
        self.choices[choice.stripe].store((partition as u64) << 32, Relaxed);
        Choice { stripe: choice.stripe, partition, bytes: 0 }
    }

    /// Counts an append (STK-2); at twice the batch size it switches regardless (STK-4).
    #[inline(always)]
    pub fn appended(
        &self,
        choice: Choice,
        bytes: usize,
        batch_bytes: usize,
        draw: impl FnOnce() -> i32,
    ) {
        let total = (choice.bytes as usize).saturating_add(bytes).min(u32::MAX as usize);
        if total >= 2 * batch_bytes {
            self.switch(choice, draw());
            return;
        }
        let word = (choice.partition as u64) << 32 | total as u64;
        self.choices[choice.stripe].store(word, Relaxed);
    }
}

/// A random one of `count` partitions that is available, or any of them when none is (STK-1).
pub fn draw(count: u32, available: impl Fn(i32) -> bool) -> i32 {
    let count = count.max(1);
    // Nearly always the first guess is right; the walk is for a cluster in trouble.
    for _ in 0..4 {
        let guess = random_below(u64::from(count)) as i32;
        if available(guess) {
            return guess;
        }
    }
    let start = random_below(u64::from(count)) as u32;
    let walk = (0..count).map(|step| ((start + step) % count) as i32);
    walk.into_iter().find(|partition| available(*partition)).unwrap_or(start as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stk_1_the_first_choice_is_drawn_and_then_kept() {
        let sticky = Sticky::default();
        assert_eq!(sticky.choice(10, || 7).partition, 7);
        assert_eq!(sticky.choice(10, || 3).partition, 7);
        assert_eq!(sticky.choice(5, || 3).partition, 3, "the topic has fewer partitions now");
    }

    #[test]
    fn stk_3_a_switch_waits_for_a_batch_worth_of_bytes_and_a_full_batch() {
        let sticky = Sticky::default();
        let choice = sticky.choice(10, || 1);
        sticky.appended(choice, 900, 1000, || 2);
        let choice = sticky.choice(10, || 9);
        assert!(!choice.is_due(1000));
        sticky.appended(choice, 200, 1000, || 2);
        let choice = sticky.choice(10, || 9);
        assert_eq!(choice.partition, 1, "the batch is not full: stay");
        assert!(choice.is_due(1000));
        assert_eq!(sticky.switch(choice, 2).partition, 2);
        assert_eq!(sticky.choice(10, || 9).partition, 2);
    }

    #[test]
    fn stk_4_at_twice_the_batch_size_it_switches_regardless() {
        let sticky = Sticky::default();
        sticky.appended(sticky.choice(10, || 1), 1999, 1000, || 2);
        assert_eq!(sticky.choice(10, || 9).partition, 1);
        sticky.appended(sticky.choice(10, || 9), 1, 1000, || 2);
        assert_eq!(sticky.choice(10, || 9).partition, 2);
    }

    #[test]
    fn stk_6_one_partition_switches_to_itself() {
        let sticky = Sticky::default();
        for _ in 0..10 {
            let choice = sticky.choice(1, || draw(1, |_| true));
            assert_eq!(choice.partition, 0);
            sticky.appended(choice, 5000, 1000, || draw(1, |_| true));
        }
    }

    #[test]
    fn stk_1_draws_reach_every_candidate_and_nothing_else() {
        let mut seen = [0; 6];
        (0..1000).for_each(|_| {
            seen[draw(6, |partition| partition == 1 || partition == 4) as usize] += 1
        });
        assert!(seen[1] > 200 && seen[4] > 200 && seen[1] + seen[4] == 1000);
    }
}
