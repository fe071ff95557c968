//! Samples to Markdown: medians with their spread, and ratios within rounds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use compare_measure::{Mode, Percentiles, Report};

use crate::results::{Cell, Part, Row, Sample, median};

/// Who the others are set against.
pub(crate) const SUBJECT: &str = "kuring";

/// A median and, where there are several, its spread.
fn spread(figures: &[f64], digits: usize) -> String {
    match figures {
        [] => "–".into(),
        [only] => format!("**{only:.digits$}**"),
        [min, .., max] => {
            format!("**{:.digits$}** ({min:.digits$}–{max:.digits$})", median(figures))
        }
    }
}

/// One part: what it is, who was left out, and its cells.
pub(crate) fn part(part: &Part) -> String {
    let mut text = format!(
        "## {}\n\nKuring {}, {}; {}, medians (min–max).\n\n",
        part.heading,
        part.commit,
        part.machine,
        rounds(part),
    );
    for reason in &part.left_out {
        let _ = writeln!(text, "- left out: {reason}");
    }
    if !part.left_out.is_empty() {
        text.push('\n');
    }
    for each in &part.cells {
        text += &cell(each, part.is_real());
    }
    text
}

/// How often each contender ran.
pub(crate) fn rounds(part: &Part) -> String {
    match part.rounds {
        1 => "one round".into(),
        count => format!("{count} rounds"),
    }
}

/// One cell: its table, the ratios, how quiet it was.
pub(crate) fn cell(cell: &Cell, real: bool) -> String {
    let table = match cell.mode {
        Mode::Throughput => costs(cell, real),
        _ => latencies(cell),
    };
    let mut text =
        format!("### {}\n\n{table}\n{}\n{}\n", title(cell), ratios(cell), quiet(&cell.rows));
    for row in &cell.rows {
        for failure in &row.failures {
            let _ = writeln!(text, "- {} gave no figures in a run: {failure}", row.contender);
        }
    }
    text
}

/// What a cell is about.
pub(crate) fn title(cell: &Cell) -> String {
    let Cell { size, partitions, .. } = cell;
    let partitions = match partitions {
        1 => "1 partition".to_owned(),
        _ => format!("{partitions} partitions"),
    };
    match (cell.mode, cell.rate) {
        (Mode::Throughput, _) => format!("Throughput, {size} B, {partitions}"),
        (Mode::Rtt, _) => format!("Round trip, one record outstanding, {size} B, {partitions}"),
        (Mode::OpenLoop, rate) => {
            let rate = rate.unwrap_or(0);
            format!("Open loop, {rate} records/s, {size} B, {partitions}")
        }
        (Mode::SendLatency, rate) => {
            let rate = rate.unwrap_or(0);
            format!("The call of send, {rate} records/s, {size} B, {partitions}")
        }
    }
}

/// What each contender cost.
fn costs(cell: &Cell, real: bool) -> String {
    let unit = if real { "client CPU s per M records" } else { "client CPU ns/record" };
    let scale = if real { 1e-3 } else { 1.0 };
    let digits = if real { 3 } else { 0 };
    let mut text = format!(
        "| client | settings | records a run | M records/s | {unit}, steady | same, whole process \
         | broker CPU | records a request | max RSS MB | not acked | in the log, of those sent |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for row in &cell.rows {
        let figures =
            |digits: usize, figure: &dyn Fn(&Sample) -> f64| spread(&row.figures(figure), digits);
        let broker = match real {
            true => figures(3, &broker_seconds_per_million) + " s/M",
            false => figures(0, &broker_percent) + " %",
        };
        let records = row.samples.iter().map(|sample| sample.report.records).max();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {broker} | {} | {} | {} | {} |",
            row.contender,
            row.about,
            records.unwrap_or(0),
            figures(2, &|sample| sample.report.records_per_sec / 1e6),
            figures(digits, &|sample| sample.report.cpu_ns_per_record * scale),
            figures(digits, &|sample| sample.report.cpu_ns_per_record_whole * scale),
            figures(0, &records_per_request),
            figures(0, &|sample| sample.report.resident_bytes_max as f64 / 1e6),
            row.samples.iter().map(|sample| missing(&sample.report)).sum::<u64>(),
            stored(row),
        );
    }
    text
}

