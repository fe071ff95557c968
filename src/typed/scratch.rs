//! The memory that keys, values and headers are written to before they are copied into a batch.
//!
//! Owns:     per thread what is used again; while a call has it, the call.
//! Bounds:   [`FIRST_BYTES_MAX`] for each part of the first record, and for its headers,
//!           [`BYTES_MAX`] for those of the other [`RUN`] - 1: more is given back to the heap.
//! Never:    shared: a serializer that sends a record itself gets memory of its own.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::record::{Header, HeaderList};

/// Records that are serialized before the first of them is sent.
pub(super) const RUN: usize = 32;
/// What the default `max.request.size` lets through.
const FIRST_BYTES_MAX: usize = 1 << 20;
/// 4 MiB a thread for records in batches.
const BYTES_MAX: usize = 64 << 10;

/// What the serializers of one record write to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// The headers that they added.
    pub(super) added: HeaderList,
    /// The memory of [`Slots`], which is empty.
    pub(super) kept: Vec<Header<'static>>,
}

impl Parts {
    fn forget_above(&mut self, bytes_max: usize) {
        for part in [&mut self.key, &mut self.value] {
            if part.capacity() > bytes_max {
                *part = Vec::new();
            }
        }
        if self.added.capacity_bytes() > bytes_max {
            self.added = HeaderList::new();
        }
        if self.kept.capacity() * size_of::<Header<'_>>() > bytes_max {
            self.kept = Vec::new();
        }
    }
}

/// The headers of a record to which serializers added some, in one row: a call's, in the memory
/// that its [`Parts`] keep.
#[derive(Debug)]
pub(super) struct Slots<'p> {
    row: Vec<Header<'p>>,
    kept: Option<&'p mut Vec<Header<'static>>>,
}

impl<'p> Slots<'p> {
    pub(super) const EMPTY: Self = Self { row: Vec::new(), kept: None };

    /// A record's own headers, and behind them those that were added.
    pub(super) fn join(
        &mut self,
        own: &'p [Header<'p>],
        added: &'p HeaderList,
        kept: &'p mut Vec<Header<'static>>,
    ) -> &[Header<'p>] {
        self.row = std::mem::take(kept);
        self.row.extend_from_slice(own);
        self.row.extend(added.iter());
        self.kept = Some(kept);
        &self.row
    }
}

impl Drop for Slots<'_> {
    fn drop(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.row.clear();
            // Only the type changes: collected in place, an empty row keeps its memory.
            let row = std::mem::take(&mut self.row).into_iter();
            *kept = row.map(|_| Header { key: "", value: None }).collect();
        }
    }
}

thread_local! {
    static KEPT: Cell<Vec<Parts>> = const { Cell::new(Vec::new()) };
}

/// The memory of a call. Goes back to the thread on which the call ends.
#[derive(Debug)]
pub(super) struct Scratch(Vec<Parts>);

impl Scratch {
    pub(super) fn take() -> Self {
        // A thread that is ending has none left.
        Self(KEPT.try_with(Cell::take).unwrap_or_default())
    }

    /// For one record.
    pub(super) fn first(&mut self) -> &mut Parts {
        if self.0.is_empty() {
            self.0.push(Parts::default());
        }
        &mut self.0[0]
    }

    /// For so many records.
    pub(super) fn run(&mut self) -> &mut [Parts] {
        if self.0.len() < RUN {
            self.0.resize_with(RUN, Parts::default);
        }
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for (at, parts) in self.0.iter_mut().enumerate() {
            parts.forget_above(if at == 0 { FIRST_BYTES_MAX } else { BYTES_MAX });
        }
        let own = std::mem::take(&mut self.0);
        // If the thread is ending, nothing is kept.
        let _ = KEPT.try_with(|kept| {
            let other = kept.take();
            kept.set(if other.len() > own.len() { other } else { own });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacities() -> [usize; 2] {
        let mut scratch = Scratch::take();
        [scratch.first().value.capacity(), scratch.run()[1].key.capacity()]
    }

    #[test]
    fn memory_is_used_again_up_to_its_bound() {
        let run = |first: usize, second: usize| {
            let mut scratch = Scratch::take();
            scratch.first().value = Vec::with_capacity(first);
            scratch.run()[1].key = Vec::with_capacity(second);
        };
        run(FIRST_BYTES_MAX, BYTES_MAX);
        assert_eq!(capacities(), [FIRST_BYTES_MAX, BYTES_MAX]);
        run(FIRST_BYTES_MAX + 1, BYTES_MAX + 1);
        assert_eq!(capacities(), [0, 0]);
    }

    #[test]
    fn the_row_of_headers_is_the_records_own_and_the_added_in_memory_that_is_used_again() {
        let own = [Header { key: "own", value: Some(b"1") }];
        let mut scratch = Scratch::take();
        let mut row_of = |names: &[&str]| {
            let Parts { added, kept, .. } = scratch.first();
            added.clear();
            names.iter().for_each(|name| added.push(name, None));
            let (memory, mut slots) = (kept.as_ptr().cast::<u8>(), Slots::EMPTY);
            let row = slots.join(&own, added, kept);
            let keys: Vec<_> = row.iter().map(|header| header.key.to_owned()).collect();
            (keys, memory, row.as_ptr().cast::<u8>())
        };
        assert_eq!(row_of(&["a", "b", "a"]).0, ["own", "a", "b", "a"]);
        let (keys, before, now) = row_of(&["c"]);
        assert_eq!(keys, ["own", "c"]);
        assert!(before == now, "the same memory");
        let Parts { added, kept, .. } = scratch.first();
        added.push("many", Some(&[0; 100]));
        assert!(kept.is_empty() && kept.capacity() >= 4);
        scratch.first().forget_above(99);
        let Parts { added, kept, .. } = scratch.first();
        assert_eq!((added.len(), kept.capacity()), (0, 0));
    }

    #[test]
    fn a_call_within_a_call_has_its_own() {
        let mut outer = Scratch::take();
        outer.first().key.push(1);
        {
            let mut inner = Scratch::take();
            assert!(inner.first().key.is_empty());
        }
        assert_eq!(outer.first().key, [1]);
    }
}
