//! Bootstrap servers whose names are resolved in the background: for how long, and the end of it.
//!
//! Source:   KIP-909, RBT-7 of the Java producer.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Instant;

use super::{Sender, SenderOptions};

/// Whether any bootstrap server has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bootstrap {
    /// One has, or had.
    Resolved,
    /// None has; they are tried until then.
    Until(Instant),
    /// None had in time. Final.
    GivenUp,
}

impl Bootstrap {
    pub(super) fn new(options: &SenderOptions, now: Instant) -> Self {
        let is_name = |host: &str| host.parse::<IpAddr>().is_err();
        let mut servers = options.bootstrap.iter();
        let waits = !options.bootstrap.is_empty()
            && servers.all(|(host, _, addresses)| addresses.is_empty() && is_name(host));
        if waits {
            Self::Until(now + options.settings.bootstrap_resolve_timeout)
        } else {
            Self::Resolved
        }
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Until(deadline) => Some(deadline),
            Self::Resolved | Self::GivenUp => None,
        }
    }
}

impl Sender {
    /// A bootstrap server's name was resolved, or not; then it is tried again soon.
    pub(super) fn bootstrap_resolved(&mut self, index: u32, found: bool, now: Instant) {
        if !matches!(self.bootstrap, Bootstrap::Until(_)) {
            return;
        }
        if found {
            self.bootstrap = Bootstrap::Resolved;
        } else {
            let wait = self.settings.retry_backoff.base;
            self.nodes[index as usize].retry_at = Some(now + wait);
        }
    }

    /// Whether the time for the names is over.
    pub(super) fn poll_bootstrap(&mut self, now: Instant) {
        if self.bootstrap.deadline().is_some_and(|deadline| deadline <= now) {
            tracing::error!(
                timeout = ?self.settings.bootstrap_resolve_timeout,
                "no bootstrap server has an address: giving up for good"
            );
            self.bootstrap = Bootstrap::GivenUp;
            self.cluster.give_up_bootstrap();
        }
    }
}
