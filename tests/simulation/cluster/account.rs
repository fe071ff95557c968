//! What the model answers for itself: its honest successes, what it lost or forgot by a fault, and
//! what it saw a producer do that none may do.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::batch::Stored;

/// A batch that was acknowledged, without a lie, to the connection it came on.
#[derive(Clone, Debug)]
pub(crate) struct Success {
    pub(crate) topic: u128,
    pub(crate) partition: i32,
    /// As the answer said; -1 where the answer was DUPLICATE_SEQUENCE_NUMBER.
    pub(crate) base_offset: i64,
    pub(crate) batch: Rc<Stored>,
    /// Whether it waited for the in-sync replicas.
    pub(crate) acks_all: bool,
    /// The epoch in which its leader led.
    pub(crate) leader_epoch: i32,
    /// Virtual time of the answer.
    pub(crate) at: u64,
}

/// Why an acknowledged batch is not in the final log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossCause {
    /// A replica outside of the in-sync ones was elected.
    UncleanElection,
    /// Only its leader had it (acks 1 or 0).
    LeaderOnly,
}

/// An acknowledged batch that the model lost.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) topic: u128,
    pub(crate) partition: i32,
    pub(crate) batch: Rc<Stored>,
    pub(crate) cause: LossCause,
}

/// A leader that had lost its producers' state: a batch with an offset below `before`, and again
/// from there on, is the model's duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten {
    pub(crate) topic: u128,
    pub(crate) partition: i32,
    pub(crate) before: u64,
    pub(crate) at: u64,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) successes: Vec<Success>,
    pub(crate) forgotten: Vec<Forgotten>,
    /// What no producer may do, and what the model itself may not.
    pub(crate) violations: Vec<String>,
    pub(crate) requests: u64,
    pub(crate) batches: u64,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            successes: Vec::new(),
            forgotten: Vec::new(),
            violations: Vec::new(),
            requests: 0,
            batches: 0,
        }
    }

    /// Keeps the first hundred: a broken producer would fill the memory.
    pub(super) fn violation(&mut self, what: String) {
        if self.violations.len() < 100 {
            self.violations.push(what);
        }
    }
}
