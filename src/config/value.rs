//! Property values: from text to a number, a duration, a choice; and the ranges, said once.
//!
//! Both roads end in the same ranges: `parse` for text, `checked` for what a typed setter was
//! given.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::time::Duration;

use super::cpus::CPU_COUNT_MAX;
use super::error::ConfigError;
use super::settings::{
    Acks, AllocationStrategy, DnsLookup, DriverChoice, FOREVER, MetadataRecovery, RecordingLevel,
    ZeroCopy,
};
use crate::partitioner::PartitionerClass;
use crate::protocol::compression::Compression;

/// The largest Java int, in a Java long's place.
pub(super) const INT_MAX: i64 = i32::MAX as i64;

/// Removes what Java's `trim` removes: everything up to and including the space, at both ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

fn refused(
    key: &'static str,
    value: impl Into<String>,
    accepted: impl Into<Cow<'static, str>>,
) -> ConfigError {
    ConfigError::Value { key, value: value.into(), accepted: accepted.into() }
}

/// A whole number: a count or a size in bytes.
pub(super) struct Whole {
    pub(super) key: &'static str,
    pub(super) default: i64,
    pub(super) min: i64,
    pub(super) max: i64,
}

impl Whole {
    pub(super) fn parse(&self, text: &str) -> Result<i64, ConfigError> {
        match trim(text).parse() {
            Ok(number) if self.has(number) => Ok(number),
            _ => Err(self.refused(text)),
        }
    }

    /// Whether the number is in the range, or a default that stands outside of it.
    fn has(&self, number: i64) -> bool {
        (self.min..=self.max).contains(&number) || number == self.default
    }

    /// The number chosen by a setter, or the default.
    pub(super) fn checked(&self, chosen: Option<i64>) -> Result<i64, ConfigError> {
        let number = chosen.unwrap_or(self.default);
        if self.has(number) { Ok(number) } else { Err(self.refused(number.to_string())) }
    }

    fn refused(&self, value: impl Into<String>) -> ConfigError {
        let mut accepted = format!("a whole number from {} to {}", self.min, self.max);
        if !(self.min..=self.max).contains(&self.default) {
            accepted += &format!(", or {}", self.default);
        }
        refused(self.key, value, accepted)
    }
}

/// A duration, in whole milliseconds when it is text.
pub(super) struct Millis {
    pub(super) key: &'static str,
    pub(super) default: i64,
    pub(super) min: i64,
    pub(super) max: i64,
}

impl Millis {
    pub(super) fn parse(&self, text: &str) -> Result<Duration, ConfigError> {
        match trim(text).parse::<i64>() {
            Ok(number) if (self.min..=self.max).contains(&number) => {
                Ok(Duration::from_millis(number.unsigned_abs()).min(FOREVER))
            }
            _ => Err(self.refused(text)),
        }
    }

    /// The default, in milliseconds.
    pub(super) fn millis(&self) -> u128 {
        u128::from(self.default.unsigned_abs())
    }

    /// The duration chosen by a setter, or the default; at most [`FOREVER`].
    pub(super) fn checked(&self, chosen: Option<Duration>) -> Result<Duration, ConfigError> {
        let ceiling = Duration::from_millis(self.max.unsigned_abs());
        let chosen = chosen.unwrap_or_else(|| Duration::from_millis(self.default.unsigned_abs()));
        // A property that Java keeps in a long has no ceiling anyone reaches: more is for ever.
        let fits = chosen <= ceiling || self.max == i64::MAX;
        if fits && chosen >= Duration::from_millis(self.min.unsigned_abs()) {
            Ok(chosen.min(FOREVER))
        } else {
            Err(self.refused(chosen.as_millis().to_string()))
        }
    }

    fn refused(&self, value: impl Into<String>) -> ConfigError {
        let accepted = format!("a whole number of milliseconds from {} to {}", self.min, self.max);
        refused(self.key, value, accepted)
    }
}

const fn long_ms(key: &'static str, default: i64) -> Millis {
    Millis { key, default, min: 0, max: i64::MAX }
}

const fn int_ms(key: &'static str, default: i64) -> Millis {
    Millis { key, default, min: 0, max: INT_MAX }
}

const fn whole(key: &'static str, default: i64, min: i64, max: i64) -> Whole {
    Whole { key, default, min, max }
}

