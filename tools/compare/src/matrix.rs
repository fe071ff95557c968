//! All contenders against one broker, interleaved, each run a process of its own.
//!
//! Rounds go A B C, C B A, A B C, …, so that a machine that grows slower or faster meanwhile
//! treats all alike. Ratios are taken within a round, then their median.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;

use crate::Outcome;
use crate::cost;
use crate::real_kafka::Cluster;
use crate::run::Report;
use crate::table::{self, Row};

/// CPU of the client when pinned; the null broker gets the other.
const CLIENT_CPU: usize = 0;
const BROKER_CPU: usize = 1;

/// What is compared, when and how often.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Rounds; each contender runs once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Records of a run; without it 10 million, 2 million for records of 512 bytes or more.
    #[arg(long)]
    records: Option<u64>,
    /// Record sizes, in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024])]
    sizes: Vec<usize>,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 10)]
    partitions: u32,
    /// Contenders by name; without it all.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// More arguments for one contender: NAME:ARGUMENT, may be given several times.
    #[arg(long = "argument", value_name = "NAME:ARGUMENT")]
    arguments: Vec<String>,
    /// Leave client and null broker to the kernel's scheduler.
    #[arg(long)]
    unpinned: bool,
    /// The `kuring` binary whose `sink` is the null broker; without it the workspace's release
    /// build, and where there is none the null broker of this harness.
    #[arg(long)]
    sink: Option<PathBuf>,
    /// Use the null broker of this harness.
    #[arg(long, conflicts_with = "sink")]
    own_null_broker: bool,
    /// Run against this cluster, HOST:PORT, with a new topic for each run. Implies --unpinned.
    #[arg(long, value_name = "HOST:PORT")]
    real_kafka: Option<String>,
    /// Process id of that cluster's broker, to tell its CPU time as well.
    #[arg(long, requires = "real_kafka")]
    broker_pid: Option<u32>,
}

/// One client in one configuration.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    arguments: &'static [&'static str],
}

const CONTENDERS: [Contender; 8] = [
    Contender {
        name: "kuring",
        about: "defaults (batch.size 16384), deliveries dropped",
        arguments: &["--client", "kuring"],
    },
    Contender {
        name: "kuring-deliveries",
        about: "defaults, every delivery kept and looked at",
        arguments: &["--client", "kuring", "--deliveries"],
    },
    Contender {
        name: "kuring-1m",
        about: "batch.size 1 MiB, deliveries dropped",
        arguments: &["--client", "kuring", "--batch-size", "1048576"],
    },
    Contender {
        name: "librdkafka",
        about: "BaseProducer, its default batch.size (1 MB)",
        arguments: &["--client", "librdkafka"],
    },
    Contender {
        name: "librdkafka-16k",
        about: "BaseProducer, batch.size 16384",
        arguments: &["--client", "librdkafka", "--batch-size", "16384"],
    },
    Contender {
        name: "librdkafka-1m",
        about: "BaseProducer, batch.size 1 MiB",
        arguments: &["--client", "librdkafka", "--batch-size", "1048576"],
    },
    Contender {
        name: "wall",
        about: "encode, checksum, write; 10 x 16 KiB a request",
        arguments: &["--client", "wall"],
    },
    Contender {
        name: "wall-send",
        about: "write the same requests again",
        arguments: &["--client", "wall-send"],
    },
];

/// Who the others are set against.
const SUBJECT: &str = "kuring";

/// One run, and what the broker spent on it.
pub(crate) struct Sample {
    pub(crate) report: Report,
    pub(crate) broker_cpu: Option<Duration>,
    /// CPUs that everyone else kept busy meanwhile; above a tenth, the figures are noise.
    pub(crate) others_busy: f64,
}

