//! `kuring.affinity` and `kuring.shards`: how many senders, and which CPU each one runs on.
//!
//! [`resolve`] is a pure function of what was chosen and of the [`Machine`]; the rules stand with
//! [`Placement`].
#![forbid(unsafe_code)]

use std::io;
use std::str::FromStr;

use rustix::process::getpid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::cpus::{CPU_COUNT_MAX, CpuList};
use super::error::ConfigError;
use super::machine::Machine;
use super::value::trim;

/// Below this many allowed CPUs `auto` pins nothing.
const PIN_CPUS_MIN: usize = 4;

/// `auto` starts one sender for this many CPUs.
const CPUS_PER_SHARD: usize = 8;

/// `auto` never starts more senders than this.
const AUTO_SHARDS_MAX: usize = 4;

/// Which CPUs the senders run on (`kuring.affinity`).
///
/// In text: `auto`, `none`, a list of CPU numbers and ranges (`2,3`, `4-7`, `0,4-7`), or `numa:0`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// By the rule of [`Placement`]. The default.
    #[default]
    Auto,
    /// No sender is pinned; the scheduler decides.
    None,
    /// One sender on each of these, in this order. Each must be allowed to this process.
    Cpus(CpuList),
    /// One sender on each CPU of this NUMA node that is allowed to this process.
    Numa(u32),
}

impl FromStr for Affinity {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let parsed = match trim(text) {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            word => match word.strip_prefix("numa:") {
                Some(node) => node.parse().ok().map(Self::Numa),
                None => CpuList::parse(word).map(Self::Cpus),
            },
        };
        parsed.ok_or_else(|| ConfigError::Value {
            key: "kuring.affinity",
            value: text.to_owned(),
            accepted:
                "auto, none, CPU numbers below 1024 with no CPU twice (2,3 or 4-7), or a NUMA \
                       node (numa:0)"
                    .into(),
        })
    }
}

/// One entry per sender: the CPU it is pinned to, or `None` when it is not pinned.
///
/// How many senders, when `kuring.shards` is not set:
/// - `auto` and `none`: one for every eight CPUs this process may really use (its allowed CPUs, or
///   its quota when that is less), at least one and at most four. One sender fills a fast link with
///   requests of many partitions; more of them split each broker's traffic into smaller requests,
///   which costs the broker, so further ones are for machines on which one core cannot keep up.
/// - a list of CPUs, or a NUMA node: one for each CPU named. Set `kuring.shards` to have fewer.
///
/// On which CPUs:
/// - `none`: on any.
/// - `auto`: the last allowed CPUs, one each, since interrupts and what others pin mostly sit on
///   the first. But nothing is pinned with fewer than four allowed CPUs (an application thread
///   would be scheduled onto the sender's CPU, which then could not move away), nor with more
///   senders than half the allowed CPUs, nor under a CPU quota without a CPU set: a quota stops all
///   threads at once wherever they are, and pinned senders of several containers would meet on the
///   same CPUs.
/// - a list or a node: on these CPUs in order, from the first again when there are more senders.
///   Never anywhere else: a list with a CPU that is not allowed is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The CPU of each sender; never empty.
    pub shards: Vec<Option<usize>>,
}

/// Applies the rules of [`Placement`].
///
/// # Errors
/// [`ConfigError::CpuNotAllowed`] and [`ConfigError::NumaNode`], both with the allowed CPUs.
pub fn resolve(
    affinity: &Affinity,
    shards: Option<usize>,
    machine: &Machine,
) -> Result<Placement, ConfigError> {
    let count = shards.unwrap_or_else(|| automatic_shards(machine)).max(1);
    match affinity {
        Affinity::None => Ok(Placement { shards: vec![None; count] }),
        Affinity::Auto if pins_by_itself(count, machine) => {
            let last = &machine.allowed[machine.allowed.len() - count..];
            Ok(Placement { shards: last.iter().copied().map(Some).collect() })
        }
        Affinity::Auto => Ok(Placement { shards: vec![None; count] }),
        Affinity::Cpus(cpus) => {
            let refused = cpus.0.iter().find(|cpu| !machine.allowed.contains(cpu));
            match refused {
                Some(cpu) => {
                    Err(ConfigError::CpuNotAllowed { cpu: *cpu, allowed: allowed(machine) })
                }
                None => Ok(on(&cpus.0, shards)),
            }
        }
        Affinity::Numa(node) => {
            let cpus = machine.numa.get(node).cloned().unwrap_or_default();
            let usable: Vec<usize> =
                cpus.iter().copied().filter(|cpu| machine.allowed.contains(cpu)).collect();
            if usable.is_empty() {
                let (node, cpus) = (*node, CpuList(cpus));
                return Err(ConfigError::NumaNode { node, cpus, allowed: allowed(machine) });
            }
            Ok(on(&usable, shards))
        }
    }
}

fn allowed(machine: &Machine) -> CpuList {
    CpuList(machine.allowed.clone())
}

/// `cpus` in turn, each once unless a count was chosen. An empty list places one sender nowhere.
fn on(cpus: &[usize], shards: Option<usize>) -> Placement {
    let count = shards.unwrap_or(cpus.len()).max(1);
    let cpu = |index: usize| cpus.get(index % cpus.len().max(1)).copied();
    Placement { shards: (0..count).map(cpu).collect() }
}

fn automatic_shards(machine: &Machine) -> usize {
    let quota = machine.quota.map_or(usize::MAX, |cpus| cpus.ceil() as usize);
    let usable = machine.allowed.len().min(quota);
    (usable / CPUS_PER_SHARD).clamp(1, AUTO_SHARDS_MAX)
}

fn pins_by_itself(count: usize, machine: &Machine) -> bool {
    let cpus = machine.allowed.len();
    cpus >= PIN_CPUS_MIN && count <= cpus / 2 && !machine.quota_without_cpu_set()
}

/// Pins the calling thread to one CPU. One system call.
///
/// # Errors
/// The kernel's: the CPU is not there or not allowed any more.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CPU_COUNT_MAX {
        return Err(io::Error::from(rustix::io::Errno::INVAL));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets the current thread run where the process's first one may: a thread inherits the CPUs of the
/// one that starts it, which may be a pinned sender. Refused at worst; then it stays there.
pub fn unpin_current_thread() {
    if let Ok(allowed) = sched_getaffinity(Some(getpid())) {
        let _ = sched_setaffinity(None, &allowed);
    }
}

#[cfg(test)]
mod tests;
