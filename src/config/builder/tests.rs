//! Both roads, and the checks across properties: CFG-1 to CFG-7 and CFG-10.
#![forbid(unsafe_code)]

use std::fs;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;

use super::super::{Backoff, CpuList, FOREVER, MetadataRecovery};
use super::*;
use crate::partitioner::Unplaced;

const SERVER: (&str, &str) = ("bootstrap.servers", "a:1");

fn builder() -> ConfigBuilder {
    ConfigBuilder::new().bootstrap_servers("a:1").client_id("c")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The settings of these properties, beside a server and a client id.
fn from(properties: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    builder().properties(properties.iter().copied())?.settings()
}

fn settings(properties: &[(&str, &str)]) -> Settings {
    from(properties).expect("valid")
}

fn refusal(properties: &[(&str, &str)]) -> String {
    from(properties).expect_err("not valid").to_string()
}

#[test]
fn the_defaults_are_kafka_s() {
    let defaults = builder().settings().expect("valid");
    assert_eq!(defaults.bootstrap_servers[0].to_string(), "a:1");
    assert_eq!((defaults.acks, defaults.idempotence), (Acks::All, true));
    assert_eq!((defaults.linger, defaults.batch_bytes), (ms(5), 16_384));
    assert_eq!((defaults.buffer_memory, defaults.request_bytes_max), (33_554_432, 1_048_576));
    assert_eq!((defaults.in_flight_max, defaults.retries), (5, i32::MAX as u32));
    assert_eq!(defaults.retry_backoff, Backoff { base: ms(100), max: ms(1_000) });
    assert_eq!(defaults.reconnect_backoff, Backoff { base: ms(50), max: ms(1_000) });
    let setup = Backoff { base: ms(10_000), max: ms(30_000) };
    assert_eq!(defaults.connection_setup_timeout, setup);
    assert_eq!((defaults.delivery_timeout, defaults.request_timeout), (ms(120_000), ms(30_000)));
    assert_eq!((defaults.max_block, defaults.connection_idle_max), (ms(60_000), Some(ms(540_000))));
    assert_eq!((defaults.send_buffer, defaults.receive_buffer), (None, None));
    assert_eq!((defaults.metadata_age_max, defaults.metadata_idle_max), (ms(300_000), ms(300_000)));
    assert_eq!(defaults.metadata_recovery, MetadataRecovery::Rebootstrap);
    assert_eq!(defaults.rebootstrap_trigger, ms(300_000));
    assert!(defaults.cluster_check);
    assert_eq!((defaults.metrics_samples, defaults.metrics_window), (2, ms(30_000)));
    assert_eq!((defaults.metrics_level, defaults.metrics_push), (RecordingLevel::Info, true));
    assert_eq!((defaults.ignore_keys, defaults.adaptive_partitioning), (false, true));
    assert_eq!(defaults.partitioner, PartitionerClass::BuiltIn);
    assert_eq!((defaults.availability_timeout, defaults.rack_aware), (None, false));
    assert_eq!(defaults.client_rack, None);
    assert_eq!((defaults.affinity, defaults.shards), (Affinity::Auto, None));
    assert_eq!((defaults.spin, defaults.driver), (Duration::ZERO, DriverChoice::Auto));
    assert_eq!((defaults.zero_copy, defaults.sqpoll), (ZeroCopy::Off, None));
    assert_eq!(defaults.reserve_max, ms(10));
    assert_eq!(defaults.dns_lookup, DnsLookup::UseAllDnsIps);
    assert_eq!(defaults.bootstrap_resolve_timeout, Duration::ZERO);
    assert!(defaults.unknown_keys.is_empty() && defaults.jvm_only_keys.is_empty());
}

/// Each supported property with a value that is not its default.
pub(in crate::config) const EVERY: &[(&str, &str)] = &[
    ("bootstrap.servers", "k1:9092, [::1]:9093"),
    ("bootstrap.resolve.timeout.ms", "24"),
    ("client.dns.lookup", "resolve_canonical_bootstrap_servers_only"),
    ("buffer.memory.allocation.strategy", "incremental"),
    ("client.id", "till"),
    ("acks", "1"),
    ("enable.idempotence", "false"),
    ("linger.ms", "7"),
    ("batch.size", "1000"),
    ("buffer.memory", "2000000"),
    ("compression.type", "zstd"),
    ("compression.gzip.level", "-1"),
    ("compression.lz4.level", "9"),
    ("compression.zstd.level", "5"),
    ("max.block.ms", "8"),
    ("max.request.size", "3000"),
    ("max.in.flight.requests.per.connection", "9"),
    ("retries", "10"),
    ("retry.backoff.ms", "11"),
    ("retry.backoff.max.ms", "12"),
    ("delivery.timeout.ms", "130000"),
    ("request.timeout.ms", "14"),
    ("reconnect.backoff.ms", "15"),
    ("reconnect.backoff.max.ms", "16"),
    ("socket.connection.setup.timeout.ms", "17"),
    ("socket.connection.setup.timeout.max.ms", "18"),
    ("connections.max.idle.ms", "-1"),
    ("send.buffer.bytes", "19"),
    ("receive.buffer.bytes", "20"),
    ("metadata.max.age.ms", "21"),
    ("metadata.max.idle.ms", "6000"),
    ("metadata.recovery.strategy", "none"),
    ("metadata.recovery.rebootstrap.trigger.ms", "22"),
    ("metadata.cluster.check.enable", "false"),
    ("partitioner.class", "fnv1a"),
    ("metrics.num.samples", "4"),
    ("metrics.sample.window.ms", "24"),
    ("metrics.recording.level", "DEBUG"),
    ("enable.metrics.push", "false"),
    ("partitioner.ignore.keys", "true"),
    ("partitioner.availability.timeout.ms", "24"),
    ("partitioner.rack.aware", "true"),
    ("client.rack", "r1"),
    ("partitioner.adaptive.partitioning.enable", "false"),
    ("kuring.affinity", "1,0"),
    ("kuring.shards", "3"),
    ("kuring.spin", "50us"),
    ("kuring.reserve.max.ms", "23"),
    ("kuring.driver", "epoll"),
    ("kuring.zerocopy", "auto"),
    ("kuring.sqpoll", "2ms"),
];

pub(in crate::config) fn every_setter() -> ConfigBuilder {
    ConfigBuilder::new()
        .bootstrap_servers("k1:9092,[::1]:9093")
        .bootstrap_resolve_timeout(ms(24))
        .dns_lookup(DnsLookup::ResolveCanonicalBootstrapServersOnly)
        .allocation_strategy(AllocationStrategy::Incremental)
        .client_id("till")
        .acks(Acks::Leader)
        .idempotence(false)
        .linger(ms(7))
        .batch_bytes(1000)
        .buffer_memory(2_000_000)
        .compression(Compression::GZIP)
        .compression(Compression::LZ4)
        .compression(Compression::Zstd(5))
        .max_block(ms(8))
        .request_bytes_max(3000)
        .in_flight_max(9)
        .retries(10)
        .retry_backoff(ms(11))
        .retry_backoff_max(ms(12))
        .delivery_timeout(ms(130_000))
        .request_timeout(ms(14))
        .reconnect_backoff(ms(15))
        .reconnect_backoff_max(ms(16))
        .connection_setup_timeout(ms(17))
        .connection_setup_timeout_max(ms(18))
        .connection_idle_max(None)
        .send_buffer(Some(19))
        .receive_buffer(Some(20))
        .metadata_age_max(ms(21))
        .metadata_idle_max(ms(6000))
        .metadata_recovery(MetadataRecovery::None)
        .rebootstrap_trigger(ms(22))
        .cluster_check(false)
        .partitioner_class(PartitionerClass::Fnv1a)
        .metrics_samples(4)
        .metrics_window(ms(24))
        .metrics_level(RecordingLevel::Debug)
        .metrics_push(false)
        .ignore_keys(true)
        .adaptive_partitioning(false)
        .availability_timeout(ms(24))
        .rack_aware(true)
        .client_rack("r1")
        .affinity(Affinity::Cpus(CpuList(vec![1, 0])))
        .shards(3)
        .spin(Duration::from_micros(50))
        .reserve_max(ms(23))
        .driver(DriverChoice::Epoll)
        .zero_copy(ZeroCopy::Auto)
        .sqpoll(Duration::from_millis(2))
}

#[test]
fn both_roads_and_a_file_give_the_same_settings() {
    let typed = every_setter().settings().expect("valid");
    let named = ConfigBuilder::new()
        .properties(EVERY.iter().copied())
        .expect("valid")
        .settings()
        .expect("valid");
    let text: String = EVERY.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    let read = ConfigBuilder::new().properties_file(file.path()).expect("valid");
    assert_eq!(typed, named);
    assert_eq!(typed, read.settings().expect("valid"));
}

#[test]
fn every_supported_key_has_a_setter_that_reads_it() {
    let given: Vec<&str> = EVERY.iter().map(|(name, _)| *name).collect();
    for name in keys::SUPPORTED.iter().chain(keys::OURS) {
        assert!(given.contains(name), "{name}");
        let free_text = ["bootstrap.servers", "client.id", "client.rack"].contains(name);
        let refused = ConfigBuilder::new().property(name, "no such value");
        let text = refused.map(|_| "accepted".to_owned()).unwrap_or_else(|error| error.to_string());
        let says = text.starts_with(name) && text.contains("no such value");
        assert!(free_text || says && text.contains("accepted is"), "{name}: {text}");
    }
}

#[test]
fn a_codec_has_the_level_of_its_own_property() {
    let codec = |pairs: &[(&str, &str)]| settings(pairs).compression;
    assert_eq!(codec(&[]), Compression::None);
    assert_eq!(codec(&[("compression.type", "lz4")]), Compression::LZ4);
    let leveled = [("compression.gzip.level", "7"), ("compression.type", "gzip")];
    assert_eq!(codec(&leveled), Compression::Gzip(7));
    assert_eq!(codec(&[("compression.zstd.level", "7")]), Compression::None);
    let later = builder().compression(Compression::Zstd(9)).property("compression.zstd.level", "2");
    let later = later.expect("valid").settings().expect("valid");
    assert_eq!(later.compression, Compression::Zstd(2));
}

#[test]
fn cfg_7_a_codec_s_name_has_lower_case_and_its_level_a_range() {
    for (name, value) in [
        ("compression.type", "ZSTD"),
        ("compression.type", "brotli"),
        ("compression.gzip.level", "0"),
        ("compression.gzip.level", "10"),
        ("compression.lz4.level", "18"),
        ("compression.zstd.level", "23"),
    ] {
        let refused = builder().property(name, value).expect_err("refused").to_string();
        assert!(refused.starts_with(name) && refused.contains("accepted is"), "{refused}");
    }
    let typed = builder().compression(Compression::Gzip(0)).settings().expect_err("refused");
    let typed = typed.to_string();
    assert!(typed.contains("from 1 to 9, or -1"), "{typed}");
}

#[test]
fn the_later_choice_counts_whichever_road_it_came() {
    let later = builder().linger(ms(1)).property("linger.ms", "2").expect("valid");
    assert_eq!(later.settings().expect("valid").linger, ms(2));
    assert_eq!(later.linger(ms(3)).settings().expect("valid").linger, ms(3));
}

#[test]
fn a_partitioner_of_one_s_own_reaches_the_settings() {
    let made = builder().partitioner(|_: &Unplaced<'_>| 0).topic_partitioner("t", first);
    let settings = made.settings().expect("valid");
    assert!(settings.partitioners.of_topic("t") != settings.partitioners.of_topic("u"));
    assert_eq!(settings, Settings { client_id: "c".into(), ..made.settings().expect("valid") });
}

fn first(_: &Unplaced<'_>) -> i32 {
    0
}

#[test]
fn cfg_8_rack_awareness_needs_a_rack() {
    let refused = refusal(&[("partitioner.rack.aware", "true"), ("client.rack", " ")]);
    assert!(refused.contains("client.rack, which is not set: set it"), "{refused}");
    let aware = settings(&[("partitioner.rack.aware", "true"), ("client.rack", " r1 ")]);
    assert_eq!((aware.rack_aware, aware.client_rack.as_deref()), (true, Some("r1")));
    assert_eq!(settings(&[("client.rack", "")]).client_rack, None);
    assert!(builder().rack_aware(true).client_rack("r1").settings().is_ok());
}

#[test]
fn typed_values_are_held_to_the_same_ranges() {
    let refused = |builder: ConfigBuilder| builder.settings().expect_err("refused").to_string();
    let batch = refused(builder().batch_bytes(1 << 31));
    assert!(batch.starts_with("batch.size=\"2147483648\" is not valid"), "{batch}");
    assert!(refused(builder().in_flight_max(0)).contains("from 1 to"));
    assert!(refused(builder().retries(u32::MAX)).contains("retries"));
    assert!(refused(builder().buffer_memory(u64::MAX).shards(0)).contains("kuring.shards"));
    assert!(refused(builder().shards(1025)).contains("from 1 to 1024"));
    assert!(refused(builder().metadata_idle_max(ms(1))).contains("metadata.max.idle.ms"));
    assert!(refused(builder().request_timeout(Duration::MAX)).contains("request.timeout.ms"));
    assert!(refused(builder().client_id("x".repeat(40_000))).contains("client.id"));
    assert!(refused(builder().send_buffer(Some(usize::MAX))).contains("send.buffer.bytes"));
}

#[test]
fn a_list_of_cpus_made_by_hand_is_checked_too() {
    for cpus in [vec![], vec![1, 1], vec![1024]] {
        let made = builder().affinity(Affinity::Cpus(CpuList(cpus.clone()))).settings();
        assert!(matches!(made, Err(ConfigError::Value { key: "kuring.affinity", .. })), "{cpus:?}");
    }
    let made = builder().affinity(Affinity::Cpus(CpuList(vec![5, 4, 3]))).settings();
    assert_eq!(made.expect("valid").affinity, Affinity::Cpus(CpuList(vec![5, 4, 3])));
}

#[test]
fn settings_place_their_senders_on_this_machine() {
    let placed = settings(&[("kuring.affinity", "none"), ("kuring.shards", "2")]).placement();
    assert_eq!(placed.expect("no CPU named").shards, [None, None]);
    let placed = settings(&[("kuring.affinity", "1023")]).placement();
    let text = placed.expect_err("no machine here has it").to_string();
    assert!(text.contains("CPU 1023") && text.contains("allowed are"), "{text}");
}

#[test]
fn very_long_durations_mean_for_ever() {
    let long = builder()
        .max_block(Duration::MAX)
        .spin(Duration::MAX)
        .connection_idle_max(Some(Duration::MAX))
        .settings()
        .expect("valid");
    assert_eq!((long.max_block, long.spin), (FOREVER, FOREVER));
    assert_eq!(long.connection_idle_max, Some(FOREVER));
}

#[test]
fn a_producer_without_a_name_is_numbered() {
    let unnamed = ConfigBuilder::new().bootstrap_servers("a:1");
    let number = |settings: Settings| -> u64 {
        let number = settings.client_id.strip_prefix("producer-").expect("the prefix");
        number.parse().expect("a number")
    };
    let first = number(unnamed.settings().expect("valid"));
    let second = number(unnamed.settings().expect("valid"));
    assert!(first >= 1 && second > first);
    assert_eq!(settings(&[("client.id", "")]).client_id, "");
}

#[test]
fn cfg_1_acks_or_retries_turn_idempotence_off_unless_it_was_asked_for() {
    for conflict in [("acks", "1"), ("acks", "0"), ("retries", "0")] {
        assert!(!settings(&[conflict]).idempotence, "{conflict:?}");
        assert!(!settings(&[conflict, ("enable.idempotence", "false")]).idempotence);
        let refused = refusal(&[conflict, ("enable.idempotence", "true")]);
        assert!(refused.contains(conflict.0) && refused.contains(conflict.1), "{refused}");
        assert!(refused.contains("set enable.idempotence=false"), "{refused}");
    }
    assert!(settings(&[("acks", "-1"), ("enable.idempotence", "TRUE")]).idempotence);
    assert!(builder().acks(Acks::Leader).idempotence(true).settings().is_err());
    assert!(!builder().acks(Acks::Leader).settings().expect("valid").idempotence);
}

#[test]
fn cfg_2_more_than_five_in_flight_needs_idempotence_off_by_hand() {
    let six = ("max.in.flight.requests.per.connection", "6");
    assert!(matches!(from(&[six]), Err(ConfigError::Idempotence { .. })));
    assert!(matches!(from(&[six, ("acks", "1")]), Err(ConfigError::Idempotence { .. })));
    let refused = refusal(&[six, ("enable.idempotence", "true")]);
    assert!(refused.contains("at most 5, and it is 6"), "{refused}");
    assert_eq!(settings(&[six, ("enable.idempotence", "false")]).in_flight_max, 6);
    let five = settings(&[("max.in.flight.requests.per.connection", "5")]);
    assert_eq!((five.in_flight_max, five.idempotence), (5, true));
}

#[test]
fn cfg_3_transactions_without_idempotence_are_a_conflict_before_they_are_not_supported() {
    let id = ("transactional.id", "till-7");
    for off in [("enable.idempotence", "false"), ("acks", "1"), ("acks", "0"), ("retries", "0")] {
        let refused = from(&[id, off]);
        let named = format!("{}={}", off.0, off.1);
        assert!(
            matches!(&refused, Err(ConfigError::TransactionsWithoutIdempotence { id, because })
                if id == "till-7" && *because == named),
            "{refused:?}"
        );
    }
    let refused = refusal(&[id]);
    assert!(refused.contains("transactional.id") && refused.contains("not support"), "{refused}");
}

#[test]
fn cfg_4_a_chosen_delivery_timeout_below_linger_and_request_timeout_is_refused() {
    let with = |delivery: &str| {
        from(&[
            ("linger.ms", "10"),
            ("request.timeout.ms", "20"),
            ("delivery.timeout.ms", delivery),
        ])
    };
    assert!(matches!(with("29"), Err(ConfigError::DeliveryTimeout { .. })));
    assert_eq!(with("30").expect("equal is accepted").delivery_timeout, ms(30));
    let refused = with("29").expect_err("refused").to_string();
    assert!(refused.starts_with("delivery.timeout.ms=29 is below"), "{refused}");
    assert!(refused.contains("= 10 + 20"), "{refused}");
}

#[test]
fn cfg_4_the_default_delivery_timeout_is_raised_to_the_sum() {
    let raised = settings(&[("linger.ms", "1000"), ("request.timeout.ms", "120000")]);
    assert_eq!(raised.delivery_timeout, ms(121_000));
}

#[test]
fn cfg_4_the_sum_saturates_and_linger_is_cut_at_a_java_int() {
    let most = i32::MAX.to_string();
    let longest = ms(i32::MAX as u64);
    let all = settings(&[
        ("linger.ms", "9223372036854775807"),
        ("request.timeout.ms", &most),
        ("delivery.timeout.ms", &most),
    ]);
    assert_eq!((all.linger, all.delivery_timeout), (longest, longest));
    let raised = settings(&[("linger.ms", "9223372036854775807")]);
    assert_eq!(raised.delivery_timeout, longest);
}

#[test]
fn cfg_5_a_reconnect_backoff_set_alone_is_constant() {
    let alone = settings(&[("reconnect.backoff.ms", "2000")]);
    assert_eq!(alone.reconnect_backoff, Backoff { base: ms(2000), max: ms(2000) });
    let alone = builder().reconnect_backoff(ms(10)).settings().expect("valid");
    assert_eq!(alone.reconnect_backoff, Backoff { base: ms(10), max: ms(10) });
    let both = settings(&[("reconnect.backoff.ms", "10"), ("reconnect.backoff.max.ms", "20")]);
    assert_eq!(both.reconnect_backoff, Backoff { base: ms(10), max: ms(20) });
    let maximum = settings(&[("reconnect.backoff.max.ms", "20")]);
    assert_eq!(maximum.reconnect_backoff, Backoff { base: ms(20), max: ms(20) });
}

#[test]
fn a_backoff_above_its_maximum_is_the_maximum_constantly() {
    let constant = Backoff { base: ms(1000), max: ms(1000) };
    assert_eq!(settings(&[("retry.backoff.ms", "5000")]).retry_backoff, constant);
    let setup = settings(&[("socket.connection.setup.timeout.max.ms", "1000")]);
    assert_eq!(setup.connection_setup_timeout, constant);
}

#[test]
fn cfg_6_servers_are_checked_when_the_settings_are_made() {
    let missing = ConfigBuilder::new().settings();
    assert!(matches!(missing, Err(ConfigError::Missing { key: "bootstrap.servers", .. })));
    for servers in ["", "a", "a:x", "a:0", "a:1,a:1", "a:1,,b:1", "::1:9092"] {
        let typed = builder().bootstrap_servers(servers).settings();
        let named = from(&[("bootstrap.servers", servers)]);
        assert!(typed.is_err(), "{servers}");
        assert_eq!(typed.map_err(|e| e.to_string()), named.map_err(|e| e.to_string()));
    }
}

#[test]
fn cfg_7_values_are_text_with_white_space_that_does_not_count() {
    let spaced = settings(&[
        ("linger.ms", " 20\t"),
        ("acks", " all "),
        ("client.id", "  till "),
        ("security.protocol", " Plaintext "),
        ("metadata.recovery.strategy", "REBOOTSTRAP"),
        ("compression.type", " none"),
    ]);
    assert_eq!((spaced.linger, spaced.client_id.as_str()), (ms(20), "till"));
    assert_eq!(spaced.metadata_recovery, MetadataRecovery::Rebootstrap);
    assert!(from(&[("compression.type", "None")]).is_err());
    assert!(from(&[("acks", "ALL")]).is_err());
}

#[test]
fn a_batch_above_the_memory_is_refused_and_one_of_zero_bytes_is_one() {
    let refused = refusal(&[("batch.size", "100001"), ("buffer.memory", "100000")]);
    assert!(refused.starts_with("batch.size=100001 is above buffer.memory=100000"), "{refused}");
    assert!(refusal(&[("buffer.memory", "0")]).contains("raise buffer.memory"));
    let equal = settings(&[("batch.size", "100000"), ("buffer.memory", "100000")]);
    assert_eq!(equal.batch_bytes, 100_000);
    assert_eq!(settings(&[("batch.size", "0")]).batch_bytes, 1);
}

#[test]
fn a_file_that_is_not_there_or_not_in_the_format_is_named() {
    let missing = ConfigBuilder::new().properties_file("/nowhere/producer.properties");
    let text = missing.expect_err("refused").to_string();
    assert!(text.contains("/nowhere/producer.properties"), "{text}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "acks=all\nlinger.ms=\\u12").expect("written");
    let text = ConfigBuilder::new().properties_file(file.path()).expect_err("refused").to_string();
    let start = format!("{}:2: this line has \\u without", file.path().display());
    assert!(text.starts_with(&start), "{text}");
    fs::write(file.path(), "# c\nacks=all\nlinger.ms = soon").expect("written");
    let text = ConfigBuilder::new().properties_file(file.path()).expect_err("refused").to_string();
    let start = format!("{}:3: linger.ms=\"soon\" is not valid", file.path().display());
    assert!(text.starts_with(&start), "{text}");
}

#[test]
fn cfg_10_unknown_keys_are_accepted_kept_and_logged_once() {
    let heard = Heard::default();
    let made = tracing::subscriber::with_default(heard.clone(), || {
        settings(&[SERVER, ("no.such.key", "1"), ("no.such.key", "2"), ("Acks", "all")])
    });
    assert_eq!(made.unknown_keys, ["Acks", "no.such.key"]);
    let lines = heard.lines.lock().expect("no panic");
    let of = |key: &str| lines.iter().filter(|line| line.contains(key)).count();
    assert_eq!((of("no.such.key"), of("Acks"), lines.len()), (1, 1, 2), "{lines:?}");
}

#[test]
fn jvm_properties_are_accepted_and_logged_with_what_takes_their_place() {
    let heard = Heard::default();
    let serializer = "org.apache.kafka.StringSerializer";
    let made = tracing::subscriber::with_default(heard.clone(), || {
        settings(&[("key.serializer", serializer), ("value.serializer", serializer)])
    });
    assert_eq!(made.jvm_only_keys, ["key.serializer", "value.serializer"]);
    let lines = heard.lines.lock().expect("no panic");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("key.serializer") && lines[0].contains("typed_topic"));
}

#[test]
fn an_untouched_file_of_a_java_service_is_accepted_with_one_warning_for_each_jvm_property() {
    let text = include_str!("../../../tests/support/java-service.properties");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    let heard = Heard::default();
    let made = tracing::subscriber::with_default(heard.clone(), || {
        let read = ConfigBuilder::new().properties_file(file.path()).expect("every line of it");
        read.settings().expect("valid")
    });
    assert_eq!((made.bootstrap_servers.len(), made.client_id.as_str()), (3, "orders-producer"));
    assert_eq!((made.linger, made.batch_bytes, made.buffer_memory), (ms(20), 65_536, 67_108_864));
    assert_eq!((made.send_buffer, made.receive_buffer), (Some(131_072), Some(32_768)));
    assert_eq!((made.max_block, made.metadata_age_max), (ms(10_000), ms(180_000)));
    let ignored = [
        "key.serializer",
        "value.serializer",
        "ssl.protocol",
        "sasl.kerberos.service.name",
        "metric.reporters",
    ];
    assert_eq!(made.jvm_only_keys, ignored);
    assert_eq!(made.unknown_keys, ["auto.register.schemas", "schema.registry.url"]);
    let lines = heard.lines.lock().expect("no panic");
    assert_eq!(lines.len(), ignored.len() + 2, "{lines:?}");
    for key in ignored {
        let about = |line: &&String| line.contains(&format!("key=\"{key}\" instead="));
        assert_eq!(lines.iter().filter(about).count(), 1, "{key}: {lines:?}");
    }
}

#[test]
fn a_value_that_gives_way_is_logged() {
    for (properties, word) in [
        (&[("request.timeout.ms", "200000")][..], "delivery.timeout.ms is raised"),
        (&[("retry.backoff.ms", "5000")][..], "retry.backoff.ms"),
        (&[("max.request.size", "40000000")][..], "max.request.size is above buffer.memory"),
    ] {
        let heard = Heard::default();
        tracing::subscriber::with_default(heard.clone(), || settings(properties));
        let lines = heard.lines.lock().expect("no panic");
        assert!(lines.len() == 1 && lines[0].contains(word), "{word}: {lines:?}");
    }
}

/// Keeps each event as one line of its fields.
#[derive(Clone, Default)]
struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
