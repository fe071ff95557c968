//! The machine as the checks see it: files below a root, and what the kernel answered.
//!
//! Bounds:   the first `FILE_BYTES_MAX` bytes of a file; more is no answer of a kernel.
//! Never:    fails over a file: missing, unreadable and not text are all "not known".
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use kuring::accumulator::buffer_pool::BufferPool;
use kuring::config::Machine;
use kuring::driver::Driver;
use kuring::driver::capabilities::{self, Capability};
use kuring::driver::probe::{self, Choice};
use kuring::driver::uring::UringOptions;

use super::memory::RAISE_MEMLOCK;
use kuring::{DriverChoice, OpenError};

const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The name of the driver that needs no io_uring.
pub(super) const EPOLL: &str = "epoll";
/// An arena that only has to be there.
const ARENA_BYTES: u64 = 16 * 1024;
const BATCH_BYTES: usize = 4 * 1024;
/// `CAP_IPC_LOCK` in capability(7).
const IPC_LOCK: u32 = 14;
/// `CAP_SYS_ADMIN`.
const SYS_ADMIN: u32 = 21;

/// A driver that could be opened.
#[derive(Debug)]
pub struct Opened {
    /// Its name.
    pub name: &'static str,
    /// Why it was not an io_uring driver, and what would help.
    pub refusal: Option<(String, String)>,
}

/// What was found before anything was judged.
#[derive(Debug)]
pub struct System {
    /// What stands for `/`.
    pub root: PathBuf,
    /// The CPUs, or why they are not known.
    pub machine: Result<Machine, String>,
    /// What io_uring can do, or how it was refused.
    pub io_uring: io::Result<Vec<Capability>>,
    /// The driver that the settings lead to, or why there is none.
    pub opened: Result<Opened, String>,
    /// Wall-clock time since 1970.
    pub wall: Duration,
}

impl System {
    /// This machine, and this process on it with this driver.
    pub fn detect(driver: DriverChoice) -> Self {
        // First of all: the kernel gives back what a ring has locked some time after its end, and
        // the rings of the probe are the smaller ones.
        let opened = open(driver);
        Self {
            root: PathBuf::from("/"),
            machine: Machine::detect().map_err(|error| error.to_string()),
            io_uring: capabilities::probe(),
            opened,
            wall: crate::clock::wall(),
        }
    }

    /// A file's text without the blanks around it; None also for an empty one.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.root.join(path)).ok()?;
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// A file that holds one value.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A file that holds values with blanks between them; None unless all of them can be read.
    pub(super) fn values<T: FromStr>(&self, path: &str) -> Option<Vec<T>> {
        self.text(path)?.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
    }

    /// A field of a file in the style of `/proc/self/status`: `Name: value`.
    pub(super) fn field(&self, path: &str, name: &str) -> Option<String> {
        let text = self.text(path)?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
    }

    /// A field of `/proc/meminfo`, in bytes.
    pub(super) fn memory_field(&self, name: &str) -> Option<u64> {
        let value = self.field("proc/meminfo", name)?;
        value.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The soft limit of a line of `/proc/self/limits`. The inner None is "unlimited".
    pub(super) fn limit(&self, name: &str) -> Option<Option<u64>> {
        let text = self.text("proc/self/limits")?;
        let values = text.lines().find_map(|line| line.strip_prefix(name))?;
        match values.split_ascii_whitespace().next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        }
    }

    fn has_capability(&self, bit: u32) -> bool {
        let effective = self.field("proc/self/status", "CapEff");
        let set = effective.and_then(|text| u64::from_str_radix(&text, 16).ok());
        set.is_some_and(|set| set >> bit & 1 == 1)
    }

    /// Whether no limit on locked memory applies to this process.
    pub(super) fn may_lock_everything(&self) -> bool {
        self.has_capability(IPC_LOCK)
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.has_capability(SYS_ADMIN)
    }

    /// Whether a system call filter is in force.
    pub(super) fn is_filtered(&self) -> bool {
        self.field("proc/self/status", "Seccomp").as_deref() == Some("2")
    }

