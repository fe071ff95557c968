//! `kuring verify` against brokers in this process, sound ones and failing ones.
#![forbid(unsafe_code)]

mod program;

use std::process::{Child, Output};
use std::time::Duration;

use kuring::testing::{Api, Cluster};
use kuring::{BrokerId, ErrorCode, Producer, Record};
use program::{finish, kuring, stderr, stdout};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster() -> Cluster {
    Cluster::builder().brokers(3).topic("t", 6).start().unwrap()
}

fn started(cluster: &Cluster, arguments: &[&str]) -> Child {
    let bootstrap = cluster.bootstrap_servers();
    let mut command = kuring();
    command.args(["verify", "--topic", "t", "--bootstrap-server", &bootstrap]);
    command.args(arguments).spawn().unwrap()
}

fn verify(cluster: &Cluster, arguments: &[&str]) -> Output {
    finish(started(cluster, arguments))
}

/// With `--json -` the report stands alone on standard output.
fn judged(output: &Output) -> Value {
    serde_json::from_str(&stdout(output))
        .unwrap_or_else(|error| panic!("{error}: {}{}", stdout(output), stderr(output)))
}

fn row(report: &Value, verdict: &str) -> [u64; 3] {
    ["found_0", "found_1", "found_more"].map(|it| report["verdicts"][verdict][it].as_u64().unwrap())
}

