//! What is wrong with a configuration, and what to write instead.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::cpus::CpuList;
use crate::protocol::compression::Compression;

/// Why no producer can be built from this configuration. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A property without which there is nothing to do.
    #[error("{key} is not set: {accepted}")]
    Missing {
        /// The property.
        key: &'static str,
        /// What to write.
        accepted: &'static str,
    },

    /// A value that is not of the property's type or range.
    #[error("{key}={value:?} is not valid: accepted is {accepted}")]
    Value {
        /// The property.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// What is accepted, in words.
        accepted: Cow<'static, str>,
    },

    /// An entry of `bootstrap.servers` that names no server (CFG-6).
    #[error("bootstrap.servers has the entry {entry:?}, which {problem}")]
    Bootstrap {
        /// The entry as given.
        entry: String,
        /// What is wrong with it and what to write.
        problem: BootstrapProblem,
    },

    /// A property of Kafka's that this version does not carry out. Kafka's default value is
    /// accepted.
    #[error(
        "{key}={value:?}: Kafka has this, this version of Kuring does not support it yet; \
         remove it, or set it to Kafka's default ({default})"
    )]
    NotYet {
        /// The property.
        key: String,
        /// The value that was given; hidden when it is a secret.
        value: String,
        /// The value that is accepted.
        default: &'static str,
    },

    /// A codec whose cargo feature is not in this build.
    #[error(
        "compression.type={codec}: this build of kuring has no such codec; build kuring with its \
         feature `{codec}`, or choose one of these: {built}"
    )]
    CodecNotBuilt {
        /// The codec.
        codec: &'static str,
        /// Those that there are.
        built: String,
    },

    /// A topic is to be compressed in another way than it is already. A topic's codec is chosen by
    /// its first [`Producer::topic_with`](crate::Producer::topic_with), or fixed by its first
    /// record.
    #[error(
        "the topic {topic:?} is sent with compression={compression} already: choose it before the \
         first record of the topic, and once"
    )]
    TopicInUse {
        /// The topic.
        topic: String,
        /// How it is compressed.
        compression: Compression,
    },

    /// Idempotence was asked for, by hand or by default, and another property rules it out (CFG-1,
    /// CFG-2).
    #[error(
        "idempotence needs {key} to be {accepted}, and it is {value}: change it, or set \
         enable.idempotence=false"
    )]
    Idempotence {
        /// The property in the way.
        key: &'static str,
        /// Its value.
        value: String,
        /// What idempotence needs it to be.
        accepted: &'static str,
    },

    /// Transactions without idempotence (CFG-3).
    #[error(
        "transactional.id={id:?} needs idempotence, which is off because of {because}: remove \
         that, or remove transactional.id"
    )]
    TransactionsWithoutIdempotence {
        /// The transactional id.
        id: String,
        /// The property and value that turned idempotence off.
        because: &'static str,
    },

    /// Nobody can be in the same rack as a producer that is in none (CFG-8).
    #[error(
        "partitioner.rack.aware=true needs client.rack, which is not set: set it to the rack that \
         this producer is in, as broker.rack names those of the brokers, or remove \
         partitioner.rack.aware"
    )]
    RackUnknown,

    /// A delivery timeout that leaves no time for one attempt (CFG-4).
    #[error(
        "delivery.timeout.ms={} is below linger.ms + request.timeout.ms = {} + {}: raise it to at \
         least the sum, or lower one of the two",
        delivery.as_millis(), linger.as_millis(), request.as_millis()
    )]
    DeliveryTimeout {
        /// `delivery.timeout.ms`.
        delivery: Duration,
        /// `linger.ms`.
        linger: Duration,
        /// `request.timeout.ms`.
        request: Duration,
    },

    /// No batch would ever fit the memory.
    #[error(
        "batch.size={batch_bytes} is above buffer.memory={buffer_memory}, so that no batch could \
         ever be built: lower batch.size or raise buffer.memory"
    )]
    BatchAboveMemory {
        /// `batch.size`.
        batch_bytes: u64,
        /// `buffer.memory`.
        buffer_memory: u64,
    },

    /// `kuring.affinity` names a CPU this process may not run on.
    #[error(
        "kuring.affinity names CPU {cpu}, which this process may not use: allowed are {allowed}"
    )]
    CpuNotAllowed {
        /// The first CPU that is not allowed.
        cpu: usize,
        /// The process's allowed CPUs.
        allowed: CpuList,
    },

    /// `kuring.affinity` names a NUMA node of which this process may use no CPU, or that is not
    /// there.
    #[error(
        "kuring.affinity=numa:{node} has no CPU that this process may use: its CPUs are \
         {cpus}, allowed are {allowed}"
    )]
    NumaNode {
        /// The node.
        node: u32,
        /// Its CPUs; empty when this machine has no such node.
        cpus: CpuList,
        /// The process's allowed CPUs.
        allowed: CpuList,
    },

    /// The kernel would not say which CPUs this process may use.
    #[error("the allowed CPUs cannot be read ({source}): set kuring.affinity=none")]
    Machine {
        /// The kernel's answer.
        source: io::Error,
    },

    /// A properties file that cannot be read.
    #[error("the properties file {} cannot be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A properties file that is not in the format.
    #[error("{}:{line}: this line {problem}", path.display())]
    Properties {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it and what to write.
        problem: PropertiesProblem,
    },

    /// A property in a file, and what is wrong with it.
    #[error("{}:{line}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        source: Box<Self>,
    },
}

/// What is wrong with an entry of `bootstrap.servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapProblem {
    /// Nothing between two commas.
    #[error("is empty: write host:port entries with one comma between them")]
    Empty,
    /// `host` alone.
    #[error("has no port: write host:port, such as kafka-1:9092")]
    NoPort,
    /// `host:port` with something that is not a port.
    #[error("has a bad port: write a number from 1 to 65535 after the last colon")]
    BadPort,
    /// `:port`, or characters no host name has.
    #[error(
        "has no valid host name: write host:port, and nothing but letters, digits, - . _ in host"
    )]
    BadHost,
    /// An IPv6 address without brackets, or with only one, or brackets around something else.
    #[error("is not a bracketed IPv6 address: write [address]:port, such as [::1]:9092")]
    BadBrackets,
    /// `SSL://...` and the like.
    #[error("names a protocol: write host:port; PLAINTEXT is the only protocol of this version")]
    Scheme,
    /// The same host and port twice.
    #[error("is there twice: remove one of the two")]
    Duplicate,
}

/// What is wrong with a line of a properties file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertiesProblem {
    /// Bytes that are not UTF-8.
    #[error("is not UTF-8: save the file as UTF-8, or write the character as \\uXXXX")]
    NotUtf8,
    /// `\u` without four hexadecimal digits.
    #[error("has \\u without four hexadecimal digits: write \\\\u for a backslash and a u")]
    BadEscape,
    /// Half of a surrogate pair.
    #[error("has half of a surrogate pair: write both halves, as \\uD83D\\uDE00")]
    LoneSurrogate,
    /// More bytes than any configuration has.
    #[error("is past the first MiB: a properties file of this size is not a configuration")]
    TooLarge,
}
