//! Kernel, io_uring, and the driver that comes of both.
#![forbid(unsafe_code)]

use std::io;

use kuring::driver::capabilities::Capability;
use kuring::{DriverChoice, Settings};
use rustix::io::Errno;

use super::system::{EPOLL, Opened};
use super::{Check, System};

const KERNEL: &str = "kernel";
const IO_URING: &str = "io-uring";
const FEATURES: &str = "features";
const DRIVER: &str = "driver";

/// What a kernel of at least this release brings, oldest first.
const BROUGHT: &[((u32, u32), &str)] = &[
    ((5, 7), "fast poll"),
    ((6, 0), "multishot receive"),
    ((6, 1), "DEFER_TASKRUN, SENDMSG_ZC"),
    ((6, 12), "min_wait"),
];
/// The io_uring driver needs fast poll.
const RELEASE_MIN: (u32, u32) = (5, 7);
/// With `DEFER_TASKRUN` completions cost no interrupt of the sender.
const RELEASE_GOOD: (u32, u32) = (6, 1);
const UPGRADE: &str = "run Linux 6.1 or later, better 6.12";

pub(super) fn check(system: &System, settings: &Settings) -> Vec<Check> {
    let mut checks = vec![kernel(system), io_uring(system, settings.driver)];
    if let Ok(found) = &system.io_uring {
        checks.push(features(found));
    }
    checks.push(driver(system, settings.driver));
    checks
}

fn kernel(system: &System) -> Check {
    let (Some(release), Some(text)) = (system.release(), system.text("proc/sys/kernel/osrelease"))
    else {
        return Check::warning(
            KERNEL,
            "not known: /proc/sys/kernel/osrelease cannot be read",
            "$ uname -r",
        );
    };
    let brought = |brings: bool| {
        let these = BROUGHT.iter().filter(|(since, _)| (release >= *since) == brings);
        these.map(|(_, what)| *what).collect::<Vec<_>>().join(", ")
    };
    if release < RELEASE_MIN {
        Check::warning(
            KERNEL,
            format!("Linux {text} has no io_uring that suffices, so epoll is used"),
            UPGRADE,
        )
    } else if release < RELEASE_GOOD {
        Check::warning(KERNEL, format!("Linux {text} lacks {}", brought(false)), UPGRADE)
    } else {
        Check::ok(KERNEL, format!("Linux {text} brings {}", brought(true)))
    }
}

/// By what io_uring is kept from this process, and what would help.
fn refusal(system: &System, error: &io::Error) -> (String, String) {
    const ALLOW: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
        profile of the container or the unit, for example\n$ docker run --security-opt \
        seccomp=io-uring.json ...\n$ systemctl edit SERVICE   # SystemCallFilter=@io-uring";
    let disabled = system.value::<u8>("proc/sys/kernel/io_uring_disabled");
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let is_old = system.release().is_some_and(|release| release < (5, 1));
    let (by, remedy): (String, String) = match errno {
        Some(Errno::PERM) if disabled == Some(2) => (
            "kernel.io_uring_disabled is 2".into(),
            "$ sysctl -w kernel.io_uring_disabled=0".into(),
        ),
        Some(Errno::PERM) if disabled == Some(1) && !system.is_administrator() => {
            let group: i64 = system.value("proc/sys/kernel/io_uring_group").unwrap_or(-1);
            let by = "kernel.io_uring_disabled is 1, and this process is not in the group of \
                      kernel.io_uring_group";
            let remedy = if group < 0 {
                "$ sysctl -w kernel.io_uring_group=$(id -g)".to_owned()
            } else {
                format!("run with that group, {group}, or\n$ sysctl -w kernel.io_uring_disabled=0")
            };
            (by.into(), remedy)
        }
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS) if system.is_filtered() && !is_old => {
            ("a seccomp filter".into(), ALLOW.into())
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            let modules =
                system.text("sys/kernel/security/lsm").unwrap_or_else(|| "unknown".into());
            let by = format!("a security module (active: {modules})");
            (by, "allow io_uring in its policy; the refusal is in the log\n$ journalctl -k".into())
        }
        Some(Errno::NOSYS) if is_old => ("the kernel, which is too old".into(), UPGRADE.into()),
        Some(Errno::NOSYS | Errno::INVAL) => (
            "the kernel or sandbox, which was built without it".into(),
            "run a kernel with CONFIG_IO_URING, outside of sandboxes such as gVisor".into(),
        ),
        Some(Errno::NOMEM) => {
            ("the limit on locked memory".into(), super::memory::RAISE_MEMLOCK.into())
        }
        Some(Errno::MFILE | Errno::NFILE) => {
            ("the limit on descriptors".into(), "$ ulimit -n 65536".into())
        }
        _ => (
            "something that is not known".into(),
            "$ strace -e io_uring_setup kuring doctor".into(),
        ),
    };
    (format!("blocked by {by}: {error}"), remedy)
}