#[test]
fn a_sound_cluster_gets_a_clean_table() {
    let cluster = cluster();
    let output = verify(&cluster, &["--records", "20000", "--threads", "3", "--size", "40"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(text.contains("20000 records sent to t (6 partitions"), "{text}");
    let acknowledged = text.lines().find(|line| line.starts_with("acknowledged")).unwrap();
    let counts: Vec<&str> = acknowledged.split_whitespace().skip(1).collect();
    assert_eq!(counts, ["0", "20000", "0"]);
    assert!(text.ends_with("Nothing is violated.\n"), "{text}");
    let records = cluster.records("t").unwrap();
    assert_eq!(records.len(), 20000);
    assert!(records.iter().all(|it| it.key.is_some() && it.value.as_ref().unwrap().len() == 40));
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[test]
fn records_of_others_are_counted_and_former_ones_are_not_read() {
    let cluster = cluster();
    let producer = Producer::builder();
    let producer = producer.bootstrap_servers(cluster.bootstrap_servers()).build().unwrap();
    let topic = producer.topic("t");
    let stranger = || Record::new().partition(0).value("of somebody else");
    topic.blocking_send(stranger()).unwrap().wait().unwrap();
    // The run's first batch waits until somebody else's record is in the log, behind the place
    // where the run found its end.
    let held = cluster.fail(Api::Produce).client_id("kuring-verify").hold().once();
    let child = started(&cluster, &["--records", "500", "--unkeyed", "--json", "-"]);
    held.await_hits(1, PATIENCE).unwrap();
    topic.blocking_send(stranger()).unwrap().wait().unwrap();
    held.release();
    let output = finish(child);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = judged(&output);
    assert_eq!((report["foreign"].as_u64(), report["read"].as_u64()), (Some(1), Some(501)));
    assert_eq!(report["routing_judged"], false);
    producer.close(PATIENCE);
}

#[test]
fn lost_answers_disconnects_and_moved_leaders_violate_nothing() {
    let cluster = cluster();
    let faults = [
        cluster.fail(Api::Produce).partition("t", 0).disconnect().after_append().times(2),
        cluster.fail(Api::Produce).partition("t", 1).disconnect().times(2),
        cluster.fail(Api::Produce).with(ErrorCode::NotLeaderOrFollower).times(3),
        cluster.fail(Api::Produce).partition("t", 2).lose_answer().once(),
        cluster.fail(Api::Fetch).with(ErrorCode::NotLeaderOrFollower).times(2),
        cluster.fail(Api::Fetch).disconnect().times(2),
        cluster.fail(Api::ListOffsets).with(ErrorCode::LeaderNotAvailable).times(2),
    ];
    let child = started(
        &cluster,
        &["--records", "3000", "--rate", "3000", "--json", "-", "--command-property"]
            .into_iter()
            .chain(["request.timeout.ms=500", "retry.backoff.ms=10", "delivery.timeout.ms=20000"])
            .collect::<Vec<_>>(),
    );
    cluster.await_requests(Api::Produce, 8, PATIENCE).unwrap();
    cluster.move_leader("t", 3, BrokerId(1)).unwrap();
    cluster.move_leader("t", 4, BrokerId(1)).unwrap();
    cluster.move_leader("t", 5, BrokerId(2)).unwrap();
    cluster.disconnect_clients();
    let output = finish(child);
    let report = judged(&output);
    assert!(output.status.success(), "{report:#}");
    assert_eq!(row(&report, "acknowledged"), [0, 3000, 0]);
    assert_eq!(report["violations"]["misrouted"], 0);
    assert_eq!(report["routing_judged"], true);
    assert!(faults.iter().all(|fault| fault.hits() > 0), "{faults:?}");
}

#[test]
fn without_idempotence_a_lost_answer_is_found_as_duplicates() {
    let cluster = cluster();
    cluster.fail(Api::Produce).disconnect().after_append().times(2);
    let output = verify(
        &cluster,
        &["--records", "600", "--json", "-", "--command-property", "enable.idempotence=false"],
    );
    assert_eq!(output.status.code(), Some(1));
    let report = judged(&output);
    assert!(report["violations"]["duplicates"].as_u64().unwrap() > 0, "{report:#}");
    assert!(row(&report, "acknowledged")[2] > 0, "{report:#}");
    assert!(report["first"][0].as_str().unwrap().starts_with("duplicate: record "), "{report:#}");
    assert_eq!(report["violations"]["lost"], 0);
}

#[test]
fn acks_0_shows_what_was_lost() {
    let cluster = cluster();
    let lost = cluster.fail(Api::Produce).partition("t", 3).lose_request().once();
    let arguments = ["--records", "600", "--settle", "300ms", "--command-property", "acks=0"];
    let output = verify(&cluster, &arguments);
    let text = stdout(&output);
    assert_eq!((output.status.code(), lost.hits()), (Some(1), 1), "{text}{}", stderr(&output));
    assert!(text.contains("  lost: record "), "{text}");
}

#[test]
fn records_that_are_refused_are_definitely_not_written_and_violate_nothing() {
    let cluster = cluster();
    let refused = cluster
        .fail(Api::Produce)
        .partition("t", 2)
        .with(ErrorCode::TopicAuthorizationFailed)
        .always();
    let output = verify(&cluster, &["--records", "600", "--json", "-"]);
    let report = judged(&output);
    assert!(output.status.success(), "{report:#}");
    assert!(refused.hits() > 0);
    let [unwritten, 0, 0] = row(&report, "definitely_not_written") else { panic!("{report:#}") };
    assert!(unwritten > 0);
    assert_eq!(row(&report, "acknowledged")[1] + unwritten, report["sent"].as_u64().unwrap());
    assert!(!report["errors"].as_object().unwrap().is_empty());
}

#[test]
fn a_producer_that_cannot_go_on_is_no_clean_run() {
    let cluster = cluster();
    let denied = ErrorCode::TopicAuthorizationFailed;
    cluster.fail(Api::Metadata).client_id("kuring-verify").topic("t").with(denied).always();
    let output = verify(&cluster, &["--records", "600"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    assert!(text.contains("Sending ended early: "), "{text}");
    assert!(text.contains("1 records sent to t"), "{text}");
}

#[test]
fn an_interruption_ends_the_sending_and_what_was_sent_is_judged() {
    let cluster = cluster();
    let child = started(&cluster, &["--duration", "10m", "--rate", "1000", "--json", "-"]);
    cluster.await_records("t", 100, PATIENCE).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = finish(child);
    let report = judged(&output);
    assert!(output.status.success(), "{report:#}");
    let sent = report["sent"].as_u64().unwrap();
    assert!((100..600_000).contains(&sent), "{sent}");
    assert_eq!(row(&report, "acknowledged"), [0, sent, 0]);
}

#[test]
fn another_partitioner_is_not_held_against_murmur2() {
    let cluster = cluster();
    let property = "partitioner.ignore.keys=true";
    let output = verify(&cluster, &["--records", "500", "--command-property", property]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let line = text.lines().find(|line| line.starts_with("misrouted")).unwrap();
    assert!(line.ends_with("not judged"), "{text}");
}

#[test]
fn compressed_records_are_read_back() {
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let cluster = cluster();
        let property = format!("compression.type={codec}");
        let output = verify(&cluster, &["--records", "2000", "--command-property", &property]);
        assert!(output.status.success(), "{codec}: {}{}", stdout(&output), stderr(&output));
    }
}

#[test]
fn what_cannot_be_verified_is_said_and_is_no_clean_run() {
    let bare = finish(kuring().args(["verify", "--topic", "t"]).spawn().unwrap());
    assert_eq!(bare.status.code(), Some(1));
    assert!(stderr(&bare).contains("--bootstrap-server"), "{}", stderr(&bare));
    let arguments = ["verify", "--topic", "t", "--bootstrap-server", "127.0.0.1:1"];
    let silent = kuring().args(arguments).args(["--patience", "200ms"]).spawn().unwrap();
    let silent = finish(silent);
    assert_eq!(silent.status.code(), Some(1));
    assert!(stderr(&silent).contains("127.0.0.1:1"), "{}", stderr(&silent));
    let cluster = Cluster::builder().topic("t", 1).start().unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let arguments = ["verify", "--topic", "none", "--bootstrap-server", &bootstrap];
    let unknown = finish(kuring().args(arguments).args(["--patience", "200ms"]).spawn().unwrap());
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("none"), "{}", stderr(&unknown));
}
