//! Producers' state: duplicates, epochs, gaps, the wrap.
#![forbid(unsafe_code)]

use super::rig::{Batch, Rig, SECOND, with_fault};
use crate::cluster::{FaultKind, Plan};

fn codes(rig: &mut Rig, batches: &[Batch]) -> Vec<(i16, i64)> {
    batches
        .iter()
        .map(|batch| {
            let said = rig.produce(1, batch);
            (said.code, said.offset)
        })
        .collect()
}

#[test]
fn each_of_the_last_five_batches_is_a_duplicate_with_its_first_offset() {
    let mut rig = Rig::one();
    let id = rig.producer_id();
    let batches: Vec<_> = (0..6).map(|n| Batch::of(id, 2 * n, &format!("{n} {n}+"))).collect();
    let expected: Vec<_> = (0..6).map(|n| (0, 2 * n)).collect();
    assert_eq!(codes(&mut rig, &batches), expected);
    assert_eq!(codes(&mut rig, &batches[1..]), &expected[1..]);
    assert_eq!(rig.produce(1, &batches[3]).append_time, 77, "the batch's own largest timestamp");
    assert_eq!(rig.produce(1, &batches[0]).code, 45, "the sixth is not remembered");
    assert_eq!(rig.values().len(), 12);
    assert_eq!(rig.violations(), [""; 0]);
}

#[test]
fn older_brokers_call_what_lies_before_the_five_a_duplicate() {
    let mut plan = Plan::calm(1, "t", 1);
    plan.says_duplicate = true;
    let mut rig = Rig::new(&plan);
    let id = rig.producer_id();
    let batches: Vec<_> = (0..6).map(|n| Batch::of(id, n, "x")).collect();
    codes(&mut rig, &batches);
    assert_eq!(codes(&mut rig, &batches[..1]), [(46, -1)]);
    assert_eq!(codes(&mut rig, &[Batch::of(id, i32::MAX, "x")]), [(45, -1)], "never appended");
}

#[test]
fn a_gap_is_out_of_order_and_a_batch_of_another_length_is_no_duplicate() {
    let mut rig = Rig::one();
    let id = rig.producer_id();
    let batches = [
        Batch::of(id, 0, "a b"),
        Batch::of(id, 3, "d"),
        Batch::of(id, 0, "a"),
        Batch::of(id, 2, "c"),
    ];
    assert_eq!(codes(&mut rig, &batches), [(0, 0), (45, -1), (45, -1), (0, 2)]);
}

#[test]
fn an_older_epoch_is_refused_and_a_newer_one_begins_at_zero() {
    let mut rig = Rig::one();
    let (id, epoch) = rig.producer_id();
    let batches = [
        Batch::of((id, epoch), 0, "a"),
        Batch::of((id, epoch + 2), 1, "gap"),
        Batch::of((id, epoch + 2), 0, "b"),
        Batch::of((id, epoch + 1), 0, "old"),
        Batch::of((id, epoch), 0, "a"),
        Batch::of((id, epoch + 2), 0, "b"),
        Batch::of((id, epoch + 2), 1, "c"),
    ];
    let expected = [(0, 0), (45, -1), (0, 1), (47, -1), (47, -1), (0, 1), (0, 2)];
    assert_eq!(codes(&mut rig, &batches), expected);
    assert_eq!(rig.values(), ["a", "b", "c"]);
}

#[test]
fn sequences_go_on_at_zero_behind_the_largest() {
    let mut rig = Rig::one();
    let id = rig.producer_id();
    let batches = [
        Batch::of(id, i32::MAX - 1, "a b c"),
        Batch::of(id, 1, "d"),
        Batch::of(id, i32::MAX - 1, "a b c"),
        Batch::of(id, 3, "gap"),
        Batch::of(id, 2, "e"),
    ];
    assert_eq!(codes(&mut rig, &batches), [(0, 0), (0, 3), (0, 0), (45, -1), (0, 4)]);
}

#[test]
fn a_producer_that_is_not_known_may_begin_anywhere_or_with_older_brokers_at_zero() {
    let mut rig = Rig::one();
    let id = rig.producer_id();
    assert_eq!(codes(&mut rig, &[Batch::of(id, 5, "a")]), [(0, 0)]);
    let mut plan = Plan::calm(1, "t", 1);
    plan.refuses_unknown_producers = true;
    for tells_log_start in [true, false] {
        plan.tells_log_start = tells_log_start;
        let mut rig = Rig::new(&plan);
        let id = rig.producer_id();
        let said = rig.produce(1, &Batch::of(id, 5, "a"));
        assert_eq!((said.code, said.log_start), (59, if tells_log_start { 0 } else { -1 }));
        assert_eq!(codes(&mut rig, &[Batch::of(id, 0, "a")]), [(0, 0)]);
    }
}

#[test]
fn a_leader_that_forgot_its_producers_appends_twice_and_the_account_says_so() {
    let mut rig = Rig::new(&with_fault(1, FaultKind::ProducerExpiry, 1_000));
    let id = rig.producer_id();
    assert_eq!(codes(&mut rig, &[Batch::of(id, 0, "a")]), [(0, 0)]);
    while rig.cluster.fault_counts()[FaultKind::ProducerExpiry as usize] == 0 {
        rig.pass(SECOND);
    }
    assert_eq!(codes(&mut rig, &[Batch::of(id, 0, "a")]), [(0, 1)]);
    assert!(rig.cluster.account().forgotten.iter().any(|it| it.before == 1));
    assert_eq!(rig.values(), ["a", "a"]);
}

#[test]
fn what_no_producer_may_send_is_noted() {
    let mut plan = Plan::calm(1, "t", 1);
    plan.is_idempotent = Some(true);
    let mut rig = Rig::new(&plan);
    rig.produce(1, &Batch::of((-1, -1), -1, "no id"));
    assert_eq!(rig.violations().len(), 1, "{:?}", rig.violations());
    rig.produce(1, &Batch::of((3, 0), 0, "another id"));
    assert_eq!(rig.violations().len(), 2, "{:?}", rig.violations());
    let id = rig.producer_id();
    let whole = Batch::of(id, 0, "whole").bytes();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let before = rig.violations().len();
        let (_, frame) = rig.frame(1, &bytes);
        let connection = rig.reconnect(1);
        rig.cluster.request(1, connection, &frame[4..], rig.now);
        assert!(rig.violations().len() > before || before == 100, "byte {at} was changed");
    }
    let values = rig.values();
    assert!(values.iter().all(|value| value != "whole"), "{values:?}");
}
