//! Compares every append with what was said of its records, and every verdict with what was
//! appended, as soon as either is there: a log that is repaired later hides nothing.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use kuring::{Acks, Settings};

use crate::cluster::{Append, Cluster};
use crate::ledger::{Entry, Ledger, Verdict};
use crate::stamp::Stamp;

/// Task and number.
type Name = (u16, u32);

/// One record's place in an append.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Which of the cluster's appends.
    append: usize,
    offset: u64,
}

#[derive(Debug)]
pub(crate) struct Watch {
    acks: Acks,
    is_idempotent: bool,
    /// Appends that were looked at.
    seen: usize,
    written: BTreeMap<Name, Vec<Written>>,
    /// Where a record is in its ledger.
    offers: BTreeMap<Name, usize>,
    offers_seen: usize,
}

impl Watch {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            acks: settings.acks,
            is_idempotent: settings.idempotence,
            seen: 0,
            written: BTreeMap::new(),
            offers: BTreeMap::new(),
            offers_seen: 0,
        }
    }

    /// Looks at the appends since the last call.
    pub(crate) fn look(&mut self, cluster: &Cluster, ledger: &Ledger) {
        let appends = &cluster.account().appends;
        if appends.len() == self.seen {
            return;
        }
        for (entry, place) in ledger.entries[self.offers_seen..].iter().zip(self.offers_seen..) {
            self.offers.insert((entry.stamp.task, entry.stamp.number), place);
        }
        self.offers_seen = ledger.entries.len();
        for (append, number) in appends[self.seen..].iter().zip(self.seen..) {
            let counts = cluster.counts(append);
            for record in append.batch.records() {
                let stamp = record.value.and_then(Stamp::read);
                let stamp = stamp.unwrap_or_else(|| panic!("a damaged record: {append:?}"));
                let name = (stamp.task, stamp.number);
                if counts {
                    self.must_be_open(ledger, name, append);
                    self.must_be_first(cluster, name, append);
                }
                let written = Written { append: number, offset: record.offset };
                self.written.entry(name).or_default().push(written);
            }
        }
        self.seen = appends.len();
    }

    /// What is not written stays away, also when its request was on its way for long.
    fn must_be_open(&self, ledger: &Ledger, name: Name, append: &Append) {
        let entry = self.offers.get(&name).map(|place| &ledger.entries[*place]);
        // A call that has not returned yet is not in the ledger.
        let verdict = entry.and_then(|entry| entry.verdict.as_ref());
        let is_said = matches!(verdict, Some(Verdict::NotWritten(_) | Verdict::NeverAccepted));
        assert!(!is_said, "{name:?} is {verdict:?}, and now it is written: {append:?}");
    }

    /// With idempotence, once; unless the broker had forgotten the producer, or the topic is
    /// another one of that name.
    fn must_be_first(&self, cluster: &Cluster, name: Name, append: &Append) {
        let known = self.written.get(&name).filter(|_| self.is_idempotent);
        for written in known.into_iter().flatten() {
            let before = &cluster.account().appends[written.append];
            let place = (append.topic, append.partition);
            if (before.topic, before.partition) != place || !cluster.counts(before) {
                continue;
            }
            let is_excused = cluster.account().forgotten.iter().any(|forgotten| {
                (forgotten.topic, forgotten.partition) == place
                    && before.batch.base_offset < forgotten.before
                    && append.batch.base_offset >= forgotten.before
            });
            assert!(is_excused, "{name:?} is written again: {before:?}, {append:?}");
        }
    }

    /// What a verdict says is true when it is said.
    pub(crate) fn check(&self, cluster: &Cluster, entry: &Entry) {
        let name = (entry.stamp.task, entry.stamp.number);
        let written = self.written.get(&name).map_or(&[][..], Vec::as_slice);
        let append = |written: &Written| &cluster.account().appends[written.append];
        match &entry.verdict {
            Some(Verdict::Acknowledged { partition, offset }) if self.acks != Acks::None => {
                let is_it = |written: &&Written| {
                    let is_there = offset.is_none_or(|offset| written.offset == offset as u64);
                    append(written).partition == *partition && is_there
                };
                let found = written.iter().rfind(is_it);
                let found = found.unwrap_or_else(|| {
                    panic!("{name:?} is acknowledged at {partition} {offset:?}; it is {written:?}")
                });
                let append = append(found);
                // A leader alone, or an unclean election, may lose it before it is told.
                let is_safe = self.acks == Acks::All && !cluster.had_unclean_election(append);
                let is_held = !is_safe || cluster.counts(append);
                assert!(is_held, "{name:?} is acknowledged and in no log that counts: {append:?}");
            }
            Some(verdict @ Verdict::NotWritten(_)) => {
                let held = written.iter().find(|written| cluster.counts(append(written)));
                assert!(held.is_none(), "{name:?} is {verdict:?}, and written: {held:?}");
            }
            _ => {}
        }
    }
}
