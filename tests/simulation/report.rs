//! What a run, and many runs together, have done.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use crate::agenda::What;
use crate::cluster::FaultKind;
use crate::faults::{Either, Fault};
use crate::ledger::{Ledger, Verdict};

/// Counts of one run, or sums.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) seeds: u64,
    pub(crate) offered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) not_written: u64,
    pub(crate) possibly_written: u64,
    pub(crate) unasked: u64,
    /// Possibly written ones that are in a log, and acknowledged ones that the cluster lost.
    pub(crate) found_possibly: u64,
    pub(crate) excused: u64,
    pub(crate) turns: u64,
    pub(crate) events: u64,
    pub(crate) requests: u64,
    pub(crate) resent: u64,
    pub(crate) virtual_nanos: u64,
    /// Of the events in their order: the same for the same seed.
    pub(crate) fingerprint: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Why records were not written or not accepted.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn event(&mut self, at: u64, what: &What) {
        let kind = match what {
            What::Turn(shard) => 1 + *shard as u64,
            What::Compressed(shard) => 201 + *shard as u64,
            What::Task(task) => 100 + *task as u64,
            What::Link(link, step) => 1_000 + *link * 8 + *step as u64,
            _ => 99,
        };
        self.events += 1;
        let mixed = (self.fingerprint ^ at).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ kind;
        self.fingerprint = mixed.rotate_left(23).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }

    pub(crate) fn count_faults(&mut self, world: &[u64; Fault::COUNT]) {
        for kind in Fault::ALL {
            *self.faults.entry(kind.name()).or_default() += world[*kind as usize];
        }
    }

    pub(crate) fn count_cluster_faults(&mut self, cluster: &[u64; FaultKind::COUNT]) {
        for kind in FaultKind::ALL {
            *self.faults.entry(kind.name()).or_default() += cluster[*kind as usize];
        }
    }

    pub(crate) fn count_verdicts(&mut self, ledger: &Ledger) {
        self.offered = ledger.entries.len() as u64;
        for entry in &ledger.entries {
            match entry.verdict.as_ref() {
                Some(Verdict::Acknowledged { .. }) => self.acknowledged += 1,
                Some(Verdict::NotWritten(why)) => {
                    self.not_written += 1;
                    *self.reasons.entry(format!("not written: {why}")).or_default() += 1;
                }
                Some(Verdict::PossiblyWritten(why)) => {
                    self.possibly_written += 1;
                    *self.reasons.entry(format!("possibly written: {why}")).or_default() += 1;
                }
                Some(Verdict::Unasked) => self.unasked += 1,
                Some(Verdict::NeverAccepted) | None => {}
            }
        }
        for (why, count) in &ledger.refusals {
            *self.reasons.entry(format!("not accepted: {why}")).or_default() += count;
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds.max(1);
        self.offered += other.offered;
        self.acknowledged += other.acknowledged;
        self.not_written += other.not_written;
        self.possibly_written += other.possibly_written;
        self.unasked += other.unasked;
        self.found_possibly += other.found_possibly;
        self.excused += other.excused;
        self.turns += other.turns;
        self.events += other.events;
        self.requests += other.requests;
        self.resent += other.resent;
        self.virtual_nanos += other.virtual_nanos;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (why, count) in &other.reasons {
            *self.reasons.entry(why.clone()).or_default() += count;
        }
    }

    /// Faults that never happened, though many runs could have had them.
    pub(crate) fn missing_faults(&self) -> Vec<&'static str> {
        let happened = |name: &&str| self.faults.get(name).is_some_and(|count| *count > 0);
        Either::all().map(Either::name).filter(|name| !happened(name)).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "records offered       {:>12}", self.offered)?;
        writeln!(f, "  acknowledged        {:>12}", self.acknowledged)?;
        writeln!(f, "  not written         {:>12}", self.not_written)?;
        let found = self.found_possibly;
        writeln!(f, "  possibly written    {:>12}   ({found} were)", self.possibly_written)?;
        writeln!(f, "  verdict not asked   {:>12}", self.unasked)?;
        let accepted = self.acknowledged + self.not_written + self.possibly_written + self.unasked;
        writeln!(f, "  not accepted        {:>12}", self.offered - accepted)?;
        writeln!(f, "excused by the model  {:>12}", self.excused)?;
        writeln!(f, "produce requests      {:>12}", self.requests)?;
        writeln!(f, "batches sent again    {:>12}", self.resent)?;
        writeln!(f, "turns of shards       {:>12}", self.turns)?;
        writeln!(f, "events                {:>12}", self.events)?;
        writeln!(f, "virtual time          {:>12.1} s", self.virtual_nanos as f64 / 1e9)?;
        for (why, count) in &self.reasons {
            writeln!(f, "  {why:<48}{count:>10}")?;
        }
        writeln!(f, "faults:")?;
        let faults: Vec<_> = self.faults.iter().collect();
        for row in faults.chunks(3) {
            for (name, count) in row {
                write!(f, "  {name:<24}{count:>9}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
