//! From what was chosen to [`Settings`]: defaults, and the checks that look at several properties.
//!
//! Source: `ProducerConfig`'s documented rules; CFG-1 to CFG-5 and CFG-10 are named where they
//! stand.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

use super::affinity::Affinity;
use super::bootstrap;
use super::builder::Chosen;
use super::compression::checked;
use super::error::ConfigError;
use super::keys::NOT_YET_DEFAULT_NONE;
use super::settings::{Acks, Backoff, DriverChoice, Settings};
use super::value::{self, Millis, Whole};
use crate::protocol::compression::Compression;

/// The most requests in flight for which a broker keeps enough sequences to tell a copy (KIP-98).
const IN_FLIGHT_IDEMPOTENT_MAX: i64 = 5;

/// A Java int's worth of milliseconds: where `linger + request timeout` stops growing.
const INT_MS_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// The number in the next `producer-<n>`.
static NEXT_CLIENT: AtomicU64 = AtomicU64::new(1);

/// Checks everything that was chosen and fills in the rest.
pub(super) fn settings(chosen: &Chosen) -> Result<Settings, ConfigError> {
    let bootstrap_servers = bootstrap::parse_list(chosen.bootstrap_servers.as_deref())?;
    let acks = chosen.acks.unwrap_or(Acks::All);
    let retries = value::RETRIES.checked(chosen.retries)?;
    let in_flight_max = value::IN_FLIGHT.checked(chosen.in_flight_max)?;
    let idempotence = idempotence(chosen, acks, retries, in_flight_max)?;
    let linger = value::LINGER.checked(chosen.linger)?.min(INT_MS_MAX);
    let request_timeout = value::REQUEST_TIMEOUT.checked(chosen.request_timeout)?;
    let (batch_bytes, buffer_memory, request_bytes_max) = sizes(chosen)?;
    let codec_levels = codec_levels(chosen)?;
    let settings = Settings {
        bootstrap_servers,
        bootstrap_resolve_timeout: value::BOOTSTRAP_RESOLVE
            .checked(chosen.bootstrap_resolve_timeout)?,
        dns_lookup: chosen.dns_lookup.unwrap_or_default(),
        allocation_strategy: chosen.allocation_strategy.unwrap_or_default(),
        // Checked here and named last, so that a refused configuration uses up no number.
        client_id: value::client_id(chosen.client_id.clone().unwrap_or_default())?,
        acks,
        idempotence,
        linger,
        batch_bytes,
        buffer_memory,
        compression: compression(chosen, codec_levels)?,
        codec_levels,
        max_block: value::MAX_BLOCK.checked(chosen.max_block)?,
        request_bytes_max,
        in_flight_max: in_flight_max as usize,
        retries: retries as u32,
        retry_backoff: retry_backoff(chosen)?,
        delivery_timeout: delivery_timeout(chosen, linger, request_timeout)?,
        request_timeout,
        reconnect_backoff: reconnect_backoff(chosen)?,
        connection_setup_timeout: setup_timeout(chosen)?,
        connection_idle_max: connection_idle_max(chosen)?,
        send_buffer: socket_buffer(&value::SEND_BUFFER, chosen.send_buffer)?,
        receive_buffer: socket_buffer(&value::RECEIVE_BUFFER, chosen.receive_buffer)?,
        metadata_age_max: value::METADATA_AGE.checked(chosen.metadata_age_max)?,
        metadata_idle_max: value::METADATA_IDLE.checked(chosen.metadata_idle_max)?,
        metadata_recovery: chosen.metadata_recovery.unwrap_or_default(),
        cluster_check: chosen.cluster_check.unwrap_or(true),
        rebootstrap_trigger: value::REBOOTSTRAP.checked(chosen.rebootstrap_trigger)?,
        partitioner: chosen.partitioner.unwrap_or_default(),
        partitioners: chosen.partitioners.clone(),
        metrics_samples: value::METRICS_SAMPLES.checked(chosen.metrics_samples)? as usize,
        metrics_window: value::METRICS_WINDOW.checked(chosen.metrics_window)?,
        metrics_level: chosen.metrics_level.unwrap_or_default(),
        metrics_push: chosen.metrics_push.unwrap_or(true),
        ignore_keys: chosen.ignore_keys.unwrap_or(false),
        adaptive_partitioning: chosen.adaptive_partitioning.unwrap_or(true),
        availability_timeout: availability_timeout(chosen)?,
        rack_aware: chosen.rack_aware.unwrap_or(false),
        client_rack: client_rack(chosen)?,
        affinity: affinity(chosen)?,
        shards: shards(chosen)?,
        spin: chosen.spin.unwrap_or(Duration::ZERO).min(super::FOREVER),
        reserve_max: value::RESERVE_MAX.checked(chosen.reserve_max)?,
        driver: chosen.driver.unwrap_or(DriverChoice::Auto),
        zero_copy: chosen.zero_copy.unwrap_or_default(),
        sqpoll: chosen.sqpoll.filter(|idle| !idle.is_zero()).map(|idle| idle.min(super::FOREVER)),
        unknown_keys: chosen.unknown_keys.iter().cloned().collect(),
        jvm_only_keys: chosen.jvm_only.iter().map(|(key, _)| *key).collect(),
        origins: Arc::default(),
        hooks: chosen.hooks.clone(),
    };
    log_ignored(chosen);
    let settings = named(settings, chosen.client_id.is_none());
    let origins = Arc::new(chosen.origins.with_derived(chosen, &settings));
    Ok(Settings { origins, ..settings })
}

