//! What a run prints: the reference tool's lines, our own below them, JSON.
//!
//! Source:   PRF-1 to PRF-7. Programs cut these lines at their commas, so order and punctuation
//!           stay as they are.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use kuring::Metrics;

use super::stats::{Collector, Stats};
use super::timeline::Point;
use crate::cpu::CpuTime;

/// What the producer says about itself at the end.
#[derive(Debug, Clone, Default)]
pub struct ProducerFigures {
    /// Produce requests.
    pub requests: u64,
    /// Record batches.
    pub batches: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// The driver in use.
    pub driver: String,
    /// Sender threads.
    pub shards: u64,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    pub(super) stats: Stats,
    pub(super) elapsed: Duration,
    /// Since the first record behind the warm-up, when there is one.
    pub(super) steady_elapsed: Option<Duration>,
    /// Of the client's threads: the process's without the built-in broker's.
    pub(super) cpu: CpuTime,
    pub(super) allocations_steady: u64,
    /// The most memory that the process ever had, a built-in broker's included.
    pub(super) peak_rss_bytes: u64,
    pub(super) figures: ProducerFigures,
    /// How it went over time; empty unless that was asked for.
    pub(super) points: Vec<Point>,
    /// Why sending stopped before its end.
    pub(super) stopped_by: Option<String>,
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn per_second(count: f64, elapsed: Duration) -> f64 {
    count / elapsed.as_secs_f64().max(1e-9)
}

/// The line of one reporting interval.
pub(super) fn progress_line(window: &Collector, elapsed: Duration) -> String {
    format!(
        "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, \
         {:.1} ms max latency.",
        window.count,
        per_second(window.count as f64, elapsed),
        per_second(window.megabytes(), elapsed),
        ms(window.average()),
        ms(window.longest()),
    )
}

/// The last line of the reference tool: percentiles in whole milliseconds.
fn final_line(collector: &Collector, elapsed: Duration, what: &str) -> String {
    let mut line = format!(
        "{}{what} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, \
         {:.2} ms max latency",
        collector.count,
        per_second(collector.count as f64, elapsed),
        per_second(collector.megabytes(), elapsed),
        ms(collector.average()),
        ms(collector.longest()),
    );
    for (quantile, name) in [(0.5, "50th"), (0.95, "95th"), (0.99, "99th"), (0.999, "99.9th")] {
        let whole = collector.quantile(quantile).as_millis();
        let _ = write!(line, ", {whole} ms {name}");
    }
    line.push('.');
    line
}

/// The same percentiles with the digits that a fast broker needs.
fn fine_line(collector: &Collector) -> String {
    format!(
        "latency p50 {:.3} ms, p95 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
        ms(collector.quantile(0.5)),
        ms(collector.quantile(0.95)),
        ms(collector.quantile(0.99)),
        ms(collector.quantile(0.999)),
        ms(collector.longest()),
    )
}

impl Outcome {
    /// Records that failed, whatever the reason.
    pub fn failed(&self) -> u64 {
        self.stats.failed()
    }

    /// How many records failed for which reason, and why sending stopped early; `None` when
    /// everything was acknowledged.
    pub fn failure_text(&self) -> Option<String> {
        if self.failed() == 0 && self.stopped_by.is_none() {
            return None;
        }
        let mut text = format!("{} records failed: ", self.failed());
        text.push_str(&kinds(&self.stats.failures));
        if let Some(error) = &self.stopped_by {
            let _ = write!(text, "; sending stopped early: {error}");
        }
        Some(text)
    }

    /// The closing lines: the reference tool's, then what it does not measure.
    pub fn summary(&self) -> String {
        let mut text = final_line(&self.stats.all, self.elapsed, "");
        if let Some(elapsed) = self.steady_elapsed {
            text.push('\n');
            text.push_str(&final_line(&self.stats.steady, elapsed, " steady state"));
        }
        let figures = &self.figures;
        let _ = write!(
            text,
            "\n{}\nclient CPU {:.3} s user, {:.3} s system, {:.1} ns per record; \
             {} heap allocations in the steady state; peak memory {:.1} MiB\n\
             {} requests, {} batches, {} bytes; driver {}, shards {}",
            fine_line(&self.stats.all),
            self.cpu.user.as_secs_f64(),
            self.cpu.system.as_secs_f64(),
            self.cpu_nanos_per_record(),
            self.allocations_steady,
            self.peak_rss_bytes as f64 / 1_048_576.0,
            figures.requests,
            figures.batches,
            figures.bytes_out,
            figures.driver,
            figures.shards,
        );
        text
    }

