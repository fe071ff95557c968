//! Logs that were tampered with, each in one way.
#![forbid(unsafe_code)]

use super::*;
use crate::verify::stamp::topic_mark;

const RUN: u64 = 9;

/// A record as it lies in a log.
#[derive(Clone)]
struct Lying {
    at: Place,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

fn stamp(thread: u32, sequence: u64, meant_for: i32) -> Stamp {
    Stamp { run: RUN, thread, sequence, meant_for: Some(meant_for), topic: topic_mark("t") }
}

fn lying(stamp: Stamp, partition: i32, offset: i64) -> Lying {
    let mut value = vec![0; 50];
    stamp.write(Some(b"k"), &mut value);
    Lying { at: Place { partition, offset }, key: Some(b"k".to_vec()), value }
}

fn told(partition: i32, offset: i64) -> Verdict {
    Verdict::Acknowledged { partition, offset: Some(offset) }
}

/// Two threads, each with a partition of its own, three records each, offsets from 100 on; behind
/// them one of each other verdict, of thread 0, which are not in the log.
fn sound() -> (Vec<Vec<Verdict>>, Vec<Lying>) {
    let mut verdicts = vec![Vec::new(), Vec::new()];
    let mut log = Vec::new();
    for thread in 0..2 {
        for sequence in 0..3 {
            let (partition, offset) = (thread as i32, 100 + sequence as i64);
            verdicts[thread as usize].push(told(partition, offset));
            log.push(lying(stamp(thread, sequence, partition), partition, offset));
        }
    }
    verdicts[0].extend([Verdict::NotWritten, Verdict::PossiblyWritten]);
    (verdicts, log)
}

fn judged(verdicts: Vec<Vec<Verdict>>, log: &[Lying]) -> Judgement {
    let mut judge = Judge::new(RUN, topic_mark("t"), verdicts, true);
    for Lying { at, key, value } in log {
        judge.find(*at, key.as_deref(), Some(value));
    }
    judge.conclude()
}

/// The kinds that are violated, and how often.
fn violated(judgement: &Judgement) -> Vec<(&'static str, u64)> {
    let kinds = KINDS.into_iter().zip(judgement.violations);
    kinds.filter(|(_, count)| *count > 0).collect()
}

fn record(thread: u32, sequence: u64) -> Sent {
    Sent { thread, sequence }
}

#[test]
fn a_sound_log_violates_nothing() {
    let (verdicts, log) = sound();
    let judgement = judged(verdicts, &log);
    assert!(judgement.is_clean(), "{:?}", judgement.listed);
    assert_eq!(judgement.table, [[0, 6, 0], [1, 0, 0], [1, 0, 0]]);
    assert_eq!((judgement.read, judgement.foreign), (6, 0));
}

#[test]
fn a_possibly_written_record_may_be_there_once() {
    let (verdicts, mut log) = sound();
    log.push(lying(stamp(0, 4, 0), 0, 103));
    let judgement = judged(verdicts, &log);
    assert!(judgement.is_clean(), "{:?}", judgement.listed);
    assert_eq!(judgement.table[2], [0, 1, 0]);
}

#[test]
fn a_possibly_written_record_may_not_be_there_twice() {
    let (verdicts, mut log) = sound();
    log.push(lying(stamp(0, 4, 0), 0, 103));
    log.push(lying(stamp(0, 4, 0), 0, 104));
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("duplicates", 1)]);
    assert_eq!(judgement.table[2], [0, 0, 1]);
}

#[test]
fn an_acknowledged_record_that_is_not_there_is_lost() {
    let (verdicts, mut log) = sound();
    log.remove(1);
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("lost", 1)]);
    let told = Some(Place { partition: 0, offset: 101 });
    assert_eq!(judgement.listed, [Violation::Lost { record: record(0, 1), told }]);
    assert_eq!(judgement.table[0], [1, 5, 0]);
}

#[test]
fn a_record_that_is_there_again_is_a_duplicate() {
    let (verdicts, mut log) = sound();
    let mut again = log[5].clone();
    again.at.offset = 103;
    log.push(again.clone());
    again.at.offset = 104;
    log.push(again);
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("duplicates", 2)]);
    assert_eq!(judgement.table[0], [0, 5, 1]);
}