fn io_uring(system: &System, choice: DriverChoice) -> Check {
    match &system.io_uring {
        Ok(_) => Check::ok(IO_URING, "this process may use it"),
        Err(error) => {
            let (fact, remedy) = refusal(system, error);
            match choice {
                DriverChoice::Epoll => Check::ok(IO_URING, format!("{fact}; not asked for")),
                DriverChoice::Auto => Check::warning(IO_URING, fact, remedy),
                _ => Check::problem(IO_URING, fact, remedy),
            }
        }
    }
}

fn features(found: &[Capability]) -> Check {
    let missing: Vec<String> = found
        .iter()
        .filter(|capability| !capability.present)
        .map(|it| format!("{} ({}.{})", it.name, it.since.0, it.since.1))
        .collect();
    let of = format!("{} of {}", found.len() - missing.len(), found.len());
    if missing.is_empty() {
        let newest = found.last().map_or("none", |newest| newest.name);
        Check::ok(FEATURES, format!("all {} found, up to {newest}", found.len()))
    } else {
        Check::warning(FEATURES, format!("{of} found; missing: {}", missing.join(", ")), UPGRADE)
    }
}

/// What was opened by the library's own rules, for the settings as they are.
fn driver(system: &System, choice: DriverChoice) -> Check {
    let asked = format!("kuring.driver={choice}");
    match &system.opened {
        Err(why) => {
            Check::problem(DRIVER, why, "let io_uring through, or set kuring.driver=auto or epoll")
        }
        Ok(Opened { name: EPOLL, refusal }) if choice == DriverChoice::Auto => {
            let (why, remedy) = refusal.clone().unwrap_or_else(|| {
                ("io_uring cannot be used, see above".into(), "let io_uring through".into())
            });
            let fact = format!("{asked} chooses epoll, at more CPU per record: {why}");
            Check::warning(DRIVER, fact, remedy)
        }
        Ok(Opened { name, .. }) if choice == DriverChoice::Auto => {
            Check::ok(DRIVER, format!("{asked} chooses {name}"))
        }
        Ok(Opened { name, .. }) => {
            Check::ok(DRIVER, format!("{name}, as asked for, can be opened"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};
    use crate::doctor::tests::{Planted, capabilities, settings};

    fn refused(errno: Errno, files: &[(&str, &str)]) -> Check {
        let mut planted = Planted::new(files);
        planted.system.io_uring = Err(errno.into());
        io_uring(&planted.system, DriverChoice::Auto)
    }

    #[test]
    fn a_kernel_is_judged_by_what_it_brings() {
        let judge = |release| {
            let planted = Planted::new(&[("proc/sys/kernel/osrelease", release)]);
            kernel(&planted.system)
        };
        for (release, status, part) in [
            ("6.18.44-generic\n", Good, "min_wait"),
            ("6.1.0", Good, "DEFER_TASKRUN"),
            ("5.15.0-100-generic", Warning, "lacks multishot"),
            ("5.4.0", Warning, "epoll"),
            ("six.one", Warning, "not known"),
            ("99999999999.1", Warning, "not known"),
            ("", Warning, "not known"),
        ] {
            let check = judge(release);
            assert_eq!(check.status, status, "{release}: {check:?}");
            assert!(check.fact.contains(part), "{release}: {check:?}");
        }
        assert!(!judge("6.1.0").fact.contains("min_wait"));
    }

    #[test]
    fn who_blocks_io_uring_is_named() {
        let status =
            |seccomp| format!("Name:\tx\nSeccomp:\t{seccomp}\nCapEff:\t0000000000000000\n");
        let (free, filtered) = (status(0), status(2));
        let free = ("proc/self/status", free.as_str());
        let filtered = ("proc/self/status", filtered.as_str());
        let disabled = |value| ("proc/sys/kernel/io_uring_disabled", value);
        let release = |text| ("proc/sys/kernel/osrelease", text);
        for (errno, files, by) in [
            (Errno::PERM, &[disabled("2"), filtered][..], "io_uring_disabled is 2"),
            (Errno::PERM, &[disabled("1"), free], "io_uring_disabled is 1"),
            (Errno::PERM, &[disabled("0"), filtered], "seccomp"),
            (Errno::NOSYS, &[filtered, release("6.1.0")], "seccomp"),
            (Errno::NOSYS, &[filtered, release("4.18.0")], "too old"),
            (Errno::NOSYS, &[free, release("6.1.0")], "built without"),
            (Errno::PERM, &[disabled("0"), free], "security module"),
            (Errno::ACCESS, &[("sys/kernel/security/lsm", "capability,selinux")], "selinux"),
            (Errno::NOMEM, &[], "locked memory"),
            (Errno::MFILE, &[], "descriptors"),
            (Errno::IO, &[], "not known"),
        ] {
            let check = refused(errno, files);
            assert_eq!(check.status, Warning, "{check:?}");
            assert!(check.fact.contains(by), "{errno}: {check:?}");
            assert!(check.remedy.is_some());
        }
    }

    #[test]
    fn the_group_that_may_use_io_uring_is_named() {
        let status = ("proc/self/status", "CapEff:\t0\n");
        let disabled = ("proc/sys/kernel/io_uring_disabled", "1");
        let remedy = |group| {
            let group = ("proc/sys/kernel/io_uring_group", group);
            refused(Errno::PERM, &[status, disabled, group]).remedy.unwrap()
        };
        assert!(remedy("1001").contains("1001"));
        assert!(remedy("-1").contains("io_uring_group=$(id -g)"));
    }

    #[test]
    fn a_refusal_weighs_as_much_as_the_driver_that_was_asked_for() {
        let mut planted = Planted::new(&[]);
        for (choice, refused) in [
            (DriverChoice::Auto, Warning),
            (DriverChoice::TokioUring, Problem),
            (DriverChoice::Epoll, Good),
        ] {
            planted.system.io_uring = Ok(capabilities(&[]));
            assert_eq!(io_uring(&planted.system, choice).status, Good);
            planted.system.io_uring = Err(Errno::PERM.into());
            assert_eq!(io_uring(&planted.system, choice).status, refused);
        }
    }

    #[test]
    fn the_driver_is_the_one_that_the_library_opens() {
        let mut planted = Planted::new(&[]);
        let mut judge = |choice, opened: Result<&'static str, &str>| {
            let opened = opened.map(|name| Opened { name, refusal: None });
            planted.system.opened = opened.map_err(str::to_owned);
            driver(&planted.system, choice).status
        };
        assert_eq!(judge(DriverChoice::Auto, Ok("tokio-uring")), Good);
        assert_eq!(judge(DriverChoice::Auto, Ok("epoll")), Warning);
        assert_eq!(judge(DriverChoice::Epoll, Ok("epoll")), Good);
        assert_eq!(judge(DriverChoice::TokioUring, Err("refused")), Problem);
    }

    #[test]
    fn missing_features_are_named_with_their_release() {
        let check = features(&capabilities(&["DEFER_TASKRUN", "SENDMSG_ZC"]));
        assert_eq!(check.status, Warning);
        assert!(check.fact.contains("DEFER_TASKRUN (6.1)"), "{check:?}");
        assert_eq!(features(&capabilities(&[])).status, Good);
        assert_eq!(features(&[]).status, Good);
    }

    #[test]
    fn without_io_uring_its_features_are_not_listed() {
        let mut planted = Planted::new(&[]);
        planted.system.io_uring = Err(Errno::NOSYS.into());
        let names: Vec<_> =
            check(&planted.system, &settings(&[])).iter().map(|check| check.name).collect();
        assert_eq!(names, [KERNEL, IO_URING, DRIVER]);
    }
}
