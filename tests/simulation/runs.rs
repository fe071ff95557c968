//! Many seeds: run side by side, counted up, and a failure made as small as it gets.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::command::Command;
use crate::faults::Either;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::trace;
use crate::world::World;

/// Seconds between two lines about the progress.
const PROGRESS_SECONDS: u64 = 10;

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

#[expect(clippy::disallowed_methods, reason = "how fast the simulator itself is")]
fn real_now() -> Instant {
    Instant::now()
}

/// Runs one scenario.
///
/// # Errors
/// What was violated.
fn run_one(scenario: Scenario) -> Result<Report, String> {
    let mut world = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| world.insert(World::new(scenario)).run()));
    let report = world.as_ref().map(|world| world.report.clone()).unwrap_or_default();
    let told = LAST_PANIC.with_borrow(Clone::clone);
    let ended = match outcome {
        Ok(()) => catch_unwind(AssertUnwindSafe(|| drop(world))),
        Err(_) => {
            // A violation leaves things half done, and the producer would wait for its shards.
            std::mem::forget(world);
            Ok(())
        }
    };
    kuring::simulation::clock::set(None);
    match (outcome, ended) {
        (Err(_), _) => Err(told),
        (Ok(()), Err(_)) => Err(LAST_PANIC.with_borrow(Clone::clone)),
        (Ok(()), Ok(())) => Ok(report),
    }
}

fn listen_to_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a panic without words");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        LAST_PANIC.set(format!("{text}\n    at {place}"));
        if trace::is_told() && std::env::var_os("RUST_BACKTRACE").is_some() {
            println!("{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

fn scenario_of(command: &Command, seed: u64) -> Scenario {
    let mut scenario = Scenario::draw(seed, command.per_seed);
    if let Some(only) = &command.only {
        for kind in scenario.faults() {
            if !only.contains(&kind) {
                scenario.switch_off(kind);
            }
        }
    }
    scenario
}

pub(crate) fn run(command: &Command) -> ExitCode {
    listen_to_panics();
    match command.seed {
        Some(seed) => replay(command, seed),
        None => run_many(command),
    }
}

fn replay(command: &Command, seed: u64) -> ExitCode {
    let scenario = scenario_of(command, seed);
    println!("{scenario:#?}");
    trace::tell(!command.is_quiet);
    let outcome = run_one(scenario.clone());
    trace::tell(false);
    match outcome {
        Ok(report) => {
            println!("{report}");
            let again = run_one(scenario).map(|report| report.fingerprint);
            let is_same = again == Ok(report.fingerprint);
            let word = if is_same { "the same" } else { "ANOTHER ONE: it does not replay" };
            println!("fingerprint {:016x}; a second run has {word}", report.fingerprint);
            if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(told) => {
            println!("seed {seed}: {told}");
            ExitCode::FAILURE
        }
    }
}

/// What the threads of a run share.
struct Progress {
    next: AtomicU64,
    is_over: AtomicBool,
    sum: Mutex<(Report, Vec<(u64, String)>)>,
    begin: Instant,
    told: AtomicU64,
}

impl Progress {
    fn sum(&self) -> std::sync::MutexGuard<'_, (Report, Vec<(u64, String)>)> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run_many(command: &Command) -> ExitCode {
    let count: u64 = command.ranges.iter().map(|(_, count)| count).sum();
    let ranges: Vec<String> =
        command.ranges.iter().map(|(from, count)| format!("{count} from {from}")).collect();
    println!("seeds: {}; {} at a time", ranges.join(", "), command.jobs);
    let progress = Progress {
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        sum: Mutex::default(),
        begin: real_now(),
        told: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for _ in 0..command.jobs {
            scope.spawn(|| work(command, count, &progress));
        }
    });
    let (report, failures) = &*progress.sum();
    tell(report, failures.len(), &progress);
    println!("{report}");
    let missing = report.missing_faults();
    if report.seeds >= 2_000 && command.only.is_none() && !missing.is_empty() {
        println!("faults that never happened: {}", missing.join(", "));
    }
    for (seed, told) in failures {
        println!("seed {seed}: {told}");
        explain(command, *seed, told);
    }
    println!("violations: {}", failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seed_at(command: &Command, mut index: u64) -> Option<u64> {
    for (from, count) in &command.ranges {
        if index < *count {
            return Some(from + index);
        }
        index -= count;
    }
    None
}

fn work(command: &Command, count: u64, progress: &Progress) {
    while !progress.is_over.load(Relaxed) {
        let index = progress.next.fetch_add(1, Relaxed);
        let Some(seed) = seed_at(command, index).filter(|_| index < count) else { return };
        let outcome = run_one(scenario_of(command, seed));
        let mut sum = progress.sum();
        match outcome {
            Ok(report) => sum.0.add(&report),
            Err(told) => sum.1.push((seed, told)),
        }
        let is_enough = command.records_min.is_some_and(|records| sum.0.offered >= records);
        if is_enough || sum.1.len() >= command.failures_max {
            progress.is_over.store(true, Relaxed);
        }
        let seconds = progress.begin.elapsed().as_secs();
        if seconds >= progress.told.load(Relaxed) + PROGRESS_SECONDS {
            progress.told.store(seconds, Relaxed);
            tell(&sum.0, sum.1.len(), progress);
        }
    }
}

fn tell(report: &Report, failures: usize, progress: &Progress) {
    let seconds = progress.begin.elapsed().as_secs_f64();
    println!(
        "{seconds:>8.1} s  {} seeds ({:.0}/s)  {} records ({:.0}/s)  {failures} failed",
        report.seeds,
        report.seeds as f64 / seconds,
        report.offered,
        report.offered as f64 / seconds,
    );
    let _ = std::io::stdout().flush();
}

/// Makes a failing scenario smaller while it fails, and says how to see it.
/// What kind of a violation it is: its text without the numbers and names of the case.
fn kind_of(told: &str) -> String {
    let mut depth = 0;
    let is_kept = |letter: &char| {
        match letter {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && letter.is_ascii_alphabetic()
    };
    told.chars().filter(is_kept).take(24).collect()
}

fn explain(command: &Command, seed: u64, first: &str) {
    let mut scenario = scenario_of(command, seed);
    let mut per_seed = command.per_seed;
    let mut told = String::new();
    if command.shrinks {
        let mut fails = |scenario: &Scenario| match run_one(scenario.clone()) {
            Ok(_) => false,
            // Another violation is another story.
            Err(text) if kind_of(&text) == kind_of(first) => {
                told = text;
                true
            }
            Err(_) => false,
        };
        for kind in scenario.faults() {
            let mut without = scenario.clone();
            without.switch_off(kind);
            if fails(&without) {
                scenario = without;
            }
        }
        while per_seed > 10 {
            let mut smaller = scenario.clone();
            smaller.work.records = per_seed * 2 / 3;
            if !fails(&smaller) {
                break;
            }
            per_seed = smaller.work.records;
            scenario = smaller;
        }
    }
    let names: Vec<_> = scenario.faults().into_iter().map(Either::name).collect();
    let only = if names.is_empty() { "none".to_owned() } else { names.join(",") };
    if !told.is_empty() {
        println!("  at its smallest: {told}");
    }
    println!(
        "  replay: cargo test --profile simulation --features simulation --test simulation -- \
         --seed {seed} --per-seed {per_seed} --only {only}"
    );
}
