//! Plays faults, one after the other, and holds each one's verdicts against the log.
#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::faults::{FAULTS, Fault};
use crate::ledger::verdict_errors;
use crate::log;
use crate::report::{Row, Silence, acknowledgements, enter, print_heads, print_table, say};
use crate::scene::{Move, PARTITIONS, Scene, Stage, Way};
use crate::stamp::Stamp;
use crate::support::deadline::{Deadline, now};
use crate::support::jars::Version;
use crate::traffic::{Kind, Outcome, Outcomes, Traffic};

/// Every fault once, or those whose names hold a word of `KURING_FAULTS` (commas between).
pub(crate) fn play_all(version: Version) {
    let mut theater = Theater::new(version);
    print_heads();
    let chosen = chosen();
    for fault in &chosen {
        theater.play(fault);
    }
    theater.close();
}

/// Faults drawn at random until the minutes are over, half of them on each line.
pub(crate) fn soak(minutes: u64, seed: u64) {
    say(&format!("{minutes} minutes, seed {seed}"));
    let mut dice = seed;
    let faults = chosen();
    for version in Version::ALL {
        let end = Deadline::after(Duration::from_secs(minutes * 60 / 2));
        let mut theater = Theater::new(version);
        print_heads();
        while !end.passed() {
            // Knuth's MMIX generator; its upper bits are the good ones.
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            theater.play(faults[(dice >> 33) as usize % faults.len()]);
        }
        theater.close();
    }
}

fn chosen() -> Vec<&'static Fault> {
    let words = std::env::var("KURING_FAULTS").unwrap_or_default();
    let is_chosen =
        |fault: &&Fault| words.is_empty() || words.split(',').any(|word| fault.name.contains(word));
    FAULTS.iter().filter(is_chosen).collect()
}

/// One line's stage and what went wrong on it so far.
struct Theater {
    version: Version,
    stage: Option<Stage>,
    played: usize,
    wrong: Vec<String>,
}

impl Theater {
    fn new(version: Version) -> Self {
        Self { version, stage: None, played: 0, wrong: Vec::new() }
    }

    fn play(&mut self, fault: &Fault) {
        let stage = self.stage.get_or_insert_with(|| Stage::open(self.version));
        if let (Way::Link, Err(reason)) = (fault.way, &stage.link) {
            say(&format!("{} {}: SKIPPED: {reason}", self.version, fault.name));
            return;
        }
        self.played += 1;
        let topic = format!("{}-{}", fault.name, self.played);
        let version = self.version;
        // Each fault meets both drivers: one on each line.
        let driver = ["auto", "epoll"][(self.played + version as usize) % 2];
        let log = log::begin(&format!("{version}-{topic}"));
        let play = || play(stage, version, fault, &topic, driver);
        let played = catch_unwind(AssertUnwindSafe(play));
        let errors = played.unwrap_or_else(|panic| {
            // Whatever state the cluster is in, the next fault gets another one.
            self.stage = None;
            let error = text_of(&*panic);
            let note = error.lines().next().unwrap_or_default().chars().take(80).collect();
            enter(Row::unfinished(version, fault.name, note));
            vec![error]
        });
        if errors.is_empty() {
            log::forget(&log);
        } else {
            let log = log.display();
            say(&format!("{version} {}: what the producer logged is in {log}", fault.name));
        }
        for error in errors.iter().take(ERRORS_SHOWN) {
            say(&format!("{version} {}: WRONG: {error}", fault.name));
            self.wrong.push(format!("{version} {}: {error}", fault.name));
        }
    }

