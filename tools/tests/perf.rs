//! `kuring perf` as a user runs it: the built program, its lines, its JSON, its exit status.
#![forbid(unsafe_code)]

mod program;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use kuring_tools::sink::{Sink, SinkOptions};
use program::{finish, kuring, stderr, stdout};

fn perf(arguments: &[&str]) -> Output {
    finish(kuring().arg("perf").args(arguments).spawn().unwrap())
}

/// A number with so many decimals, in front of exactly this text; what is behind it.
fn number<'a>(line: &'a str, decimals: usize, unit: &str) -> (f64, &'a str) {
    let end = line.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap();
    let (digits, rest) = line.split_at(end);
    let found = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    assert_eq!(found, decimals, "{line}");
    let rest = rest.strip_prefix(unit).unwrap_or_else(|| panic!("no {unit:?} in {line:?}"));
    (digits.parse().unwrap(), rest)
}

/// Takes a final line apart, punctuation included: the count, records/sec, and the percentiles.
fn final_line(line: &str, what: &str) -> (f64, f64, Vec<f64>) {
    let (count, rest) = number(line, 0, &format!("{what} records sent, "));
    let (rate, rest) = number(rest, 6, " records/sec (");
    let (_, rest) = number(rest, 2, " MB/sec), ");
    let (average, rest) = number(rest, 2, " ms avg latency, ");
    let (longest, mut rest) = number(rest, 2, " ms max latency, ");
    assert!(average <= longest);
    let mut percentiles = Vec::new();
    for unit in [" ms 50th, ", " ms 95th, ", " ms 99th, ", " ms 99.9th."] {
        let (value, behind) = number(rest, 0, unit);
        percentiles.push(value);
        rest = behind;
    }
    assert_eq!(rest, "");
    assert!(percentiles.is_sorted());
    (count, rate, percentiles)
}

fn progress_count(line: &str) -> f64 {
    let (count, rest) = number(line, 0, " records sent, ");
    let (_, rest) = number(rest, 1, " records/sec (");
    let (_, rest) = number(rest, 2, " MB/sec), ");
    let (_, rest) = number(rest, 1, " ms avg latency, ");
    let (_, rest) = number(rest, 1, " ms max latency.");
    assert_eq!(rest, "");
    count
}

/// A flat object, one key a line, as this program writes it.
fn json(text: &str) -> BTreeMap<String, String> {
    let inside = text.trim().strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    inside
        .split(',')
        .map(|pair| {
            let (key, value) = pair.split_once(':').unwrap();
            (key.trim().trim_matches('"').to_owned(), value.trim().trim_matches('"').to_owned())
        })
        .collect()
}

