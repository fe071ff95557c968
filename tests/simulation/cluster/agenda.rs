//! What is due when: everything in the cluster that happens by itself.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::plan::FaultKind;

/// A partition: indexes into the topics and into the topic's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic: usize,
    pub(super) partition: usize,
}

#[derive(Debug)]
pub(super) enum Event {
    /// A request that was held back is handled.
    Handle {
        connection: u64,
    },
    /// An answer that was held back leaves.
    Deliver {
        connection: u64,
        ticket: u64,
        answer: Vec<u8>,
    },
    /// A produce request has waited for its timeout.
    Expire {
        ticket: u64,
    },
    /// A follower fetches.
    Fetch {
        place: Place,
        node: i32,
    },
    /// A broker hears what the controller has decided.
    Learn {
        place: Place,
        node: i32,
    },
    /// A leader looks whether its in-sync replicas are.
    CheckIsr {
        place: Place,
    },
    /// A leaderless partition takes whom it can get.
    Unclean {
        place: Place,
        node: Option<i32>,
    },
    /// The controller has not heard of a broker's life for long.
    Notice {
        node: i32,
        life: u64,
    },
    Stop {
        node: i32,
    },
    Return {
        node: i32,
        life: u64,
    },
    Rejoin {
        node: i32,
        life: u64,
    },
    /// The leaders of a new topic are there.
    Ready {
        topic: usize,
    },
    /// A topic of the plan is created, if it is not there.
    Create {
        planned: usize,
    },
    Fault(FaultKind),
}

/// Events in order of time, those of one time in the order in which they were put in.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// The next event up to `now`, and its time.
    pub(super) fn due(&mut self, now: u64) -> Option<(u64, Event)> {
        let first = self.events.first_entry()?;
        let (at, _) = *first.key();
        (at <= now).then(|| (at, first.remove()))
    }

    pub(super) fn next(&self) -> u64 {
        self.events.first_key_value().map_or(u64::MAX, |((at, _), _)| *at)
    }
}
