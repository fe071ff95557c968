//! Compares what the producer said with what the logs hold.
//!
//! What is promised depends on the settings; [`Promise::of`] is the one table of it. What the model
//! cluster itself lost or wrote twice (unclean elections, brokers without their producers' state)
//! is excused record by record, through the cluster's own account.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use kuring::{Acks, Settings};

use crate::cluster::{Cluster, Forgotten, PartitionLog};
use crate::ledger::{Entry, Ledger, Verdict};
use crate::report::Report;
use crate::scenario::Scenario;
use crate::stamp::Stamp;
use crate::world::World;

/// What holds for the records of a producer with some settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    /// Acknowledged means that it is in the log.
    is_present: bool,
    /// A record is in the log once at most.
    is_single: bool,
    /// Records of one task and partition are in the log in the order in which they were accepted.
    is_ordered: bool,
    /// So are those of them that were acknowledged, by their offsets.
    is_ordered_by_offset: bool,
    /// An acknowledgement tells the offset, unless a broker had forgotten it.
    has_offsets: bool,
}

impl Promise {
    /// | acks | idempotence | in flight | present | single | ordered | offsets ordered |
    /// |---|---|---|---|---|---|---|
    /// | all | on | any | yes | yes | yes | yes |
    /// | all, 1 | off | 1 | yes | no | no: a late first attempt | yes |
    /// | all, 1 | off | more | yes | no | no | no |
    /// | 0 | off | any | no | no | no | no: no offsets |
    fn of(settings: &Settings) -> Self {
        let answered = settings.acks != Acks::None;
        Self {
            is_present: answered,
            is_single: settings.idempotence,
            is_ordered: settings.idempotence,
            is_ordered_by_offset: answered && (settings.idempotence || settings.in_flight_max == 1),
            has_offsets: answered,
        }
    }
}

/// A batch that is on its way when a broker forgets its producer may be taken for the first one, in
/// front of those that were to come before it. The producer is told that these are out of order,
/// concludes that it was not written either, and numbers it anew. So many records are on their way
/// at most.
const FLIGHT_RECORDS_MAX: u64 = 500;

/// Where a record was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    /// The topic's id: a topic that was created again has another.
    id: u128,
    topic: u16,
    partition: i32,
    offset: u64,
}

type Logs = BTreeMap<(u16, u32), Vec<Found>>;

/// What can be said of a verdict as soon as it is there.
pub(crate) fn check_now(_: &Cluster, scenario: &Scenario, entry: &Entry) {
    if let Some(Verdict::Acknowledged { partition, offset }) = entry.verdict {
        let stamp = entry.stamp;
        let asked = stamp.partition;
        assert!(asked < 0 || asked == partition, "{stamp:?} went to partition {partition}");
        let promise = Promise::of(&scenario.settings);
        assert!(promise.has_offsets || offset.is_none(), "{stamp:?}: acks 0 knows no offset");
    }
}

/// Everything, at the end of a run.
pub(crate) fn check(world: &mut World) {
    let app = std::rc::Rc::clone(&world.app);
    let mut ledger = app.ledger.borrow_mut();
    ledger.look();
    assert_eq!(ledger.unresolved(), 0, "the producer is closed, and records have no verdict");
    check_counts(world, &ledger);
    ledger.drop_deliveries();
    let cells = kuring::simulation::cells_in_use() - world.cells_before;
    assert_eq!(cells, 0, "completion cells are lost");
    let network = world.network.borrow();
    let cluster = &network.cluster;
    let account = cluster.account();
    let violations = &account.violations;
    assert!(violations.is_empty(), "the brokers complain: {}", violations.join("; "));
    let lost = cluster.lost().unwrap_or_else(|wrong| panic!("the model: {}", wrong.join("; ")));
    let logs = cluster.logs();
    let found = read(&logs, &world.scenario, &ledger);
    let mut excused = BTreeSet::new();
    for batch in lost.iter().flat_map(|lost| lost.batch.records()) {
        excused.extend(batch.value.and_then(Stamp::read).map(|stamp| (stamp.task, stamp.number)));
    }
    let mut check = Check {
        promise: Promise::of(&world.scenario.settings),
        found: &found,
        excused: &excused,
        forgotten: &account.forgotten,
        report: &mut world.report,
    };
    ledger.entries.iter().for_each(|entry| check.entry(entry));
    check.order(&ledger);
    world.report.count_verdicts(&ledger);
    world.report.requests = network.tap.requests;
    world.report.resent = network.tap.resent;
    world.report.count_faults(&network.chance.counts);
    world.report.count_faults(&app.chance.borrow().counts);
    world.report.count_cluster_faults(cluster.fault_counts());
    world.report.virtual_nanos = app.agenda.now();
}

