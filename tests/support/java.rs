//! Apache Kafka's own tools, as peers and as a second opinion.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::jars::{Version, class_path, require, target};
use super::kafka::Cluster;
use super::node::{ended_within, tail};

/// What separates key and value in the lines that go into and come out of the console tools.
pub(crate) const SEPARATOR: char = '\t';

/// Produces `lines` of key, [`SEPARATOR`] and value with the Java producer.
pub(crate) fn produce_keyed(cluster: &Cluster, topic: &str, lines: &str) {
    produce_keyed_to(cluster.version(), &cluster.bootstrap(), topic, lines);
}

/// As [`produce_keyed`], with the tools of `version` and to whatever listens at `bootstrap`.
pub(crate) fn produce_keyed_to(version: Version, bootstrap: &str, topic: &str, lines: &str) {
    let (class, property) = match version {
        Version::V4_3_1 => ("org.apache.kafka.tools.ConsoleProducer", "--reader-property"),
        Version::V3_9_2 => ("kafka.tools.ConsoleProducer", "--property"),
    };
    let separator = format!("key.separator={SEPARATOR}");
    let arguments = ["--bootstrap-server", bootstrap, "--topic", topic];
    let reader = [property, "parse.key=true", property, &separator];
    run(version, class, &[&arguments[..], &reader[..]].concat(), lines);
}

/// Reads `count` records of a partition with the Java consumer: one line each, key and value.
pub(crate) fn consume(cluster: &Cluster, topic: &str, partition: i32, count: usize) -> String {
    consume_from(cluster.version(), &cluster.bootstrap(), topic, partition, count)
}

/// As [`consume`], with the tools of `version` and from whatever listens at `bootstrap`.
pub(crate) fn consume_from(
    version: Version,
    bootstrap: &str,
    topic: &str,
    partition: i32,
    count: usize,
) -> String {
    console_consumer(version, bootstrap, (topic, partition), count, ["String"; 2], false)
}

/// As [`consume`], with the headers in front: `name:value` each, commas between.
pub(crate) fn consume_with_headers(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    count: usize,
) -> String {
    let (version, place) = (cluster.version(), (topic, partition));
    console_consumer(version, &cluster.bootstrap(), place, count, ["String"; 2], true)
}

/// [`consume`] with Kafka's deserializers of these types for key and value.
pub(crate) fn consume_as(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    count: usize,
    types: [&str; 2],
) -> String {
    let (version, place) = (cluster.version(), (topic, partition));
    console_consumer(version, &cluster.bootstrap(), place, count, types, false)
}

fn console_consumer(
    version: Version,
    bootstrap: &str,
    (topic, partition): (&str, i32),
    count: usize,
    types: [&str; 2],
    with_headers: bool,
) -> String {
    let class = |name: &str| format!("org.apache.kafka.common.serialization.{name}Deserializer");
    let [key, value] = types.map(class);
    let [key, value] = [format!("key.deserializer={key}"), format!("value.deserializer={value}")];
    let property = match version {
        Version::V4_3_1 => "--formatter-property",
        Version::V3_9_2 => "--property",
    };
    let (partition, count) = (partition.to_string(), count.to_string());
    let separator = format!("key.separator={SEPARATOR}");
    let headers = format!("print.headers={with_headers}");
    let arguments = [
        ["--bootstrap-server", bootstrap],
        ["--topic", topic],
        ["--partition", &partition],
        ["--offset", "earliest"],
        ["--max-messages", &count],
        ["--timeout-ms", "60000"],
        [property, "print.key=true"],
        [property, &headers],
        [property, &separator],
        [property, &key],
        [property, &value],
    ];
    let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    run(version, class, arguments.as_flattened(), "")
}

/// What `DumpLogSegments --deep-iteration` says of the first segment of a partition on a broker.
pub(crate) fn dump_log(cluster: &Cluster, index: usize, topic: &str, partition: i32) -> String {
    let class = match cluster.version() {
        Version::V4_3_1 => "org.apache.kafka.tools.DumpLogSegments",
        Version::V3_9_2 => "kafka.tools.DumpLogSegments",
    };
    let folder = cluster.data(index).join(format!("{topic}-{partition}"));
    let file = folder.join("00000000000000000000.log").display().to_string();
    let arguments = ["--deep-iteration", "--print-data-log", "--files", &file];
    run(cluster.version(), class, &arguments, "")
}

/// Lets Kafka's own tool make the preferred replica of every partition its leader.
pub(crate) fn elect_preferred_leaders(cluster: &Cluster) {
    let bootstrap = cluster.bootstrap();
    let arguments = [
        "--bootstrap-server",
        &bootstrap,
        "--election-type",
        "preferred",
        "--all-topic-partitions",
    ];
    run(cluster.version(), "org.apache.kafka.tools.LeaderElectionCommand", &arguments, "");
}

/// Runs a class with `input` as its standard input, and returns its standard output.
///
/// # Panics
/// When it fails or takes longer than [`RUN_MAX`], with what it wrote.
pub(crate) fn run(version: Version, class: &str, arguments: &[&str], input: &str) -> String {
    // Files instead of pipes: nobody has to read one while writing the other.
    let folder = tempfile::tempdir_in(target().join("tmp")).expect("a folder for a tool's output");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("in"), input).expect("a tool's input");
    let create = |name| File::create(path(name)).expect("a tool's output");
    let mut tool = Command::new("java")
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", class_path(version), class])
        .args(arguments)
        .stdin(Stdio::from(File::open(path("in")).expect("written above")))
        .stdout(create("out"))
        .stderr(create("err"))
        .spawn()
        .expect("Java was found a moment ago");
    let process = pidfd_open(Pid::from_child(&tool), PidfdFlags::empty()).expect("our child");
    let ended = ended_within(&process, RUN_MAX);
    if !ended {
        tool.kill().ok();
    }
    let status = tool.wait().expect("our child");
    assert!(ended, "{class} did not end within {RUN_MAX:?}: {}", output(&path("err")));
    assert!(status.success(), "{class} failed: {status}\n{}", output(&path("err")));
    fs::read_to_string(path("out")).expect("a tool prints UTF-8")
}

/// Compiles a source file of this repository against Kafka's jars.
///
/// # Panics
/// When it does not compile, with what the compiler says.
pub(crate) fn compile(version: Version, source: &str, into: &Path) {
    require("javac", "-version");
    let mut compiler = Command::new("javac");
    compiler.args(["-cp", class_path(version), "-d"]).arg(into);
    compiler.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source));
    let output = compiler.output().expect("javac was found a moment ago");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
}

fn output(path: &Path) -> String {
    tail(path)
}

const RUN_MAX: Duration = Duration::from_secs(120);
