//! Kafka's properties, but for those of security.
#![forbid(unsafe_code)]

use super::ValueType::{Boolean, Class, Int, List, Long, String};
use super::{Property, row};

pub(super) static PROPERTIES: &[Property] = &[
    // Delivery.
    row(
        "acks",
        String,
        "all",
        "Which replicas must have a record before it counts as written: all (or -1), 1 for the \
         leader alone, 0 for none.",
    ),
    row(
        "batch.size",
        Int,
        "16384",
        "The size in bytes a batch is aimed at, and after which records without a key change their \
         partition. 0 turns batching off.",
    ),
    row(
        "buffer.memory",
        Long,
        "33554432",
        "Bytes of memory for records that have no verdict yet, for all shards together.",
    ),
    row(
        "buffer.memory.allocation.strategy",
        String,
        "full",
        "How a batch gets its memory in the Java producer: full or incremental. Accepted; the \
         arena here touches memory only as it is filled, which is what incremental is for.",
    ),
    row(
        "client.rack",
        String,
        "",
        "Where this client runs, as the brokers' broker.rack says it: for partitioner.rack.aware.",
    ),
    row("compression.gzip.level", Int, "-1", "The level of gzip: 1 to 9, or -1 for its own."),
    row("compression.lz4.level", Int, "9", "The level of lz4: 1 to 17; 9 is its fast compressor."),
    row(
        "compression.type",
        String,
        "none",
        "How batches are compressed: none, gzip, snappy, lz4 or zstd, in lower case.",
    ),
    row("compression.zstd.level", Int, "3", "The level of zstd: -131072 to 22."),
    row(
        "delivery.timeout.ms",
        Int,
        "120000",
        "From a record's append to its verdict, at most. Not below linger.ms + request.timeout.ms.",
    ),
    row(
        "enable.idempotence",
        Boolean,
        "true",
        "One copy of each record per producer session, in order. Off when acks is not all or \
         retries is 0, unless it is asked for: then these are errors.",
    ),
    row(
        "interceptor.classes",
        List,
        "",
        "Classes that see each record before it is sent and after its verdict.",
    ),
    row("key.serializer", Class, "", "The class that turns keys into bytes."),
    row(
        "linger.ms",
        Long,
        "5",
        "How long a batch that is not full waits for more records. Setters keep microseconds.",
    ),
    row(
        "max.block.ms",
        Long,
        "60000",
        "The longest one call waits for metadata and memory together.",
    ),
    row(
        "max.in.flight.requests.per.connection",
        Int,
        "5",
        "Unanswered requests on one connection. With idempotence at most 5; 1 keeps the order \
         without it.",
    ),
    row(
        "max.request.size",
        Int,
        "1048576",
        "The largest request, and the largest record before compression, in bytes.",
    ),
    row(
        "partitioner.adaptive.partitioning.enable",
        Boolean,
        "true",
        "Whether records without a key prefer partitions whose queues are short.",
    ),
    row(
        "partitioner.availability.timeout.ms",
        Long,
        "0",
        "Partitions whose broker takes nothing for so long get no records without a key until it \
         does. 0 turns it off.",
    ),
    row(
        "partitioner.class",
        Class,
        "",
        "Who chooses partitions, if not the built-in rule: murmur2 of the key, else sticky.",
    ),
    row(
        "partitioner.ignore.keys",
        Boolean,
        "false",
        "Whether records with a key are placed as if they had none.",
    ),
    row(
        "partitioner.rack.aware",
        Boolean,
        "false",
        "Whether records without a key prefer partitions whose leader is in client.rack.",
    ),
    row(
        "request.timeout.ms",
        Int,
        "30000",
        "The longest wait for one answer; after it the connection is given up.",
    ),
    row("retries", Int, "2147483647", "How often one batch is sent again."),
    row("retry.backoff.max.ms", Long, "1000", "The longest wait before a request is sent again."),
    row(
        "retry.backoff.ms",
        Long,
        "100",
        "The first wait before a request is sent again; it doubles per failure.",
    ),
    row(
        "transaction.timeout.ms",
        Int,
        "60000",
        "After so long without news from the producer the cluster aborts its transaction.",
    ),
    row(
        "transaction.two.phase.commit.enable",
        Boolean,
        "false",
        "Whether transactions take part in a two-phase commit that somebody else decides.",
    ),
    row(
        "transactional.id",
        String,
        "",
        "The name under which transactions survive a restart; needs idempotence.",
    ),
    row("value.serializer", Class, "", "The class that turns values into bytes."),
    // Connections.
    row(
        "bootstrap.resolve.timeout.ms",
        Long,
        "0",
        "0: the names of bootstrap.servers are resolved by the call that starts the producer, \
         which fails if none has an address. Above 0: they are resolved in the background, again \
         and again for so long, and then every call fails.",
    ),
    row(
        "bootstrap.servers",
        List,
        "",
        "Where the cluster is first looked for: host:port entries, IPv6 addresses in brackets, no \
         duplicates. Required.",
    ),
    row(
        "client.dns.lookup",
        String,
        "use_all_dns_ips",
        "use_all_dns_ips: all addresses of a name are tried in turn. \
         resolve_canonical_bootstrap_servers_only: besides, each address of a bootstrap server is \
         a server of its own, under the name that the address resolves back to.",
    ),
    row(
        "client.id",
        String,
        "",
        "The name in every request, which brokers log and count quotas by; producer-<n> if unset.",
    ),
    row(
        "connections.max.idle.ms",
        Long,
        "540000",
        "A connection idle for so long is closed; a negative number keeps it.",
    ),
    row(
        "receive.buffer.bytes",
        Int,
        "-1",
        "SO_RCVBUF; -1 leaves it to the system, which is the default here (Kafka: 32768) because a \
         fixed size stops the kernel from growing it.",
    ),
    row(
        "reconnect.backoff.max.ms",
        Long,
        "1000",
        "The longest wait before a broker is connected to again. When only reconnect.backoff.ms is \
         set, that is it.",
    ),
    row(
        "reconnect.backoff.ms",
        Long,
        "50",
        "The first wait before a broker is connected to again; it doubles per failure.",
    ),
    row(
        "send.buffer.bytes",
        Int,
        "-1",
        "SO_SNDBUF; -1 leaves it to the system, which is the default here (Kafka: 131072) because \
         a fixed size stops the kernel from growing it.",
    ),
    row(
        "socket.connection.setup.timeout.max.ms",
        Long,
        "30000",
        "The longest that a connect may take after failures.",
    ),
    row(
        "socket.connection.setup.timeout.ms",
        Long,
        "10000",
        "The longest that a first connect may take; it doubles per failure.",
    ),
    // Metadata.
    row(
        "metadata.cluster.check.enable",
        Boolean,
        "true",
        "Whether each connection tells its broker which broker of which cluster is meant, so that \
         one that took over the address sends the producer back to the bootstrap servers. Brokers \
         from Kafka 4.4 on listen; without effect where metadata.recovery.strategy is none.",
    ),
    row("metadata.max.age.ms", Long, "300000", "Metadata older than this is fetched again."),
    row(
        "metadata.max.idle.ms",
        Long,
        "300000",
        "A topic not produced to for so long is forgotten; at least 5000.",
    ),
    row(
        "metadata.recovery.rebootstrap.trigger.ms",
        Long,
        "300000",
        "Brokers that bring no metadata for so long are given up for the bootstrap servers.",
    ),
    row(
        "metadata.recovery.strategy",
        String,
        "rebootstrap",
        "What is done when no known broker can be used: rebootstrap asks the bootstrap servers \
         again, none keeps trying.",
    ),
    // Observation and configuration.
    row(
        "config.providers",
        List,
        "",
        "Classes that fill placeholders in the values of other properties, with \
         config.providers.<name>.* for each.",
    ),
    row(
        "enable.metrics.push",
        Boolean,
        "true",
        "Whether metrics are pushed to brokers that ask for them (KIP-714): those that they name, \
         as often as they say. docs/metrics.md has the names.",
    ),
    row(
        "metric.reporters",
        List,
        "",
        "Classes that are told about metrics (metrics.context.* too).",
    ),
    row("metrics.num.samples", Int, "2", "How many windows a rate or an average is made from."),
    row(
        "metrics.recording.level",
        String,
        "INFO",
        "How much is measured: INFO, DEBUG, TRACE, or OFF.",
    ),
    row("metrics.sample.window.ms", Long, "30000", "How long one such window is."),
];
