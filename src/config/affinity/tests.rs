//! Placement on machines made up for it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use rustix::thread::sched_getaffinity;

use super::*;

fn machine(cpus: usize) -> Machine {
    Machine { allowed: (0..cpus).collect(), online: cpus, quota: None, numa: BTreeMap::new() }
}

fn placed(affinity: &str, shards: Option<usize>, machine: &Machine) -> Vec<Option<usize>> {
    let affinity: Affinity = affinity.parse().expect("valid");
    resolve(&affinity, shards, machine).expect("allowed").shards
}

fn refused(affinity: &str, machine: &Machine) -> String {
    let affinity: Affinity = affinity.parse().expect("valid");
    resolve(&affinity, None, machine).expect_err("not allowed").to_string()
}

#[test]
fn affinity_is_read_from_text() {
    assert_eq!("auto".parse::<Affinity>().ok(), Some(Affinity::Auto));
    assert_eq!(" none ".parse::<Affinity>().ok(), Some(Affinity::None));
    assert_eq!("2,3".parse::<Affinity>().ok(), Some(Affinity::Cpus(CpuList(vec![2, 3]))));
    assert_eq!("4-7".parse::<Affinity>().ok(), Some(Affinity::Cpus(CpuList(vec![4, 5, 6, 7]))));
    assert_eq!("numa:1".parse::<Affinity>().ok(), Some(Affinity::Numa(1)));
    for text in ["", "Auto", "all", "numa:", "numa:x", "numa:-1", "2,2", "1024", "3-1", "2;3"] {
        let refused = text.parse::<Affinity>().expect_err(text).to_string();
        assert!(refused.contains("kuring.affinity") && refused.contains("auto, none"), "{refused}");
    }
}

#[test]
fn auto_starts_one_sender_per_eight_cpus_and_four_at_most() {
    for (cpus, senders) in [(1, 1), (2, 1), (7, 1), (8, 1), (15, 1), (16, 2), (32, 4), (128, 4)] {
        assert_eq!(placed("auto", None, &machine(cpus)).len(), senders, "{cpus} CPUs");
        assert_eq!(placed("none", None, &machine(cpus)).len(), senders, "{cpus} CPUs");
    }
}

#[test]
fn auto_pins_to_the_last_allowed_cpus() {
    assert_eq!(placed("auto", None, &machine(4)), [Some(3)]);
    assert_eq!(placed("auto", None, &machine(16)), [Some(14), Some(15)]);
    let mut part = machine(64);
    part.allowed = vec![8, 9, 10, 20];
    assert_eq!(placed("auto", None, &part), [Some(20)]);
}

#[test]
fn auto_pins_nothing_where_senders_and_application_would_meet() {
    assert_eq!(placed("auto", None, &machine(3)), [None]);
    assert_eq!(placed("auto", None, &machine(1)), [None]);
    assert_eq!(placed("auto", Some(2), &machine(4)), [Some(2), Some(3)]);
    assert_eq!(placed("auto", Some(3), &machine(4)), [None; 3]);
    assert_eq!(placed("auto", Some(9), &machine(4)), [None; 9]);
}

#[test]
fn auto_pins_nothing_under_a_quota_without_a_cpu_set() {
    let mut limited = machine(64);
    limited.quota = Some(2.0);
    assert_eq!(placed("auto", None, &limited), [None]);
    limited.quota = Some(20.5);
    assert_eq!(placed("auto", None, &limited), [None, None]);
    assert_eq!(placed("5", None, &limited), [Some(5)]);
    limited.quota = Some(4.0);
    limited.allowed = vec![4, 5, 6, 7];
    assert_eq!(placed("auto", None, &limited), [Some(7)]);
}

#[test]
fn none_pins_nothing_however_many_senders() {
    assert_eq!(placed("none", Some(3), &machine(64)), [None; 3]);
}

#[test]
fn a_list_places_one_sender_on_each_cpu_in_order() {
    assert_eq!(placed("3,1", None, &machine(4)), [Some(3), Some(1)]);
    assert_eq!(placed("3,1", Some(1), &machine(4)), [Some(3)]);
    assert_eq!(placed("3,1", Some(3), &machine(4)), [Some(3), Some(1), Some(3)]);
}

#[test]
fn a_cpu_that_is_not_allowed_is_an_error_that_lists_the_allowed_ones() {
    let mut part = machine(8);
    part.allowed = vec![0, 1, 2, 6];
    assert_eq!(
        refused("1,3", &part),
        "kuring.affinity names CPU 3, which this process may not use: allowed are 0-2,6"
    );
}

#[test]
fn a_numa_node_places_senders_on_those_of_its_cpus_that_are_allowed() {
    let mut two = machine(4);
    two.numa = BTreeMap::from([(0, vec![0, 1]), (1, vec![2, 3])]);
    two.allowed = vec![0, 1, 3];
    assert_eq!(placed("numa:0", None, &two), [Some(0), Some(1)]);
    assert_eq!(placed("numa:1", None, &two), [Some(3)]);
    assert_eq!(placed("numa:1", Some(2), &two), [Some(3), Some(3)]);
    two.allowed = vec![0, 1];
    let text = refused("numa:1", &two);
    assert!(text.contains("its CPUs are 2-3, allowed are 0-1"), "{text}");
    let text = refused("numa:7", &two);
    assert!(text.contains("numa:7") && text.contains("its CPUs are none"), "{text}");
}

#[test]
fn no_placement_is_without_a_sender() {
    assert_eq!(placed("auto", None, &machine(0)), [None]);
    let nowhere = resolve(&Affinity::Cpus(CpuList::default()), None, &machine(1));
    assert_eq!(nowhere.expect("allowed").shards, [None]);
}

#[test]
fn a_pinned_thread_may_run_on_its_cpu_only() {
    let before = sched_getaffinity(None).expect("a mask");
    let cpu = Machine::detect().expect("a mask").allowed[0];
    pin_current_thread(cpu).expect("allowed");
    let pinned = sched_getaffinity(None).expect("a mask");
    // The test's thread may be shared with the next test.
    sched_setaffinity(None, &before).expect("the mask it had");
    assert!(pinned.is_set(cpu) && pinned.count() == 1);
}

#[test]
fn pinning_to_a_cpu_that_is_not_there_is_an_error() {
    assert!(pin_current_thread(CPU_COUNT_MAX).is_err());
    assert!(pin_current_thread(usize::MAX).is_err());
    assert!(pin_current_thread(CPU_COUNT_MAX - 1).is_err());
}
