//! What happens when: the run's virtual time, and the events that it has still to see.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub(crate) const MICROSECOND: u64 = 1_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// What a link does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkStep {
    /// A pending connect ends, one way or another.
    Connect,
    /// The socket takes bytes of the frame that is being sent.
    Transmit,
    /// The driver reports that the frame was written.
    Returned,
    /// Bytes reach the broker.
    Up,
    /// Bytes reach the client.
    Down,
    /// The client's side learns that the connection is gone.
    Gone,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// A shard does one round.
    Turn(usize),
    /// A shard's compressor finishes one of its jobs.
    Compressed(usize),
    /// An application task is polled.
    Task(usize),
    /// Something happens to a link.
    Link(u64, LinkStep),
    /// The model cluster does what is due.
    Tick,
    /// The weather of the network and the machine changes.
    Weather,
    /// A path is stopped, for so long.
    Clog(usize, i32, u64),
    /// A path that was stopped goes on.
    Unclog(usize, i32),
    /// The producer is closed in the middle of everything.
    Close,
    /// A shard's thread ends by a panic.
    Panic(usize),
    /// Nothing goes wrong from now on.
    Heal,
    /// By now all must be over.
    Deadline,
}

/// The queue of events. The run's only clock.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    now: Cell<u64>,
    order: Cell<u64>,
    heap: RefCell<BinaryHeap<Reverse<(u64, u64, What)>>>,
}

impl Agenda {
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Time only moves forward.
    pub(crate) fn advance(&self, to: u64) {
        self.now.set(self.now.get().max(to));
    }

    pub(crate) fn at(&self, time: u64, what: What) {
        self.order.set(self.order.get() + 1);
        self.heap.borrow_mut().push(Reverse((time.max(self.now.get()), self.order.get(), what)));
    }

    pub(crate) fn after(&self, nanos: u64, what: What) {
        self.at(self.now.get().saturating_add(nanos), what);
    }

    pub(crate) fn next(&self) -> Option<(u64, What)> {
        let Reverse((at, _, what)) = self.heap.borrow_mut().pop()?;
        Some((at, what))
    }
}