// The ranges are Java's, but for the connect timeouts: Java takes 0 and below, and no connect can
// then succeed.
pub(super) const LINGER: Millis = long_ms("linger.ms", 5);
pub(super) const MAX_BLOCK: Millis = long_ms("max.block.ms", 60_000);
pub(super) const DELIVERY_TIMEOUT: Millis = int_ms("delivery.timeout.ms", 120_000);
pub(super) const REQUEST_TIMEOUT: Millis = int_ms("request.timeout.ms", 30_000);
pub(super) const RETRY_BACKOFF: Millis = long_ms("retry.backoff.ms", 100);
pub(super) const RETRY_BACKOFF_MAX: Millis = long_ms("retry.backoff.max.ms", 1_000);
pub(super) const RECONNECT_BACKOFF: Millis = long_ms("reconnect.backoff.ms", 50);
pub(super) const RECONNECT_BACKOFF_MAX: Millis = long_ms("reconnect.backoff.max.ms", 1_000);
pub(super) const SETUP_TIMEOUT: Millis =
    Millis { min: 1, ..long_ms("socket.connection.setup.timeout.ms", 10_000) };
pub(super) const SETUP_TIMEOUT_MAX: Millis =
    Millis { min: 1, ..long_ms("socket.connection.setup.timeout.max.ms", 30_000) };
pub(super) const METADATA_AGE: Millis = long_ms("metadata.max.age.ms", 300_000);
pub(super) const METADATA_IDLE: Millis =
    Millis { min: 5_000, ..long_ms("metadata.max.idle.ms", 300_000) };
pub(super) const REBOOTSTRAP: Millis = long_ms("metadata.recovery.rebootstrap.trigger.ms", 300_000);
pub(super) const AVAILABILITY_TIMEOUT: Millis = long_ms("partitioner.availability.timeout.ms", 0);
pub(super) const BOOTSTRAP_RESOLVE: Millis = long_ms("bootstrap.resolve.timeout.ms", 0);
pub(super) const RESERVE_MAX: Millis = int_ms("kuring.reserve.max.ms", 10);
pub(super) const METRICS_WINDOW: Millis = long_ms("metrics.sample.window.ms", 30_000);
pub(super) const CONNECTION_IDLE: Millis = long_ms("connections.max.idle.ms", 540_000);

pub(super) const BATCH: Whole = whole("batch.size", 16_384, 0, INT_MAX);
pub(super) const BUFFER_MEMORY: Whole = whole("buffer.memory", 33_554_432, 0, i64::MAX);
pub(super) const REQUEST_MAX: Whole = whole("max.request.size", 1_048_576, 0, INT_MAX);
pub(super) const IN_FLIGHT: Whole = whole("max.in.flight.requests.per.connection", 5, 1, INT_MAX);
pub(super) const RETRIES: Whole = whole("retries", INT_MAX, 0, INT_MAX);
pub(super) const SEND_BUFFER: Whole = whole("send.buffer.bytes", -1, -1, INT_MAX);
pub(super) const RECEIVE_BUFFER: Whole = whole("receive.buffer.bytes", -1, -1, INT_MAX);
pub(super) const METRICS_SAMPLES: Whole = whole("metrics.num.samples", 2, 1, INT_MAX);
pub(super) const GZIP_LEVEL: Whole = whole("compression.gzip.level", -1, 1, 9);
pub(super) const LZ4_LEVEL: Whole = whole("compression.lz4.level", 9, 1, 17);
pub(super) const ZSTD_LEVEL: Whole = whole("compression.zstd.level", 3, -131_072, 22);
pub(super) const SHARDS: Whole = whole("kuring.shards", 1, 1, CPU_COUNT_MAX as i64);

/// `true` or `false`, in any case, as Java reads it.
pub(super) fn boolean(key: &'static str, text: &str) -> Result<bool, ConfigError> {
    match trim(text) {
        word if word.eq_ignore_ascii_case("true") => Ok(true),
        word if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(refused(key, text, "true or false")),
    }
}

/// `connections.max.idle.ms`: a negative number turns the limit off.
pub(super) fn idle(text: &str) -> Result<Option<Duration>, ConfigError> {
    let accepted = "a whole number of milliseconds, or a negative number for no limit";
    match trim(text).parse::<i64>() {
        Ok(number) if number < 0 => Ok(None),
        Ok(_) => CONNECTION_IDLE.parse(text).map(Some),
        Err(_) => Err(refused(CONNECTION_IDLE.key, text, accepted)),
    }
}

