//! `kuring e2e-latency` against brokers in this process.
#![forbid(unsafe_code)]

mod program;

use kuring::ErrorCode;
use kuring::testing::{Api, Cluster};
use program::{finish, kuring, stderr, stdout};

fn cluster() -> Cluster {
    Cluster::builder().brokers(2).topic("t", 3).start().unwrap()
}

/// The percentiles of a line that has them, in its order.
fn numbers(line: &str) -> Vec<f64> {
    let values = line.split("= ").skip(1).map(|rest| rest.split(',').next().unwrap());
    values.map(|value| value.trim().parse().unwrap()).collect()
}

#[test]
fn every_thousandth_time_and_the_percentiles_are_printed() {
    let cluster = cluster();
    let bootstrap = cluster.bootstrap_servers();
    let output = finish(
        kuring()
            .args(["e2e-latency", "--bootstrap-server", &bootstrap, "--topic", "t"])
            .args(["--num-records", "1500", "--producer-acks", "all", "--record-size", "200"])
            .spawn()
            .unwrap(),
    );
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let lines: Vec<&str> = text.lines().collect();
    let [first, thousandth, mean, percentiles, micros] = lines[..] else { panic!("{text}") };
    assert!(first.starts_with("0\t") && thousandth.starts_with("1000\t"), "{text}");
    assert!(mean.starts_with("Avg latency: ") && mean.ends_with(" ms"), "{text}");
    assert!(percentiles.starts_with("Percentiles: 50th = "), "{text}");
    assert_eq!(numbers(percentiles).len(), 3, "{text}");
    assert!(micros.starts_with("In us: min = "), "{text}");
    let micros = numbers(micros);
    assert!(micros.len() == 5 && micros.is_sorted() && micros[0] > 0.0, "{text}");
    let records = cluster.records("t").unwrap();
    assert_eq!(records.len(), 1500);
    assert!(records.iter().all(|record| record.value.as_ref().unwrap().len() == 200));
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[test]
fn the_positional_form_of_older_scripts_is_understood() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties");
    std::fs::write(&file, "client.id=from-the-file\n").unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let run = |acks: &str| {
        let mut command = kuring();
        command.args(["e2e-latency", &bootstrap, "t", "5", acks, "10"]);
        finish(command.arg(&file).spawn().unwrap())
    };
    let output = run("1");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("Avg latency: "), "{}", stdout(&output));
    let produced = cluster.requests_of(Api::Produce);
    assert_eq!(produced.len(), 5);
    let refused = run("0");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("ACKS"), "{}", stderr(&refused));
}

#[test]
fn a_leader_that_fails_for_a_while_is_asked_again() {
    let cluster = cluster();
    let faults = [
        cluster.fail(Api::Fetch).with(ErrorCode::NotLeaderOrFollower).times(2),
        cluster.fail(Api::Fetch).disconnect().once(),
        cluster.fail(Api::Produce).disconnect().after_append().once(),
    ];
    let bootstrap = cluster.bootstrap_servers();
    let arguments = ["e2e-latency", &bootstrap, "t", "20", "all", "50"];
    let output = finish(kuring().args(arguments).spawn().unwrap());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(faults.map(|fault| fault.hits()), [2, 1, 1]);
    assert_eq!(cluster.records("t").unwrap().len(), 20);
}

#[test]
fn missing_arguments_are_said() {
    let output = finish(kuring().args(["e2e-latency", "--topic", "t"]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--bootstrap-server"), "{}", stderr(&output));
    let output = finish(kuring().args(["e2e-latency", "localhost:1", "t"]).spawn().unwrap());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
