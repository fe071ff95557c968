//! What this process may use of this machine: CPUs, quota, NUMA nodes.
//!
//! Source:   sched_getaffinity(2), cgroups(7), the kernel's cgroup-v1 and cgroup-v2 pages on
//!           `cpu.max` and `cpu.cfs_quota_us`, `/sys/devices/system/{cpu,node}`.
//! Never:    fails over a file that is not there: what cannot be read does not limit.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::sched_getaffinity;

use super::cpus::{CPU_COUNT_MAX, CpuList};
use super::error::ConfigError;

/// The CPUs of this machine as this process sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// The CPUs the calling thread may run on, ascending; never empty after
    /// [`detect`](Self::detect).
    pub allowed: Vec<usize>,
    /// How many CPUs the machine has online; `allowed.len()` when that cannot be read.
    pub online: usize,
    /// CPU time per time that the tightest control group above this process allows, in CPUs; `None`
    /// without a quota.
    pub quota: Option<f64>,
    /// The CPUs of each NUMA node, allowed or not.
    pub numa: BTreeMap<u32, Vec<usize>>,
}

impl Machine {
    /// Looks at the machine. Blocks on a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    /// [`ConfigError::Machine`] when the kernel does not tell the allowed CPUs.
    pub fn detect() -> Result<Self, ConfigError> {
        let set = sched_getaffinity(None)
            .map_err(|errno| ConfigError::Machine { source: errno.into() })?;
        let allowed = (0..CPU_COUNT_MAX).filter(|cpu| set.is_set(*cpu)).collect();
        Ok(Self::read(Path::new("/"), allowed))
    }

    /// Whether only a quota holds this process back, and no CPU set: it may run on every CPU, and
    /// is stopped everywhere when its time is used up.
    pub fn quota_without_cpu_set(&self) -> bool {
        let cpus = self.allowed.len();
        cpus >= self.online && self.quota.is_some_and(|quota| quota < cpus as f64)
    }

    /// The machine whose files stand below `root`.
    fn read(root: &Path, allowed: Vec<usize>) -> Self {
        let online = cpu_list(&root.join("sys/devices/system/cpu/online"));
        Self {
            online: online.map_or(allowed.len(), |cpus| cpus.len()),
            quota: quota(root),
            numa: numa(&root.join("sys/devices/system/node")),
            allowed,
        }
    }
}

fn cpu_list(path: &Path) -> Option<Vec<usize>> {
    Some(CpuList::parse(fs::read_to_string(path).ok()?.trim())?.0)
}

fn numa(nodes: &Path) -> BTreeMap<u32, Vec<usize>> {
    let entries = fs::read_dir(nodes).into_iter().flatten().flatten();
    let node = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        Some((number, cpu_list(&entry.path().join("cpulist")).unwrap_or_default()))
    };
    entries.filter_map(node).collect()
}

/// The tightest quota of this process's control group and those above it, in CPUs.
fn quota(root: &Path) -> Option<f64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let quotas = groups.lines().filter_map(|line| {
        // hierarchy:controllers:path, where version 2 has 0 and no controllers.
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if hierarchy == "0" && controllers.is_empty() {
            tightest(&[root.join("sys/fs/cgroup")], path, quota_v2)
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            let mount = root.join("sys/fs/cgroup");
            tightest(&[mount.join(controllers), mount.join("cpu")], path, quota_v1)
        } else {
            None
        }
    });
    quotas.reduce(f64::min)
}

/// Walks from the group's folder up to each mount. In a container the path may be the host's, of
/// which only the mount itself is to be seen; folders that are not there are passed over.
fn tightest(mounts: &[PathBuf], group: &str, read: fn(&Path) -> Option<f64>) -> Option<f64> {
    let group = Path::new(group.trim_start_matches('/'));
    let folders = mounts.iter().flat_map(|mount| group.ancestors().map(|part| mount.join(part)));
    folders.filter_map(|folder| read(&folder)).reduce(f64::min)
}

fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    share(quota.parse().ok()?, period.parse().ok()?)
}

fn quota_v1(folder: &Path) -> Option<f64> {
    let read = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<f64>().ok();
    share(read("cpu.cfs_quota_us")?, read("cpu.cfs_period_us")?)
}

/// Version 1 writes -1 for no quota; version 2 writes `max`, which is no number.
fn share(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of four CPUs on two nodes, with these files besides.
    fn machine(files: &[(&str, &str)], allowed: &[usize]) -> Machine {
        let root = tempfile::tempdir().expect("a folder");
        let fixed = [
            ("sys/devices/system/cpu/online", "0-3\n"),
            ("sys/devices/system/node/node0/cpulist", "0-1\n"),
            ("sys/devices/system/node/node1/cpulist", "2-3\n"),
            ("sys/devices/system/node/node2/cpulist", "\n"),
            ("sys/devices/system/node/possible", "0-2\n"),
        ];
        for (path, text) in fixed.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Machine::read(root.path(), allowed.to_vec())
    }

    #[test]
    fn cpus_and_nodes_are_read() {
        let seen = machine(&[], &[1, 2]);
        assert_eq!((seen.online, seen.quota), (4, None));
        assert_eq!(seen.numa, BTreeMap::from([(0, vec![0, 1]), (1, vec![2, 3]), (2, vec![])]));
    }

    #[test]
    fn a_machine_without_files_has_what_the_mask_says() {
        let root = tempfile::tempdir().expect("a folder");
        let seen = Machine::read(root.path(), vec![0, 1]);
        let wanted = Machine { allowed: vec![0, 1], online: 2, quota: None, numa: BTreeMap::new() };
        assert_eq!(seen, wanted);
    }

    #[test]
    fn the_tightest_quota_of_version_2_counts() {
        let files = [
            ("proc/self/cgroup", "0::/kube/pod/box\n"),
            ("sys/fs/cgroup/kube/cpu.max", "800000 100000\n"),
            ("sys/fs/cgroup/kube/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/kube/pod/box/cpu.max", "max 100000\n"),
        ];
        assert_eq!(machine(&files, &[0]).quota, Some(1.5));
        assert_eq!(machine(&files[..1], &[0]).quota, None);
    }

    #[test]
    fn a_container_that_sees_only_its_own_mount_has_its_quota() {
        let files =
            [("proc/self/cgroup", "0::/host/path\n"), ("sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(machine(&files, &[0]).quota, Some(0.5));
    }

    #[test]
    fn quotas_of_version_1_are_read_below_either_mount() {
        let files = [
            ("proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/a\n"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(machine(&files, &[0]).quota, Some(2.0));
        let unlimited = [
            ("proc/self/cgroup", "4:cpu:/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(machine(&unlimited, &[0]).quota, None);
    }

    #[test]
    fn only_a_quota_below_a_full_mask_is_one_without_a_cpu_set() {
        let quota = |cpus: f64, allowed: usize| Machine {
            allowed: (0..allowed).collect(),
            online: 4,
            quota: Some(cpus),
            numa: BTreeMap::new(),
        };
        assert!(quota(2.0, 4).quota_without_cpu_set());
        assert!(!quota(4.0, 4).quota_without_cpu_set());
        assert!(!quota(2.0, 2).quota_without_cpu_set());
    }

    #[test]
    fn this_machine_has_a_cpu() {
        let here = Machine::detect().expect("a mask");
        assert!(!here.allowed.is_empty() && here.online > 0);
    }
}
