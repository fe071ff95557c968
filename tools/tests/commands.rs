//! `kuring sink` and `kuring produce` as a user runs them.
#![forbid(unsafe_code)]

mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Output, Stdio};
use std::time::Duration;

use kuring::ErrorCode;
use kuring::testing::{Api, Cluster, StoredRecord};
use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};
use program::{finish, kuring, stderr, stdout};
use rustix::process::{Pid, Signal, kill_process};

fn verifying() -> SinkHandle {
    Sink::start(&SinkOptions { verify: true, ..SinkOptions::default() }).unwrap()
}

fn produce(sink: &SinkHandle, arguments: &[&str], input: &[u8]) -> Output {
    let server = sink.address().to_string();
    let mut child = kuring()
        .args(["produce", "--bootstrap-server", &server, "--topic", "lines"])
        .args(arguments)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

#[test]
fn produce_sends_every_line_whatever_its_bytes() {
    let sink = verifying();
    let output = produce(&sink, &[], b"one\r\n\n\xff\x00\nlast without newline");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let totals = sink.stop().unwrap().totals;
    assert_eq!((totals.records, totals.first_error), (4, None));
    // Each batch is 61 bytes, each record 7 bytes of fields and its value.
    assert_eq!(totals.batch_bytes, totals.batches * 61 + 4 * 7 + (4 + 2 + 20));
}

#[test]
fn produce_of_an_empty_input_sends_nothing_and_succeeds() {
    let sink = verifying();
    let output = produce(&sink, &[], b"");
    assert!(output.status.success(), "{}", stderr(&output));
    let mut command = kuring();
    command.stdin(Stdio::null()).args(["produce", "--topic", "lines", "--bootstrap-server"]);
    let output = finish(command.arg(sink.address().to_string()).spawn().unwrap());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(sink.totals().records, 0);
}

#[test]
fn produce_takes_a_hundred_thousand_lines() {
    let sink = verifying();
    let input: String =
        (0..100_000).map(|number| format!("key{number}\tvalue{number}\n")).collect();
    let output = produce(&sink, &["--key-separator", "\\t"], input.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    let totals = sink.stop().unwrap().totals;
    assert_eq!((totals.records, totals.first_error), (100_000, None));
}

#[test]
fn produce_stops_at_a_line_without_a_separator_and_goes_on_behind_one_too_large() {
    let sink = verifying();
    let input = [&b"a:1\nc:"[..], &vec![b'x'; 3_000_000], b"\nb:2\nnothing\nd:4\n"].concat();
    let output = produce(&sink, &["--key-separator", ":"], &input);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("line 2: the record needs"), "{errors}");
    assert!(errors.contains("line 4: there is no key.separator (\":\")"), "{errors}");
    assert!(errors.contains("stopped at line 4"), "{errors}");
    assert!(errors.contains("2 records acknowledged, 2 failed (0 of them possibly"), "{errors}");
    assert_eq!(sink.totals().records, 2);
}

fn kept(arguments: &[&str], input: &str) -> (Output, Vec<StoredRecord>) {
    let cluster = Cluster::builder().topic("lines", 4).start().unwrap();
    let mut child = kuring()
        .args(["produce", "--bootstrap-server", &cluster.bootstrap_servers(), "--topic", "lines"])
        .args(arguments)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = finish(child);
    (output, cluster.records("lines").unwrap())
}

#[test]
fn produce_reads_headers_keys_and_nulls_as_kafka_s_console_producer_does() {
    let arguments = [
        "--reader-property",
        "parse.headers=true",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "null.marker=NIL",
    ];
    let (output, records) = kept(&arguments, "a:1,b:NIL\tkey\tNIL\n");
    assert!(output.status.success(), "{}", stderr(&output));
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"key"[..]), None));
    let headers: Vec<_> =
        record.headers.iter().map(|header| (&*header.key, header.value.as_deref())).collect();
    assert_eq!(headers, [("a", Some(&b"1"[..])), ("b", None)]);
}

