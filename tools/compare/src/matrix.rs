//! All contenders against one broker, interleaved, each run a process of its own.
//!
//! Rounds go A B C, C B A, A B C, …, so that a machine that grows slower or faster meanwhile
//! treats all alike. Ratios are taken within a round, then their median. A client that fails is
//! named with its failure, and the others go on.

use std::path::PathBuf;

use clap::Args;
use compare_measure::{Mode, Outcome};

use crate::arena::{self, Arena, BROKER_CPU, CLIENT_CPU, Choice, Endless};
use crate::contenders::{CONTENDERS, Contender};
use crate::results::{self, Cell, Part, Row};
use crate::table;

/// What is compared, when and how often.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Rounds; each contender runs once in each.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What is measured, in this order.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Mode::Throughput])]
    modes: Vec<Mode>,
    /// Records of a throughput run; without it 10 million, 2 million from 512 bytes up, 300,000
    /// from 8 KiB up. The slowest clients get a quarter.
    #[arg(long)]
    records: Option<u64>,
    /// Divides the records of every throughput run, for brokers that keep them.
    #[arg(long, default_value_t = 1)]
    divide_records: u64,
    /// Record sizes of the throughput runs, in bytes; the latencies are of the first.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024])]
    sizes: Vec<usize>,
    /// Partitions of the topic in the throughput runs; the latencies are with the first.
    #[arg(long, value_delimiter = ',', default_values_t = [10])]
    partitions: Vec<u32>,
    /// Round trips that are measured, after a tenth as many.
    #[arg(long, default_value_t = 20_000)]
    round_trips: u64,
    /// Records a second of the open loop.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    rates: Vec<u64>,
    /// Records a second while the calls of send are timed.
    #[arg(long, default_value_t = 100_000)]
    send_rate: u64,
    /// Seconds of each schedule, after one of warm-up.
    #[arg(long, default_value_t = 10)]
    duration: u64,
    /// linger.ms of the open loop and of the timed sends.
    #[arg(long, default_value_t = 0)]
    latency_linger: u64,
    /// Compress with this codec, and send text to compress: 1 KiB pieces of the project's own
    /// sources, say. Only for clients that take both, and throughput.
    #[arg(long, requires = "text", value_parser = ["gzip", "snappy", "lz4", "zstd"])]
    codec: Option<String>,
    /// Cut the values from this file.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Contenders by name; without it all.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// More arguments for one contender: NAME:ARGUMENT, may be given several times.
    #[arg(long = "argument", value_name = "NAME:ARGUMENT")]
    arguments: Vec<String>,
    /// Leave client and null broker to the kernel's scheduler.
    #[arg(long)]
    unpinned: bool,
    /// Everything once with few records, to see that it works; no figure of it means anything.
    #[arg(long)]
    quick: bool,
    /// Folder for comparison.md, comparison.json and the charts.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
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

/// Records and rates that show that everything works, and nothing else.
fn quick(options: &Options) -> Options {
    Options {
        rounds: 1,
        modes: vec![Mode::Throughput, Mode::Rtt, Mode::OpenLoop, Mode::SendLatency],
        records: options.records.or(Some(100_000)),
        round_trips: 500,
        rates: vec![10_000],
        send_rate: 10_000,
        duration: 1,
        ..options.clone()
    }
}

/// Runs everything and prints Markdown.
pub(crate) fn print(options: &Options) -> Outcome<()> {
    let quick = options.quick.then(|| quick(options));
    let options = quick.as_ref().unwrap_or(options);
    let choice = options.choice()?;
    let (contenders, left_out) = options.present(&choice)?;
    let mut part = Part {
        place: if options.real_kafka.is_some() { "real" } else { "null" }.into(),
        heading: options.heading(&choice),
        machine: table::machine(),
        commit: table::commit(),
        rounds: options.rounds,
        left_out,
        cells: Vec::new(),
    };
    println!("{}", table::part(&part));
    for mut cell in options.cells() {
        options.measure(&choice, &contenders, &mut cell)?;
        println!("{}", table::cell(&cell, part.is_real()));
        part.cells.push(cell);
        // After each cell, so that a run that is stopped has left what it found.
        options.out.as_ref().map(|out| results::publish(out, &part)).transpose()?;
    }
    println!("{}", table::settings(std::slice::from_ref(&part)));
    Ok(())
}

