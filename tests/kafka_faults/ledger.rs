//! Holds the verdicts against the log: what was acknowledged is there, once, in order, where it was
//! told; what was not written is not there; what was possibly written is there at most once.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Instant;

use crate::stamp::Stamp;
use crate::traffic::{Outcome, Outcomes};

/// The records of a topic as they were read back: by partition, in the order of their offsets.
pub(crate) type Log = Vec<Vec<Found>>;

/// A record in the log, or what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) stamp: Result<Stamp, String>,
}

/// The topic was deleted and created again under the traffic; the log is that of the new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebirth {
    /// Before the broker was asked to delete.
    pub(crate) deleting: Instant,
    /// When every broker knew the new topic.
    pub(crate) created: Instant,
}

/// What is wrong, one sentence each; nothing, if every verdict is true.
pub(crate) fn verdict_errors(
    outcomes: &Outcomes,
    log: &Log,
    rebirth: Option<Rebirth>,
) -> Vec<String> {
    let mut ledger = Ledger { outcomes, rebirth, seen: HashMap::new(), errors: Vec::new() };
    let mut keys = HashMap::new();
    for (partition, records) in (0..).zip(log) {
        let mut last = HashMap::new();
        for found in records {
            match &found.stamp {
                Ok(stamp) => {
                    ledger.enter(*stamp, partition, found.offset);
                    ledger.follow(*stamp, partition, found.offset, &mut last);
                    ledger.place(*stamp, partition, &mut keys);
                }
                Err(what) => ledger.error(partition, found.offset, what),
            }
        }
    }
    ledger.search_lost();
    ledger.errors
}

struct Ledger<'a> {
    outcomes: &'a Outcomes,
    rebirth: Option<Rebirth>,
    /// Where each record was found.
    seen: HashMap<Stamp, (i32, i64)>,
    errors: Vec<String>,
}

impl Ledger<'_> {
    fn error(&mut self, partition: i32, offset: i64, what: &str) {
        self.errors.push(format!("partition {partition} offset {offset}: {what}"));
    }

    /// One record of the log against its verdict.
    fn enter(&mut self, stamp: Stamp, at_partition: i32, at_offset: i64) {
        if let Some(first) = self.seen.insert(stamp, (at_partition, at_offset)) {
            let what = format!("{stamp:?} is there twice, first at {first:?}");
            self.error(at_partition, at_offset, &what);
        }
        let thread = self.outcomes.get(stamp.thread);
        match thread.and_then(|numbers| numbers.get(stamp.number as usize)) {
            Some(Outcome::Acknowledged { partition, offset, at }) => {
                if (*partition, *offset) != (at_partition, Some(at_offset)) {
                    let what = format!("{stamp:?} was told to be at {partition}, {offset:?}");
                    self.error(at_partition, at_offset, &what);
                }
                if self.rebirth.is_some_and(|rebirth| *at < rebirth.deleting) {
                    let what = format!("{stamp:?} was acknowledged before the topic was deleted");
                    self.error(at_partition, at_offset, &what);
                }
            }
            Some(Outcome::PossiblyWritten { .. }) => {}
            Some(Outcome::NotWritten { kind }) => {
                let what = format!("{stamp:?} was said not to be written ({kind})");
                self.error(at_partition, at_offset, &what);
            }
            None => self.error(at_partition, at_offset, &format!("nobody sent {stamp:?}")),
        }
    }

    /// The records of one thread have their order.
    fn follow(
        &mut self,
        stamp: Stamp,
        partition: i32,
        offset: i64,
        last: &mut HashMap<usize, u32>,
    ) {
        if let Some(before) = last.insert(stamp.thread, stamp.number)
            && before >= stamp.number
        {
            self.error(partition, offset, &format!("{stamp:?} stands behind number {before}"));
        }
    }

    /// Records of one key that left the choice to the producer are in one partition.
    fn place(&mut self, stamp: Stamp, partition: i32, keys: &mut HashMap<String, i32>) {
        let chosen = stamp.partition(i32::MAX).is_none();
        if let Some(key) = stamp.key().filter(|_| chosen) {
            let home = *keys.entry(key).or_insert(partition);
            if home != partition {
                let what = format!("partition {home} has its key");
                self.errors.push(format!("partition {partition}: {stamp:?}: {what}"));
            }
        }
    }

    fn search_lost(&mut self) {
        for (thread, numbers) in self.outcomes.iter().enumerate() {
            for (number, outcome) in (0..).zip(numbers) {
                let Outcome::Acknowledged { partition, offset, at } = outcome else { continue };
                let gone = self.rebirth.is_some_and(|rebirth| *at < rebirth.created);
                let stamp = Stamp { thread, number };
                if !gone && !self.seen.contains_key(&stamp) {
                    let what = format!("acknowledged at offset {offset:?}, and not there");
                    self.errors.push(format!("partition {partition}: {stamp:?}: {what}"));
                }
            }
        }
    }
}

