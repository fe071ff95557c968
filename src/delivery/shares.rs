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

    /// No cell: there are fewer.
    const NONE: u32 = u32::MAX;

    thread_local! {
        /// The number of a cell, and how many shares of it. These need no end of their own, so that
        /// nobody asks for each share whether they have come to it.
        static CELL: Cell<u32> = const { Cell::new(NONE) };
        static SHARES: Cell<u32> = const { Cell::new(0) };
        static END: End = const { End };
    }

    /// Counts what a thread holds when it ends.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            hold(NONE, 0);
        }
    }

    /// Counts what the thread holds, and goes on with another cell.
    fn hold(cell: u32, shares: u32) {
        let (cell, shares) = (CELL.replace(cell), SHARES.replace(shares));
        if shares > 0 {
            CellIndex(cell).give_up(i64::from(shares));
        }
    }

    /// Gives up one share.
    #[inline]
    pub(in crate::delivery) fn put(index: CellIndex) {
        if CELL.get() == index.0 {
            SHARES.set(SHARES.get() + 1);
        } else {
            put_anew(index);
        }
    }

    /// Gives up the first share of a cell.
    #[inline(never)]
    fn put_anew(index: CellIndex) {
        match END.try_with(|_| ()) {
            Ok(()) => hold(index.0, 1),
            // The thread is ending, and counts no more.
            Err(_) => index.give_up(1),
        }
    }

    /// Counts what this thread still holds.
    #[cfg(any(test, feature = "simulation"))]
    pub(in crate::delivery) fn count_held() {
        hold(NONE, 0);
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