impl Options {
    fn choice(&self) -> Outcome<Choice> {
        if let Some(bootstrap) = &self.real_kafka {
            return Ok(Choice::Real { bootstrap: bootstrap.clone(), broker: self.broker_pid });
        }
        Ok(match (&self.sink, arena::workspace_binary()) {
            (Some(binary), _) => Choice::Sink(binary.clone()),
            (None, Some(binary)) if !self.own_null_broker => Choice::Sink(binary),
            _ => Choice::Own,
        })
    }

    fn pinned(&self) -> bool {
        !self.unpinned && self.real_kafka.is_none()
    }

    fn heading(&self, choice: &Choice) -> String {
        let pins = match self.pinned() {
            true => format!("client on CPU {CLIENT_CPU}, broker on CPU {BROKER_CPU}"),
            false => "nothing pinned".to_owned(),
        };
        let place = match choice {
            Choice::Sink(_) => format!("Null broker (`kuring sink`), {pins}"),
            Choice::Own => format!("Null broker (the harness's own), {pins}"),
            Choice::Real { .. } => "Real Kafka, nothing pinned, a new topic for each run".into(),
        };
        let codec = self.codec.as_deref().unwrap_or("no compression");
        format!("{place}. acks=all, idempotent where the client is, no key, {codec}")
    }

