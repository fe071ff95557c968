//! What `kuring doctor` looks at: is this process, on this machine, fit to produce to that cluster?
//!
//! Each check is a function over a [`System`], which tests plant, and gives a [`Check`]. What
//! cannot be read is said to be unknown and is no fault: containers hide many of these files.
//!
//! Reading order: system -> io_uring, memory, cpu, sockets, time, settings -> conversation ->
//! brokers -> report.
#![forbid(unsafe_code)]

mod brokers;
mod conversation;
mod cpu;
mod hello;
mod io_uring;
mod memory;
mod report;
mod settings;
mod sockets;
mod system;
mod time;

use kuring::{ConfigError, Settings};

pub use report::{json, text};
pub(crate) use report::{quoted, wrap};
pub use system::System;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Nothing to do.
    Ok,
    /// It works, and not as well as it could.
    Warning,
    /// It will not work.
    Problem,
}

impl Status {
    /// The word in both outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at; does not change between versions. May stand more than once.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub fact: String,
    /// What to do, unless it is ok. A line that starts with `$ ` is a command to be pasted.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, fact: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, fact: fact.into(), remedy: None }
    }

    fn warning(name: &'static str, fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (fact, remedy) = (fact.into(), Some(remedy.into()));
        Self { name, status: Status::Warning, fact, remedy }
    }

    fn problem(name: &'static str, fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (fact, remedy) = (fact.into(), Some(remedy.into()));
        Self { name, status: Status::Problem, fact, remedy }
    }
}

/// What the checks are about.
#[derive(Debug)]
pub struct Question {
    /// The producer's settings, or what is wrong with them.
    pub settings: Result<Settings, ConfigError>,
    /// The settings that the other checks assume: the same, or what is left of them.
    pub assumed: Settings,
    /// Whether the assumed bootstrap servers were named by the user.
    pub ask_brokers: bool,
    /// The topic to look for.
    pub topic: Option<String>,
}

/// Carries all checks out, the local ones first. Blocks on the network for a few seconds at most
/// per bootstrap server, and for as long as the system's resolver takes.
pub fn examine(system: &System, question: &Question) -> Vec<Check> {
    let assumed = &question.assumed;
    let placed = cpu::place(system, assumed);
    let (brokers, broker_count) = brokers::check(question);
    let mut checks = vec![settings::check(&question.settings)];
    checks.extend(io_uring::check(system, assumed));
    checks.extend(memory::check(system, assumed, placed.count()));
    checks.extend(cpu::check(system, assumed, &placed));
    checks.extend(sockets::check(system, assumed, placed.count(), broker_count));
    checks.extend(time::check(system));
    checks.extend(brokers);
    checks
}

#[cfg(test)]
mod tests;
