//! Every property of Kafka's producer, and what this version does with it.
//!
//! Source: Apache Kafka 4.4's `ProducerConfig` and what it inherits: 120 names. Ours stand at the
//! end.
//!
//! A property that is not carried out yet is refused, unless its value is Kafka's own default: then
//! nothing was asked for.
#![forbid(unsafe_code)]

use super::error::ConfigError;
use super::value::trim;

/// How a default is written where the property is not set at all.
pub(super) const NOT_YET_DEFAULT_NONE: &str = "unset";

/// A property of Kafka's that this version does not carry out.
#[derive(Debug, PartialEq)]
pub(super) struct NotYet {
    name: &'static str,
    /// Kafka's default; empty when the property is unset or an empty list.
    default: &'static str,
    kind: Kind,
}

/// How two spellings of one value are recognised.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// As written.
    Text,
    /// Case does not count (CFG-7).
    Word,
    /// `09` is `9`, `0.8` is `0.80`.
    Number,
    /// Spaces around commas do not count.
    List,
    /// As written, and never shown.
    Secret,
}

/// What a name is.
#[derive(Debug, PartialEq)]
pub(super) enum Lookup {
    /// The builder takes it.
    Supported,
    /// Refused, unless it is Kafka's default.
    NotYet(&'static NotYet),
    /// `transactional.id`: refused when the settings are made, since CFG-3 comes first.
    Transactions,
    /// Ignored: the name, and what takes its place.
    JvmOnly(&'static str, &'static str),
    /// Ignored.
    Unknown,
}

/// The name of a property that the builder takes.
pub(super) fn supported(name: &str) -> Option<&'static str> {
    SUPPORTED.iter().chain(OURS).copied().find(|known| *known == name)
}

/// What a property is called, and what happens to it.
pub(super) fn lookup(name: &str) -> Lookup {
    if SUPPORTED.contains(&name) || OURS.contains(&name) {
        return Lookup::Supported;
    }
    if name == "transactional.id" {
        return Lookup::Transactions;
    }
    let family = family(name);
    if let Some(key) = NOT_YET.iter().find(|key| key.name == family) {
        return Lookup::NotYet(key);
    }
    match JVM_ONLY.iter().find(|(key, _)| *key == family) {
        Some((key, instead)) => Lookup::JvmOnly(key, instead),
        None => Lookup::Unknown,
    }
}

/// Every name in the tables, families by their heads.
#[cfg(test)]
pub(super) fn every_name() -> impl Iterator<Item = &'static str> {
    let not_yet = NOT_YET.iter().map(|key| key.name).chain(["transactional.id"]);
    let jvm_only = JVM_ONLY.iter().map(|(name, _)| *name);
    SUPPORTED.iter().chain(OURS).copied().chain(not_yet).chain(jvm_only)
}

/// The head of the family that a name belongs to: mostly itself.
pub(super) fn family(name: &str) -> &str {
    match name {
        _ if name.starts_with("config.providers.") => "config.providers",
        _ if name.starts_with("metrics.context.") => "metric.reporters",
        _ => name,
    }
}

impl NotYet {
    /// Accepts Kafka's default and refuses everything else. `name` is what was written.
    pub(super) fn require_harmless(&self, name: &str, value: &str) -> Result<(), ConfigError> {
        if self.kind.same(trim(value), self.default) {
            return Ok(());
        }
        let value = if self.kind == Kind::Secret { "[hidden]" } else { value };
        let default = if self.default.is_empty() { NOT_YET_DEFAULT_NONE } else { self.default };
        Err(ConfigError::NotYet { key: name.to_owned(), value: value.to_owned(), default })
    }
}

impl Kind {
    fn same(self, value: &str, wanted: &str) -> bool {
        match self {
            Self::Text | Self::Secret => value == wanted,
            Self::Word => value.eq_ignore_ascii_case(wanted),
            Self::Number => match (value.parse::<f64>(), wanted.parse::<f64>()) {
                (Ok(value), Ok(wanted)) => value == wanted,
                _ => value == wanted,
            },
            Self::List => value.split(',').map(trim).eq(wanted.split(',').map(trim)),
        }
    }
}

const fn key(name: &'static str, default: &'static str, kind: Kind) -> NotYet {
    NotYet { name, default, kind }
}

const fn text(name: &'static str, default: &'static str) -> NotYet {
    key(name, default, Kind::Text)
}

const fn word(name: &'static str, default: &'static str) -> NotYet {
    key(name, default, Kind::Word)
}

const fn number(name: &'static str, default: &'static str) -> NotYet {
    key(name, default, Kind::Number)
}

const fn list(name: &'static str, default: &'static str) -> NotYet {
    key(name, default, Kind::List)
}