    /// Those that were asked for and work here; and why the others do not.
    fn present(&self, choice: &Choice) -> Outcome<(Vec<&'static Contender>, Vec<String>)> {
        let known: Vec<_> = CONTENDERS.iter().map(|contender| contender.name).collect();
        if let Some(name) = self.contenders.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("no contender {name}; there are {}", known.join(", ")).into());
        }
        let wanted = |contender: &&Contender| {
            let here = self.real_kafka.is_none() || !contender.is_wall();
            let here = here && (self.text.is_none() || contender.takes_text());
            let asked = self.contenders.iter().any(|name| name == contender.name);
            asked || (self.contenders.is_empty() && here)
        };
        let arena = Arena::open(choice, self.partitions[0], self.pinned())?;
        let (mut present, mut left_out) = (Vec::new(), Vec::new());
        for contender in CONTENDERS.iter().filter(wanted) {
            let Some(mode) = self.modes.iter().find(|&&mode| contender.runs(mode)) else {
                continue;
            };
            // A few records: whoever cannot send those is not built, or not possible here.
            let cell = Cell { mode: *mode, ..self.cell(*mode, Some(1_000)) };
            let arguments = self.arguments(&Self::trial(), contender, &cell)?;
            match arena.run(contender, &arguments) {
                Ok(_) => present.push(contender),
                Err(error) => {
                    eprintln!("{} is left out: {error}", contender.name);
                    left_out.push(format!("{}: {error}", contender.name));
                }
            }
        }
        if present.is_empty() {
            return Err("no contender works here".into());
        }
        Ok((present, left_out))
    }

    /// The least work of each mode.
    fn trial() -> Work {
        Work { records: 1_000, round_trips: 10, duration: 1 }
    }

    fn cell(&self, mode: Mode, rate: Option<u64>) -> Cell {
        let (size, partitions) = (self.sizes[0], self.partitions[0]);
        let scheduled = matches!(mode, Mode::OpenLoop | Mode::SendLatency);
        let rate = rate.filter(|_| scheduled);
        Cell { mode, size, partitions, rate, rows: Vec::new() }
    }

    /// All the work that is asked for, in order.
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &mode in &self.modes {
            match mode {
                Mode::Throughput => {
                    for &partitions in &self.partitions {
                        let cell = |&size| Cell { size, partitions, ..self.cell(mode, None) };
                        cells.extend(self.sizes.iter().map(cell));
                    }
                }
                Mode::Rtt => cells.push(self.cell(mode, None)),
                Mode::OpenLoop => {
                    cells.extend(self.rates.iter().map(|&rate| self.cell(mode, Some(rate))));
                }
                Mode::SendLatency => cells.push(self.cell(mode, Some(self.send_rate))),
            }
        }
        cells
    }

    fn work(&self, size: usize) -> Work {
        let records = self.records.unwrap_or(match size {
            8192.. => 300_000,
            512.. => 2_000_000,
            _ => 10_000_000,
        });
        let records = (records / self.divide_records.max(1)).max(10);
        Work { records, round_trips: self.round_trips, duration: self.duration }
    }

    fn measure(
        &self,
        choice: &Choice,
        contenders: &[&'static Contender],
        cell: &mut Cell,
    ) -> Outcome<()> {
        let arena = Arena::open(choice, cell.partitions, self.pinned())?;
        let here: Vec<_> = contenders.iter().filter(|one| one.runs(cell.mode)).copied().collect();
        cell.rows = here.iter().map(|contender| row(contender)).collect();
        let work = self.work(cell.size);
        if let (Some(_), Some(first)) = (&self.real_kafka, here.first()) {
            // A JVM is slow at first; nobody should be measured while it learns.
            drop(arena.run(first, &self.arguments(&work, first, cell)?));
        }
        // Who did not end once is not waited for again.
        let mut endless = vec![false; here.len()];
        for round in 0..self.rounds {
            for turn in 0..here.len() {
                let index = if round % 2 == 0 { turn } else { here.len() - 1 - turn };
                if endless[index] {
                    continue;
                }
                let arguments = self.arguments(&work, here[index], cell)?;
                let outcome = arena.run(here[index], &arguments);
                let row = &mut cell.rows[index];
                let name = here[index].name;
                match outcome {
                    Ok(sample) => {
                        let line = table::progress(&sample);
                        eprintln!("round {} of {}: {name:<18} {line}", round + 1, self.rounds);
                        row.samples.push(sample);
                    }
                    Err(error) => {
                        eprintln!("round {} of {}: {name:<18} {error}", round + 1, self.rounds);
                        endless[index] = error.is::<Endless>();
                        row.failures.push(error.to_string());
                    }
                }
            }
        }
        Ok(())
    }

    /// What a run is told, in words that every program understands.
    fn arguments(&self, work: &Work, contender: &Contender, cell: &Cell) -> Outcome<Vec<String>> {
        let mode = cell.mode;
        let rate = cell.rate.unwrap_or(1);
        let (measured, usual) = match mode {
            Mode::Throughput => {
                let records = work.records / contender.records_divisor;
                (records - records / 10, records / 10)
            }
            Mode::Rtt => (work.round_trips, work.round_trips / 10),
            Mode::OpenLoop | Mode::SendLatency => (rate * work.duration, rate),
        };
        let warm_up = contender.warm_up(mode, usual, measured);
        let linger = match mode {
            Mode::Throughput => 5,
            Mode::Rtt => 0,
            Mode::OpenLoop | Mode::SendLatency => self.latency_linger,
        };
        let mut arguments = vec!["--mode".to_owned(), mode.name().to_owned()];
        let mut add = |name: &str, value: u64| arguments.extend([name.into(), value.to_string()]);
        add("--size", cell.size as u64);
        add("--records", warm_up + measured);
        add("--warm-up", warm_up);
        add("--rate", rate);
        add("--duration", work.duration);
        add("--linger", linger);
        if let Some(text) = &self.text {
            arguments.extend(["--text".into(), text.display().to_string()]);
        }
        if let Some(codec) = &self.codec {
            arguments.extend(["--property".into(), format!("compression.type={codec}")]);
        }
        for argument in &self.arguments {
            let (name, argument) = argument.split_once(':').ok_or("expected NAME:ARGUMENT")?;
            if name == contender.name {
                arguments.push(argument.to_owned());
            }
        }
        Ok(arguments)
    }
}

/// How much of each mode.
struct Work {
    records: u64,
    round_trips: u64,
    duration: u64,
}

fn row(contender: &Contender) -> Row {
    Row {
        contender: contender.name.into(),
        about: contender.about.into(),
        samples: Vec::new(),
        failures: Vec::new(),
    }
}
