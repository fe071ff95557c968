//! One topic's [`Table`]: made by whoever draws from it and finds it old.
//!
//! Owns:     two tables, of which one is read while the other one is filled.
//! Thread:   any. Whoever comes while another thread fills takes the table that is there.
//! Bounds:   a table of a topic is filled at most once a millisecond, and the more seldom the more
//!           partitions there are; never without somebody who draws.
//! Never:    waits; allocates, once both tables have their size.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, TryLockError};

use arc_swap::ArcSwap;

use super::table::{Table, Version};

/// How long queue lengths count.
const GOOD_NANOS: u64 = 1_000_000;
/// The same for each partition: looking at one takes some ten nanoseconds, so that a topic's tables
/// take a hundredth of the time at most.
const GOOD_NANOS_EACH: u64 = 2_000;

/// See the module head.
#[derive(Debug, Default)]
pub struct Spread {
    table: ArcSwap<Table>,
    /// The one before. Only tried, never waited for.
    spare: Mutex<Arc<Table>>,
}

impl Spread {
    /// Draws by `draw` from a table of this version; `fill` makes one, which counts until the time
    /// that it is given. `now`: nanoseconds on the process's clock.
    pub fn draw<T>(
        &self,
        version: Version,
        now: u64,
        fill: impl FnOnce(&mut Table, u64),
        draw: impl FnOnce(&Table) -> T,
    ) -> T {
        let table = self.table.load();
        if table.is_current(version, now) {
            return draw(&table);
        }
        drop(table);
        let good = GOOD_NANOS + GOOD_NANOS_EACH * u64::from(version.count);
        self.renew(|table| fill(table, now.saturating_add(good)));
        draw(&self.table.load())
    }

    fn renew(&self, fill: impl FnOnce(&mut Table)) {
        let mut spare = match self.spare.try_lock() {
            Ok(spare) => spare,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        // Somebody may still draw from the one before; then the next one to draw tries again.
        if let Some(table) = Arc::get_mut(&mut spare) {
            fill(table);
            let old = self.table.swap(Arc::clone(&spare));
            *spare = old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Candidate;
    use super::*;

    const VERSION: Version = Version { generation: 1, count: 3 };

    /// The partition that is drawn at `now`; when a table is made, it is `only`.
    fn drawn(spread: &Spread, version: Version, now: u64, only: i32) -> (Option<i32>, bool) {
        let mut is_filled = false;
        let fill = |table: &mut Table, good_until| {
            is_filled = true;
            let candidates = (0..version.count as i32).map(|partition| Candidate {
                is_led: partition == only,
                is_near: false,
                is_blocked: false,
                queued: None,
            });
            table.fill(version, good_until, true, candidates);
        };
        let found = spread.draw(version, now, fill, |table| table.draw(version.count));
        (found, is_filled)
    }

    #[test]
    fn a_table_counts_for_a_millisecond_and_for_one_snapshot() {
        let spread = Spread::default();
        assert_eq!(drawn(&spread, VERSION, 5, 1), (Some(1), true));
        assert_eq!(drawn(&spread, VERSION, 1_000_004, 2), (Some(1), false));
        assert_eq!(drawn(&spread, VERSION, 1_006_005, 2), (Some(2), true));
        let newer = Version { generation: 2, ..VERSION };
        assert_eq!(drawn(&spread, newer, 1_006_006, 0), (Some(0), true));
        let larger = Version { count: 4, ..newer };
        assert_eq!(drawn(&spread, larger, 1_006_007, 3), (Some(3), true));
        assert_eq!(drawn(&spread, larger, 1_006_008, 0), (Some(3), false));
    }

    #[test]
    fn a_table_that_is_read_is_not_filled() {
        let spread = Spread::default();
        assert_eq!(drawn(&spread, VERSION, 0, 1), (Some(1), true));
        let read = spread.table.load_full();
        assert_eq!(drawn(&spread, VERSION, 2_000_000, 2), (Some(2), true));
        assert_eq!(drawn(&spread, VERSION, 4_000_000, 0), (Some(2), false), "both are in use");
        assert_eq!(read.draw(3), Some(1));
        drop(read);
        assert_eq!(drawn(&spread, VERSION, 4_000_000, 0), (Some(0), true));
    }
}
