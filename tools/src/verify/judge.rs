//! Holds what was found in a topic against the verdicts on what was sent.
//!
//! Pure: verdicts and found records go in, a [`Judgement`] comes out. Records found are counted as
//! they come, so that a run needs memory for what was sent only.
//!
//! What is a violation:
//! - an acknowledged record that is not there, or is there more than once;
//! - a record that is definitely not written and is there;
//! - a possibly written record that is there more than once;
//! - records of one thread in one partition in another order than they were sent in;
//! - a keyed record in another partition than murmur2 of its key gives;
//! - an acknowledged record that is at another partition or offset than was told, and not there;
//! - two records that were told the same place;
//! - a record of the run with a wrong checksum, for another topic, or that was never sent.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::stamp::{Reading, Stamp};

/// Violations beyond these are only counted.
pub const LISTED_MAX: usize = 20;

/// What the producer said of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log; where, as far as was told.
    Acknowledged {
        /// The partition.
        partition: i32,
        /// The offset; None with acks=0, and where the broker has forgotten it.
        offset: Option<i64>,
    },
    /// It is not in the log, and will not be.
    NotWritten,
    /// Nobody knows.
    PossiblyWritten,
}

impl Verdict {
    fn place(self) -> usize {
        match self {
            Self::Acknowledged { .. } => 0,
            Self::NotWritten => 1,
            Self::PossiblyWritten => 2,
        }
    }
}

/// The row's name in the table.
pub const VERDICTS: [&str; 3] = ["acknowledged", "definitely not written", "possibly written"];

/// Where a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} offset {}", self.partition, self.offset)
    }
}

/// A record of the run: the thread's n-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// The thread.
    pub thread: u32,
    /// Counted from 0.
    pub sequence: u64,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of thread {}", self.sequence, self.thread)
    }
}

/// Something that must not be: of which record, where it was found, where it was told to be.
#[expect(missing_docs, reason = "the fields are the same in each variant")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Acknowledged, and not there.
    Lost { record: Sent, told: Option<Place> },
    /// There once more than once.
    Doubled { record: Sent, at: Place },
    /// Definitely not written, and there.
    Unwanted { record: Sent, at: Place },
    /// Behind a record that was sent after it.
    Swapped { record: Sent, at: Place, behind: u64 },
    /// Its key means another partition.
    Misrouted { record: Sent, at: Place, meant_for: i32 },
    /// It was told to be elsewhere.
    Misplaced { record: Sent, at: Place, told: Place },
    /// Two records were acknowledged with the same place.
    SamePlace { record: Sent, told: Place },
    /// Its checksum is wrong.
    Damaged { at: Place },
    /// It was meant for another topic.
    WrongTopic { record: Sent, at: Place },
    /// It carries the run's id, and was never sent.
    NeverSent { record: Sent, at: Place },
}

/// The kinds of violations, in the order of the report.
pub const KINDS: [&str; 10] = [
    "lost",
    "duplicates",
    "written after all",
    "out of order",
    "misrouted",
    "not where told",
    "told the same place",
    "damaged",
    "of another topic",
    "never sent",
];

impl Violation {
    fn kind(&self) -> usize {
        match self {
            Self::Lost { .. } => 0,
            Self::Doubled { .. } => 1,
            Self::Unwanted { .. } => 2,
            Self::Swapped { .. } => 3,
            Self::Misrouted { .. } => 4,
            Self::Misplaced { .. } => 5,
            Self::SamePlace { .. } => 6,
            Self::Damaged { .. } => 7,
            Self::WrongTopic { .. } => 8,
            Self::NeverSent { .. } => 9,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { record, told: Some(told) } => {
                write!(f, "lost: {record} was acknowledged at {told} and is not in the topic")
            }
            Self::Lost { record, told: None } => {
                write!(f, "lost: {record} was acknowledged and is not in the topic")
            }
            Self::Doubled { record, at } => write!(f, "duplicate: {record} is there again at {at}"),
            Self::Unwanted { record, at } => {
                write!(f, "written after all: {record} was said not to be written and is at {at}")
            }
            Self::Swapped { record, at, behind } => {
                write!(f, "out of order: {record} is at {at}, behind record {behind}")
            }
            Self::Misrouted { record, at, meant_for } => {
                write!(f, "misrouted: {record} is at {at}, its key means partition {meant_for}")
            }
            Self::Misplaced { record, at, told } => {
                write!(f, "not where told: {record} is at {at}, acknowledged at {told}")
            }
            Self::SamePlace { record, told } => {
                write!(f, "told the same place: {record} and another one, {told}")
            }
            Self::Damaged { at } => {
                write!(f, "damaged: the checksum of the record at {at} is wrong")
            }
            Self::WrongTopic { record, at } => {
                write!(f, "of another topic: {record} is at {at}")
            }
            Self::NeverSent { record, at } => write!(f, "never sent: {record} is at {at}"),
        }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Records by verdict ([`VERDICTS`]) and by how often they were found: never, once, more often.
    pub table: [[u64; 3]; 3],
    /// Violations by kind ([`KINDS`]).
    pub violations: [u64; 10],
    /// The first violations.
    pub listed: Vec<Violation>,
    /// Records of others among those that were read.
    pub foreign: u64,
    /// Records that were read.
    pub read: u64,
    /// Whether keys were held against partitions.
    pub is_routing_judged: bool,
}

impl Judgement {
    /// Nothing is violated.
    pub fn is_clean(&self) -> bool {
        self.violations.iter().all(|count| *count == 0)
    }

    fn violate(&mut self, violation: Violation) {
        self.violations[violation.kind()] += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(violation);
        }
    }
}

