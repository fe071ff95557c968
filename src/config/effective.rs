//! The configuration in force, as text: each property, its value, and where that came from.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::affinity::Affinity;
use super::catalog::{ValueType, every_property};
use super::keys::{OURS, SUPPORTED};
use super::origin::Origin;
use super::settings::{MetadataRecovery, Settings, ZeroCopy};
use crate::partitioner::PartitionerClass;

/// What is printed in the place of a secret.
const HIDDEN: &str = "[hidden]";
/// Columns of `name = value` before what is said about it.
const SETTING_COLUMNS: usize = 52;

/// A property of these settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The value in force, as a properties file would have it; hidden when it is a secret.
    pub value: String,
    /// The value if nobody had chosen one; empty when there is none.
    pub default: &'static str,
    /// Who chose it.
    pub origin: Origin,
    /// Why the value is neither the default nor what was chosen, if that is so.
    pub derived: Option<&'static str>,
}

impl Setting {
    /// Whether the value is the default, whoever chose it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.value == self.default
    }
}

/// `name = value`, and where it came from unless it is the default; a star in front of what is not.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_default() { ' ' } else { '*' };
        let setting = format!("{} = {}", self.name, self.value);
        if self.is_default() && self.origin == Origin::Default {
            return write!(f, "{star} {}", setting.trim_end());
        }
        write!(f, "{star} {setting:<SETTING_COLUMNS$} # ")?;
        match (&self.origin, self.derived) {
            (Origin::Default, Some(why)) => f.write_str(why)?,
            (origin, Some(why)) => write!(f, "{origin}, {why}")?,
            (origin, None) => write!(f, "{origin}")?,
        }
        if self.is_default() || self.default.is_empty() {
            return Ok(());
        }
        write!(f, "; default {}", self.default)
    }
}

/// One line for each property that is carried out, in alphabetical order, then what is ignored.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in self.effective() {
            writeln!(f, "{setting}")?;
        }
        for name in &self.jvm_only_keys {
            writeln!(f, "# {name} is ignored: it only means something in a JVM")?;
        }
        for name in &self.unknown_keys {
            writeln!(f, "# {name} is ignored: nobody knows it")?;
        }
        Ok(())
    }
}

impl Settings {
    /// Every property that is carried out, Kafka's and ours, with the value in force and where that
    /// came from; in alphabetical order. Allocates.
    #[must_use]
    pub fn effective(&self) -> Vec<Setting> {
        let mut names: Vec<_> = SUPPORTED.iter().chain(OURS).copied().collect();
        names.sort_unstable();
        let described = |name| every_property().find(|property| property.name == name);
        let setting = |name| {
            let property = described(name);
            let is_secret = property.is_some_and(|it| it.value_type == ValueType::Password);
            let default = property.map_or("", |property| property.default);
            let value = if is_secret { Some(HIDDEN.to_owned()) } else { self.value_of(name) };
            Setting {
                name,
                value: value.unwrap_or_else(|| default.to_owned()),
                default,
                origin: self.origins.of(name),
                derived: self.origins.derived(name),
            }
        };
        names.into_iter().map(setting).collect()
    }

