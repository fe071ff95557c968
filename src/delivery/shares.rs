//! Shares that were given up and not yet counted in their cell: a thread usually drops many
//! deliveries of one batch in a row, and counts them there at once when it goes on to another batch
//! or ends. One atomic addition a batch instead of one a record.
//!
//! Owns:     per thread the number of one cell, which it may keep from being used again.
//! Never:    allocates; gives a share up twice.
#![forbid(unsafe_code)]

#[cfg(not(kuring_loom))]
pub(super) use held::put;

#[cfg(any(test, feature = "simulation"))]
#[cfg(not(kuring_loom))]
pub(super) use held::count_held;

/// Gives up one share. The models count each one.
#[cfg(kuring_loom)]
pub(super) fn put(index: super::CellIndex) {
    index.give_up(1);
}

/// Nothing is held back in a model.
#[cfg(all(test, kuring_loom))]
pub(super) fn count_held() {}

#[cfg(not(kuring_loom))]
mod held {
    use std::cell::Cell;

    use crate::delivery::CellIndex;

    /// The number of a cell, and how many shares of it.
    struct Shares(Cell<(u32, u32)>);

    thread_local! {
        static HELD: Shares = const { Shares(Cell::new((0, 0))) };
    }

    impl Drop for Shares {
        fn drop(&mut self) {
            self.count();
        }
    }

    impl Shares {
        fn count(&self) {
            let (cell, shares) = self.0.replace((0, 0));
            if shares > 0 {
                CellIndex(cell).give_up(i64::from(shares));
            }
        }
    }

    /// Gives up one share.
    #[inline]
    pub(in crate::delivery) fn put(index: CellIndex) {
        let kept = HELD.try_with(|held| {
            let (cell, shares) = held.0.get();
            if cell == index.0 {
                held.0.set((cell, shares + 1));
            } else {
                held.count();
                held.0.set((index.0, 1));
            }
        });
        if kept.is_err() {
            // The thread is ending.
            index.give_up(1);
        }
    }

    /// Counts what this thread still holds.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::delivery) fn count_held() {
        HELD.with(Shares::count);
    }
}

#[cfg(all(test, not(kuring_loom)))]
mod tests {
    use crate::delivery::CellIndex;

    #[test]
    fn shares_that_a_thread_holds_are_counted_at_its_end() {
        let cell = CellIndex::claim(&"t".into(), 0).unwrap();
        let deliveries: Vec<_> = (0..3).map(|ordinal| cell.delivery(ordinal, 0)).collect();
        cell.acknowledge(0, -1, 4, &mut Vec::new());
        let last = cell.delivery(3, 0);
        std::thread::spawn(move || drop(deliveries)).join().unwrap();
        assert_eq!(cell.shares_left(), 1);
        drop(last);
    }

    #[test]
    fn another_cell_makes_a_thread_count_what_it_holds_of_the_last() {
        let cells = [0, 1].map(|partition| CellIndex::claim(&"t".into(), partition).unwrap());
        for cell in cells {
            cell.acknowledge(0, -1, 2, &mut Vec::new());
        }
        let [first, second] = cells;
        let kept = [first.delivery(0, 0), second.delivery(0, 0)];
        drop(first.delivery(1, 0));
        assert_eq!(first.shares_left(), 2, "held by this thread");
        drop(second.delivery(1, 0));
        assert_eq!((first.shares_left(), second.shares_left()), (1, 2));
        drop(kept);
    }
}
