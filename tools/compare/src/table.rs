//! Samples to Markdown: medians with their spread, and ratios within rounds.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::matrix::{Contender, Sample};
use crate::run::Report;

/// One contender's samples, a round each.
pub(crate) struct Row {
    pub(crate) contender: &'static Contender,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    fn figures(&self, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(figure).collect()
    }

    fn cell(&self, digits: usize, figure: impl Fn(&Sample) -> f64) -> String {
        let mut figures = self.figures(figure);
        figures.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (figures.first(), figures.last()) else {
            return String::new();
        };
        format!("**{:.digits$}** ({min:.digits$}–{max:.digits$})", median(&figures))
    }
}

/// Of sorted figures: the middle one, or the mean of the two.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => f64::NAN,
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
    }
}

/// What each contender cost.
pub(crate) fn costs(size: usize, real: bool, rows: &[Row]) -> String {
    let unit = if real { "client CPU s per M records" } else { "client CPU ns/record" };
    let scale = if real { 1e-3 } else { 1.0 };
    let digits = if real { 3 } else { 0 };
    let records = rows.iter().flat_map(|row| &row.samples).map(|sample| sample.report.records);
    let mut text = format!(
        "{size} B, {} records a run:\n\n\
         | client | settings | M records/s | {unit}, steady | same, whole process | \
         broker CPU | records a request | max RSS MB | not acked |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        records.max().unwrap_or(0),
    );
    for row in rows {
        let broker = match row.samples.iter().all(|sample| sample.broker_cpu.is_some()) {
            true if real => row.cell(3, broker_seconds_per_million) + " s/M",
            true => row.cell(0, broker_percent) + " %",
            false => "–".into(),
        };
        let requests = match row.samples.iter().all(|sample| sample.report.requests.is_some()) {
            true => row.cell(0, records_per_request),
            false => "–".into(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {broker} | {requests} | {} | {} |",
            row.contender.name,
            row.contender.about,
            row.cell(2, |sample| sample.report.records_per_sec / 1e6),
            row.cell(digits, |sample| sample.report.cpu_ns_per_record * scale),
            row.cell(digits, |sample| sample.report.cpu_ns_per_record_whole * scale),
            row.cell(0, |sample| sample.report.resident_bytes_max as f64 / 1e6),
            row.samples.iter().map(missing).sum::<u64>(),
        );
    }
    text
}

fn missing(sample: &Sample) -> u64 {
    sample.report.records - sample.report.acknowledged
}

fn broker_percent(sample: &Sample) -> f64 {
    // The broker's CPU covers the warm-up too; the wall time of both is close to the steady
    // part's by the share of records.
    let Report { seconds, records, .. } = sample.report;
    let steady = (records - records / 10) as f64 / records as f64;
    sample.broker_cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64() * steady / seconds * 100.0)
}

fn broker_seconds_per_million(sample: &Sample) -> f64 {
    let millions = sample.report.records as f64 / 1e6;
    sample.broker_cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64() / millions)
}

fn records_per_request(sample: &Sample) -> f64 {
    let requests = sample.report.requests.unwrap_or(0).max(1);
    sample.report.acknowledged as f64 / requests as f64
}

/// The subject against each other contender, round by round.
pub(crate) fn ratios(subject: &str, rows: &[Row]) -> String {
    let Some(first) = rows.iter().find(|row| row.contender.name == subject) else {
        return String::new();
    };
    let mut text =
        format!("| {subject} against | records/s, times | CPU per record, part |\n|---|---|---|\n");
    for row in rows.iter().filter(|row| row.contender.name != subject) {
        let pairs = |figure: fn(&Report) -> f64| {
            let pair =
                |(one, other): (&Sample, &Sample)| figure(&one.report) / figure(&other.report);
            let mut ratios: Vec<f64> = first.samples.iter().zip(&row.samples).map(pair).collect();
            ratios.sort_by(f64::total_cmp);
            let spread = |index: Option<&f64>| index.copied().unwrap_or(f64::NAN);
            let (min, max) = (spread(ratios.first()), spread(ratios.last()));
            format!("**{:.2}** ({min:.2}–{max:.2})", median(&ratios))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.contender.name,
            pairs(|report| report.records_per_sec),
            pairs(|report| report.cpu_ns_per_record),
        );
    }
    text
}

/// How quiet the machine was, in a sentence.
pub(crate) fn quiet(rows: &[Row]) -> String {
    let samples = rows.iter().flat_map(|row| &row.samples);
    let mut others: Vec<f64> = samples.map(|sample| sample.others_busy).collect();
    others.sort_by(f64::total_cmp);
    let (median, max) = (median(&others), others.last().copied().unwrap_or(f64::NAN));
    format!("Others kept {median:.2} CPUs busy meanwhile (median of the runs; at most {max:.2}).\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
    }
}