    /// Release and patch level that the kernel names: (6, 18) for `6.18.44-generic`.
    pub(super) fn release(&self) -> Option<(u32, u32)> {
        let text = self.text("proc/sys/kernel/osrelease")?;
        let mut numbers = text.split(|it: char| !it.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// The smallest limit that `version_2` or `version_1` names in this process's control group or
    /// one above it, as far as they are to be seen from here.
    pub(super) fn group_limit(
        &self,
        controller: &str,
        version_2: &str,
        version_1: &str,
    ) -> Option<u64> {
        let groups = self.text("proc/self/cgroup")?;
        let mount = Path::new("sys/fs/cgroup");
        let limits = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            if controllers.is_empty() {
                self.tightest(mount, path, version_2)
            } else if controllers.split(',').any(|name| name == controller) {
                self.tightest(&mount.join(controllers), path, version_1)
            } else {
                None
            }
        });
        limits.min()
    }

    fn tightest(&self, mount: &Path, group: &str, file: &str) -> Option<u64> {
        let group = Path::new(group.trim_start_matches('/'));
        let read = |folder: &Path| {
            let path = self.root.join(mount).join(folder).join(file);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        group.ancestors().filter_map(read).min()
    }
}

/// Opens the driver as a shard does, with an arena that every limit has room for.
fn open(driver: DriverChoice) -> Result<Opened, String> {
    let unknown = || format!("kuring.driver={driver} is not known to this program");
    let choice = choice(driver).ok_or_else(unknown)?;
    let pool = BufferPool::new(ARENA_BYTES, BATCH_BYTES).map_err(|error| error.to_string())?;
    let opened =
        probe::open(choice, &pool, &UringOptions::default()).map_err(|error| error.to_string())?;
    let name = opened.name();
    // `auto` keeps to itself why it fell back; who insists is told.
    let refusal = if choice == Choice::Auto && name == EPOLL {
        match probe::open(Choice::TokioUring, &pool, &UringOptions::default()) {
            Err(OpenError::Unavailable { error, remedy, .. }) => {
                Some((error.to_string(), remedy.to_string()))
            }
            Err(OpenError::Exhausted { .. } | OpenError::NotEmbeddable { .. }) => None,
            // The second try found what the first had given back.
            Ok(_) => Some((
                "locked memory was short for a moment, rings of this user that ended a moment \
                 ago still counting"
                    .to_owned(),
                RAISE_MEMLOCK.to_owned(),
            )),
        }
    } else {
        None
    };
    Ok(Opened { name, refusal })
}

/// The settings may learn of a driver before this does: then None, and a test that fails.
fn choice(driver: DriverChoice) -> Option<Choice> {
    match driver {
        DriverChoice::Auto => Some(Choice::Auto),
        DriverChoice::Uring => Some(Choice::Uring),
        DriverChoice::TokioUring => Some(Choice::TokioUring),
        DriverChoice::Epoll => Some(Choice::Epoll),
        _ => None,
    }
}

/// Bytes as people write them: `32 MiB`, `64 KiB`, `100 bytes`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| count >= *unit) {
        None => format!("{count} bytes"),
        Some((unit, name)) if count.is_multiple_of(*unit) => format!("{} {name}", count / unit),
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / *unit as f64),
    }
}

/// `1 shard`, `2 shards`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use kuring::ConfigBuilder;

    use super::*;

    #[test]
    fn every_driver_of_the_settings_can_be_tried() {
        for name in ["auto", "epoll", "tokio-uring", "uring"] {
            let builder = ConfigBuilder::new().bootstrap_servers("localhost:1");
            // A driver that this version does not have is no setting either.
            let Ok(builder) = builder.property("kuring.driver", name) else { continue };
            let driver = builder.settings().unwrap().driver;
            assert!(choice(driver).is_some(), "{name}");
        }
    }

    #[test]
    fn epoll_opens_everywhere() {
        let opened = open(DriverChoice::Epoll).unwrap();
        assert_eq!((opened.name, opened.refusal), (EPOLL, None));
        let automatic = open(DriverChoice::Auto).unwrap();
        assert_eq!(automatic.refusal.is_some(), automatic.name == EPOLL);
    }

    #[test]
    fn sizes_are_written_as_people_do() {
        assert_eq!(bytes(100), "100 bytes");
        assert_eq!(bytes(32 << 20), "32 MiB");
        assert_eq!(bytes((64 << 10) + 512), "64.5 KiB");
        assert_eq!(bytes(u64::MAX), "17179869184.0 GiB");
    }
}
