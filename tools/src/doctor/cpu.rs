//! CPUs: which ones, how much of them, and where the senders will run.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use kuring::config::{CpuList, Machine, Placement, resolve};
use kuring::{Affinity, Settings};

use super::system::counted;
use super::{Check, System};

const CPUS: &str = "cpus";
const QUOTA: &str = "cpu-quota";
const AFFINITY: &str = "affinity";
const NUMA: &str = "numa";
const ISOLATED: &str = "isolated-cpus";
const GOVERNOR: &str = "governor";

/// Where the senders will run, or why none can.
pub(super) struct Placed(Result<Placement, String>);

impl Placed {
    /// How many senders there will be.
    pub(super) fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |placement| placement.shards.len())
    }

    /// The CPUs that senders are pinned to.
    fn pinned(&self) -> BTreeSet<usize> {
        self.0.iter().flat_map(|placement| &placement.shards).flatten().copied().collect()
    }
}

pub(super) fn place(system: &System, settings: &Settings) -> Placed {
    let machine = match &system.machine {
        // As the producer does: without pinning nobody has to know the CPUs.
        Err(_) if settings.affinity == Affinity::None => &Machine::default(),
        Err(error) => return Placed(Err(error.clone())),
        Ok(machine) => machine,
    };
    Placed(resolve(&settings.affinity, settings.shards, machine).map_err(|error| error.to_string()))
}

pub(super) fn check(system: &System, settings: &Settings, placed: &Placed) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Ok(machine) = &system.machine {
        checks.push(cpus(machine));
        checks.push(quota(machine, settings, placed));
        checks.push(numa(machine, placed));
    }
    checks.insert(checks.len().min(2), affinity(settings, placed));
    checks.push(isolated(system));
    checks.push(governor(system, placed));
    checks
}

fn cpus(machine: &Machine) -> Check {
    let allowed = machine.allowed.len();
    let list = CpuList(machine.allowed.clone());
    let fact = format!("{allowed} of {} may be used: {list}", machine.online);
    if allowed < 2 {
        Check::warning(
            CPUS,
            format!("{fact}; the sender takes turns with the application"),
            "give the process a second CPU (taskset, CPUAffinity=, cpuset.cpus)",
        )
    } else {
        Check::ok(CPUS, fact)
    }
}

fn quota(machine: &Machine, settings: &Settings, placed: &Placed) -> Check {
    let Some(quota) = machine.quota else {
        return Check::ok(QUOTA, "none");
    };
    let shards = placed.count();
    let raise = "raise it (CPUQuota=, resources.limits.cpu), or use a CPU set instead";
    let fact = format!("{quota:.2} CPUs for {} and the application", counted(shards, "sender"));
    if quota < 1.0 {
        Check::warning(QUOTA, format!("{fact}: each burst ends in a pause of up to 100 ms"), raise)
    } else if (shards as f64) >= quota && shards > 1 {
        Check::warning(QUOTA, fact, format!("{raise}, or set kuring.shards=1"))
    } else if settings.spin > std::time::Duration::ZERO && quota < shards as f64 + 1.0 {
        Check::warning(QUOTA, format!("{fact}; kuring.spin uses it up"), "set kuring.spin=0")
    } else {
        Check::ok(QUOTA, fact)
    }
}

fn affinity(settings: &Settings, placed: &Placed) -> Check {
    let placement = match &placed.0 {
        Ok(placement) => placement,
        Err(error) => {
            return Check::problem(
                AFFINITY,
                error,
                "name allowed CPUs, or set kuring.affinity=auto",
            );
        }
    };
    let pinned = placed.pinned();
    let senders = counted(placement.shards.len(), "sender");
    if pinned.is_empty() {
        let why = match settings.affinity {
            Affinity::None => "kuring.affinity=none",
            _ => "auto pins from 4 CPUs on, and not under a quota",
        };
        return Check::ok(AFFINITY, format!("{senders}, not pinned ({why})"));
    }
    let cpus = CpuList(pinned.iter().copied().collect());
    if pinned.len() < placement.shards.len() {
        Check::warning(
            AFFINITY,
            format!("{senders} share the CPUs {cpus}"),
            format!("name more CPUs, or set kuring.shards={}", pinned.len()),
        )
    } else {
        Check::ok(AFFINITY, format!("{senders}, pinned to {cpus}"))
    }
}