#[test]
fn produce_takes_json_and_templates() {
    let line = r#"{"key":"k","value":"v","partition":3,"timestamp":1700000000000}"#;
    let template = "3|1700000000000|k=v";
    for (arguments, line) in [
        (&["--format", "json", "--compression-codec"][..], line),
        (&["-F", "%p|%T|%k=%s"], template),
    ] {
        let (output, records) = kept(arguments, &format!("{line}\n"));
        assert!(output.status.success(), "{}", stderr(&output));
        let [record] = &records[..] else { panic!("{records:?}") };
        assert_eq!((record.partition, record.timestamp), (3, 1_700_000_000_000));
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(&b"v"[..]));
    }
}

#[test]
fn produce_with_sync_ends_with_the_first_error() {
    let cluster = Cluster::builder().topic("lines", 1).start().unwrap();
    let fault = cluster.fail(Api::Produce).with(ErrorCode::InvalidRecord).once();
    let mut child = kuring()
        .args(["produce", "--bootstrap-server", &cluster.bootstrap_servers(), "--sync"])
        .args(["--topic", "lines", "--timeout", "0"])
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = finish(child);
    assert_eq!((output.status.code(), fault.hits()), (Some(1), 1));
    assert!(stderr(&output).contains("stopped at line 1"), "{}", stderr(&output));
    assert_eq!(cluster.records("lines").unwrap().len(), 0);
}

#[test]
fn produce_reads_a_file_and_an_interrupt_waits_for_what_was_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\ntwo\n").unwrap();
    let (output, records) = kept(&["--input", file.path().to_str().unwrap()], "not read");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(records.len(), 2);

    let cluster = Cluster::builder().topic("lines", 1).start().unwrap();
    let mut child = kuring()
        .args(["produce", "--bootstrap-server", &cluster.bootstrap_servers(), "--topic", "lines"])
        .args(["--timeout", "0"])
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\ntwo\n").unwrap();
    cluster.await_records("lines", 2, Duration::from_secs(30)).unwrap();
    // The input stays open: only the signal ends it.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = finish(child);
    drop(input);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("interrupted") && told.contains("2 records acknowledged"), "{told}");
}

#[test]
fn produce_stops_with_status_1_when_no_broker_answers() {
    let mut child = kuring()
        .args(["produce", "--bootstrap-server", "127.0.0.1:1", "--topic", "lines"])
        .args(["--command-property", "max.block.ms=300"])
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("stopped at line 1"), "{errors}");
    assert!(errors.contains("0 records acknowledged, 1 failed"), "{errors}");
}

#[test]
fn produce_without_a_broker_says_what_is_missing() {
    let output = finish(kuring().args(["produce", "--topic", "lines"]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--bootstrap-server"), "{}", stderr(&output));
}

/// A running `kuring sink`; killed when a test ends before it does.
struct SinkProcess {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl SinkProcess {
    fn start(arguments: &[&str]) -> Self {
        let mut command = kuring();
        let command = command.args(["sink", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, output, address }
    }

    /// Ends it as a user does, and returns its exit status and what it printed last.
    fn end(mut self) -> (i32, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code().unwrap(), text)
    }
}

impl Drop for SinkProcess {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_sink_command_prints_its_totals_when_it_is_told_to_end() {
    let sink = SinkProcess::start(&["--partitions", "3", "--verify"]);
    let mut perf = kuring();
    perf.args(["perf", "--num-records", "5000", "--bootstrap-server", &sink.address]);
    let perf = finish(perf.spawn().unwrap());
    assert!(perf.status.success(), "{}{}", stdout(&perf), stderr(&perf));
    let (code, text) = sink.end();
    assert_eq!(code, 0);
    assert!(text.contains(" records 5000, "), "{text}");
    assert!(text.contains("InitProducerId 1, "), "{text}");
    assert!(text.contains("cpu user "), "{text}");
}

#[test]
fn the_sink_command_ends_with_status_1_after_a_wrong_batch() {
    let sink = SinkProcess::start(&["--verify"]);
    let blast = b"\0\0\0\x50\0\0\0\x03\0\0\0\x01\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\x01\0\x01t\
        \0\0\0\x01\0\0\0\0\0\0\0\x2b";
    let mut stream = std::net::TcpStream::connect(&sink.address).unwrap();
    stream.write_all(blast).unwrap();
    stream.write_all(&[0; 43]).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    let (code, text) = sink.end();
    assert_eq!(code, 1);
    assert!(text.contains("wrong batches 1, the first: t-0: a batch of 43 bytes"), "{text}");
}