#[test]
fn a_run_spreads_over_all_of_its_own_brokers() {
    let output = perf(&[
        "--num-records",
        "20000",
        "--brokers",
        "20",
        "--partitions",
        "100",
        "--round-robin",
        "--threads",
        "3",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (count, _, _) = final_line(stdout(&output).lines().next().unwrap(), "");
    assert_eq!(count, 20_000.0);
}

#[test]
fn a_run_against_its_own_broker_prints_the_classic_line_and_json_that_adds_up() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = perf(&["--num-records", "20000", "--record-size", "200", "--json", path]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("built-in null broker at 127.0.0.1:"));
    let text = stdout(&output);
    let (count, rate, _) = final_line(text.lines().next().unwrap(), "");
    assert_eq!(count, 20_000.0);

    let json = json(&std::fs::read_to_string(path).unwrap());
    let keys = [
        "acknowledged",
        "allocations_steady",
        "batches",
        "bytes_out",
        "cpu_ns_per_record",
        "cpu_system_s",
        "cpu_user_s",
        "driver",
        "failed",
        "latency_us_max",
        "latency_us_p50",
        "latency_us_p95",
        "latency_us_p99",
        "latency_us_p999",
        "mb_per_sec",
        "peak_rss_bytes",
        "records",
        "records_per_sec",
        "requests",
        "seconds",
        "shards",
    ];
    assert_eq!(json.keys().collect::<Vec<_>>(), keys);
    let value = |key: &str| json[key].parse::<f64>().unwrap();
    assert_eq!(value("records"), 20_000.0);
    assert_eq!(value("acknowledged") + value("failed"), value("records"));
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.001;
    assert!(near(value("records_per_sec"), rate), "{text}");
    assert!(near(value("records_per_sec") * value("seconds"), 20_000.0));
    assert!(near(value("mb_per_sec") * value("seconds"), 20_000.0 * 200.0 / 1_048_576.0));
    let cpu = value("cpu_user_s") + value("cpu_system_s");
    assert!(near(value("cpu_ns_per_record") * 20_000.0 / 1e9, cpu));
    assert!(value("latency_us_p50") > 0.0);
    assert!(value("latency_us_p50") <= value("latency_us_p99"));
    assert!(value("latency_us_p999") <= value("latency_us_max"));
    assert!(value("requests") >= 1.0 && value("batches") >= value("requests"));
    assert!(value("bytes_out") > 20_000.0 * 200.0);
    assert!(value("shards") >= 1.0);
    assert!(value("peak_rss_bytes") > 1e6);
    assert!(!json["driver"].is_empty());
}

#[test]
fn prf_5_a_warm_up_is_announced_and_both_final_lines_are_printed() {
    let output = perf(&[
        "--num-records",
        "3000",
        "--warmup-records",
        "1000",
        "--throughput",
        "10000",
        "--reporting-interval",
        "40",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("Warming up with the first 1000 records"));
    let is_progress = |line: &&str| line.ends_with("max latency.");
    let progress: f64 = text.lines().filter(is_progress).map(progress_count).sum();
    assert!(progress > 0.0 && progress <= 3000.0, "{text}");
    let finals: Vec<_> = text.lines().filter(|line| line.ends_with("99.9th.")).collect();
    assert_eq!(finals.len(), 2, "{text}");
    assert_eq!(final_line(finals[0], "").0, 3000.0);
    assert_eq!(final_line(finals[1], " steady state").0, 2000.0);
}

#[test]
fn prf_6_metrics_are_printed_sorted_below_a_header() {
    let output =
        perf(&["--num-records", "100", "--print-metrics", "--command-property", "client.id=me"]);
    let text = stdout(&output);
    let (_, table) = text.split_once("Metric Name").unwrap();
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert!(rows.len() > 5 && rows.is_sorted(), "{text}");
    for row in rows {
        let (name, value) = row.split_once(" : ").unwrap();
        let tags = name.trim_end().rsplit_once(":{client-id=me");
        assert!(tags.is_some_and(|(_, rest)| rest.ends_with("}")), "{row}");
        assert_eq!(value.split_once('.').unwrap().1.len(), 3, "{row}");
    }
}

#[test]
fn a_rate_given_latency_counts_from_the_intended_time() {
    // Answers come 50 ms late, five requests of one record are in flight at a time, and a record
    // is due every 5 ms: the wait in front of the requests belongs to the latency.
    let delay = Duration::from_millis(50);
    let sink = Sink::start(&SinkOptions { delay, ..SinkOptions::default() }).unwrap();
    let output = perf(&[
        "--bootstrap-server",
        &sink.address().to_string(),
        "--num-records",
        "40",
        "--throughput",
        "200",
        "--command-property",
        "linger.ms=0",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let line = text.lines().find(|line| line.ends_with("99.9th.")).unwrap();
    let (_, rate, percentiles) = final_line(line, "");
    assert!(percentiles[0] >= 50.0, "{text}");
    assert!(rate <= 200.0 * 40.0 / 39.0, "{text}");
}

#[test]
fn several_threads_and_a_payload_file_share_the_records() {
    let sink = Sink::start(&SinkOptions { verify: true, ..SinkOptions::default() }).unwrap();
    let payloads = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(payloads.path(), "one|two|three").unwrap();
    let output = perf(&[
        "--bootstrap-server",
        &sink.address().to_string(),
        "--num-records",
        "10001",
        "--threads",
        "3",
        "--payload-file",
        payloads.path().to_str().unwrap(),
        "--payload-delimiter",
        "|",
        "--no-progress",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert_eq!(final_line(text.lines().next().unwrap(), "").0, 10_001.0);
    let totals = sink.stop().unwrap().totals;
    assert_eq!((totals.records, totals.first_error), (10_001, None));
}

#[test]
fn a_broker_that_cannot_be_reached_gives_status_1_and_the_count_by_error() {
    let output = perf(&[
        "--bootstrap-server",
        "127.0.0.1:1",
        "--num-records",
        "10",
        "--command-property",
        "max.block.ms=300",
        "--json",
        "-",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("1 records failed: 1 unknown-topic-or-partition"), "{errors}");
    assert!(errors.contains("sending stopped early"), "{errors}");
    let text = stdout(&output);
    let json = json(&text[text.find('{').unwrap()..]);
    assert_eq!((json["records"].as_str(), json["failed"].as_str()), ("1", "1"));
}

#[test]
fn records_that_are_never_acknowledged_give_status_1_and_their_number() {
    let delay = Duration::from_secs(600);
    let sink = Sink::start(&SinkOptions { delay, ..SinkOptions::default() }).unwrap();
    let output = perf(&[
        "--bootstrap-server",
        &sink.address().to_string(),
        "--num-records",
        "25",
        "--command-property",
        "delivery.timeout.ms=700",
        "request.timeout.ms=500",
        "linger.ms=0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("25 records failed: 25 timed-out"), "{errors}");
    let text = stdout(&output);
    assert_eq!(final_line(text.lines().next().unwrap(), "").0, 0.0);
}

#[test]
fn records_too_large_fail_one_by_one() {
    let output = perf(&["--num-records", "5", "--record-size", "3000000", "--no-progress"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.contains("5 records failed: 5 too-large"), "{errors}");
}

#[test]
fn wrong_flags_and_settings_are_named() {
    let cases: [(&[&str], &str); 7] = [
        (&["--num-records", "0"], "--num-records"),
        (&["--throughput", "0"], "never send"),
        (&["--record-size", "1", "--payload-file", "x"], "--payload-file"),
        (&["--producer-props", "a=b", "--command-property", "c=d"], "--command-property"),
        (&["--payload-file", "/nowhere/at/all"], "payload file /nowhere/at/all"),
        (&["--command-property", "acks=7"], "acks"),
        (&["--num-records", "5", "--warmup-records", "5"], "must be below"),
    ];
    for (arguments, text) in cases {
        let output = perf(arguments);
        assert!(!output.status.success());
        let errors = stderr(&output);
        assert!(errors.contains(text), "{errors}");
    }
}

#[test]
fn a_report_is_one_page_that_needs_nothing_else_and_has_every_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.html");
    let output = perf(&[
        "--num-records",
        "20000",
        "--throughput",
        "20000",
        "--brokers",
        "2",
        "--payload-monotonic",
        "--record-key-range",
        "50",
        "--key-distribution",
        "range",
        "--command-property",
        "linger.ms=1",
        "--report",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = std::fs::read_to_string(&path).unwrap();
    for part in ["Throughput", "Latency", "Percentiles", "Brokers", "Settings", "Machine"] {
        assert!(page.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
    assert_eq!(page.matches("<svg ").count(), 3);
    assert_eq!(page.matches("<polyline class=\"line first\"").count(), 3, "three drawn lines");
    assert!(page.contains("<b>20 k</b><span>records acknowledged</span>"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    let changed = "<tr class=\"chosen\"><td><code>linger.ms</code></td><td><code>1</code>";
    assert!(page.contains(changed), "what differs from its default is marked");
    // One line of a broker: requests went to both.
    for broker in ["<td>1, ", "<td>2, "] {
        let row = page.split(broker).nth(1).unwrap_or_else(|| panic!("no row {broker}"));
        let requests = row.split("<td class=\"number\">").nth(1).unwrap();
        assert_ne!(requests.split('<').next(), Some("0"));
    }
}

#[test]
fn keys_need_their_range_and_transactions_are_refused() {
    for (arguments, word) in [
        (&["--key-distribution", "random"][..], "--record-key-range"),
        (&["--record-key-range", "5"], "--key-distribution"),
        (&["--transactional-id", "t"], "no transactions"),
        (&["--transaction-duration-ms", "5"], "no transactions"),
    ] {
        let output = perf(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
}
