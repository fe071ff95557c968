//! One broker's copy of a partition: its log, its producers, and what it believes about leadership.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::batch::{Head, Stored};
use super::producers::Producers;

/// What the controller has decided about a partition, as far as somebody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Counts the decisions.
    pub(super) version: u64,
    /// -1 for none.
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) isr: Vec<i32>,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follower {
    pub(super) node: i32,
    /// The end of its log when it fetched last.
    pub(super) end: u64,
    /// When it last had all of the leader's log.
    pub(super) caught_at: u64,
}

/// An acks=all batch whose producer waits for the high watermark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) end: u64,
    pub(super) ticket: u64,
    /// Its place in the request.
    pub(super) place: usize,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) node: i32,
    pub(super) log: Vec<Rc<Stored>>,
    pub(super) producers: Producers,
    /// Batches below do not count for the producers' state: it was lost.
    pub(super) forgotten: u64,
    pub(super) start: u64,
    pub(super) high: u64,
    pub(super) view: View,
    /// While it leads.
    pub(super) followers: Vec<Follower>,
    pub(super) awaited: Vec<Awaited>,
    /// A fetch is on the agenda.
    pub(super) is_fetching: bool,
    /// Does not fetch before.
    pub(super) stuck_until: u64,
}

impl Replica {
    pub(super) fn new(node: i32, view: View) -> Self {
        Self {
            node,
            log: Vec::new(),
            producers: Producers::default(),
            forgotten: 0,
            start: 0,
            high: 0,
            view,
            followers: Vec::new(),
            awaited: Vec::new(),
            is_fetching: false,
            stuck_until: 0,
        }
    }

    pub(super) fn leads(&self) -> bool {
        self.view.leader == self.node
    }

    /// The offset that the next record gets.
    pub(super) fn end(&self) -> u64 {
        self.log.last().map_or(0, |batch| batch.end())
    }

    pub(super) fn append(&mut self, head: Head, bytes: &[u8]) -> Rc<Stored> {
        let batch = Rc::new(Stored::new(head, self.end(), bytes));
        self.push(Rc::clone(&batch));
        batch
    }

    fn push(&mut self, batch: Rc<Stored>) {
        if batch.base_offset >= self.forgotten {
            self.producers.note(&batch);
        }
        self.log.push(batch);
    }

    /// Makes the log that of the leader: cuts off what the leader does not have, and takes what is
    /// missing.
    pub(super) fn fetch(&mut self, leader: &Self) {
        let mut same = self.log.len().min(leader.log.len());
        while same > 0 && !Rc::ptr_eq(&self.log[same - 1], &leader.log[same - 1]) {
            same -= 1;
        }
        if same < self.log.len() {
            self.log.truncate(same);
            self.high = self.high.min(self.end());
            self.forgotten = self.forgotten.min(self.end());
            self.remember();
        }
        leader.log[same..].iter().for_each(|batch| self.push(Rc::clone(batch)));
        self.start = leader.start;
        self.high = leader.high.min(self.end());
    }

    /// Builds the producers' state again, from the log.
    pub(super) fn remember(&mut self) {
        self.producers.clear();
        let counted = self.log.iter().filter(|batch| batch.base_offset >= self.forgotten);
        counted.for_each(|batch| self.producers.note(batch));
    }

    /// Loses the producers' state.
    pub(super) fn forget(&mut self) {
        self.forgotten = self.end();
        self.producers.clear();
    }

    /// Whether the log has this very batch.
    pub(super) fn has(&self, batch: &Rc<Stored>) -> bool {
        let found = self.log.binary_search_by_key(&batch.base_offset, |it| it.base_offset);
        found.is_ok_and(|at| Rc::ptr_eq(&self.log[at], batch))
    }

    /// A batch with the sequences of `head`, if the log has one.
    pub(super) fn find(&self, head: &Head) -> Option<&Rc<Stored>> {
        let key = |head: &Head| (head.producer_id, head.epoch, head.sequence, head.count);
        self.log.iter().rev().find(|batch| key(&batch.head) == key(head))
    }

    /// What all of the in-sync replicas have, as far as this leader knows.
    pub(super) fn advance(&mut self) {
        let end = self.end();
        let isr = self.view.isr.iter().filter(|node| **node != self.node);
        let end_of = |node: &i32| {
            let follower = self.followers.iter().find(|follower| follower.node == *node);
            follower.map_or(0, |follower| follower.end)
        };
        let reached = isr.map(end_of).fold(end, u64::min);
        self.high = self.high.max(reached);
    }

    /// Takes out the batches that the high watermark has passed.
    pub(super) fn passed(&mut self) -> Vec<Awaited> {
        let high = self.high;
        self.awaited.extract_if(.., |awaited| awaited.end <= high).collect()
    }
}
