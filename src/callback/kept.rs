//! What is kept for each record whose verdict causes a call of its own.
//!
//! Owns:     the entries, by numbers that are used again.
//! Thread:   any: one lock, held for a few moves.
//! Never:    drops what users gave under the lock.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::DeliveryReport;
use crate::record::{Header, HeaderList};

/// A record's own closure.
pub(crate) type Closure = Box<dyn FnOnce(&DeliveryReport<'_>) + Send>;

/// Who has a record's verdict, besides the interceptors.
#[derive(Default)]
pub(crate) enum Owner {
    /// Its delivery.
    #[default]
    Delivery,
    /// The delivery handler if there is one, or else the completion queue, with this number.
    Number(u64),
    /// This closure.
    Closure(Closure),
    /// A closure that was called.
    Called,
}

impl Owner {
    /// The closure, which the caller calls.
    pub(super) fn take_closure(&mut self) -> Option<Closure> {
        match std::mem::take(self) {
            Self::Closure(closure) => {
                *self = Self::Called;
                Some(closure)
            }
            other => {
                *self = other;
                None
            }
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivery => "Delivery",
            Self::Number(_) => "Number",
            Self::Closure(_) => "Closure",
            Self::Called => "Called",
        })
    }
}

/// What is kept for one record.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    /// Empty unless there are interceptors.
    pub(super) headers: HeaderList,
}

impl Entry {
    /// Whether the call has the record's share of its cell: nobody has a delivery.
    pub(super) fn has_own_share(&self) -> bool {
        !matches!(self.owner, Owner::Delivery)
    }

    /// Empties it; the lists keep their memory.
    pub(super) fn clear(&mut self) {
        self.owner = Owner::Delivery;
        self.headers.clear();
    }
}

/// The entries of a producer.
#[derive(Debug, Default)]
pub(super) struct Entries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

impl Entries {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps this; returns its number.
    pub(super) fn insert(&self, owner: Owner) -> u32 {
        let mut table = self.table();
        if let Some(number) = table.free.pop() {
            table.entries[number as usize].owner = owner;
            return number;
        }
        let number = table.entries.len() as u32;
        table.entries.push(Entry { owner, headers: HeaderList::new() });
        // Room for every number, so that giving one back never allocates.
        let count = table.entries.len();
        table.free.reserve(count);
        number
    }

    pub(super) fn set_headers(&self, number: u32, headers: &[Header<'_>]) {
        self.table().entries[number as usize].headers.replace(headers);
    }

    /// Takes an entry out; `spare`, which is empty, takes its place.
    pub(super) fn take(&self, number: u32, spare: Entry) -> Entry {
        let mut table = self.table();
        let entry = std::mem::replace(&mut table.entries[number as usize], spare);
        table.free.push(number);
        entry
    }

    /// Entries that are somebody's.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let table = self.table();
        table.entries.len() - table.free.len()
    }
}
