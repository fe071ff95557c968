//! The faults, each a script that plays while the traffic runs.
#![forbid(unsafe_code)]

mod brokers;
mod topics;
mod ways;

use crate::scene::{Scene, Way};

/// One fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    /// What the fault's producer has beside the scene's own properties.
    pub(crate) properties: &'static [(&'static str, &'static str)],
    pub(crate) script: fn(&mut Scene<'_>),
}

const fn fault(name: &'static str, way: Way, script: fn(&mut Scene<'_>)) -> Fault {
    Fault { name, way, properties: &[], script }
}

/// Shorter than the fault, so that records expire in it.
const IMPATIENT: &[(&str, &str)] =
    &[("delivery.timeout.ms", "6000"), ("request.timeout.ms", "3000")];

/// Expires in the fault, too, after requests of some size have closed the windows.
const BULKY: &[(&str, &str)] = &[
    ("delivery.timeout.ms", "8000"),
    ("request.timeout.ms", "6000"),
    ("linger.ms", "400"),
    ("batch.size", "131072"),
    ("send.buffer.bytes", "8192"),
];

impl Fault {
    /// Whether every record that was accepted must be acknowledged: the fault is shorter than
    /// `delivery.timeout.ms`, and the topic stays.
    pub(crate) fn loses_nothing(&self) -> bool {
        self.properties.is_empty() && self.name != RE_CREATED
    }
}

const RE_CREATED: &str = "topic-re-created";

/// Every fault of the matrix, in the order in which they are played.
pub(crate) const FAULTS: &[Fault] = &[
    fault("kill-9-leader", Way::Loopback, brokers::kill_a_leader_and_restart_it),
    fault("stopped-leader", Way::Loopback, brokers::stop_a_leader_by_signal),
    Fault {
        properties: IMPATIENT,
        ..fault("all-stopped", Way::Loopback, brokers::stop_all_while_records_expire)
    },
    fault("rolling-restart", Way::Loopback, brokers::restart_one_after_the_other),
    Fault {
        properties: IMPATIENT,
        ..fault("below-min-isr", Way::Loopback, brokers::leave_too_few_in_sync)
    },
    fault("leader-election", Way::Loopback, topics::elect_other_leaders),
    fault("reassignment", Way::Loopback, topics::move_partitions),
    fault(RE_CREATED, Way::Loopback, topics::delete_and_create_again),
    fault("proxy-delay", Way::Proxies, ways::delay),
    fault("proxy-throttle", Way::Proxies, ways::throttle),
    fault("proxy-cut", Way::Proxies, ways::cut),
    fault("proxy-hold", Way::Proxies, ways::hold_answers),
    Fault {
        properties: IMPATIENT,
        ..fault("proxy-hold-expire", Way::Proxies, ways::hold_answers_while_records_expire)
    },
    Fault {
        properties: BULKY,
        ..fault("proxy-zero-window", Way::Proxies, ways::close_windows_while_records_expire)
    },
    fault("proxy-swizzle", Way::Proxies, ways::stop_one_after_the_other),
    fault("link-down", Way::Link, ways::take_the_link_down),
];