fn shards(chosen: &Chosen) -> Result<Option<usize>, ConfigError> {
    let Some(shards) = chosen.shards else { return Ok(None) };
    value::SHARDS.checked(Some(shards)).map(|shards| Some(shards as usize))
}

fn connection_idle_max(chosen: &Chosen) -> Result<Option<Duration>, ConfigError> {
    match chosen.connection_idle_max {
        Some(None) => Ok(None),
        chosen => value::CONNECTION_IDLE.checked(chosen.flatten()).map(Some),
    }
}

/// The levels of all codecs are checked, whichever it will be, as in Java.
fn codec_levels(chosen: &Chosen) -> Result<[i32; 3], ConfigError> {
    // The ranges are those of an i32.
    let level = |spec: Whole, chosen| spec.checked(chosen).map(|level| level as i32);
    Ok([
        level(value::GZIP_LEVEL, chosen.gzip_level)?,
        level(value::LZ4_LEVEL, chosen.lz4_level)?,
        level(value::ZSTD_LEVEL, chosen.zstd_level)?,
    ])
}

/// The codec with its level.
fn compression(chosen: &Chosen, levels: [i32; 3]) -> Result<Compression, ConfigError> {
    let [gzip, lz4, zstd] = levels;
    let compression = match chosen.compression.unwrap_or_default() {
        Compression::Gzip(_) => Compression::Gzip(gzip),
        Compression::Lz4(_) => Compression::Lz4(lz4),
        Compression::Zstd(_) => Compression::Zstd(zstd),
        plain @ (Compression::None | Compression::Snappy) => plain,
    };
    checked(compression)
}

fn named(mut settings: Settings, unnamed: bool) -> Settings {
    if unnamed {
        // Relaxed: the number only has to be taken once; it publishes nothing.
        let number = NEXT_CLIENT.fetch_add(1, Ordering::Relaxed);
        settings.client_id = format!("producer-{number}");
    }
    settings
}

/// CFG-1, CFG-2, CFG-3: whether idempotence is on, and who may not be there when it is or is not.
///
/// As in Java, more than five in flight is an error even where `acks` alone would have turned an
/// idempotence that nobody mentioned off: the property promises an order that is not kept.
fn idempotence(
    chosen: &Chosen,
    acks: Acks,
    retries: i64,
    in_flight_max: i64,
) -> Result<bool, ConfigError> {
    let mut because = (chosen.idempotence == Some(false)).then_some("enable.idempotence=false");
    if because.is_none() {
        let conflict =
            |key, value: String, accepted| Err(ConfigError::Idempotence { key, value, accepted });
        let mentioned = chosen.idempotence == Some(true);
        if retries == 0 {
            if mentioned {
                return conflict("retries", "0".to_owned(), "above 0");
            }
            because = Some("retries=0");
        }
        if acks != Acks::All {
            if mentioned {
                return conflict("acks", acks.to_string(), "all");
            }
            because = Some(if acks == Acks::Leader { "acks=1" } else { "acks=0" });
        }
        if in_flight_max > IN_FLIGHT_IDEMPOTENT_MAX {
            let key = "max.in.flight.requests.per.connection";
            return conflict(key, in_flight_max.to_string(), "at most 5");
        }
    }
    match (&chosen.transactional_id, because) {
        (Some(id), Some(because)) => {
            Err(ConfigError::TransactionsWithoutIdempotence { id: id.clone(), because })
        }
        (Some(id), None) => Err(ConfigError::NotYet {
            key: "transactional.id".to_owned(),
            value: id.clone(),
            default: NOT_YET_DEFAULT_NONE,
        }),
        (None, because) => Ok(because.is_none()),
    }
}