    fn close(self) {
        drop(self.stage);
        print_table();
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

/// Plays one fault on a topic of its own and returns what is wrong.
fn play(stage: &mut Stage, line: Version, fault: &Fault, topic: &str, driver: &str) -> Vec<String> {
    stage.cluster.create_topic(topic, PARTITIONS, 3, &[]);
    stage.cluster.await_in_sync(topic);
    let begin = now();
    let properties = [fault.properties, &[("kuring.driver", driver)]].concat();
    let producer = stage.producer(fault.way, &properties);
    let driver = producer.metrics().driver;
    producer.blocking_warm_up(&[topic]).expect("the topic is there");
    let traffic = Traffic::start(&producer, topic, PARTITIONS);
    let (moves, rebirth, note) = (Vec::new(), None, String::new());
    let mut scene = Scene { stage, traffic: &traffic, topic, moves, rebirth, note };
    (fault.script)(&mut scene);
    let Scene { moves, rebirth, note, .. } = scene;
    let outcomes = traffic.finish(Deadline::after(VERDICTS_MAX));
    let summary = producer.close(Duration::from_secs(20));
    let counters = producer.metrics();
    let seconds = (now() - begin).as_secs();
    let log = stage.read(topic, rebirth);
    let mut errors = verdict_errors(&outcomes, &log, rebirth);
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().flatten().filter(|it| is(it)).count();
    let mut row = Row {
        line,
        fault: fault.name,
        driver,
        records: outcomes.iter().map(Vec::len).sum(),
        acknowledged: count(|it| matches!(it, Outcome::Acknowledged { .. })),
        possibly_written: count(|it| matches!(it, Outcome::PossiblyWritten { .. })),
        not_written: count(|it| matches!(it, Outcome::NotWritten { .. })),
        turned_out_written: 0,
        errors: 0,
        silence: Silence::of(&outcomes, PARTITIONS),
        seconds,
        note: [kinds(&outcomes), note, recovery(&moves, &outcomes)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    };
    let there = log.iter().map(Vec::len).sum::<usize>();
    if rebirth.is_none() {
        row.turned_out_written = there.saturating_sub(row.acknowledged);
    }
    if fault.loses_nothing() {
        errors.extend(given_up(&outcomes));
    }
    let (free, total) = (counters.buffer_available_bytes, counters.buffer_total_bytes);
    if free != total {
        errors.push(format!("{free} of {total} bytes of memory are free after close"));
    }
    if summary.acknowledged != row.acknowledged as u64 {
        errors.push(format!("the summary counts otherwise: {summary:?}, {row:?}"));
    }
    row.errors = errors.len();
    enter(row);
    stage.cluster.delete_topic(topic);
    errors
}

/// Records that were accepted and not acknowledged, though there was time.
fn given_up(outcomes: &Outcomes) -> Option<String> {
    let is_given_up = |outcome: &&Outcome| match outcome {
        Outcome::Acknowledged { .. } => false,
        Outcome::PossiblyWritten { .. } => true,
        // Never accepted: `try_send` found no memory, or `send` waited too long for it.
        Outcome::NotWritten { kind } => kind.name != "memory-exhausted",
    };
    let first = outcomes.iter().flatten().find(is_given_up)?;
    let mut partitions = BTreeMap::<_, usize>::new();
    for (thread, numbers) in outcomes.iter().enumerate() {
        for (number, _) in (0..).zip(numbers).filter(|(_, outcome)| is_given_up(outcome)) {
            let named = Stamp { thread, number }.partition(PARTITIONS);
            *partitions.entry(named).or_default() += 1;
        }
    }
    Some(format!("accepted and given up, by named partition: {partitions:?}; one is {first:?}"))
}

/// Why records were not acknowledged, and how many.
fn kinds(outcomes: &Outcomes) -> String {
    let mut counts = BTreeMap::<Kind, usize>::new();
    for outcome in outcomes.iter().flatten() {
        match outcome {
            Outcome::Acknowledged { .. } => {}
            Outcome::PossiblyWritten { kind } | Outcome::NotWritten { kind } => {
                *counts.entry(*kind).or_default() += 1;
            }
        }
    }
    let counts = counts.into_iter().map(|(kind, count)| format!("{kind} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// From the new leader's first sign of life to the first acknowledgement, per moved partition.
fn recovery(moves: &[Move], outcomes: &Outcomes) -> String {
    let times = moves.iter().filter_map(|moved| {
        let times = acknowledgements(outcomes, Some(moved.partition));
        // What came within the session's time was on its way from the old leader.
        let first = times.into_iter().filter(|at| *at > moved.lost + STRAGGLERS_MAX).min()?;
        let serving = moved.serving.saturating_duration_since(moved.lost).as_millis();
        let after = first.saturating_duration_since(moved.serving).as_millis();
        Some(format!("p{} served after {serving} ms, acked {after} ms later", moved.partition))
    });
    times.collect::<Vec<_>>().join("; ")
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// One cluster at a time: eight JVMs on two cores would measure our patience.
pub(crate) fn alone<T>(work: impl FnOnce() -> T) -> T {
    static STAGE: Mutex<()> = Mutex::new(());
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// The longest delivery.timeout.ms of the faults, and some patience with a busy machine.
const VERDICTS_MAX: Duration = Duration::from_secs(120);
/// Brokers lose their session after three seconds.
const STRAGGLERS_MAX: Duration = Duration::from_secs(1);
const ERRORS_SHOWN: usize = 20;