#[test]
fn records_that_changed_places_are_out_of_order() {
    // Nobody was told an offset, so that the order alone is wrong.
    let (mut verdicts, mut log) = sound();
    for verdict in &mut verdicts[0][..3] {
        *verdict = Verdict::Acknowledged { partition: 0, offset: None };
    }
    let (first, second) = (log[0].at, log[1].at);
    log.swap(0, 1);
    (log[0].at, log[1].at) = (first, second);
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("out of order", 1)]);
    let swapped = Violation::Swapped { record: record(0, 0), at: second, behind: 1 };
    assert_eq!(judgement.listed, [swapped]);
}

#[test]
fn a_record_in_a_partition_that_its_key_does_not_mean_is_misrouted() {
    let (mut verdicts, mut log) = sound();
    // It was told to be there, so that only the routing is wrong.
    verdicts[1][2] = told(0, 103);
    log[5].at = Place { partition: 0, offset: 103 };
    let judgement = judged(verdicts.clone(), &log);
    assert_eq!(violated(&judgement), [("misrouted", 1)]);
    let mut judge = Judge::new(RUN, topic_mark("t"), verdicts, false);
    for Lying { at, key, value } in &log {
        judge.find(*at, key.as_deref(), Some(value));
    }
    assert!(judge.conclude().is_clean(), "unless routing is not to be judged");
}

#[test]
fn a_record_elsewhere_than_told_is_misplaced() {
    let (verdicts, mut log) = sound();
    log[2].at.offset = 103;
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("not where told", 1)]);
}

#[test]
fn a_duplicate_in_front_of_the_place_that_was_told_is_a_duplicate_only() {
    let (mut verdicts, mut log) = sound();
    verdicts[0][0] = told(0, 103);
    let mut again = log[0].clone();
    again.at.offset = 103;
    log.push(again);
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("duplicates", 1)]);
}

#[test]
fn two_records_told_the_same_place_are_a_violation_even_if_neither_is_there() {
    let (mut verdicts, log) = sound();
    verdicts[0][1] = told(0, 100);
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("not where told", 1), ("told the same place", 1)]);
}

#[test]
fn a_definitely_not_written_record_that_is_there_is_a_violation() {
    let (verdicts, mut log) = sound();
    log.push(lying(stamp(0, 3, 0), 0, 103));
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("written after all", 1)]);
    assert_eq!(judgement.table[1], [0, 1, 0]);
}

#[test]
fn a_damaged_record_is_a_violation_and_is_missing_besides() {
    let (verdicts, mut log) = sound();
    log[4].value[45] ^= 1;
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("lost", 1), ("damaged", 1)]);
}

#[test]
fn records_of_another_topic_or_that_nobody_sent_are_violations() {
    let (verdicts, mut log) = sound();
    let other = Stamp { topic: topic_mark("other"), ..stamp(0, 0, 0) };
    log.push(lying(other, 0, 103));
    log.push(lying(stamp(0, 5, 0), 0, 104));
    log.push(lying(stamp(2, 0, 0), 0, 105));
    let judgement = judged(verdicts, &log);
    assert_eq!(violated(&judgement), [("of another topic", 1), ("never sent", 2)]);
}

#[test]
fn records_of_others_are_counted_and_not_judged() {
    let (verdicts, mut log) = sound();
    log.insert(1, lying(Stamp { run: RUN + 1, ..stamp(0, 77, 3) }, 0, 99));
    log.push(Lying { value: b"anything".to_vec(), ..log[0].clone() });
    let judgement = judged(verdicts, &log);
    assert!(judgement.is_clean(), "{:?}", judgement.listed);
    assert_eq!((judgement.read, judgement.foreign), (8, 2));
}

#[test]
fn of_many_violations_the_first_are_listed_and_all_are_counted() {
    let verdicts = vec![vec![Verdict::Acknowledged { partition: 0, offset: None }; 50]];
    let judgement = judged(verdicts, &[]);
    assert_eq!(violated(&judgement), [("lost", 50)]);
    assert_eq!(judgement.listed.len(), LISTED_MAX);
}
