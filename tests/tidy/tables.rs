//! What the rules compare the sources with: the architecture as data. A change of the design is a
//! change of a line here, with its reason.

/// A layer: modules of the crate that may use each other, and what they may use below themselves.
pub(crate) struct Layer {
    /// Top-level modules.
    pub(crate) modules: &'static [&'static str],
    /// Modules, or paths inside them, of layers further down in [`LAYERS`].
    pub(crate) uses: &'static [&'static str],
}

/// The layers from top to bottom. `tests` modules and `lib.rs` may use what they like.
pub(crate) const LAYERS: &[Layer] = &[
    // Brokers for users' tests, the other side of the wire: they know no producer.
    Layer {
        modules: &["testing"],
        uses: &[
            "clock", // delayed answers, and calls that wait
            "fork",  // a copy of the process has no thread to end
            "ids", "protocol",
        ],
    },
    // The project's own simulator: whole producers whose shards are stepped from outside.
    Layer {
        modules: &["simulation"],
        uses: &[
            "accumulator",
            "clock",
            "config",
            "delivery",
            "driver",
            "partitioner",
            "producer",
            "shard",
        ],
    },
    // A producer inside somebody else's loop: it drives the shard itself.
    Layer {
        modules: &["embedded"],
        uses: &[
            "callback::DeliveryReport",
            "clock",
            "config",
            "delivery",
            "driver::Waker", // ends a wait of the loop, from another thread
            "driver::probe::AnyDriver", // the shard's type
            "error",
            "ids::ClientInstanceId",
            "metrics",
            "park",
            "producer",
            "record",
            "serializer",
            "shard",
            "sync",
            "telemetry::ApplicationMetric",
            "topic",
            "typed",
        ],
    },
    // What a producer has done, in librdkafka's words, and a thread that reports it.
    Layer { modules: &["statistics"], uses: &["clock", "metrics", "producer"] },
    // What users hold. The producer makes topics, and a topic looks into its producer.
    Layer {
        modules: &["producer", "topic", "typed"],
        uses: &[
            "accumulator",
            "callback", // what verdicts call, and what interceptors are told
            "clock",
            "config",
            "delivery",
            "driver::dns", // bootstrap names are resolved before a shard runs
            "driver::probe::OpenError", // shown to the user in `StartError`
            "error",
            "fork",
            "ids::ClientInstanceId", // what a cluster calls the producer in its telemetry
            "interceptor::Draft",    // what interceptors have changed of a record
            "metadata",
            "meters", // what calls count that wait
            "metrics",
            "park",
            "partitioner",
            "protocol::error_code",   // why a topic is not known
            "protocol::record_batch", // the exact size of a record, before it is claimed
            "record",
            "sender::PurgeOrder", // what a purge asks of the shards
            "serializer",
            "shard",
            "telemetry", // the application's own metrics
        ],
    },
    Layer {
        modules: &["shard"],
        uses: &[
            "accumulator",
            "callback", // the calls that a verdict causes
            "clock",
            "config", // how to pin the thread, which driver to open, socket buffer sizes
            "delivery::completion", // where the verdicts on submitted records go
            "driver",
            "metadata",
            "metrics", // what a push of telemetry is made of
            "meters",  // how long it sleeps, and the windows' ends
            // Wakes, and is never made to wait; its meter may be.
            "park",
            "protocol::compression::Encoder", // its compressor's
            "protocol::get_telemetry_subscriptions", // what a push is to carry
            "sender",
            "sync",
            "telemetry",
        ],
    },
    // What a push of telemetry carries.
    Layer {
        modules: &["telemetry"],
        uses: &["config", "metrics", "protocol", "sender::telemetry", "shield"],
    },
    Layer { modules: &["metrics"], uses: &["ids", "meters", "protocol::record_batch"] },
    Layer {
        modules: &["sender"],
        uses: &[
            "accumulator",
            "clock",               // conversions only: see CLOCK_READS
            "config",              // times, sizes and counts of the settings
            "delivery::CellIndex", // resolves the promises of a batch
            "delivery::Written",   // where its records are
            "delivery::Span",      // or of some of its records
            "error",               // the verdicts it hands out
            "ids",
            "metadata",
            "meters",
            "protocol",
        ],
    },
    // What shards count: the sender and the shard write, `metrics` reads.
    Layer { modules: &["meters"], uses: &["ids"] },
    Layer {
        modules: &["driver"],
        uses: &[
            "accumulator::buffer_pool",
            "accumulator::frame",           // what is sent: parts of the arena
            "clock",                        // a wait with a deadline has to know what time it is
            "config::unpin_current_thread", // the resolver leaves the sender's core
            "ids",
        ],
    },
    Layer {
        modules: &["accumulator"],
        uses: &[
            // A batch's age counts from its opening, by the thread that opened it.
            "clock", "delivery", "ids", "park", // wakes whoever waits for memory
            "protocol", "sync",
        ],
    },
    Layer {
        modules: &["metadata"],
        uses: &[
            "ids",
            "park",                 // wakes whoever waits for metadata
            "partitioner::murmur2", // the topic's hash, which fixes partition -> shard
            "protocol",
        ],
    },
    // A partitioner, by name or the user's own, and what is to be called are set with everything
    // else.
    Layer {
        modules: &["config"],
        uses: &[
            "callback",
            "interceptor::Interceptor",
            "partitioner::Partitioner",
            "partitioner::PartitionerClass",
            "partitioner::Partitioners",
            "protocol::compression::Compression",
            "shield",
        ],
    },
    Layer {
        modules: &["callback", "interceptor"],
        uses: &["clock", "delivery", "error", "record", "shield"],
    },
    Layer { modules: &["delivery"], uses: &["clock", "error", "fork", "park", "record", "sync"] },
    Layer { modules: &["serializer"], uses: &["record"] }, // the headers that they add
    // A wait with a deadline has to know what time it is.
    Layer { modules: &["park"], uses: &["clock", "sync"] },
    Layer { modules: &["fork"], uses: &[] },
    Layer { modules: &["error"], uses: &["protocol::error_code"] },
    Layer { modules: &["record"], uses: &["protocol::record_batch"] },
    Layer { modules: &["protocol"], uses: &["ids"] },
    Layer { modules: &["partitioner"], uses: &["shield"] },
    Layer { modules: &["shield"], uses: &[] },
    Layer { modules: &["ids"], uses: &[] },
    Layer { modules: &["clock"], uses: &[] },
    Layer { modules: &["sync"], uses: &[] },
];

