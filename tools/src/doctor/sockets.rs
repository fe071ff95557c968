//! Sockets: buffers, congestion control, ports, descriptors.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::Settings;

use super::system::{bytes, counted};
use super::{Check, System};

const CONGESTION: &str = "congestion";
const SEND: &str = "send-buffer";
const RECEIVE: &str = "receive-buffer";
const SLOW_START: &str = "slow-start";
const PORTS: &str = "ports";
const DESCRIPTORS: &str = "descriptors";

/// Fewer local ports than these run out when brokers come and go: each rests a minute after use.
const PORTS_MIN: u32 = 1000;
/// Below this a connection over a long line waits for its window.
const GROWS_TO_MIN: u64 = 256 * 1024;
/// What a shard opens beside its connections: ring, eventfd, timer; and the program's own.
const DESCRIPTORS_PER_SHARD: u64 = 8;
const DESCRIPTORS_BESIDE: u64 = 64;

pub(super) fn check(
    system: &System,
    settings: &Settings,
    shards: usize,
    brokers: usize,
) -> Vec<Check> {
    let congestion = system.text("proc/sys/net/ipv4/tcp_congestion_control");
    vec![
        Check::ok(CONGESTION, congestion.as_deref().unwrap_or("not known")),
        buffer(system, &SEND_BUFFER, settings.send_buffer),
        buffer(system, &RECEIVE_BUFFER, settings.receive_buffer),
        slow_start(system, settings, congestion.as_deref()),
        ports(system),
        descriptors(system, shards, brokers),
    ]
}

/// Where the limits of one direction stand.
struct Direction {
    name: &'static str,
    property: &'static str,
    max: &'static str,
    grows: &'static str,
}

const SEND_BUFFER: Direction = Direction {
    name: SEND,
    property: "send.buffer.bytes",
    max: "net/core/wmem_max",
    grows: "net/ipv4/tcp_wmem",
};
const RECEIVE_BUFFER: Direction = Direction {
    name: RECEIVE,
    property: "receive.buffer.bytes",
    max: "net/core/rmem_max",
    grows: "net/ipv4/tcp_rmem",
};

fn buffer(system: &System, of: &Direction, chosen: Option<usize>) -> Check {
    let sysctl = |path: &str| path.replace('/', ".");
    let Some(chosen) = chosen else {
        let sizes: Option<Vec<u64>> = system.values(&format!("proc/sys/{}", of.grows));
        return match sizes.as_deref() {
            Some(&[low, default, max]) if max < GROWS_TO_MIN => Check::warning(
                of.name,
                format!("the kernel lets it grow to {} only", bytes(max)),
                format!("$ sysctl -w {}='{low} {default} 4194304'", sysctl(of.grows)),
            ),
            Some(&[_, _, max]) => {
                Check::ok(of.name, format!("the kernel lets it grow to {}", bytes(max)))
            }
            _ => Check::ok(of.name, "the kernel chooses; its limits are not known"),
        };
    };
    let fact = format!("{}={chosen}", of.property);
    match system.value::<u64>(&format!("proc/sys/{}", of.max)) {
        None => Check::ok(of.name, format!("{fact}; the kernel's limit is not known")),
        Some(max) if max < chosen as u64 => Check::warning(
            of.name,
            format!("{fact}, and the kernel gives {max} at most"),
            format!(
                "leave {} at -1, so that the kernel grows it, or\n$ sysctl -w {}={chosen}",
                of.property,
                sysctl(of.max)
            ),
        ),
        Some(_) => Check::ok(of.name, format!("{fact}; the kernel would grow it by itself at -1")),
    }
}

/// Only a producer that does not wait for company (linger 0) is about latency; and a congestion
/// control that paces by itself, as bbr, does not do this.
fn slow_start(system: &System, settings: &Settings, congestion: Option<&str>) -> Check {
    match system.value::<u8>("proc/sys/net/ipv4/tcp_slow_start_after_idle") {
        None => Check::ok(SLOW_START, "whether it comes back after a pause is not known"),
        Some(0) => Check::ok(SLOW_START, "does not come back after a pause"),
        Some(_) if congestion.is_some_and(|name| name.starts_with("bbr")) => {
            Check::ok(SLOW_START, "bbr does not go back to it after a pause")
        }
        Some(_) if settings.linger == Duration::ZERO => Check::warning(
            SLOW_START,
            "a connection starts slowly again after each pause, and linger.ms is 0",
            "$ sysctl -w net.ipv4.tcp_slow_start_after_idle=0",
        ),
        Some(_) => Check::ok(SLOW_START, "comes back after each pause of a connection"),
    }
}