fn latencies(cell: &Cell) -> String {
    let mut text = String::from(
        "| client | settings | p50 µs | p90 | p99 | p99.9 | p99.99 | max | achieved/s | \
         client CPU ns/record | max RSS MB | not acked |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &cell.rows {
        let of = |figure: fn(&Percentiles) -> f64| {
            spread(&row.figures(|sample| percentile(sample, figure)), 1)
        };
        let late = |sample: &Sample| sample.report.latency.as_ref().is_some_and(|it| it.behind);
        let behind = row.samples.iter().filter(|sample| late(sample)).count();
        let mark = match behind {
            0 => String::new(),
            _ => format!(" ⚠ behind in {behind} of {}", row.samples.len()),
        };
        let whole = |figure: &dyn Fn(&Sample) -> f64| spread(&row.figures(figure), 0);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {}{mark} | {} | {} | {} |",
            row.contender,
            row.about,
            of(|found| found.p50_us),
            of(|found| found.p90_us),
            of(|found| found.p99_us),
            of(|found| found.p999_us),
            of(|found| found.p9999_us),
            of(|found| found.max_us),
            whole(&|sample| percentile(sample, |found| found.achieved_per_sec)),
            whole(&|sample| sample.report.cpu_ns_per_record),
            whole(&|sample| sample.report.resident_bytes_max as f64 / 1e6),
            row.samples.iter().map(|sample| missing(&sample.report)).sum::<u64>(),
        );
    }
    text
}

fn percentile(sample: &Sample, figure: impl Fn(&Percentiles) -> f64) -> f64 {
    sample.report.latency.as_ref().map_or(f64::NAN, figure)
}

fn missing(report: &Report) -> u64 {
    report.records.saturating_sub(report.acknowledged)
}

/// Where a real broker counted: every sample's count less what was sent.
fn stored(row: &Row) -> String {
    let difference = |sample: &Sample| Some(sample.stored? as i64 - sample.report.records as i64);
    let differences: Option<Vec<i64>> = row.samples.iter().map(difference).collect();
    match differences {
        Some(all) if all.is_empty() => "–".into(),
        Some(all) if all.iter().all(|&one| one == 0) => "all, once".into(),
        Some(all) => all.iter().map(|one| format!("{one:+}")).collect::<Vec<_>>().join(", "),
        None => "–".into(),
    }
}

fn broker_percent(sample: &Sample) -> f64 {
    // The broker's CPU covers the warm-up too; the wall time of both is close to the steady
    // part's by the share of records.
    let Report { seconds, records, records_per_sec, .. } = sample.report;
    let steady = (seconds * records_per_sec / records as f64).min(1.0);
    sample.broker_cpu_s.map_or(f64::NAN, |cpu| cpu * steady / seconds * 100.0)
}

fn broker_seconds_per_million(sample: &Sample) -> f64 {
    let millions = sample.report.records as f64 / 1e6;
    sample.broker_cpu_s.map_or(f64::NAN, |cpu| cpu / millions)
}

fn records_per_request(sample: &Sample) -> f64 {
    let requests = sample.report.requests;
    requests.map_or(f64::NAN, |count| sample.report.acknowledged as f64 / count.max(1) as f64)
}