/// How often the word `unsafe` stands in each file that may have it. Each new one shows in a diff.
pub(crate) const UNSAFE_CENSUS: &[(&str, usize)] = &[
    ("src/accumulator/batch/claim.rs", 6),
    ("src/accumulator/batch/sealed.rs", 2),
    ("src/accumulator/buffer_pool.rs", 11),
    ("src/driver/tokio_uring.rs", 4),
    // The frame of a send: the kernel reads it until its last completion.
    ("src/driver/uring/connection.rs", 1),
    // Views of the memory that the kernel receives into.
    ("src/driver/uring/input.rs", 2),
    // Submissions, registrations and the ring's own memory.
    ("src/driver/uring/ring.rs", 13),
    ("src/fork.rs", 6),
];

/// A path from outside the crate, or a module of it, and the only places that may name it.
pub(crate) struct Home {
    /// The path; everything below it is meant too.
    pub(crate) path: &'static str,
    /// Files, or folders with a slash at the end.
    pub(crate) files: &'static [&'static str],
    /// Paths below `path` that may be named elsewhere, and where.
    pub(crate) except: &'static [(&'static str, &'static [&'static str])],
    /// What to do instead.
    pub(crate) instead: &'static str,
}

/// Addresses are values and no I/O.
const ADDRESS_USERS: &[&str] =
    &["src/sender/", "src/shard.rs", "src/producer.rs", "src/simulation.rs"];

/// The codecs.
const COMPRESSION: &[&str] = &["src/protocol/compression/", "src/testing/unpack.rs"];