    fn records(&self) -> u64 {
        self.stats.all.count + self.failed()
    }

    pub(super) fn cpu_nanos_per_record(&self) -> f64 {
        self.cpu.total().as_secs_f64() * 1e9 / self.records().max(1) as f64
    }

    /// One flat object.
    pub fn json(&self) -> String {
        let all = &self.stats.all;
        let numbers = [
            ("records", self.records().to_string()),
            ("acknowledged", all.count.to_string()),
            ("failed", self.failed().to_string()),
            ("seconds", format!("{:.6}", self.elapsed.as_secs_f64())),
            ("records_per_sec", format!("{:.3}", per_second(all.count as f64, self.elapsed))),
            ("mb_per_sec", format!("{:.3}", per_second(all.megabytes(), self.elapsed))),
            ("latency_us_p50", format!("{:.3}", us(all.quantile(0.5)))),
            ("latency_us_p95", format!("{:.3}", us(all.quantile(0.95)))),
            ("latency_us_p99", format!("{:.3}", us(all.quantile(0.99)))),
            ("latency_us_p999", format!("{:.3}", us(all.quantile(0.999)))),
            ("latency_us_max", format!("{:.3}", us(all.longest()))),
            ("cpu_user_s", format!("{:.6}", self.cpu.user.as_secs_f64())),
            ("cpu_system_s", format!("{:.6}", self.cpu.system.as_secs_f64())),
            ("cpu_ns_per_record", format!("{:.3}", self.cpu_nanos_per_record())),
            ("requests", self.figures.requests.to_string()),
            ("batches", self.figures.batches.to_string()),
            ("bytes_out", self.figures.bytes_out.to_string()),
            ("driver", format!("{:?}", self.figures.driver)),
            ("shards", self.figures.shards.to_string()),
            ("allocations_steady", self.allocations_steady.to_string()),
            ("peak_rss_bytes", self.peak_rss_bytes.to_string()),
        ];
        let lines: Vec<_> =
            numbers.iter().map(|(key, value)| format!("  \"{key}\": {value}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

fn kinds(failures: &BTreeMap<&'static str, u64>) -> String {
    let each: Vec<_> = failures.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    each.join(", ")
}

/// PRF-6: a header, then `group:name:{tags} : value`, sorted, names padded, three decimals.
pub(crate) fn metrics_table(metrics: &Metrics) -> String {
    let rows = metrics.iter().map(|metric| {
        let definition = metric.definition;
        let name = format!("{}:{}:{}", definition.group.name(), definition.name, metric.tags);
        (name, metric.value)
    });
    table(rows.collect())
}

fn table(mut rows: Vec<(String, f64)>) -> String {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(11);
    let mut text = format!("{:width$}   Value\n", "Metric Name");
    for (name, value) in rows {
        let _ = writeln!(text, "{name:width$} : {value:.3}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector() -> Collector {
        let mut collector = Collector::new();
        collector.add(2048, 2048 * 1024);
        collector.add_latency(Duration::from_micros(1500));
        collector
    }

    #[test]
    fn prf_7_the_progress_line_has_the_reference_tools_order_and_punctuation() {
        assert_eq!(
            progress_line(&collector(), Duration::from_secs(5)),
            "2048 records sent, 409.6 records/sec (0.40 MB/sec), 1.5 ms avg latency, \
             1.5 ms max latency."
        );
    }

    #[test]
    fn prf_7_the_final_line_has_the_reference_tools_order_and_punctuation() {
        assert_eq!(
            final_line(&collector(), Duration::from_secs(4), ""),
            "2048 records sent, 512.000000 records/sec (0.50 MB/sec), 1.50 ms avg latency, \
             1.50 ms max latency, 1 ms 50th, 1 ms 95th, 1 ms 99th, 1 ms 99.9th."
        );
        let steady = final_line(&collector(), Duration::from_secs(4), " steady state");
        assert!(steady.starts_with("2048 steady state records sent, 512.000000 "), "{steady}");
    }

    #[test]
    fn prf_6_metrics_are_sorted_and_padded_with_three_decimals() {
        let row = |name: &str| format!("producer-metrics:{name}:{{client-id=c}}");
        let text = table(vec![(row("record-send-total"), 12.0), (row("batch-size-avg"), 0.25)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Metric Name                                        Value");
        assert_eq!(lines[1], "producer-metrics:batch-size-avg:{client-id=c}    : 0.250");
        assert_eq!(lines[2], "producer-metrics:record-send-total:{client-id=c} : 12.000");
    }
}
