//! What the kernel gives back with a completion: which operation of which connection.
#![forbid(unsafe_code)]

use crate::ids::ConnectionId;

/// Bits of a slot.
const SLOT_BITS: u32 = 28;

/// Operations, by their completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The driver's eventfd; of no connection.
    Wake,
    Connect,
    Send,
    Receive,
    Cancel,
}

const KINDS: [Kind; 5] = [Kind::Wake, Kind::Connect, Kind::Send, Kind::Receive, Kind::Cancel];

/// An operation's name: `generation << 32 | kind << 28 | slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) kind: Kind,
    pub(super) id: ConnectionId,
}

impl Mark {
    /// The waker's.
    pub(super) const WAKE: Self =
        Self { kind: Kind::Wake, id: ConnectionId { slot: 0, generation: 0 } };

    pub(super) fn new(kind: Kind, id: ConnectionId) -> Self {
        debug_assert!(id.slot < 1 << SLOT_BITS, "{id:?}: more slots than a table holds");
        Self { kind, id }
    }

    pub(super) fn word(self) -> u64 {
        let low = (self.kind as u32) << SLOT_BITS | self.id.slot;
        u64::from(self.id.generation) << 32 | u64::from(low)
    }

    pub(super) fn of(word: u64) -> Self {
        let low = word as u32;
        let kind = KINDS[(low >> SLOT_BITS) as usize];
        let slot = low & ((1 << SLOT_BITS) - 1);
        Self { kind, id: ConnectionId { slot, generation: (word >> 32) as u32 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_as_it_went() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            for (slot, generation) in [(0, 0), (1, u32::MAX), ((1 << SLOT_BITS) - 1, 7)] {
                let mark = Mark::new(kind, ConnectionId { slot, generation });
                assert_eq!(Mark::of(mark.word()), mark);
            }
        }
    }
}
