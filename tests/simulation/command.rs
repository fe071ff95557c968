//! The simulator's command line.
#![forbid(unsafe_code)]

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::faults::Either;

const HELP: &str = "\
simulation [options]
  --seed N        replay one seed and tell what happens
  --quiet         with --seed: tell only how it ends
  --seeds N       run N seeds, from --from on (2000 fixed and 2000 fresh ones without it)
  --from N        the first seed (0)
  --fresh         start from a seed of the system's
  --records N     run until N records were offered
  --per-seed N    records of one seed (1000)
  --only A,B      only these faults; `--only none` for none
  --jobs N        seeds at a time (as many as there are processors)
  --failures N    go on until so many seeds have failed (1)
  --no-shrink     do not look for the faults that a failure needs";

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) seed: Option<u64>,
    pub(crate) is_quiet: bool,
    /// First seed and count; one after the other.
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) records_min: Option<u64>,
    pub(crate) per_seed: u32,
    pub(crate) only: Option<Vec<Either>>,
    pub(crate) jobs: usize,
    pub(crate) failures_max: usize,
    pub(crate) shrinks: bool,
}

/// A seed that nobody has seen.
fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 16
}

impl Command {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut command = Self {
            seed: None,
            is_quiet: false,
            ranges: Vec::new(),
            records_min: None,
            per_seed: 1_000,
            only: None,
            jobs,
            failures_max: 1,
            shrinks: true,
        };
        let (mut from, mut seeds) = (0, None);
        let mut arguments = arguments;
        while let Some(option) = arguments.next() {
            let mut number = || {
                let text = arguments.next().unwrap_or_default().replace('_', "");
                text.parse::<u64>().map_err(|_| format!("{option} takes a number\n{HELP}"))
            };
            match option.as_str() {
                "--seed" => command.seed = Some(number()?),
                "--seeds" => seeds = Some(number()?),
                "--from" => from = number()?,
                "--fresh" => from = fresh_seed(),
                "--records" => command.records_min = Some(number()?),
                "--per-seed" => command.per_seed = number()?.clamp(1, 1 << 24) as u32,
                "--jobs" => command.jobs = number()?.clamp(1, 64) as usize,
                "--failures" => command.failures_max = number()? as usize,
                "--only" => command.only = Some(faults(&arguments.next().unwrap_or_default())?),
                "--quiet" => command.is_quiet = true,
                "--no-shrink" => command.shrinks = false,
                "--nocapture" => {}
                _ => return Err(HELP.to_owned()),
            }
        }
        command.ranges = match (seeds, command.records_min) {
            (Some(seeds), _) => vec![(from, seeds)],
            (None, Some(records)) => vec![(from, records)],
            (None, None) => vec![(0, 2_000), (fresh_seed(), 2_000)],
        };
        Ok(command)
    }
}

fn faults(names: &str) -> Result<Vec<Either>, String> {
    if names == "none" {
        return Ok(Vec::new());
    }
    let named = |name| Either::named(name).ok_or_else(|| format!("there is no fault {name}"));
    names.split(',').map(named).collect()
}
