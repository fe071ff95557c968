//! Who takes part: each client in each configuration, the program that runs it, what it needs.
//!
//! Programs that are not built are left out with a sentence that says how to get them.

use std::path::{Path, PathBuf};
use std::process::Command;

use compare_measure::{Mode, Outcome};

use Mode::{OpenLoop, Rtt, SendLatency, Throughput};
use Program::{Go, Java, Other, Own};

/// Which program a contender is run by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// This one.
    Own,
    /// The other Rust clients, a program of their own.
    Other,
    /// The Java producer.
    Java,
    /// franz-go.
    Go,
}

/// One client in one configuration.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) program: Program,
    arguments: &'static [&'static str],
    modes: &'static [Mode],
    /// It gets this part of the others' records: it is slower, and a run need not take longer.
    pub(crate) records_divisor: u64,
}

/// What every client that is a whole producer can do.
const ALL_BUT_SENDS: &[Mode] = &[Throughput, Rtt, OpenLoop];
const EVERY: &[Mode] = &[Throughput, Rtt, OpenLoop, SendLatency];

const fn own(
    name: &'static str,
    about: &'static str,
    modes: &'static [Mode],
    arguments: &'static [&'static str],
) -> Contender {
    Contender { name, about, program: Own, arguments, modes, records_divisor: 1 }
}

const fn foreign(
    name: &'static str,
    about: &'static str,
    (program, records_divisor): (Program, u64),
    modes: &'static [Mode],
    arguments: &'static [&'static str],
) -> Contender {
    Contender { name, about, program, arguments, modes, records_divisor }
}

/// All of them, in the tables' order.
pub(crate) const CONTENDERS: [Contender; 22] = [
    own(
        "kuring",
        "defaults (batch.size 16384), deliveries dropped",
        EVERY,
        &["--client", "kuring"],
    ),
    own(
        "kuring-deliveries",
        "defaults, every delivery kept and looked at",
        &[Throughput],
        &["--client", "kuring", "--deliveries"],
    ),
    own(
        "kuring-1m",
        "batch.size 1 MiB",
        &[Throughput],
        &["--client", "kuring", "--batch-size", "1048576"],
    ),
    own(
        "kuring-spin",
        "kuring.spin 100 us",
        EVERY,
        &["--client", "kuring", "--property", "kuring.spin=100us"],
    ),
    own(
        "kuring-uring",
        "kuring.driver=uring",
        EVERY,
        &["--client", "kuring", "--property", "kuring.driver=uring"],
    ),
    own(
        "kuring-tokio-uring",
        "kuring.driver=tokio-uring",
        EVERY,
        &["--client", "kuring", "--property", "kuring.driver=tokio-uring"],
    ),
    own(
        "kuring-epoll",
        "kuring.driver=epoll",
        EVERY,
        &["--client", "kuring", "--property", "kuring.driver=epoll"],
    ),
    own("librdkafka", "its default batch.size (1 MB)", EVERY, &["--client", "librdkafka"]),
    own(
        "librdkafka-16k",
        "batch.size 16384",
        &[Throughput],
        &["--client", "librdkafka", "--batch-size", "16384"],
    ),
    own(
        "librdkafka-1m",
        "batch.size 1 MiB",
        &[Throughput],
        &["--client", "librdkafka", "--batch-size", "1048576"],
    ),
    foreign("java", "kafka-clients, defaults (batch.size 16384)", (Java, 1), ALL_BUT_SENDS, &[]),
    foreign(
        "java-1m",
        "kafka-clients, batch.size 1 MiB",
        (Java, 1),
        &[Throughput],
        &["--batch-size", "1048576"],
    ),
    foreign("franz-go", "its default ProducerBatchMaxBytes (1 MB)", (Go, 1), ALL_BUT_SENDS, &[]),
    foreign(
        "franz-go-16k",
        "ProducerBatchMaxBytes 16384",
        (Go, 1),
        &[Throughput],
        &["--batch-size", "16384"],
    ),
    foreign(
        "kacrab",
        "defaults (batch.size 16384), futures",
        (Other, 1),
        ALL_BUT_SENDS,
        &["--client", "kacrab"],
    ),
    foreign(
        "krafka",
        "defaults (batch_size 16384), enqueue",
        (Other, 4),
        ALL_BUT_SENDS,
        &["--client", "krafka"],
    ),
    foreign(
        "rskafka-batches",
        "batches of 16 KiB made by the application; not idempotent",
        (Other, 1),
        &[Throughput, Rtt],
        &["--client", "rskafka-batches"],
    ),
    foreign(
        "rskafka",
        "BatchProducer, 16 KiB; not idempotent",
        (Other, 4),
        &[Throughput, OpenLoop],
        &["--client", "rskafka"],
    ),
    own(
        "wall",
        "encode, checksum, write; one batch of 16 KiB for each partition a request",
        &[Throughput],
        &["--client", "wall"],
    ),
    own("wall-send", "write the same requests again", &[Throughput], &["--client", "wall-send"]),
    own(
        "floor-blocking",
        "one prepared request, a blocking socket",
        &[Rtt],
        &["--client", "floor-blocking"],
    ),
    own("floor-busy", "the same, reading busily", &[Rtt], &["--client", "floor-busy"]),
];

impl Contender {
    /// Whether it has that mode.
    pub(crate) fn runs(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Whether it can send pieces of a text, and take a property.
    pub(crate) fn takes_text(&self) -> bool {
        let whole = !self.is_wall() && !self.name.starts_with("floor");
        matches!(self.program, Own | Java) && whole
    }

    /// Whether it is one of the walls, which a real broker's idempotence does not let in.
    pub(crate) fn is_wall(&self) -> bool {
        self.name.starts_with("wall")
    }

    /// Records before the figures start, if not the usual: a JVM compiles while it runs.
    pub(crate) fn warm_up(&self, mode: Mode, usual: u64, records: u64) -> u64 {
        match (self.program, mode) {
            (Java, Throughput) => records,
            (Java, Rtt) => usual.saturating_mul(10),
            (Java, _) => usual.saturating_mul(5),
            _ => usual,
        }
    }

    /// The program and the arguments that are its own; an error says what is missing.
    pub(crate) fn command(&self) -> Outcome<Command> {
        let mut command = match self.program {
            Own => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("run");
                command
            }
            Other => {
                let folder = std::env::current_exe()?;
                let program = folder.with_file_name("rust-clients");
                Command::new(built(program, "cargo")?)
            }
            Java => java()?,
            Go => Command::new(built(folder().join("target/go/franz-go"), "Go 1.26 or later")?),
        };
        command.args(self.arguments);
        Ok(command)
    }
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn built(program: PathBuf, needs: &str) -> Outcome<PathBuf> {
    match program.exists() {
        true => Ok(program),
        false => Err(format!("not built; install {needs}, then run tools/compare/build").into()),
    }
}

/// The heap is fixed and the collector is what the JVM chooses for the CPUs it is given.
fn java() -> Outcome<Command> {
    let needs = "a JDK (17 or later) and Maven";
    let classes = built(folder().join("target/java/classes/Compare.class"), needs)?;
    let classes = classes.with_file_name("");
    let mut path = classes.into_os_string();
    path.push(":");
    path.push(folder().join("target/java/lib"));
    path.push("/*");
    let mut command = Command::new("java");
    command.args(["-Xms1g", "-Xmx1g", "-cp"]).arg(path).arg("Compare");
    Ok(command)
}