/// `acks`, exactly as Java takes it: case counts.
pub(super) fn acks(text: &str) -> Result<Acks, ConfigError> {
    match trim(text) {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::None),
        _ => Err(refused("acks", text, "all, -1, 1 or 0, in lower case")),
    }
}

/// `compression.type`, exactly as Java takes it: case counts. The level is the codec's default.
pub(super) fn compression(text: &str) -> Result<Compression, ConfigError> {
    match trim(text) {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::GZIP),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::LZ4),
        "zstd" => Ok(Compression::ZSTD),
        _ => {
            Err(refused("compression.type", text, "none, gzip, snappy, lz4 or zstd, in lower case"))
        }
    }
}

/// `metadata.recovery.strategy`: in any case, as Java reads it (CFG-7).
pub(super) fn recovery(text: &str) -> Result<MetadataRecovery, ConfigError> {
    match trim(text) {
        word if word.eq_ignore_ascii_case("none") => Ok(MetadataRecovery::None),
        word if word.eq_ignore_ascii_case("rebootstrap") => Ok(MetadataRecovery::Rebootstrap),
        _ => Err(refused("metadata.recovery.strategy", text, "none or rebootstrap")),
    }
}

/// `metrics.recording.level`, as Java takes it: case counts. `OFF` is ours.
pub(super) fn recording_level(text: &str) -> Result<RecordingLevel, ConfigError> {
    match trim(text) {
        "OFF" => Ok(RecordingLevel::Off),
        "INFO" => Ok(RecordingLevel::Info),
        "DEBUG" => Ok(RecordingLevel::Debug),
        "TRACE" => Ok(RecordingLevel::Trace),
        _ => {
            let accepted = "INFO, DEBUG, TRACE or OFF, in upper case";
            Err(refused("metrics.recording.level", text, accepted))
        }
    }
}

/// `client.dns.lookup`, exactly as Java takes it.
pub(super) fn dns_lookup(text: &str) -> Result<DnsLookup, ConfigError> {
    match trim(text) {
        "use_all_dns_ips" => Ok(DnsLookup::UseAllDnsIps),
        "resolve_canonical_bootstrap_servers_only" => {
            Ok(DnsLookup::ResolveCanonicalBootstrapServersOnly)
        }
        _ => {
            let accepted =
                "use_all_dns_ips or resolve_canonical_bootstrap_servers_only, in lower case";
            Err(refused("client.dns.lookup", text, accepted))
        }
    }
}

/// `buffer.memory.allocation.strategy`.
pub(super) fn allocation(text: &str) -> Result<AllocationStrategy, ConfigError> {
    match trim(text) {
        word if word.eq_ignore_ascii_case("full") => Ok(AllocationStrategy::Full),
        word if word.eq_ignore_ascii_case("incremental") => Ok(AllocationStrategy::Incremental),
        _ => Err(refused("buffer.memory.allocation.strategy", text, "full or incremental")),
    }
}

/// `kuring.driver`.
pub(super) fn driver(text: &str) -> Result<DriverChoice, ConfigError> {
    match trim(text) {
        "auto" => Ok(DriverChoice::Auto),
        "tokio-uring" => Ok(DriverChoice::TokioUring),
        "epoll" => Ok(DriverChoice::Epoll),
        "uring" => Ok(DriverChoice::Uring),
        _ => {
            Err(refused("kuring.driver", text, "auto, uring, tokio-uring or epoll, in lower case"))
        }
    }
}

/// `kuring.zerocopy`.
pub(super) fn zero_copy(text: &str) -> Result<ZeroCopy, ConfigError> {
    match trim(text) {
        "off" => Ok(ZeroCopy::Off),
        "auto" => Ok(ZeroCopy::Auto),
        _ => Err(refused("kuring.zerocopy", text, "off or auto, in lower case")),
    }
}

/// `kuring.spin` and `kuring.sqpoll`: `0`, or a whole number and its unit. A bare number is
/// refused, because Kafka's milliseconds would be a thousand times what anyone wants here.
pub(super) fn with_unit(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let accepted = "0, or a whole number with its unit (ns, us, ms or s), such as 50us";
    let word = trim(text);
    let digits = word.len() - word.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = word.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused(key, text, accepted))?;
    let duration = match (unit, number) {
        ("", 0) => Duration::ZERO,
        ("ns", _) => Duration::from_nanos(number),
        ("us", _) => Duration::from_micros(number),
        ("ms", _) => Duration::from_millis(number),
        ("s", _) => Duration::from_secs(number),
        _ => return Err(refused(key, text, accepted)),
    };
    Ok(duration.min(FOREVER))
}