/// Who finds out.
#[derive(Debug)]
pub struct Judge {
    run: u64,
    topic: u32,
    /// By thread and sequence, and how often each was found, up to [`MANY`].
    sent: Vec<Vec<(Verdict, u8)>>,
    /// The latest sequence found, by thread and partition.
    latest: HashMap<(u32, i32), u64>,
    /// Acknowledged records that were found, and not where they were told to be: (found, told).
    misplaced: BTreeMap<Sent, (Place, Place)>,
    /// Acknowledged records that were not found yet.
    missing: u64,
    judgement: Judgement,
}

/// Nobody asks for how many more.
const MANY: u8 = 2;

impl Judge {
    /// A judge of what the threads of a run sent, in the order of their sequences. Without
    /// `judges_routing`, a record may be in any partition that it was told to be in.
    pub fn new(run: u64, topic: u32, sent: Vec<Vec<Verdict>>, judges_routing: bool) -> Self {
        let is_acknowledged = |it: &&Verdict| matches!(it, Verdict::Acknowledged { .. });
        let missing = sent.iter().flatten().filter(is_acknowledged).count() as u64;
        let unseen = |verdicts: Vec<Verdict>| verdicts.into_iter().map(|it| (it, 0)).collect();
        Self {
            run,
            topic,
            sent: sent.into_iter().map(unseen).collect(),
            latest: HashMap::new(),
            misplaced: BTreeMap::new(),
            missing,
            judgement: Judgement { is_routing_judged: judges_routing, ..Judgement::default() },
        }
    }

    /// Acknowledged records that were not found yet.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Takes a record that was read. Those of a partition come in the order of their offsets.
    pub fn find(&mut self, at: Place, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.judgement.read += 1;
        match Stamp::read(self.run, key, value) {
            Reading::Foreign => self.judgement.foreign += 1,
            Reading::Damaged => self.judgement.violate(Violation::Damaged { at }),
            Reading::Own(stamp) => self.find_own(at, &stamp),
        }
    }

    fn find_own(&mut self, at: Place, stamp: &Stamp) {
        let record = Sent { thread: stamp.thread, sequence: stamp.sequence };
        if stamp.topic != self.topic {
            return self.judgement.violate(Violation::WrongTopic { record, at });
        }
        let thread = self.sent.get_mut(record.thread as usize);
        let place = usize::try_from(record.sequence).ok();
        let Some((verdict, found)) =
            thread.zip(place).and_then(|(thread, place)| thread.get_mut(place))
        else {
            return self.judgement.violate(Violation::NeverSent { record, at });
        };
        *found = (*found + 1).min(MANY);
        let (verdict, is_again) = (*verdict, *found == MANY);
        if is_again {
            if self.misplaced.get(&record).is_some_and(|(_, told)| *told == at) {
                self.misplaced.remove(&record);
            }
            return self.judgement.violate(Violation::Doubled { record, at });
        }
        if let Some(meant_for) = stamp.meant_for.filter(|partition| *partition != at.partition)
            && self.judgement.is_routing_judged
        {
            self.judgement.violate(Violation::Misrouted { record, at, meant_for });
        }
        self.compare(record, at, verdict);
        self.judge_order(record, at);
    }

    fn compare(&mut self, record: Sent, at: Place, verdict: Verdict) {
        match verdict {
            Verdict::Acknowledged { partition, offset } => {
                self.missing -= 1;
                let told = Place { partition, offset: offset.unwrap_or(at.offset) };
                if told != at {
                    self.misplaced.insert(record, (at, told));
                }
            }
            Verdict::NotWritten => self.judgement.violate(Violation::Unwanted { record, at }),
            Verdict::PossiblyWritten => {}
        }
    }

    fn judge_order(&mut self, record: Sent, at: Place) {
        let latest = self.latest.entry((record.thread, at.partition)).or_insert(record.sequence);
        let behind = *latest;
        *latest = behind.max(record.sequence);
        if record.sequence < behind {
            self.judgement.violate(Violation::Swapped { record, at, behind });
        }
    }

    /// Everything was read.
    pub fn conclude(mut self) -> Judgement {
        for (thread, records) in (0..).zip(&self.sent) {
            for (sequence, (verdict, found)) in (0..).zip(records) {
                self.judgement.table[verdict.place()][usize::from(*found)] += 1;
                let record = Sent { thread, sequence };
                if let (Verdict::Acknowledged { partition, offset }, 0) = (*verdict, *found) {
                    let told = offset.map(|offset| Place { partition, offset });
                    self.judgement.violate(Violation::Lost { record, told });
                }
            }
        }
        for (record, (at, told)) in std::mem::take(&mut self.misplaced) {
            self.judgement.violate(Violation::Misplaced { record, at, told });
        }
        self.judge_places();
        self.judgement
    }

    /// Even if one of them is not there: two records cannot have the same place.
    fn judge_places(&mut self) {
        let mut places = Vec::new();
        for (thread, records) in (0..).zip(&self.sent) {
            for (sequence, (verdict, _)) in (0..).zip(records) {
                if let Verdict::Acknowledged { partition, offset: Some(offset) } = *verdict {
                    places.push((partition, offset, Sent { thread, sequence }));
                }
            }
        }
        places.sort_unstable_by_key(|(partition, offset, _)| (*partition, *offset));
        for pair in places.windows(2) {
            let (partition, offset, record) = pair[1];
            if (partition, offset) == (pair[0].0, pair[0].1) {
                let told = Place { partition, offset };
                self.judgement.violate(Violation::SamePlace { record, told });
            }
        }
    }
}

#[cfg(test)]
mod tests;