fn ports(system: &System) -> Check {
    const FILE: &str = "net/ipv4/ip_local_port_range";
    match system.values::<u16>(&format!("proc/sys/{FILE}")).as_deref() {
        Some(&[first, last]) => {
            let count = u32::from(last).saturating_sub(first.into()) + 1;
            let fact = format!("{count} local ports, {first} to {last}");
            if count < PORTS_MIN || last < first {
                let remedy = "$ sysctl -w net.ipv4.ip_local_port_range='32768 60999'";
                Check::warning(PORTS, fact, remedy)
            } else {
                Check::ok(PORTS, fact)
            }
        }
        _ => Check::ok(PORTS, "the range of local ports is not known"),
    }
}

/// Each shard connects to each broker, and once more while a connection is being replaced.
fn descriptors(system: &System, shards: usize, brokers: usize) -> Check {
    let each = 2 * brokers as u64 + DESCRIPTORS_PER_SHARD;
    let need = DESCRIPTORS_BESIDE + each * shards as u64;
    let wanted = format!(
        "about {need} are needed ({} x {})",
        counted(shards, "sender"),
        counted(brokers, "broker")
    );
    match system.limit("Max open files") {
        None => Check::ok(DESCRIPTORS, format!("{wanted}; the limit is not known")),
        Some(Some(limit)) if limit < need => Check::problem(
            DESCRIPTORS,
            format!("{limit} may be open, {wanted}"),
            "LimitNOFILE= in the service's unit, or\n$ ulimit -n 65536",
        ),
        Some(Some(limit)) => Check::ok(DESCRIPTORS, format!("{limit} may be open, {wanted}")),
        Some(None) => Check::ok(DESCRIPTORS, format!("without limit; {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};
    use crate::doctor::tests::{Planted, settings};

    #[test]
    fn a_buffer_is_held_against_the_limit_that_applies_to_it() {
        let judge = |max, grows, chosen| {
            let planted = Planted::new(&[
                ("proc/sys/net/core/wmem_max", max),
                ("proc/sys/net/ipv4/tcp_wmem", grows),
            ]);
            buffer(&planted.system, &SEND_BUFFER, chosen)
        };
        assert_eq!(judge("212992", "4096 16384 4194304", None).status, Good);
        let small = judge("212992", "4096\t16384\t65536\n", None);
        assert_eq!(small.status, Warning);
        let command = "$ sysctl -w net.ipv4.tcp_wmem='4096 16384 4194304'";
        assert_eq!(small.remedy.as_deref(), Some(command));
        assert_eq!(judge("212992", "4096 16384 4194304", Some(131_072)).status, Good);
        let large = judge("212992", "4096 16384 4194304", Some(1_000_000));
        assert_eq!(large.status, Warning);
        assert!(large.remedy.unwrap().contains("net.core.wmem_max=1000000"));
        for garbage in ["", "\0", "-1", "1 2", "99999999999999999999 1 1"] {
            assert_eq!(judge(garbage, garbage, None).status, Good);
            assert_eq!(judge(garbage, garbage, Some(1)).status, Good);
        }
    }

    #[test]
    fn slow_start_after_idle_matters_to_those_who_do_not_linger() {
        let judge = |value, congestion, linger| {
            let path = "proc/sys/net/ipv4/tcp_slow_start_after_idle";
            let planted = Planted::new(&[(path, value)]);
            let settings = settings(&[("linger.ms", linger)]);
            slow_start(&planted.system, &settings, Some(congestion)).status
        };
        assert_eq!(judge("1", "cubic", "0"), Warning);
        assert_eq!(judge("1", "cubic", "5"), Good);
        assert_eq!(judge("1", "bbr", "0"), Good);
        assert_eq!(judge("0", "cubic", "0"), Good);
        assert_eq!(judge("x", "cubic", "0"), Good);
    }

    #[test]
    fn few_ports_are_a_warning() {
        let judge = |range| {
            let path = "proc/sys/net/ipv4/ip_local_port_range";
            ports(&Planted::new(&[(path, range)]).system).status
        };
        assert_eq!(judge("32768\t60999\n"), Good);
        assert_eq!(judge("32768 32900"), Warning);
        assert_eq!(judge("60999 32768"), Warning);
        assert_eq!(judge("0 65535"), Good);
        assert_eq!(judge("1"), Good);
        assert_eq!(judge("70000 80000"), Good);
    }

    #[test]
    fn descriptors_are_counted_per_sender_and_broker() {
        let judge = |soft, shards, brokers| {
            let limits = format!("Max open files            {soft}    4096    files\n");
            let planted = Planted::new(&[("proc/self/limits", &limits)]);
            descriptors(&planted.system, shards, brokers).status
        };
        assert_eq!(judge("1024", 1, 3), Good);
        assert_eq!(judge("1024", 16, 100), Problem);
        assert_eq!(judge("unlimited", 16, 100), Good);
        assert_eq!(judge("", 16, 100), Good);
    }
}
