//! Where the runs take place: a null broker on its own CPU, or a real cluster.
//!
//! Bounds: a run that has not ended after [`RUN_SECONDS_MAX`] is killed and counts as failed.

use std::error::Error;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use compare_measure::{Outcome, Report, cost};

use crate::contenders::Contender;
use crate::real_kafka::Cluster;
use crate::results::Sample;

/// CPU of the client when pinned; the null broker gets the other.
pub(crate) const CLIENT_CPU: usize = 0;
pub(crate) const BROKER_CPU: usize = 1;

/// A client that hangs shall not hold the others up for ever.
const RUN_SECONDS_MAX: u32 = 120;

/// What a run that was killed says of itself.
#[derive(Debug)]
pub(crate) struct Endless;

impl fmt::Display for Endless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "did not end in {RUN_SECONDS_MAX} s")
    }
}

impl Error for Endless {}

/// Which broker, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// The `sink` of a `kuring` binary.
    Sink(PathBuf),
    /// The null broker of this harness.
    Own,
    /// A real cluster, and its broker's process if known.
    Real { bootstrap: String, broker: Option<u32> },
}

/// One broker with topics of one partition count.
pub(crate) struct Arena {
    partitions: u32,
    pinned: bool,
    place: Place,
}

enum Place {
    Null(Broker),
    Real { cluster: Cluster, bootstrap: String, broker: Option<u32> },
}

impl Arena {
    pub(crate) fn open(choice: &Choice, partitions: u32, pinned: bool) -> Outcome<Self> {
        let place = match choice {
            Choice::Sink(binary) => Place::Null(Broker::start(binary, "sink", partitions, pinned)?),
            Choice::Own => {
                let binary = std::env::current_exe()?;
                Place::Null(Broker::start(&binary, "null-broker", partitions, pinned)?)
            }
            Choice::Real { bootstrap, broker } => Place::Real {
                cluster: Cluster::connect(bootstrap)?,
                bootstrap: bootstrap.clone(),
                broker: *broker,
            },
        };
        Ok(Self { partitions, pinned, place })
    }

    /// One run of a contender with these arguments.
    pub(crate) fn run(&self, contender: &Contender, arguments: &[String]) -> Outcome<Sample> {
        let program = contender.command()?;
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &RUN_SECONDS_MAX.to_string()]);
        if self.pinned && matches!(self.place, Place::Null(_)) {
            command.args(["taskset", "--cpu-list", &CLIENT_CPU.to_string()]);
        }
        command.arg(program.get_program()).args(program.get_args()).args(arguments);
        command.args(["--partitions", &self.partitions.to_string()]);
        match &self.place {
            Place::Null(broker) => {
                command.args(["--bootstrap", &broker.address]);
                sample(&mut command, Some(broker.process.id()))
            }
            Place::Real { cluster, bootstrap, broker } => {
                let topic = fresh_topic(contender.name);
                cluster.create(&topic, self.partitions)?;
                command.args(["--bootstrap", bootstrap, "--topic", &topic]);
                let mut sample = sample(&mut command, *broker);
                if let Ok(sample) = &mut sample {
                    sample.stored = Some(cluster.count(&topic, self.partitions)?);
                }
                cluster.delete(&topic)?;
                sample
            }
        }
    }
}

/// A name nobody used before: contender, process, and a count.
fn fresh_topic(contender: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("compare-{contender}-{}-{count}", std::process::id())
}

fn sample(command: &mut Command, broker: Option<u32>) -> Outcome<Sample> {
    let broker_before = broker.map(cost::cpu_of).transpose()?;
    let (before, began) = (cost::machine_busy()?, cost::now());
    let output = command.output()?;
    let (busy, wall) = (cost::machine_busy()?.saturating_sub(before), began.elapsed());
    let broker_after = broker.map(cost::cpu_of).transpose()?;
    let line = output.stdout.split(|&byte| byte == b'\n').find(|line| line.starts_with(b"{"));
    // A client that lost records says so with its figures, and its exit status only repeats it.
    let Some(line) = line else {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word");
        let timed_out = output.status.code() == Some(124);
        return Err(match timed_out {
            true => Box::new(Endless),
            false => last.trim_start_matches("compare: ").to_owned().into(),
        });
    };
    let report: Report = serde_json::from_slice(line)?;
    let broker_cpu = broker_after.zip(broker_before).map(|(after, before)| after - before);
    let broker_cpu_s = broker_cpu.map(|cpu| cpu.as_secs_f64());
    let known = report.cpu_user_s + report.cpu_system_s + broker_cpu_s.unwrap_or(0.0);
    let others_busy = (busy.as_secs_f64() - known).max(0.0) / wall.as_secs_f64();
    Ok(Sample { report, broker_cpu_s, others_busy, stored: None })
}

/// The workspace's `kuring`, if it was built.
pub(crate) fn workspace_binary() -> Option<PathBuf> {
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
    fn start(binary: &Path, subcommand: &str, partitions: u32, pinned: bool) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command
            .args([subcommand, "--listen", "127.0.0.1:0"])
            .args(["--partitions", &partitions.to_string()]);
        if pinned {
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