    /// The value in force; None where it is unset.
    fn value_of(&self, name: &str) -> Option<String> {
        Some(match name {
            "acks" => self.acks.to_string(),
            "batch.size" => self.batch_bytes.to_string(),
            "bootstrap.servers" => {
                let servers = self.bootstrap_servers.iter().map(ToString::to_string);
                servers.collect::<Vec<_>>().join(",")
            }
            "buffer.memory" => self.buffer_memory.to_string(),
            "buffer.memory.allocation.strategy" => self.allocation_strategy.to_string(),
            "client.dns.lookup" => self.dns_lookup.to_string(),
            "client.id" => self.client_id.clone(),
            "client.rack" => return self.client_rack.as_deref().map(str::to_owned),
            "compression.gzip.level" => self.codec_levels[0].to_string(),
            "compression.lz4.level" => self.codec_levels[1].to_string(),
            "compression.type" => self.compression.name().to_owned(),
            "compression.zstd.level" => self.codec_levels[2].to_string(),
            "connections.max.idle.ms" => {
                self.connection_idle_max.map_or_else(|| "-1".to_owned(), millis)
            }
            "enable.idempotence" => self.idempotence.to_string(),
            "enable.metrics.push" => self.metrics_push.to_string(),
            "max.in.flight.requests.per.connection" => self.in_flight_max.to_string(),
            "max.request.size" => self.request_bytes_max.to_string(),
            "metadata.cluster.check.enable" => self.cluster_check.to_string(),
            "metadata.recovery.strategy" => match self.metadata_recovery {
                MetadataRecovery::None => "none".to_owned(),
                MetadataRecovery::Rebootstrap => "rebootstrap".to_owned(),
            },
            "metrics.num.samples" => self.metrics_samples.to_string(),
            "metrics.recording.level" => self.metrics_level.to_string(),
            "partitioner.adaptive.partitioning.enable" => self.adaptive_partitioning.to_string(),
            "partitioner.availability.timeout.ms" => {
                millis(self.availability_timeout.unwrap_or_default())
            }
            "partitioner.class" => match self.partitioner {
                PartitionerClass::BuiltIn => return None,
                class => class.to_string(),
            },
            "partitioner.rack.aware" => self.rack_aware.to_string(),
            "partitioner.ignore.keys" => self.ignore_keys.to_string(),
            "receive.buffer.bytes" => socket_buffer(self.receive_buffer),
            "retries" => self.retries.to_string(),
            "send.buffer.bytes" => socket_buffer(self.send_buffer),
            "kuring.affinity" => match &self.affinity {
                Affinity::Auto => "auto".to_owned(),
                Affinity::None => "none".to_owned(),
                Affinity::Cpus(cpus) => cpus.to_string(),
                Affinity::Numa(node) => format!("numa:{node}"),
            },
            "kuring.driver" => self.driver.to_string(),
            "kuring.shards" => return self.shards.map(|shards| shards.to_string()),
            "kuring.spin" => with_unit(self.spin),
            "kuring.sqpoll" => with_unit(self.sqpoll.unwrap_or_default()),
            "kuring.zerocopy" => match self.zero_copy {
                ZeroCopy::Off => "off".to_owned(),
                ZeroCopy::Auto => "auto".to_owned(),
            },
            _ => return self.duration_of(name).map(millis),
        })
    }

    fn duration_of(&self, name: &str) -> Option<Duration> {
        Some(match name {
            "bootstrap.resolve.timeout.ms" => self.bootstrap_resolve_timeout,
            "delivery.timeout.ms" => self.delivery_timeout,
            "kuring.reserve.max.ms" => self.reserve_max,
            "linger.ms" => self.linger,
            "max.block.ms" => self.max_block,
            "metadata.max.age.ms" => self.metadata_age_max,
            "metadata.max.idle.ms" => self.metadata_idle_max,
            "metadata.recovery.rebootstrap.trigger.ms" => self.rebootstrap_trigger,
            "metrics.sample.window.ms" => self.metrics_window,
            "reconnect.backoff.max.ms" => self.reconnect_backoff.max,
            "reconnect.backoff.ms" => self.reconnect_backoff.base,
            "request.timeout.ms" => self.request_timeout,
            "retry.backoff.max.ms" => self.retry_backoff.max,
            "retry.backoff.ms" => self.retry_backoff.base,
            "socket.connection.setup.timeout.max.ms" => self.connection_setup_timeout.max,
            "socket.connection.setup.timeout.ms" => self.connection_setup_timeout.base,
            _ => return None,
        })
    }
}

/// Milliseconds, with a fraction where a setter gave one.
fn millis(duration: Duration) -> String {
    if duration.subsec_nanos().is_multiple_of(1_000_000) {
        duration.as_millis().to_string()
    } else {
        (duration.as_secs_f64() * 1e3).to_string()
    }
}

/// The largest unit of which it is a whole number.
fn with_unit(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
        .into_iter()
        .find(|(unit, _)| nanos.is_multiple_of(*unit))
    {
        _ if nanos == 0 => "0".to_owned(),
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => format!("{nanos}ns"),
    }
}

fn socket_buffer(bytes: Option<usize>) -> String {
    bytes.map_or_else(|| "-1".to_owned(), |bytes| bytes.to_string())
}

#[cfg(test)]
mod tests;