/// One home per import.
pub(crate) const HOMES: &[Home] = &[
    Home {
        path: "arc_swap",
        files: &["src/metadata/"],
        // A topic's table of partitions is read and replaced as the snapshot is.
        except: &[("arc_swap::ArcSwap", &["src/partitioner/spread.rs"])],
        instead: "read the snapshot through metadata's `Cluster`",
    },
    Home {
        path: "tokio_uring",
        files: &["src/driver/"],
        except: &[],
        instead: "go through the `Driver` trait",
    },
    Home {
        path: "io_uring",
        files: &["src/driver/"],
        except: &[],
        instead: "go through the `Driver` trait",
    },
    Home {
        path: "io_uring_06",
        files: &["src/driver/tokio_uring.rs", "src/driver/tokio_uring/"],
        except: &[],
        instead: "only tokio-uring needs the old version of `io_uring`",
    },
    Home {
        path: "tokio",
        files: &["src/driver/tokio_uring.rs", "src/driver/tokio_uring/", "src/embedded/drive.rs"],
        except: &[],
        instead: "the library has no runtime; only tokio-uring's own timers need it, and an \
                  embedded shard waits in the runtime of its host",
    },
    Home {
        path: "socket2",
        files: &["src/driver/", "src/testing/"],
        except: &[],
        instead: "sockets belong to a driver",
    },
    Home {
        path: "dns_lookup",
        files: &["src/driver/dns.rs"],
        except: &[],
        instead: "names and addresses are `driver::dns`'s",
    },
    Home {
        path: "rustix::net",
        files: &["src/driver/"],
        except: &[],
        instead: "sockets belong to a driver",
    },
    Home {
        path: "std::net",
        files: &["src/driver/", "src/testing/"],
        except: &[("std::net::SocketAddr", ADDRESS_USERS), ("std::net::IpAddr", ADDRESS_USERS)],
        instead: "sockets belong to a driver, or to the brokers for tests; an address is a \
                  `SocketAddr`",
    },
    Home {
        path: "core::net",
        files: &["src/driver/"],
        except: &[("core::net::SocketAddr", ADDRESS_USERS), ("core::net::IpAddr", ADDRESS_USERS)],
        instead: "sockets belong to a driver; an address is a `SocketAddr`",
    },
    Home {
        path: "std::thread",
        files: &[
            "src/shard.rs",
            "src/shard/compressor.rs",
            "src/shard/measure.rs",
            "src/driver/dns.rs",
            "src/statistics/mod.rs",
            "src/sync.rs",
            "src/testing/",
        ],
        except: &[("std::thread::JoinHandle", &["src/producer.rs"])],
        instead: "threads start in shard.rs (senders), shard/compressor.rs, shard/measure.rs, \
                  driver/dns.rs (the resolver) and testing/ (brokers), and wait in park.rs",
    },
    Home {
        path: "std::sync::atomic",
        files: &[
            "src/sync.rs",
            "src/config/",
            "src/driver/",
            "src/fork.rs",
            "src/metadata/",
            // One thread writes each number, and no number decides anything: no model needed.
            "src/meters/",
            "src/partitioner/",
            "src/producer.rs",
            "src/topic.rs",
        ],
        // The mark of a reserved record lies in the arena, where no model's atomic can.
        except: &[("std::sync::atomic::AtomicU8", &["src/accumulator/batch/claim.rs"])],
        instead: "lock-free code takes its atomics from `crate::sync`, so that models can run it",
    },
    Home {
        path: "crc_fast",
        files: &["src/protocol/record_batch.rs"],
        except: &[],
        instead: "a batch's checksum is `protocol::record_batch`'s",
    },
    Home {
        path: "flate2",
        files: COMPRESSION,
        except: &[],
        instead: "go through `protocol::compression`",
    },
    Home {
        path: "lz4_flex",
        files: COMPRESSION,
        except: &[],
        instead: "go through `protocol::compression`",
    },
    Home {
        path: "snap",
        files: COMPRESSION,
        except: &[],
        instead: "go through `protocol::compression`",
    },
    Home {
        path: "zstd_safe",
        files: COMPRESSION,
        except: &[],
        instead: "go through `protocol::compression`",
    },
    Home {
        path: "Instant::now",
        files: &["src/clock.rs"],
        except: &[],
        instead: "take `now` as an argument, or call `clock::now` in a shard or a driver",
    },
    Home {
        path: "SystemTime::now",
        files: &[],
        except: &[],
        instead: "record timestamps are `clock::wall_ms`",
    },
    Home {
        path: "rustix::time::clock_gettime",
        files: &["src/clock.rs"],
        except: &[],
        instead: "take `now` as an argument, or ask `clock`",
    },
    Home {
        path: "clock::wall_ms",
        files: &["src/shard/measure.rs", "src/statistics/mod.rs", "src/topic.rs"],
        except: &[],
        instead: "the wall clock may jump: it is for record timestamps and for people to read, and \
                  decides nothing",
    },
];

/// Readings of the clock. Pure layers take time as an argument.
pub(crate) const CLOCK_READS: &[&str] = &["clock::now", "clock::now_nanos", "clock::wall_ms"];

/// The layers that read no clock.
pub(crate) const PURE: &[&str] =
    &["src/sender/", "src/protocol/", "src/metadata/", "src/partitioner/"];

/// Words that say nothing, and what to write instead.
pub(crate) const BANNED_WORDS: &[(&str, &str)] = &[
    ("manager", "name what it decides or owns: `Timers`, `BufferPool`, `Identity`"),
    ("helper", "name what it does, and put it beside the one who needs it"),
    ("util", "put it in the module whose word it is about"),
    ("utils", "put it in the module whose word it is about"),
    ("misc", "put it in the module whose word it is about"),
    ("common", "name what the users of it share"),
    ("data", "say what it is: `bytes`, `payload`, `records`, `frame`"),
    ("info", "say what it tells: `description`, `state`, `counters`"),
];

/// First words of a name that hide the verb, and what to write instead.
pub(crate) const BANNED_FIRST_WORDS: &[(&str, &str)] = &[
    ("do", "drop it: the verb that follows is the name"),
    ("process", "say what happens: `handle_`, `encode_`, `merge_`, `retire_`"),
];

/// Names from outside with such words, which we must write as they are.
pub(crate) const FOREIGN_NAMES: &[&str] = &[
    "EventData",      // rustix, epoll
    "ProcessCPUTime", // rustix, clocks
    "crossbeam_utils",
    "Info",        // Kafka's `metrics.recording.level=INFO`
    "InvalidData", // std::io::ErrorKind
    "PhantomData", // std::marker
    "StoredData",  // tokio-uring's `OneshotOutputTransform`
    "UserData",    // io_uring, as `user_data`: the number that comes back with a completion
    "user_data",
];

/// Columns of a line, at most.
pub(crate) const COLUMNS_MAX: usize = 100;

/// A function of this length has just grown too long; longer ones are listed, not failed.
pub(crate) const RATCHET_LINES: std::ops::RangeInclusive<usize> = 71..=75;