const fn secret(name: &'static str) -> NotYet {
    key(name, "", Kind::Secret)
}

/// Kafka's properties that the builder takes.
pub(super) const SUPPORTED: &[&str] = &[
    "acks",
    "batch.size",
    "bootstrap.resolve.timeout.ms",
    "bootstrap.servers",
    "buffer.memory",
    "buffer.memory.allocation.strategy",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "connections.max.idle.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "enable.metrics.push",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.request.size",
    "metadata.cluster.check.enable",
    "metadata.max.age.ms",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "partitioner.rack.aware",
    "receive.buffer.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "send.buffer.bytes",
    "socket.connection.setup.timeout.max.ms",
    "socket.connection.setup.timeout.ms",
];

/// Our own properties.
pub(super) const OURS: &[&str] = &[
    "kuring.affinity",
    "kuring.driver",
    "kuring.reserve.max.ms",
    "kuring.shards",
    "kuring.spin",
    "kuring.sqpoll",
    "kuring.zerocopy",
];

/// Kafka's properties that this version does not carry out, but for `transactional.id`.
static NOT_YET: &[NotYet] = &[
    list("config.providers", ""),
    secret("sasl.jaas.config"),
    number("sasl.login.connect.timeout.ms", ""),
    number("sasl.login.read.timeout.ms", ""),
    number("sasl.login.refresh.buffer.seconds", "300"),
    number("sasl.login.refresh.min.period.seconds", "60"),
    number("sasl.login.refresh.window.factor", "0.80"),
    number("sasl.login.refresh.window.jitter", "0.05"),
    number("sasl.login.retry.backoff.max.ms", "10000"),
    number("sasl.login.retry.backoff.ms", "100"),
    text("sasl.mechanism", "GSSAPI"),
    text("sasl.oauthbearer.assertion.algorithm", "RS256"),
    text("sasl.oauthbearer.assertion.claim.aud", ""),
    number("sasl.oauthbearer.assertion.claim.exp.seconds", "300"),
    text("sasl.oauthbearer.assertion.claim.iss", ""),
    word("sasl.oauthbearer.assertion.claim.jti.include", "false"),
    number("sasl.oauthbearer.assertion.claim.nbf.seconds", "60"),
    text("sasl.oauthbearer.assertion.claim.sub", ""),
    text("sasl.oauthbearer.assertion.file", ""),
    text("sasl.oauthbearer.assertion.private.key.file", ""),
    secret("sasl.oauthbearer.assertion.private.key.passphrase"),
    text("sasl.oauthbearer.assertion.template.file", ""),
    text("sasl.oauthbearer.client.credentials.client.id", ""),
    secret("sasl.oauthbearer.client.credentials.client.secret"),
    word("sasl.oauthbearer.header.urlencode", "false"),
    text("sasl.oauthbearer.scope", ""),
    text("sasl.oauthbearer.scope.claim.name", "scope"),
    text("sasl.oauthbearer.sub.claim.name", "sub"),
    text("sasl.oauthbearer.token.endpoint.url", ""),
    word("security.protocol", "PLAINTEXT"),
    list("ssl.cipher.suites", ""),
    list("ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
    text("ssl.endpoint.identification.algorithm", "https"),
    secret("ssl.key.password"),
    text("ssl.keystore.certificate.chain", ""),
    secret("ssl.keystore.key"),
    text("ssl.keystore.location", ""),
    secret("ssl.keystore.password"),
    text("ssl.keystore.type", "JKS"),
    text("ssl.truststore.certificates", ""),
    text("ssl.truststore.location", ""),
    secret("ssl.truststore.password"),
    text("ssl.truststore.type", "JKS"),
    number("transaction.timeout.ms", "60000"),
    word("transaction.two.phase.commit.enable", "false"),
];

const BYTES: &str = "give Producer::typed_topic a serializer (kuring::serializer has Kafka's), or \
                     encode keys and values before send";
const INTERCEPTORS: &str = "nothing of it is called: write an Interceptor and give it to \
                            ConfigBuilder::interceptor";
const METRICS: &str = "read Producer::metrics and report it where you like";
const TLS: &str = "nothing takes its place: there is no Java security provider";
const LOGIN: &str = "nothing takes its place: there are no Java login classes";
const KERBEROS: &str = "nothing takes its place: there is no Kerberos";
const BROKER: &str = "nothing takes its place: only brokers check tokens";

/// Kafka's properties that only mean something in a JVM, or not on a producer's side, each with
/// what takes its place.
static JVM_ONLY: &[(&str, &str)] = &[
    ("interceptor.classes", INTERCEPTORS),
    ("key.serializer", BYTES),
    ("metric.reporters", METRICS),
    ("sasl.client.callback.handler.class", LOGIN),
    ("sasl.kerberos.kinit.cmd", KERBEROS),
    ("sasl.kerberos.min.time.before.relogin", KERBEROS),
    ("sasl.kerberos.service.name", KERBEROS),
    ("sasl.kerberos.ticket.renew.jitter", KERBEROS),
    ("sasl.kerberos.ticket.renew.window.factor", KERBEROS),
    ("sasl.login.callback.handler.class", LOGIN),
    ("sasl.login.class", LOGIN),
    ("sasl.oauthbearer.allow.unverified.audience", BROKER),
    ("sasl.oauthbearer.allow.unverified.issuer", BROKER),
    ("sasl.oauthbearer.clock.skew.seconds", BROKER),
    ("sasl.oauthbearer.expected.audience", BROKER),
    ("sasl.oauthbearer.expected.issuer", BROKER),
    ("sasl.oauthbearer.jwks.endpoint.refresh.ms", BROKER),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", BROKER),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", BROKER),
    ("sasl.oauthbearer.jwks.endpoint.url", BROKER),
    ("sasl.oauthbearer.jwt.retriever.class", LOGIN),
    ("sasl.oauthbearer.jwt.validator.class", LOGIN),
    ("security.providers", TLS),
    ("ssl.engine.factory.class", TLS),
    ("ssl.keymanager.algorithm", TLS),
    ("ssl.protocol", TLS),
    ("ssl.provider", TLS),
    ("ssl.secure.random.implementation", TLS),
    ("ssl.trustmanager.algorithm", TLS),
    ("value.serializer", BYTES),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn refusal(name: &str, value: &str) -> Option<String> {
        match lookup(name) {
            Lookup::NotYet(key) => {
                key.require_harmless(name, value).err().map(|error| error.to_string())
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn every_one_of_kafka_s_120_properties_is_in_the_table_once() {
        let names: BTreeSet<&str> = SUPPORTED
            .iter()
            .copied()
            .chain(NOT_YET.iter().map(|key| key.name))
            .chain(JVM_ONLY.iter().map(|(name, _)| *name))
            .chain(["transactional.id"])
            .collect();
        let listed = SUPPORTED.len() + NOT_YET.len() + JVM_ONLY.len() + 1;
        assert_eq!((names.len(), listed), (120, 120));
    }

    #[test]
    fn a_default_of_what_is_not_supported_yet_is_accepted() {
        for key in NOT_YET {
            assert_eq!(refusal(key.name, key.default), None, "{}", key.name);
            assert_eq!(refusal(key.name, &format!(" {}\t", key.default)), None, "{}", key.name);
            assert!(refusal(key.name, "something else").is_some(), "{}", key.name);
        }
    }

    #[test]
    fn what_is_not_supported_yet_is_refused_and_says_so() {
        let refused = refusal("sasl.mechanism", "PLAIN").expect("refused");
        assert_eq!(
            refused,
            "sasl.mechanism=\"PLAIN\": Kafka has this, this version of Kuring does not support it \
             yet; remove it, or set it to Kafka's default (GSSAPI)"
        );
        let refused = refusal("ssl.keystore.location", "/keys.jks").expect("refused");
        assert!(refused.ends_with("default (unset)"), "{refused}");
    }

    #[test]
    fn secrets_are_never_shown() {
        for name in ["sasl.jaas.config", "ssl.key.password", "ssl.keystore.key"] {
            let refused = refusal(name, "hunter2").expect("refused");
            assert!(!refused.contains("hunter2") && refused.contains("[hidden]"), "{refused}");
        }
    }

    #[test]
    fn cfg_7_enum_like_values_have_java_s_case_rules() {
        assert_eq!(refusal("security.protocol", "plaintext"), None);
        assert!(refusal("sasl.mechanism", "gssapi").is_some());
        assert_eq!(refusal("transaction.two.phase.commit.enable", "FALSE"), None);
    }

    #[test]
    fn defaults_are_recognised_in_other_spellings() {
        assert_eq!(refusal("sasl.login.refresh.window.factor", "0.8"), None);
        assert_eq!(refusal("transaction.timeout.ms", "+60000"), None);
        assert_eq!(refusal("ssl.enabled.protocols", "TLSv1.2 , TLSv1.3"), None);
        assert!(refusal("ssl.enabled.protocols", "TLSv1.3").is_some());
    }

    #[test]
    fn families_of_names_follow_their_head() {
        assert!(refusal("config.providers.file.class", "x").is_some());
        let reporters = Lookup::JvmOnly("metric.reporters", METRICS);
        assert_eq!(lookup("metrics.context.cluster"), reporters);
        assert_eq!(lookup("config.providersx"), Lookup::Unknown);
        assert_eq!(lookup(""), Lookup::Unknown);
        assert_eq!(lookup("kuring.afinity"), Lookup::Unknown);
    }
}
