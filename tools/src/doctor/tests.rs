//! Planted machines, and what all checks together make of them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kuring::config::Machine;
use kuring::driver::capabilities::Capability;
use kuring::{ConfigBuilder, Settings};
use tempfile::TempDir;

use super::system::Opened;
use super::*;

/// A system in a folder of its own, which goes with it.
pub(super) struct Planted {
    pub(super) system: System,
    folder: TempDir,
}

impl Planted {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = System {
            root: PathBuf::from(folder.path()),
            machine: Ok(machine(&[0, 1])),
            io_uring: Ok(capabilities(&[])),
            opened: Ok(Opened { name: "tokio-uring", refusal: None }),
            wall: Duration::from_secs(1_800_000_000),
        };
        let planted = Self { system, folder };
        for (path, text) in files {
            planted.plant(path, text.as_bytes());
        }
        planted
    }

    fn plant(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A machine of eight CPUs and one node, of which these may be used.
pub(super) fn machine(allowed: &[usize]) -> Machine {
    let numa = [(0, (0..8).collect())].into();
    Machine { allowed: allowed.to_vec(), online: 8, quota: None, numa }
}

/// Everything that a driver asks for, but these.
pub(super) fn capabilities(missing: &[&str]) -> Vec<Capability> {
    let all = [
        ("WRITE_FIXED", (5, 1)),
        ("POLL_ADD", (5, 1)),
        ("SENDMSG", (5, 3)),
        ("SEND", (5, 6)),
        ("RECV", (5, 6)),
        ("FAST_POLL", (5, 7)),
        ("SENDMSG_ZC", (6, 1)),
        ("DEFER_TASKRUN", (6, 1)),
    ];
    all.map(|(name, since)| Capability { name, since, present: !missing.contains(&name) }).into()
}

pub(super) fn settings(properties: &[(&str, &str)]) -> Settings {
    let builder = ConfigBuilder::new().bootstrap_servers("localhost:9092");
    builder.properties(properties.iter().copied()).unwrap().settings().unwrap()
}

fn question(properties: &[(&str, &str)]) -> Question {
    let assumed = settings(properties);
    Question { settings: Ok(assumed.clone()), assumed, ask_brokers: false, topic: None }
}

/// Every file that a check reads.
const FILES: &[&str] = &[
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/io_uring_disabled",
    "proc/sys/kernel/io_uring_group",
    "proc/self/status",
    "proc/self/limits",
    "proc/self/cgroup",
    "proc/meminfo",
    "proc/sys/net/core/wmem_max",
    "proc/sys/net/core/rmem_max",
    "proc/sys/net/ipv4/tcp_wmem",
    "proc/sys/net/ipv4/tcp_rmem",
    "proc/sys/net/ipv4/tcp_congestion_control",
    "proc/sys/net/ipv4/tcp_slow_start_after_idle",
    "proc/sys/net/ipv4/ip_local_port_range",
    "sys/devices/system/clocksource/clocksource0/current_clocksource",
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    "sys/devices/system/cpu/isolated",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "sys/kernel/mm/transparent_hugepage/enabled",
    "sys/kernel/security/lsm",
    "sys/fs/cgroup/memory.max",
];

#[test]
fn a_hostile_proc_makes_no_check_fail() {
    let long = vec![b'9'; 200_000];
    let contents: &[&[u8]] = &[
        b"",
        b"\n",
        b"\0\0\0",
        b"\xff\xfe\xff",
        b"-1",
        b"18446744073709551616",
        b"18446744073709551615 18446744073709551615 18446744073709551615",
        b"a b c d",
        b":::\n::\n:",
        b"Max locked memory\nMax open files",
        b"MemAvailable: 18446744073709551615 kB\nCapEff: -\nSeccomp:\n",
        b"0::/../../../../../../etc/passwd\n",
        "Seccomp:\t\u{1f600}".as_bytes(),
        &long,
    ];
    for content in contents {
        for refused in [false, true] {
            let mut planted = Planted::new(&[]);
            FILES.iter().for_each(|path| planted.plant(path, content));
            if refused {
                planted.system.io_uring = Err(rustix::io::Errno::PERM.into());
            }
            let checks = examine(&planted.system, &question(&[("kuring.spin", "1ms")]));
            let problems: Vec<_> =
                checks.iter().filter(|check| check.status == Status::Problem).collect();
            assert!(problems.is_empty(), "{content:?}: {problems:?}");
            assert!(!json(&checks).is_empty() && !text(&checks, 80, true).is_empty());
        }
    }
}

#[test]
fn a_machine_without_any_file_is_no_fault() {
    let planted = Planted::new(&[]);
    let checks = examine(&planted.system, &question(&[]));
    let warned: Vec<_> =
        checks.iter().filter(|check| check.status != Status::Ok).map(|check| check.name).collect();
    assert_eq!(warned, ["kernel", "brokers"]);
}

#[test]
fn folders_in_place_of_files_are_not_read() {
    let planted = Planted::new(&[]);
    for path in FILES {
        fs::create_dir_all(planted.folder.path().join(path)).unwrap();
    }
    let checks = examine(&planted.system, &question(&[]));
    assert!(checks.iter().all(|check| check.status != Status::Problem), "{checks:?}");
}

#[test]
fn names_do_not_change_between_versions() {
    let planted = Planted::new(&[]);
    let checks = examine(&planted.system, &question(&[]));
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "settings",
            "kernel",
            "io-uring",
            "features",
            "driver",
            "locked-memory",
            "memory",
            "huge-pages",
            "cpus",
            "cpu-quota",
            "affinity",
            "numa",
            "isolated-cpus",
            "governor",
            "congestion",
            "send-buffer",
            "receive-buffer",
            "slow-start",
            "ports",
            "descriptors",
            "clock-source",
            "wall-clock",
            "brokers",
        ]
    );
}

#[test]
fn what_is_not_ok_has_a_remedy_and_what_is_has_none() {
    let mut planted = Planted::new(&[("proc/sys/kernel/osrelease", "5.4.0")]);
    planted.system.io_uring = Err(rustix::io::Errno::PERM.into());
    planted.system.machine = Ok(machine(&[0]));
    for check in examine(&planted.system, &question(&[("kuring.affinity", "7")])) {
        assert_eq!(check.remedy.is_some(), check.status != Status::Ok, "{check:?}");
    }
}
