//! `kuring verifiable-producer` as Kafka's system tests run it: every line parsed.
#![forbid(unsafe_code)]

mod program;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use kuring_tools::sink::{Sink, SinkHandle, SinkOptions};
use program::{finish, kuring, stderr, stdout};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn sink() -> SinkHandle {
    Sink::start(&SinkOptions { verify: true, partitions: 2, ..SinkOptions::default() }).unwrap()
}

fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["name"] == name).collect()
}

#[test]
fn every_record_is_told_once_between_the_start_and_the_end() {
    let sink = sink();
    let bootstrap = sink.address().to_string();
    let arguments = ["--topic", "t", "--max-messages", "1000", "--value-prefix", "7"];
    let output = finish(
        kuring()
            .args([
                "verifiable-producer",
                "--bootstrap-server",
                &bootstrap,
                "--repeating-keys",
                "3",
            ])
            .args(arguments)
            .spawn()
            .unwrap(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.lines().all(|line| line.starts_with("{\"timestamp\":")), "{text}");
    let events = events(&text);
    assert_eq!(events[0]["name"], "startup_complete");
    assert_eq!(events[events.len() - 2]["name"], "shutdown_complete");
    let data = &events[events.len() - 1];
    assert_eq!(
        (&data["name"], &data["sent"], &data["acked"]),
        (&"tool_data".into(), &1000.into(), &1000.into())
    );
    assert_eq!(data["target_throughput"], -1);
    assert!(data["avg_throughput"].as_f64().unwrap() > 0.0);
    let mut numbers: Vec<u64> = Vec::new();
    for event in named(&events, "producer_send_success") {
        let value = event["value"].as_str().unwrap().strip_prefix("7.").unwrap();
        let number: u64 = value.parse().unwrap();
        assert_eq!(event["key"].as_str().unwrap(), (number % 3).to_string());
        assert_eq!(event["topic"], "t");
        assert!(event["partition"].as_i64().unwrap() < 2 && event["offset"].as_i64().unwrap() >= 0);
        numbers.push(number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_signal_ends_it_with_everything_told() {
    let sink = sink();
    let bootstrap = sink.address().to_string();
    let mut child = kuring()
        .args(["verifiable-producer", "--topic", "t", "--throughput", "500"])
        .args(["--bootstrap-server", &bootstrap])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut text: Vec<String> = lines.by_ref().take(20).collect();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    text.extend(lines);
    assert!(child.wait().unwrap().success());
    let events = events(&text.join("\n"));
    let data = events.last().unwrap();
    assert_eq!(events[events.len() - 2]["name"], "shutdown_complete");
    let told = named(&events, "producer_send_success").len();
    assert_eq!(
        (data["sent"].as_u64(), data["acked"].as_u64()),
        (Some(told as u64), Some(told as u64))
    );
    assert_eq!(named(&events, "producer_send_success")[0]["key"], Value::Null);
}

#[test]
fn a_record_that_fails_is_an_event_with_the_class_and_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("producer.properties");
    std::fs::write(&file, "max.block.ms=200\n").unwrap();
    let output = finish(
        kuring()
            .args(["verifiable-producer", "--topic", "t", "--max-messages", "1"])
            .args(["--bootstrap-server", "127.0.0.1:1", "--command-config"])
            .arg(&file)
            .spawn()
            .unwrap(),
    );
    let events = events(&stdout(&output));
    let errors = named(&events, "producer_send_error");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["exception"], "class org.apache.kafka.common.errors.TimeoutException");
    assert!(errors[0]["message"].as_str().unwrap().contains("max.block.ms"));
    assert_eq!(events.last().unwrap()["acked"], 0);
}