/// `partitioner.class`: a name of Java's or of librdkafka's; blank for the built-in one.
pub(super) fn partitioner(text: &str) -> Result<PartitionerClass, ConfigError> {
    let name = trim(text);
    if let Some(class) = PartitionerClass::of_name(name) {
        return Ok(class);
    }
    if name.ends_with(".UniformStickyPartitioner") {
        let instead = "nothing, which is the built-in one, with partitioner.ignore.keys=true, \
                       which does what this class did before Kafka 4.0";
        return Err(refused("partitioner.class", text, instead));
    }
    let names: Vec<_> = PartitionerClass::ALL.iter().map(|class| class.name()).collect();
    let accepted = format!(
        "nothing, which is the built-in one, or one of{}; a class of your own is written in Rust, \
         and given to ConfigBuilder::partitioner",
        names.join(" ")
    );
    Err(refused("partitioner.class", text, accepted))
}

/// A client id as the wire takes it: its length is an i16.
pub(super) fn client_id(id: String) -> Result<String, ConfigError> {
    if id.len() <= i16::MAX as usize {
        Ok(id)
    } else {
        let shown: String = id.chars().take(32).collect();
        Err(refused("client.id", format!("{shown}..."), "at most 32767 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_7_numbers_are_accepted_as_text_with_spaces_and_signs() {
        assert_eq!(BATCH.parse(" 100\t").ok(), Some(100));
        assert_eq!(BATCH.parse("+7").ok(), Some(7));
        assert_eq!(SEND_BUFFER.parse("-1").ok(), Some(-1));
        assert_eq!(LINGER.parse(" 20 ").ok(), Some(Duration::from_millis(20)));
    }

    #[test]
    fn a_number_outside_its_range_is_refused_with_the_range() {
        for text in ["-1", "2147483648", "1.5", "1e3", "", "16k", "0x10"] {
            let refused = BATCH.parse(text).expect_err(text).to_string();
            let wanted = format!(
                "batch.size={text:?} is not valid: accepted is a whole number from 0 to 2147483647"
            );
            assert_eq!(refused, wanted);
        }
        assert!(BATCH.checked(Some(-1)).is_err() && BATCH.checked(Some(INT_MAX + 1)).is_err());
        assert_eq!(BATCH.checked(None).ok(), Some(16_384));
    }

    #[test]
    fn a_duration_that_java_keeps_in_an_int_ends_at_its_maximum() {
        assert!(REQUEST_TIMEOUT.parse("2147483648").is_err());
        assert!(REQUEST_TIMEOUT.checked(Some(Duration::from_secs(1 << 40))).is_err());
        let longest = Duration::from_millis(i32::MAX as u64);
        assert_eq!(REQUEST_TIMEOUT.parse("2147483647").ok(), Some(longest));
    }

    #[test]
    fn a_duration_that_java_keeps_in_a_long_is_cut_to_a_century() {
        assert_eq!(MAX_BLOCK.parse("9223372036854775807").ok(), Some(FOREVER));
        assert_eq!(MAX_BLOCK.checked(Some(Duration::MAX)).ok(), Some(FOREVER));
        assert!(MAX_BLOCK.parse("9223372036854775808").is_err());
        assert!(i64::try_from(FOREVER.as_nanos() * 2).is_ok());
    }

    #[test]
    fn a_typed_duration_keeps_its_microseconds() {
        let half = Duration::from_micros(500);
        assert_eq!(LINGER.checked(Some(half)).ok(), Some(half));
    }

    #[test]
    fn metadata_is_kept_for_five_seconds_at_least_and_connects_get_a_millisecond() {
        assert!(METADATA_IDLE.parse("4999").is_err());
        assert!(METADATA_IDLE.checked(Some(Duration::from_millis(4_999))).is_err());
        assert_eq!(METADATA_IDLE.parse("5000").ok(), Some(Duration::from_secs(5)));
        assert!(SETUP_TIMEOUT.parse("0").is_err());
    }

    #[test]
    fn cfg_7_acks_is_case_sensitive_and_booleans_are_not() {
        assert_eq!(acks("all").ok(), Some(Acks::All));
        assert_eq!(acks(" -1 ").ok(), Some(Acks::All));
        assert_eq!(acks("1").ok(), Some(Acks::Leader));
        assert_eq!(acks("0").ok(), Some(Acks::None));
        for text in ["ALL", "2", "", "-2", "01"] {
            assert!(acks(text).is_err(), "{text:?}");
        }
        assert_eq!(boolean("k", " TRUE").ok(), Some(true));
        assert_eq!(boolean("k", "False").ok(), Some(false));
        assert!(boolean("k", "yes").is_err() && boolean("k", "").is_err());
    }

    #[test]
    fn idle_connections_are_kept_for_ever_when_the_limit_is_negative() {
        assert_eq!(idle("-1").ok(), Some(None));
        assert_eq!(idle("0").ok(), Some(Some(Duration::ZERO)));
        assert!(idle("soon").is_err());
    }

    #[test]
    fn a_driver_has_one_name() {
        assert_eq!(driver("auto").ok(), Some(DriverChoice::Auto));
        assert_eq!(driver("uring").ok(), Some(DriverChoice::Uring));
        assert_eq!(driver("tokio-uring").ok(), Some(DriverChoice::TokioUring));
        assert_eq!(driver("epoll").ok(), Some(DriverChoice::Epoll));
        let refused = driver("io_uring").expect_err("no such driver").to_string();
        assert!(refused.contains("auto, uring, tokio-uring or epoll"), "{refused}");
        assert!(driver("URING").is_err());
    }

    #[test]
    fn cfg_7_the_recording_level_is_in_upper_case() {
        assert_eq!(recording_level(" DEBUG").ok(), Some(RecordingLevel::Debug));
        assert_eq!(recording_level("OFF").ok(), Some(RecordingLevel::Off));
        for text in ["", "info", "ALL"] {
            assert!(recording_level(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_copy_is_off_or_auto() {
        assert_eq!(zero_copy("off").ok(), Some(ZeroCopy::Off));
        assert_eq!(zero_copy(" auto").ok(), Some(ZeroCopy::Auto));
        for text in ["", "on", "true", "Auto"] {
            assert!(zero_copy(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lookups_and_strategies_have_kafka_s_words() {
        assert_eq!(dns_lookup(" use_all_dns_ips").ok(), Some(DnsLookup::UseAllDnsIps));
        let canonical = dns_lookup("resolve_canonical_bootstrap_servers_only").ok();
        assert_eq!(canonical, Some(DnsLookup::ResolveCanonicalBootstrapServersOnly));
        assert_eq!(allocation("Incremental").ok(), Some(AllocationStrategy::Incremental));
        assert_eq!(allocation("full").ok(), Some(AllocationStrategy::Full));
        for text in ["", "default", "USE_ALL_DNS_IPS", "half"] {
            assert!(dns_lookup(text).is_err() && allocation(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn spin_needs_a_unit() {
        let spin = |text: &str| with_unit("kuring.spin", text);
        assert_eq!(spin("0").ok(), Some(Duration::ZERO));
        assert_eq!(spin("50us").ok(), Some(Duration::from_micros(50)));
        assert_eq!(spin(" 1ms").ok(), Some(Duration::from_millis(1)));
        assert_eq!(spin("7ns").ok(), Some(Duration::from_nanos(7)));
        assert_eq!(spin("18446744073709551615s").ok(), Some(FOREVER));
        for text in ["50", "", "us", "-1us", "1.5ms", "1 ms", "1m", "99999999999999999999us"] {
            assert!(spin(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_partitioner_is_known_by_java_s_or_librdkafka_s_name() {
        assert_eq!(partitioner("").ok(), Some(PartitionerClass::BuiltIn));
        let named = partitioner(" consistent_random ").ok();
        assert_eq!(named, Some(PartitionerClass::ConsistentRandom));
        let refused = partitioner("com.example.Mine").expect_err("no such class").to_string();
        assert_eq!(
            refused,
            "partitioner.class=\"com.example.Mine\" is not valid: accepted is nothing, which is \
             the built-in one, or one of RoundRobinPartitioner random consistent \
             consistent_random murmur2 murmur2_random fnv1a fnv1a_random; a class of your own is \
             written in Rust, and given to ConfigBuilder::partitioner"
        );
        let removed = "org.apache.kafka.clients.producer.UniformStickyPartitioner";
        let refused = partitioner(removed).expect_err("removed in 4.0").to_string();
        assert!(refused.contains("partitioner.ignore.keys=true"), "{refused}");
    }

    #[test]
    fn a_client_id_longer_than_the_wire_allows_is_refused() {
        assert!(client_id("x".repeat(32_767)).is_ok());
        assert!(client_id("ä".repeat(20_000)).is_err());
    }
}