/// Planted lies: each must be noticed.
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::support::deadline::now;
    use crate::traffic::Kind;

    const LATE: Kind = Kind { name: "timed-out", cause: None };

    /// Thread 0 sent five records to partition 1: three acknowledged, one possibly written and
    /// there, one not written.
    fn truth() -> (Outcomes, Log) {
        let at = now();
        let told = |offset| Outcome::Acknowledged { partition: 1, offset: Some(offset), at };
        let possibly = Outcome::PossiblyWritten { kind: LATE };
        let not = Outcome::NotWritten { kind: LATE };
        let outcomes = vec![vec![told(0), told(1), possibly, not, told(3)]];
        let log = [0, 1, 2, 4].iter().zip(0..).map(|(number, offset)| found(*number, offset));
        (outcomes, vec![Vec::new(), log.collect()])
    }

    fn found(number: u32, offset: i64) -> Found {
        Found { offset, stamp: Ok(Stamp { thread: 0, number }) }
    }

    fn errors_after(lie: impl FnOnce(&mut Outcomes, &mut Log)) -> Vec<String> {
        let (mut outcomes, mut log) = truth();
        lie(&mut outcomes, &mut log);
        verdict_errors(&outcomes, &log, None)
    }

    #[test]
    fn the_truth_has_no_errors() {
        assert_eq!(errors_after(|_, _| ()), [""; 0]);
    }

    #[test]
    fn a_possibly_written_record_may_be_absent() {
        let errors = errors_after(|outcomes, log| {
            log[1].remove(2);
            log[1][2].offset = 2;
            let last = outcomes[0].last_mut().unwrap();
            let Outcome::Acknowledged { offset, .. } = last else { unreachable!() };
            *offset = Some(2);
        });
        assert_eq!(errors, [""; 0]);
    }

    #[test]
    fn lies_are_noticed() {
        type Lie = fn(&mut Outcomes, &mut Log);
        let lies: [(&str, Lie); 8] = [
            ("and not there", |_, log| drop(log[1].pop())),
            ("is there twice", |_, log| log[1].push(found(2, 4))),
            ("said not to be written", |_, log| log[1].push(found(3, 4))),
            ("was told to be at", |_, log| log[1][0].offset = 7),
            ("was told to be at", |_, log| log.swap(0, 1)),
            ("stands behind", |_, log| log[1].swap(0, 2)),
            ("nobody sent", |_, log| log[1].push(found(9, 4))),
            ("torn", |_, log| log[1].push(Found { offset: 4, stamp: Err("torn".into()) })),
        ];
        for (sentence, lie) in lies {
            let errors = errors_after(lie);
            assert!(errors.iter().any(|error| error.contains(sentence)), "{sentence}: {errors:?}");
        }
    }

    #[test]
    fn a_key_in_two_partitions_is_noticed() {
        // Numbers 2 and 98 share a key and name no partition.
        let possibly = Outcome::PossiblyWritten { kind: LATE };
        let log = vec![vec![found(2, 0)], vec![found(98, 0)]];
        let errors = verdict_errors(&vec![vec![possibly; 99]], &log, None);
        assert!(errors[0].contains("has its key"), "{errors:?}");
    }

    #[test]
    fn what_a_deleted_topic_had_is_gone_and_does_not_come_back() {
        let (outcomes, log) = truth();
        let later = now() + Duration::from_secs(1);
        let rebirth = Rebirth { deleting: later, created: later };
        let empty = vec![Vec::new(), Vec::new()];
        assert_eq!(verdict_errors(&outcomes, &empty, Some(rebirth)), [""; 0]);
        let errors = verdict_errors(&outcomes, &log, Some(rebirth));
        assert_eq!(errors.len(), 3, "{errors:?}");
        let earlier = Rebirth { created: outcomes_at(&outcomes), deleting: outcomes_at(&outcomes) };
        assert_eq!(verdict_errors(&outcomes, &empty, Some(earlier)).len(), 3);
    }

    fn outcomes_at(outcomes: &Outcomes) -> Instant {
        match outcomes[0][0] {
            Outcome::Acknowledged { at, .. } => at,
            _ => unreachable!(),
        }
    }
}