/// What the ratios of a mode are of: a heading and the figure.
type Figure = (&'static str, fn(&Sample) -> f64);

fn compared(mode: Mode) -> [Figure; 2] {
    match mode {
        Mode::Throughput => [
            ("records/s, times", |sample| sample.report.records_per_sec),
            ("CPU per record, part", |sample| sample.report.cpu_ns_per_record),
        ],
        Mode::Rtt => [
            ("p50, part", |sample| percentile(sample, |found| found.p50_us)),
            ("p99, part", |sample| percentile(sample, |found| found.p99_us)),
        ],
        Mode::OpenLoop | Mode::SendLatency => [
            ("p50, part", |sample| percentile(sample, |found| found.p50_us)),
            ("p99.9, part", |sample| percentile(sample, |found| found.p999_us)),
        ],
    }
}

/// The subject against each other contender, round by round.
fn ratios(cell: &Cell) -> String {
    let Some(first) = cell.rows.iter().find(|row| row.contender == SUBJECT) else {
        return String::new();
    };
    let [one, other] = compared(cell.mode);
    let mut text = format!("| {SUBJECT} against | {} | {} |\n|---|---|---|\n", one.0, other.0);
    for row in cell.rows.iter().filter(|row| row.contender != SUBJECT) {
        // Rounds pair up only where neither of the two has failed in one.
        let whole = row.failures.is_empty() && first.failures.is_empty();
        let pairs = |figure: fn(&Sample) -> f64| {
            let pair = |(one, other): (&Sample, &Sample)| figure(one) / figure(other);
            let mut ratios: Vec<f64> = first.samples.iter().zip(&row.samples).map(pair).collect();
            ratios.retain(|ratio| whole && ratio.is_finite());
            ratios.sort_by(f64::total_cmp);
            spread(&ratios, 2)
        };
        let _ = writeln!(text, "| {} | {} | {} |", row.contender, pairs(one.1), pairs(other.1));
    }
    text
}

/// How quiet the machine was, in a sentence.
fn quiet(rows: &[Row]) -> String {
    let samples = rows.iter().flat_map(|row| &row.samples);
    let mut others: Vec<f64> = samples.map(|sample| sample.others_busy).collect();
    others.sort_by(f64::total_cmp);
    let (median, max) = (median(&others), others.last().copied().unwrap_or(f64::NAN));
    format!("Others kept {median:.2} CPUs busy meanwhile (median of the runs; at most {max:.2}).\n")
}

/// Versions and settings of each contender, as its own program tells them.
pub(crate) fn settings(parts: &[Part]) -> String {
    let mut lines = BTreeMap::new();
    for row in parts.iter().flat_map(|part| &part.cells).flat_map(|cell| &cell.rows) {
        for sample in &row.samples {
            let Report { version, settings, mode, .. } = &sample.report;
            lines.insert((row.contender.clone(), mode.name()), (version.clone(), settings.clone()));
        }
    }
    let mut text = String::from(
        "## Versions and settings\n\n| client | mode | version | settings |\n|---|---|---|---|\n",
    );
    for ((contender, mode), (version, settings)) in lines {
        let _ = writeln!(text, "| {contender} | {mode} | {version} | {settings} |");
    }
    text
}

/// One run, in a line.
pub(crate) fn progress(sample: &Sample) -> String {
    let Sample { report, others_busy, .. } = sample;
    let figures = match &report.latency {
        Some(found) => format!(
            "p50 {:.1} µs, p99 {:.1}, p99.9 {:.1}, {:.0}/s{}",
            found.p50_us,
            found.p99_us,
            found.p999_us,
            found.achieved_per_sec,
            if found.behind { " (behind)" } else { "" },
        ),
        None => format!(
            "{} B, {} partitions: {:.2} M records/s, {:.0} ns each",
            report.size,
            report.partitions,
            report.records_per_sec / 1e6,
            report.cpu_ns_per_record,
        ),
    };
    format!("{figures}, {} not acked, {others_busy:.1} CPUs busy with others", missing(report))
}

/// The commit of Kuring that this was built in, as far as git tells.
pub(crate) fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = git.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "of an unknown commit".into())
}

/// The machine, in a line.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let uname = rustix::system::uname();
    format!("{count} x {model}, Linux {}", uname.release().to_string_lossy())
}