fn numa(machine: &Machine, placed: &Placed) -> Check {
    let nodes: Vec<_> = machine.numa.iter().filter(|(_, cpus)| !cpus.is_empty()).collect();
    if nodes.len() < 2 {
        return Check::ok(NUMA, "one node, or not known");
    }
    let pinned = placed.pinned();
    let of = |cpus: &BTreeSet<usize>| {
        let with = nodes.iter().filter(|(_, node)| node.iter().any(|cpu| cpus.contains(cpu)));
        with.map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(", ")
    };
    let count = nodes.len();
    if pinned.is_empty() {
        Check::warning(
            NUMA,
            format!("{count} nodes, and the senders may run on any, away from their memory"),
            "pin them to the network card's node (numa_node of its device), for example \
             kuring.affinity=numa:0, and the application with it\n$ cat \
             /sys/class/net/*/device/numa_node",
        )
    } else {
        Check::ok(NUMA, format!("{count} nodes, senders on node {}", of(&pinned)))
    }
}

fn isolated(system: &System) -> Check {
    let list = |name: &str| {
        let list = system.text(&format!("sys/devices/system/cpu/{name}"));
        list.filter(|list| CpuList::parse(list).is_some()).unwrap_or_else(|| "none".to_owned())
    };
    Check::ok(ISOLATED, format!("isolcpus: {}; nohz_full: {}", list("isolated"), list("nohz_full")))
}

