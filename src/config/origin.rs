//! Where each setting came from: kept beside the settings, looked at only when they are printed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::builder::Chosen;
use super::settings::{Acks, Settings};
use super::value;

/// Where the value of a setting came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody chose one.
    #[default]
    Default,
    /// A setter of the builder.
    Setter,
    /// A name and a value, from the program or a command line.
    Property,
    /// A properties file.
    File {
        /// The file, as it was named.
        path: Arc<PathBuf>,
        /// Its line, from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Setter => f.write_str("setter"),
            Self::Property => f.write_str("property"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// The origins of everything that was chosen, and why a value is not what was chosen.
///
/// Equal to every other one: settings are equal when their values are, wherever these came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    chosen: BTreeMap<&'static str, Origin>,
    derived: BTreeMap<&'static str, &'static str>,
}

impl PartialEq for Origins {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origins {}

impl Origins {
    /// The last choice counts.
    pub(super) fn choose(&mut self, name: &'static str, origin: Origin) {
        self.chosen.insert(name, origin);
    }

    pub(super) fn of(&self, name: &str) -> Origin {
        self.chosen.get(name).cloned().unwrap_or_default()
    }

    /// Why the value is neither the default nor what was chosen.
    pub(super) fn derived(&self, name: &str) -> Option<&'static str> {
        self.derived.get(name).copied()
    }

    /// These, and what the checks across properties made of them.
    pub(super) fn with_derived(&self, chosen: &Chosen, settings: &Settings) -> Self {
        let reconnects_alone =
            chosen.reconnect_backoff.is_some() && chosen.reconnect_backoff_max.is_none();
        let because = [
            (
                "enable.idempotence",
                chosen.idempotence.is_none() && !settings.idempotence,
                if settings.acks == Acks::All { "off: retries=0" } else { "off: acks is not all" },
            ),
            (
                "delivery.timeout.ms",
                chosen.delivery_timeout.is_none()
                    && settings.delivery_timeout.as_millis() != value::DELIVERY_TIMEOUT.millis(),
                "raised to linger.ms + request.timeout.ms",
            ),
            (
                "reconnect.backoff.max.ms",
                reconnects_alone,
                "that of reconnect.backoff.ms, which was set alone",
            ),
            (
                "reconnect.backoff.ms",
                value::RECONNECT_BACKOFF
                    .checked(chosen.reconnect_backoff)
                    .is_ok_and(|base| base > settings.reconnect_backoff.max),
                "cut to reconnect.backoff.max.ms",
            ),
            (
                "retry.backoff.ms",
                value::RETRY_BACKOFF
                    .checked(chosen.retry_backoff)
                    .is_ok_and(|base| base > settings.retry_backoff.max),
                "cut to retry.backoff.max.ms",
            ),
            (
                "socket.connection.setup.timeout.ms",
                value::SETUP_TIMEOUT
                    .checked(chosen.connection_setup_timeout)
                    .is_ok_and(|base| base > settings.connection_setup_timeout.max),
                "cut to socket.connection.setup.timeout.max.ms",
            ),
            (
                "linger.ms",
                chosen.linger.is_some_and(|linger| linger > settings.linger),
                "cut to 2147483647",
            ),
            ("batch.size", chosen.batch_bytes == Some(0), "0 turns batching off: one byte"),
            ("client.id", chosen.client_id.is_none(), "numbered by this process"),
        ];
        let derived = because.into_iter().filter(|(_, is_so, _)| *is_so);
        Self {
            chosen: self.chosen.clone(),
            derived: derived.map(|(name, _, why)| (name, why)).collect(),
        }
    }
}