/// Each accepted record has one verdict; the memory is back; nobody waits.
fn check_counts(world: &World, ledger: &Ledger) {
    let metrics = world.app.producer.metrics();
    let sum = metrics.acknowledged + metrics.failed + metrics.possibly_written;
    assert_eq!(sum, ledger.accepted, "as many verdicts as accepted records");
    let count = |is: fn(&Verdict) -> bool| {
        ledger.entries.iter().filter(|entry| entry.verdict.as_ref().is_some_and(is)).count() as u64
    };
    let acknowledged = count(|verdict| matches!(verdict, Verdict::Acknowledged { .. }));
    let failed = count(|verdict| matches!(verdict, Verdict::NotWritten(_)));
    let possibly = count(|verdict| matches!(verdict, Verdict::PossiblyWritten(_)));
    let told = [metrics.acknowledged, metrics.failed, metrics.possibly_written];
    let is_true =
        [acknowledged, failed, possibly].iter().zip(told).all(|(seen, told)| *seen <= told);
    assert!(is_true, "the counters {told:?} say less than the deliveries");
    assert_eq!(metrics.waiting_threads, 0, "somebody waits for a closed producer");
    if !world.has_panicked {
        let (free, total) = (metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        assert_eq!(free, total, "memory is lost");
        assert_eq!(world.network.borrow().open_links(), 0, "a closed producer has connections");
    }
}

/// All records of all logs, each as it was sent.
fn read(logs: &[PartitionLog<'_>], scenario: &Scenario, ledger: &Ledger) -> Logs {
    let mut sent: BTreeMap<(u16, u32), &Entry> = BTreeMap::new();
    for entry in &ledger.entries {
        sent.insert((entry.stamp.task, entry.stamp.number), entry);
    }
    let mut found = Logs::new();
    for log in logs {
        let topic = scenario.plan.topics.iter().position(|topic| topic.name == log.name);
        for record in log.records() {
            let place = format_args!("{} {} {}", log.name, log.partition, record.offset);
            let stamp = record.value.and_then(Stamp::read);
            let stamp = stamp.unwrap_or_else(|| panic!("{place}: a damaged record"));
            let entry = sent.get(&(stamp.task, stamp.number));
            let entry = entry.unwrap_or_else(|| panic!("{place}: nobody sent {stamp:?}"));
            assert_eq!(entry.stamp, stamp, "{place}");
            assert_eq!(record.value.map(<[u8]>::len), Some(entry.bytes), "{place}: {stamp:?}");
            assert_eq!(record.key, entry.key.as_deref(), "{place}: {stamp:?}");
            assert_eq!(topic, Some(stamp.topic as usize), "{place}: {stamp:?}");
            let is_there = stamp.partition < 0 || stamp.partition == log.partition;
            assert!(is_there, "{place}: {stamp:?} is in another partition");
            found.entry((stamp.task, stamp.number)).or_default().push(Found {
                id: log.topic,
                topic: stamp.topic,
                partition: log.partition,
                offset: record.offset,
            });
        }
    }
    found
}

struct Check<'a> {
    promise: Promise,
    found: &'a Logs,
    /// Acknowledged records that the cluster lost by its own fault.
    excused: &'a BTreeSet<(u16, u32)>,
    forgotten: &'a [Forgotten],
    report: &'a mut Report,
}

impl Check<'_> {
    fn of(&self, entry: &Entry) -> &[Found] {
        let key = (entry.stamp.task, entry.stamp.number);
        self.found.get(&key).map_or(&[], Vec::as_slice)
    }

    fn entry(&mut self, entry: &Entry) {
        let stamp = entry.stamp;
        let found = self.of(entry).to_vec();
        self.single(&stamp, &found);
        match entry.verdict.as_ref().expect("every record has a verdict by now") {
            Verdict::Acknowledged { partition, offset } => {
                if !self.promise.is_present {
                    return;
                }
                let is_there = found.iter().any(|found| {
                    found.partition == *partition
                        && offset.is_none_or(|offset| found.offset == offset as u64)
                });
                let is_excused = self.excused.contains(&(stamp.task, stamp.number));
                self.report.excused += u64::from(!is_there && is_excused);
                assert!(
                    is_there || is_excused,
                    "{stamp:?} was acknowledged at {partition} {offset:?}; it is at {found:?}"
                );
            }
            Verdict::NotWritten(why) => {
                assert!(found.is_empty(), "{stamp:?} is not written ({why}); it is at {found:?}");
            }
            Verdict::NeverAccepted => {
                assert!(found.is_empty(), "{stamp:?} was never accepted; it is at {found:?}");
            }
            Verdict::PossiblyWritten(_) => {
                self.report.found_possibly += u64::from(!found.is_empty());
            }
            Verdict::Unasked => {}
        }
    }

    /// Once in a topic's life, unless a broker had forgotten the producer in between.
    fn single(&mut self, stamp: &Stamp, found: &[Found]) {
        if !self.promise.is_single {
            return;
        }
        for (at, one) in found.iter().enumerate() {
            for other in found[at + 1..].iter().filter(|other| other.id == one.id) {
                let is_excused = one.partition == other.partition
                    && self.forgotten.iter().any(|forgotten| {
                        forgotten.topic == one.id
                            && forgotten.partition == one.partition
                            && one.offset < forgotten.before + FLIGHT_RECORDS_MAX
                            && other.offset >= forgotten.before
                    });
                self.report.excused += u64::from(is_excused);
                assert!(is_excused, "{stamp:?} is in the log more than once: {found:?}");
            }
        }
    }

    fn order(&self, ledger: &Ledger) {
        // By task and place: offset and the order of acceptance of what was acknowledged, and the
        // same of everything that was found.
        type Places = BTreeMap<(u16, u128, i32), Vec<(u64, u32)>>;
        let (mut acknowledged, mut all) = (Places::new(), Places::new());
        for entry in &ledger.entries {
            let found = self.of(entry);
            let key = |found: &Found| (entry.stamp.task, found.id, found.partition);
            let mut first: BTreeMap<u128, Found> = BTreeMap::new();
            for found in found {
                let known = first.entry(found.id).or_insert(*found);
                *known = (*known).min(*found);
            }
            for found in first.values() {
                all.entry(key(found)).or_default().push((found.offset, entry.order));
            }
            if let Some(Verdict::Acknowledged { partition, offset: Some(offset) }) = entry.verdict {
                let is_it =
                    |found: &&Found| (found.partition, found.offset) == (partition, offset as u64);
                if let Some(found) = found.iter().find(is_it) {
                    acknowledged.entry(key(found)).or_default().push((found.offset, entry.order));
                }
            }
        }
        // A broker that has lost what it knew of a producer takes any batch of it for the first.
        let knows = |place: &(u16, u128, i32)| {
            let (_, id, partition) = *place;
            !self.forgotten.iter().any(|it| (it.topic, it.partition) == (id, partition))
        };
        let check = |places: Places| {
            places
                .into_iter()
                .filter(|(place, _)| knows(place))
                .for_each(|(place, offsets)| in_order(place, offsets));
        };
        if self.promise.is_ordered_by_offset {
            check(acknowledged);
        }
        if self.promise.is_ordered {
            check(all);
        }
    }
}

fn in_order(place: (u16, u128, i32), mut offsets: Vec<(u64, u32)>) {
    offsets.sort_unstable();
    for pair in offsets.windows(2) {
        let [(before, first), (after, second)] = pair else { continue };
        assert!(
            first < second,
            "task {}, partition {}: record number {first} in the order of acceptance is at \
             {before}, number {second} at {after}",
            place.0,
            place.2
        );
    }
}