fn governor(system: &System, placed: &Placed) -> Check {
    let read = |cpu: usize, name: &str| {
        system.text(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/{name}"))
    };
    let pinned = placed.pinned();
    let mut cpus: Vec<usize> = pinned.iter().copied().collect();
    if cpus.is_empty() {
        cpus = system.machine.iter().flat_map(|machine| machine.allowed.iter().copied()).collect();
    }
    let slow = |cpu: &&usize| {
        // These drivers choose frequencies themselves, also under this name.
        let active = ["intel_pstate", "amd-pstate-epp"];
        let driver = read(**cpu, "scaling_driver").unwrap_or_default();
        read(**cpu, "scaling_governor").as_deref() == Some("powersave")
            && !active.contains(&driver.as_str())
    };
    if let Some(cpu) = cpus.iter().find(slow) {
        return Check::warning(
            GOVERNOR,
            format!("powersave holds CPU {cpu} at its lowest frequency"),
            "$ cpupower frequency-set -g performance",
        );
    }
    match cpus.first().and_then(|cpu| read(*cpu, "scaling_governor")) {
        Some(name) => Check::ok(GOVERNOR, name),
        None => Check::ok(GOVERNOR, "frequencies are not in this system's hands"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};
    use crate::doctor::tests::{Planted, machine, settings};

    fn placed(machine: Machine, properties: &[(&str, &str)]) -> (Planted, Settings, Placed) {
        let mut planted = Planted::new(&[]);
        planted.system.machine = Ok(machine);
        let settings = settings(properties);
        let placed = place(&planted.system, &settings);
        (planted, settings, placed)
    }

    #[test]
    fn one_cpu_is_too_few() {
        assert_eq!(cpus(&machine(&[0])).status, Warning);
        let check = cpus(&machine(&[0, 1, 3]));
        assert_eq!(check.status, Good);
        assert!(check.fact.contains("3 of 8") && check.fact.contains("0-1,3"), "{check:?}");
    }

    #[test]
    fn a_quota_is_held_against_the_senders() {
        let judge = |quota, properties: &[(&str, &str)]| {
            let machine = Machine { quota, ..machine(&[0, 1, 2, 3, 4, 5, 6, 7]) };
            let (planted, settings, placed) = placed(machine, properties);
            quota_of(&planted, &settings, &placed)
        };
        assert_eq!(judge(None, &[]).status, Good);
        assert_eq!(judge(Some(2.0), &[]).status, Good);
        assert_eq!(judge(Some(0.5), &[]).status, Warning);
        assert_eq!(judge(Some(2.0), &[("kuring.shards", "2")]).status, Warning);
        assert_eq!(judge(Some(1.5), &[("kuring.spin", "50us")]).status, Warning);
    }

    fn quota_of(planted: &Planted, settings: &Settings, placed: &Placed) -> Check {
        quota(planted.system.machine.as_ref().unwrap(), settings, placed)
    }

    #[test]
    fn an_affinity_that_cannot_be_had_is_a_problem() {
        let judge = |allowed: &[usize], properties: &[(&str, &str)]| {
            let (_planted, settings, placed) = placed(machine(allowed), properties);
            affinity(&settings, &placed)
        };
        assert_eq!(judge(&[0, 1], &[("kuring.affinity", "5")]).status, Problem);
        assert_eq!(judge(&[0, 1], &[("kuring.affinity", "numa:7")]).status, Problem);
        assert_eq!(judge(&[0, 1], &[("kuring.affinity", "1")]).status, Good);
        assert_eq!(judge(&[0, 1], &[]).status, Good);
        let shared = judge(&[0, 1], &[("kuring.affinity", "1"), ("kuring.shards", "2")]);
        assert_eq!(shared.status, Warning);
    }

    #[test]
    fn a_machine_that_does_not_tell_its_cpus_is_a_problem_unless_none_are_asked_for() {
        let mut planted = Planted::new(&[]);
        planted.system.machine = Err("refused".to_owned());
        let judge = |properties: &[(&str, &str)]| {
            let settings = settings(properties);
            let placed = place(&planted.system, &settings);
            check(&planted.system, &settings, &placed)[0].status
        };
        assert_eq!(judge(&[]), Problem);
        assert_eq!(judge(&[("kuring.affinity", "none")]), Good);
    }

    #[test]
    fn senders_that_wander_over_nodes_are_a_warning() {
        let judge = |nodes: &[(u32, &[usize])], properties: &[(&str, &str)]| {
            let numa = nodes.iter().map(|(number, cpus)| (*number, cpus.to_vec())).collect();
            let machine = Machine { numa, ..machine(&[0, 1, 2, 3]) };
            let (planted, _settings, placed) = placed(machine, properties);
            super::numa(planted.system.machine.as_ref().unwrap(), &placed)
        };
        let two: &[(u32, &[usize])] = &[(0, &[0, 1]), (1, &[2, 3]), (2, &[])];
        assert_eq!(judge(&[(0, &[0, 1, 2, 3])], &[]).status, Good);
        assert_eq!(judge(two, &[("kuring.affinity", "none")]).status, Warning);
        let pinned = judge(two, &[("kuring.affinity", "numa:1")]);
        assert_eq!(pinned.status, Good);
        assert!(pinned.fact.ends_with("senders on node 1"), "{pinned:?}");
    }

    #[test]
    fn isolated_cpus_are_a_fact() {
        let judge = |text| {
            isolated(&Planted::new(&[("sys/devices/system/cpu/isolated", text)]).system).fact
        };
        assert!(judge("2-3\n").contains("isolcpus: 2-3"));
        assert!(judge("(null)").contains("isolcpus: none"));
    }

    #[test]
    fn powersave_is_slow_unless_the_driver_chooses_by_itself() {
        let judge = |governor_name, driver| {
            let mut planted = Planted::new(&[
                ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", governor_name),
                ("sys/devices/system/cpu/cpu1/cpufreq/scaling_driver", driver),
            ]);
            planted.system.machine = Ok(machine(&[1]));
            let placed = place(&planted.system, &settings(&[]));
            governor(&planted.system, &placed).status
        };
        assert_eq!(judge("powersave", "acpi-cpufreq"), Warning);
        assert_eq!(judge("powersave", "intel_pstate"), Good);
        assert_eq!(judge("performance", ""), Good);
        assert_eq!(judge("", ""), Good);
    }
}