fn sizes(chosen: &Chosen) -> Result<(usize, u64, usize), ConfigError> {
    // Kafka's 0 turns batching off, which is a batch of one record: any size below a record's.
    let batch_bytes = value::BATCH.checked(chosen.batch_bytes)?.max(1).unsigned_abs();
    let buffer_memory = value::BUFFER_MEMORY.checked(chosen.buffer_memory)?.unsigned_abs();
    let request_bytes_max = value::REQUEST_MAX.checked(chosen.request_bytes_max)?.unsigned_abs();
    if batch_bytes > buffer_memory {
        return Err(ConfigError::BatchAboveMemory { batch_bytes, buffer_memory });
    }
    if request_bytes_max > buffer_memory {
        warn!(
            request_bytes_max,
            buffer_memory,
            "max.request.size is above buffer.memory: records above buffer.memory will be refused"
        );
    }
    Ok((batch_bytes as usize, buffer_memory, request_bytes_max as usize))
}

/// CFG-4: a delivery timeout below `linger + request timeout` is an error when it was chosen, and
/// raised to the sum when it was not.
fn delivery_timeout(
    chosen: &Chosen,
    linger: Duration,
    request: Duration,
) -> Result<Duration, ConfigError> {
    let delivery = value::DELIVERY_TIMEOUT.checked(chosen.delivery_timeout)?;
    let least = linger.saturating_add(request).min(INT_MS_MAX);
    if delivery >= least {
        return Ok(delivery);
    }
    if chosen.delivery_timeout.is_some() {
        return Err(ConfigError::DeliveryTimeout { delivery, linger, request });
    }
    warn!(?delivery, ?least, "delivery.timeout.ms is raised to linger.ms + request.timeout.ms");
    Ok(least)
}

/// CFG-5: a reconnect backoff without a maximum is constant.
fn reconnect_backoff(chosen: &Chosen) -> Result<Backoff, ConfigError> {
    let base = value::RECONNECT_BACKOFF.checked(chosen.reconnect_backoff)?;
    if chosen.reconnect_backoff.is_some() && chosen.reconnect_backoff_max.is_none() {
        return Ok(Backoff { base, max: base });
    }
    let max = value::RECONNECT_BACKOFF_MAX.checked(chosen.reconnect_backoff_max)?;
    Ok(capped(&value::RECONNECT_BACKOFF, base, max))
}

fn retry_backoff(chosen: &Chosen) -> Result<Backoff, ConfigError> {
    let base = value::RETRY_BACKOFF.checked(chosen.retry_backoff)?;
    let max = value::RETRY_BACKOFF_MAX.checked(chosen.retry_backoff_max)?;
    Ok(capped(&value::RETRY_BACKOFF, base, max))
}

fn setup_timeout(chosen: &Chosen) -> Result<Backoff, ConfigError> {
    let base = value::SETUP_TIMEOUT.checked(chosen.connection_setup_timeout)?;
    let max = value::SETUP_TIMEOUT_MAX.checked(chosen.connection_setup_timeout_max)?;
    Ok(capped(&value::SETUP_TIMEOUT, base, max))
}

/// The maximum wins, and is then the constant wait.
fn capped(spec: &Millis, base: Duration, max: Duration) -> Backoff {
    if base > max {
        warn!(key = spec.key, ?base, ?max, "above its maximum, which is used as a constant");
    }
    Backoff { base: base.min(max), max }
}

fn availability_timeout(chosen: &Chosen) -> Result<Option<Duration>, ConfigError> {
    let timeout = value::AVAILABILITY_TIMEOUT.checked(chosen.availability_timeout)?;
    Ok(Some(timeout).filter(|timeout| !timeout.is_zero()))
}

/// CFG-8: who prefers its own rack has one.
fn client_rack(chosen: &Chosen) -> Result<Option<String>, ConfigError> {
    let rack = chosen.client_rack.as_deref().map(value::trim).filter(|rack| !rack.is_empty());
    match rack {
        None if chosen.rack_aware == Some(true) => Err(ConfigError::RackUnknown),
        rack => Ok(rack.map(str::to_owned)),
    }
}

/// A list made by hand is held to what a list in text can be.
fn affinity(chosen: &Chosen) -> Result<Affinity, ConfigError> {
    match &chosen.affinity {
        Some(Affinity::Cpus(cpus)) => match cpus.to_string() {
            // An empty list is printed as `none`, which as text means something else.
            text if cpus.0.is_empty() => format!("[{text}]").parse(),
            text => text.parse(),
        },
        Some(other) => Ok(other.clone()),
        None => Ok(Affinity::Auto),
    }
}

fn socket_buffer(spec: &Whole, chosen: Option<i64>) -> Result<Option<usize>, ConfigError> {
    Ok(usize::try_from(spec.checked(chosen)?).ok())
}

/// CFG-10, and the properties that only mean something in a JVM.
fn log_ignored(chosen: &Chosen) {
    for key in &chosen.unknown_keys {
        warn!(key, "this property is known to neither Kafka nor Kuring: ignored");
    }
    for (key, instead) in &chosen.jvm_only {
        warn!(key, instead, "this property only means something in a JVM: ignored");
    }
}