/// Runs everything and prints Markdown.
pub(crate) fn print(options: &Options) -> Outcome<()> {
    let contenders = chosen(options)?;
    let arena = Arena::open(options)?;
    println!("{}", arena.heading(options));
    for &size in &options.sizes {
        let rows = measure(options, &arena, &contenders, size)?;
        println!("{}", table::costs(size, options.real_kafka.is_some(), &rows));
        println!("{}", table::ratios(SUBJECT, &rows));
        println!("{}", table::quiet(&rows));
    }
    Ok(())
}

fn chosen(options: &Options) -> Outcome<Vec<&'static Contender>> {
    let known: Vec<_> = CONTENDERS.iter().map(|contender| contender.name).collect();
    if let Some(name) = options.contenders.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("no contender {name}; there are {}", known.join(", ")).into());
    }
    let wanted = |contender: &&Contender| {
        let real = options.real_kafka.is_some() && contender.name.starts_with("wall");
        let left_out = real || (cfg!(not(feature = "kuring")) && contender.name.starts_with("ku"));
        match options.contenders.is_empty() {
            true => !left_out,
            false => options.contenders.iter().any(|name| name == contender.name),
        }
    };
    Ok(CONTENDERS.iter().filter(wanted).collect())
}

fn measure(
    options: &Options,
    arena: &Arena,
    contenders: &[&'static Contender],
    size: usize,
) -> Outcome<Vec<Row>> {
    let row = |&contender: &&'static Contender| Row { contender, samples: Vec::new() };
    let mut rows: Vec<Row> = contenders.iter().map(row).collect();
    let count = rows.len();
    if options.real_kafka.is_some() {
        // A JVM is slow at first; nobody should be measured while it learns.
        contenders.first().map(|first| arena.run(options, first, size)).transpose()?;
    }
    for round in 0..options.rounds {
        for turn in 0..count {
            let index = if round % 2 == 0 { turn } else { count - 1 - turn };
            let sample = arena.run(options, rows[index].contender, size)?;
            let report = &sample.report;
            eprintln!(
                "{size} B, round {} of {}: {:<18} {:>6.2} M records/s, {:>5.0} ns each, \
                 {:.1} CPUs busy with others",
                round + 1,
                options.rounds,
                rows[index].contender.name,
                report.records_per_sec / 1e6,
                report.cpu_ns_per_record,
                sample.others_busy,
            );
            rows[index].samples.push(sample);
        }
    }
    Ok(rows)
}

/// Where the runs take place.
enum Arena {
    Null { broker: Broker, name: String, partitions: u32 },
    Real { cluster: Cluster, bootstrap: String },
}

impl Arena {
    fn open(options: &Options) -> Outcome<Self> {
        if let Some(bootstrap) = &options.real_kafka {
            let cluster = Cluster::connect(bootstrap)?;
            return Ok(Self::Real { cluster, bootstrap: bootstrap.clone() });
        }
        let (binary, subcommand) = match (&options.sink, workspace_binary()) {
            (Some(binary), _) => (binary.clone(), "sink"),
            (None, Some(binary)) if !options.own_null_broker => (binary, "sink"),
            _ => (std::env::current_exe()?, "null-broker"),
        };
        let broker = Broker::start(&binary, subcommand, options)?;
        let name = if subcommand == "sink" { "kuring sink" } else { "the harness's null broker" };
        Ok(Self::Null { broker, name: name.into(), partitions: options.partitions })
    }

    fn heading(&self, options: &Options) -> String {
        let place = match self {
            Self::Null { name, partitions, .. } => {
                let pins = match options.unpinned {
                    true => "nothing pinned".to_owned(),
                    false => format!("client on CPU {CLIENT_CPU}, broker on CPU {BROKER_CPU}"),
                };
                format!("null broker ({name}), {pins}, {partitions} partitions")
            }
            Self::Real { .. } => {
                format!("real Kafka, nothing pinned, a new topic a run, {}", options.partitions)
                    + " partitions"
            }
        };
        format!(
            "{place}. acks=all, idempotent, linger 5 ms, no key, no compression. {} rounds; \
             medians (min–max). Kuring {}, librdkafka {}; {}.\n",
            options.rounds,
            table::commit(),
            crate::librdkafka::version(),
            table::machine(),
        )
    }

    fn run(&self, options: &Options, contender: &Contender, size: usize) -> Outcome<Sample> {
        let mut command = Command::new(std::env::current_exe()?);
        let records = options.records.unwrap_or(match size {
            512.. => 2_000_000,
            _ => 10_000_000,
        });
        command
            .arg("run")
            .args(contender.arguments)
            .args(["--size", &size.to_string(), "--records", &records.to_string()])
            .args(["--partitions", &options.partitions.to_string()]);
        for argument in &options.arguments {
            let (name, argument) = argument.split_once(':').ok_or("expected NAME:ARGUMENT")?;
            if name == contender.name {
                command.arg(argument);
            }
        }
        match self {
            Self::Null { broker, .. } => {
                if !options.unpinned {
                    command.args(["--cpu", &CLIENT_CPU.to_string()]);
                }
                command.args(["--bootstrap", &broker.address]);
                sample(&mut command, Some(broker.process.id()))
            }
            Self::Real { cluster, bootstrap } => {
                let topic = fresh_topic(contender.name);
                cluster.create(&topic, options.partitions)?;
                command.args(["--bootstrap", bootstrap, "--topic", &topic]);
                let sample = sample(&mut command, options.broker_pid)?;
                let stored = cluster.count(&topic, options.partitions)?;
                if stored != records {
                    let name = contender.name;
                    return Err(format!("{name} sent {records}, {stored} are there").into());
                }
                cluster.delete(&topic)?;
                Ok(sample)
            }
        }
    }
}

/// A name nobody used before: contender, process, and a count.
fn fresh_topic(contender: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("compare-{contender}-{}-{count}", std::process::id())
}

fn sample(command: &mut Command, broker: Option<u32>) -> Outcome<Sample> {
    let broker_before = broker.map(cost::cpu_of).transpose()?;
    let (before, began) = (cost::machine_busy()?, cost::now());
    let output = command.stderr(Stdio::inherit()).output()?;
    let (busy, wall) = (cost::machine_busy()?.saturating_sub(before), began.elapsed());
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status).into());
    }
    let broker_after = broker.map(cost::cpu_of).transpose()?;
    let broker_cpu = broker_after.zip(broker_before).map(|(after, before)| after - before);
    let report: Report = serde_json::from_slice(&output.stdout)?;
    let known =
        report.cpu_user_s + report.cpu_system_s + broker_cpu.map_or(0.0, |cpu| cpu.as_secs_f64());
    let others_busy = (busy.as_secs_f64() - known).max(0.0) / wall.as_secs_f64();
    Ok(Sample { report, broker_cpu, others_busy })
}

/// The workspace's `kuring`, if it was built.
fn workspace_binary() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let target = std::env::var_os("KURING_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Some(target.join("release/kuring")).filter(|binary| binary.is_file())
}

/// A null broker in a process of its own, killed at the end.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start(binary: &Path, subcommand: &str, options: &Options) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command
            .args([subcommand, "--listen", "127.0.0.1:0"])
            .args(["--partitions", &options.partitions.to_string()]);
        if !options.unpinned {
            command.args(["--cpu", &BROKER_CPU.to_string()]);
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("no output of the null broker")?;
        let mut broker = Self { process, address: String::new() };
        for line in BufReader::new(output).lines() {
            // It says where it listens, in whatever words, once it does.
            let line = line?;
            let address = line.split_ascii_whitespace().find(|word| word.starts_with("127.0."));
            if let Some(address) = address {
                broker.address = address.trim_end_matches([',', '.', ';']).into();
                return Ok(broker);
            }
        }
        Err("the null broker ended without listening".into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing to do.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
