//! Memory: what may be locked, what there is, in which pages.
#![forbid(unsafe_code)]

use kuring::{DriverChoice, Settings};
use rustix::io::Errno;

use super::system::{bytes, counted};
use super::{Check, System};

const LOCKED: &str = "locked-memory";
const MEMORY: &str = "memory";
const HUGE: &str = "huge-pages";

/// What the rings of one shard lock on kernels that count them, rounded up.
const RING_BYTES: u64 = 64 * 1024;

pub(super) const RAISE_MEMLOCK: &str = "raise it for the service: LimitMEMLOCK=infinity in its \
    unit, --ulimit memlock=-1 for a container, or\n$ setcap cap_ipc_lock=ep PROGRAM";

pub(super) fn check(system: &System, settings: &Settings, shards: usize) -> Vec<Check> {
    vec![locked(system, settings, shards), memory(system, settings, shards), huge_pages(system)]
}

/// The arenas of all shards and their rings. The limit counts for all processes of the user.
fn locked(system: &System, settings: &Settings, shards: usize) -> Check {
    let rings = RING_BYTES * shards as u64;
    let need = settings.buffer_memory.saturating_add(rings);
    let arena = bytes(settings.buffer_memory);
    let refused = system.io_uring.as_ref().err().map(Errno::from_io_error);
    let by_another = refused.is_some_and(|errno| errno != Some(Errno::NOMEM));
    if settings.driver == DriverChoice::Epoll || by_another {
        return Check::ok(LOCKED, "none is needed: only io_uring locks memory");
    }
    if system.may_lock_everything() {
        return Check::ok(LOCKED, "without limit: this process has CAP_IPC_LOCK");
    }
    match system.limit("Max locked memory") {
        None => Check::ok(LOCKED, "not known: /proc/self/limits cannot be read"),
        Some(None) => Check::ok(LOCKED, format!("without limit; {arena} are registered")),
        Some(Some(limit)) if limit >= need => {
            Check::ok(LOCKED, format!("{} may be locked, {} are needed", bytes(limit), bytes(need)))
        }
        Some(Some(limit)) => {
            let fact = format!(
                "{} may be locked, and registering buffer.memory with io_uring takes {} for {}; \
                 records go out from memory that is not registered",
                bytes(limit),
                bytes(need),
                counted(shards, "shard"),
            );
            let fact = if limit < rings {
                format!("{fact}, and the rings themselves may be refused")
            } else {
                fact
            };
            Check::warning(LOCKED, fact, RAISE_MEMLOCK)
        }
    }
}

fn memory(system: &System, settings: &Settings, shards: usize) -> Check {
    let need = settings.buffer_memory;
    if need / (shards.max(1) as u64) < settings.batch_bytes as u64 {
        return Check::problem(
            MEMORY,
            format!(
                "buffer.memory of {} is less than one batch.size of {} for each of {}",
                bytes(need),
                bytes(settings.batch_bytes as u64),
                counted(shards, "shard")
            ),
            "raise buffer.memory, or lower batch.size or kuring.shards",
        );
    }
    let group = system.group_limit("memory", "memory.max", "memory.limit_in_bytes");
    let available = system.memory_field("MemAvailable");
    // Version 1 has no word for "no limit", but a number beyond every machine's memory.
    let total = system.memory_field("MemTotal").unwrap_or(u64::MAX);
    let group = group.filter(|limit| *limit < total);
    let buffer = format!("buffer.memory is {}", bytes(need));
    let shrink = "set buffer.memory lower, or give the process more memory";
    match (group, available) {
        (Some(limit), _) if limit <= need => Check::problem(
            MEMORY,
            format!("{buffer}, and the control group may use {} in all", bytes(limit)),
            shrink,
        ),
        (_, Some(available)) if available <= need => Check::problem(
            MEMORY,
            format!("{buffer}, and only {} are available", bytes(available)),
            shrink,
        ),
        (Some(limit), _) if limit / 2 < need => Check::warning(
            MEMORY,
            format!("{buffer}, more than half of the control group's {}", bytes(limit)),
            shrink,
        ),
        (Some(limit), _) => {
            Check::ok(MEMORY, format!("{buffer} of the control group's {}", bytes(limit)))
        }
        (None, Some(available)) => {
            Check::ok(MEMORY, format!("{buffer}, {} are available", bytes(available)))
        }
        (None, None) => Check::ok(MEMORY, format!("{buffer}; how much there is, is not known")),
    }
}

/// Whether all partitions of a topic can have a batch at the same time. None: they can.
pub(super) fn for_partitions(settings: &Settings, topic: &str, partitions: usize) -> Option<Check> {
    let (memory, batch) = (settings.buffer_memory, settings.batch_bytes as u64);
    let need = batch.saturating_mul(partitions as u64);
    if need <= memory {
        return None;
    }
    let fact = format!(
        "batches of {} (batch.size) for all {partitions} partitions of {topic} take {}, and \
         buffer.memory is {}: with keys that keep all of them busy, each batch leaves before it \
         is full, as small as memory makes it",
        bytes(batch),
        bytes(need),
        bytes(memory),
    );
    let fitting = memory / partitions as u64;
    let remedy = format!("set buffer.memory to {need} or more, or batch.size to {fitting} or less");
    Some(Check::warning(MEMORY, fact, remedy))
}

fn huge_pages(system: &System) -> Check {
    let mode = system.text("sys/kernel/mm/transparent_hugepage/enabled");
    let chosen = mode.as_deref().and_then(|text| text.split_once('[')?.1.split_once(']'));
    let transparent = chosen.map_or("not known", |(word, _)| word);
    let reserved = system.field("proc/meminfo", "HugePages_Total");
    let reserved = reserved.as_deref().unwrap_or("not known");
    Check::ok(HUGE, format!("transparent: {transparent}; reserved: {reserved}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};
    use crate::doctor::tests::{Planted, settings};

    const HEAD: &str =
        "Limit                     Soft Limit           Hard Limit           Units\n";

    fn judge_locked(soft: &str, capabilities: &str, properties: &[(&str, &str)]) -> Check {
        let limits = format!("{HEAD}Max locked memory         {soft}  {soft}  bytes\n");
        let status = format!("CapEff:\t{capabilities}\n");
        let planted = Planted::new(&[("proc/self/limits", &limits), ("proc/self/status", &status)]);
        locked(&planted.system, &settings(properties), 2)
    }

    #[test]
    fn the_limit_on_locked_memory_is_held_against_arena_and_rings() {
        assert_eq!(judge_locked("unlimited", "0", &[]).status, Good);
        assert_eq!(judge_locked("67108864", "0", &[]).status, Good);
        // Exactly buffer.memory, and nothing for the rings.
        assert_eq!(judge_locked("33554432", "0", &[]).status, Warning);
        let check = judge_locked("65536", "0", &[]);
        assert_eq!(check.status, Warning);
        assert!(check.fact.contains("64 KiB may be locked"), "{check:?}");
        assert!(check.fact.contains("the rings themselves"), "{check:?}");
        assert_eq!(judge_locked("65536", "0000000000004000", &[]).status, Good);
        assert_eq!(judge_locked("65536", "0", &[("kuring.driver", "epoll")]).status, Good);
        assert_eq!(judge_locked("garbage", "garbage", &[]).status, Good);
    }

    #[test]
    fn the_limit_counts_when_io_uring_is_refused_by_it_and_by_nothing_else() {
        let mut planted =
            Planted::new(&[("proc/self/limits", "Max locked memory  8192  8192  bytes\n")]);
        for (errno, status) in [(Errno::NOMEM, Warning), (Errno::PERM, Good)] {
            planted.system.io_uring = Err(errno.into());
            assert_eq!(locked(&planted.system, &settings(&[]), 1).status, status);
        }
    }

    fn judge_memory(files: &[(&str, &str)]) -> Check {
        memory(&Planted::new(files).system, &settings(&[("buffer.memory", "1073741824")]), 1)
    }

    #[test]
    fn a_shard_without_room_for_one_batch_is_a_problem() {
        let settings = settings(&[("buffer.memory", "40000"), ("batch.size", "16384")]);
        let judge = |shards| memory(&Planted::new(&[]).system, &settings, shards).status;
        assert_eq!(judge(2), Good);
        assert_eq!(judge(3), Problem);
    }

    #[test]
    fn buffer_memory_is_held_against_what_there_is() {
        let available = |kib| format!("MemTotal: 64000000 kB\nMemAvailable: {kib} kB\n");
        let (much, little) = (available(8_000_000), available(1_000_000));
        assert_eq!(judge_memory(&[("proc/meminfo", &much)]).status, Good);
        assert_eq!(judge_memory(&[("proc/meminfo", &little)]).status, Problem);
        assert_eq!(judge_memory(&[("proc/meminfo", "MemAvailable: many\n\0")]).status, Good);
    }

    #[test]
    fn the_tightest_control_group_counts_in_both_versions() {
        let judge = |limit| {
            judge_memory(&[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max"),
                ("sys/fs/cgroup/a/memory.max", limit),
            ])
        };
        assert_eq!(judge("1000000000").status, Problem);
        assert_eq!(judge("1500000000").status, Warning);
        assert_eq!(judge("8000000000").status, Good);
        assert!(judge("max").fact.contains("not known"));
        let version_1 = judge_memory(&[
            ("proc/self/cgroup", "4:memory:/a\n0::/\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000000"),
        ]);
        assert_eq!(version_1.status, Problem);
        let unlimited = judge_memory(&[
            ("proc/meminfo", "MemTotal: 64000000 kB\nMemAvailable: 8000000 kB\n"),
            ("proc/self/cgroup", "4:memory:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712"),
        ]);
        assert!(unlimited.fact.contains("are available"), "{unlimited:?}");
    }

    #[test]
    fn memory_for_a_batch_of_each_partition_is_enough_or_a_warning() {
        let settings = settings(&[("buffer.memory", "1000000"), ("batch.size", "1000")]);
        let judge = |partitions| for_partitions(&settings, "t", partitions);
        assert_eq!(judge(0), None);
        assert_eq!(judge(1000), None);
        let check = judge(2000).unwrap();
        assert_eq!((check.name, check.status), (MEMORY, Warning));
        assert!(check.fact.contains("all 2000 partitions of t"), "{check:?}");
        let remedy = check.remedy.unwrap();
        assert!(remedy.contains("2000000 or more") && remedy.contains("500 or less"), "{remedy}");
        assert!(judge(usize::MAX).is_some());
    }

    #[test]
    fn huge_pages_are_a_fact() {
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        let judge = |text| huge_pages(&Planted::new(&[(path, text)]).system);
        assert!(judge("always [madvise] never\n").fact.contains("transparent: madvise"));
        assert!(judge("always madvise").fact.contains("transparent: not known"));
        assert!(judge("]always[").fact.contains("transparent: not known"));
    }
}
