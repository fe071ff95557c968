//! The page that `--report` writes: one HTML file that needs nothing else, for light and dark.
//!
//! Everything that did not come from this file's constants is escaped.
#![forbid(unsafe_code)]

mod chart;
mod machine;

use std::fmt::Write;
use std::time::Duration;

use kuring::config::Setting;
use kuring::metrics::NodeMetrics;

use self::chart::{Axis, Line, draw, legend};
use super::report::Outcome;
use super::timeline::Point;

/// The percentiles of the curve: the share of records that are slower, and its name.
const SLOWER: [(f64, &str); 6] = [
    (1.0, "0"),
    (10.0, "90 %"),
    (100.0, "99 %"),
    (1e3, "99.9 %"),
    (1e4, "99.99 %"),
    (1e5, "99.999 %"),
];

/// What the page tells beside the outcome.
#[derive(Debug)]
pub struct Context<'a> {
    /// The arguments that the program was started with.
    pub command: &'a [String],
    /// When the run began, for people.
    pub began: &'a str,
    /// The configuration in force.
    pub settings: &'a [Setting],
    /// What the producer did with each broker.
    pub nodes: &'a [NodeMetrics],
}

/// The page as text.
pub fn page(outcome: &Outcome, context: &Context<'_>) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>kuring perf</title>\n\
         <style>\n{}</style>\n<h1>kuring perf</h1>\n<p class=\"sub\">{}</p>\n<pre>{}</pre>\n",
        include_str!("page.css"),
        escaped(context.began),
        escaped(&context.command.join(" ")),
    );
    text.push_str(&figures(outcome));
    text.push_str(&over_time(&outcome.points));
    text.push_str(&percentiles(outcome));
    text.push_str(&brokers(context.nodes));
    text.push_str(&settings(context.settings));
    text.push_str("<h2>Machine</h2>\n<table>\n");
    for (name, value) in machine::rows() {
        let _ = writeln!(text, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value));
    }
    let _ = writeln!(text, "</table>\n<script>\n{}</script>\n</html>", include_str!("page.js"));
    text
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// `12.3 M`: three digits and what they count in.
fn short(value: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (value, unit) = units
        .into_iter()
        .find(|(size, _)| value >= *size)
        .map_or((value, ""), |(size, unit)| (value / size, unit));
    let digits = if value == 0.0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let number = format!("{value:.digits$}");
    // A step of the axis is round; its zeros say nothing.
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    format!("{number}{unit}")
}

/// A length of time, given in seconds.
fn time(seconds: f64) -> String {
    let units = [(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| seconds >= *size * 0.9995).unwrap_or((1e-6, " µs"));
    format!("{}{unit}", short(seconds / size))
}

fn seconds(value: f64) -> String {
    short(value)
}

fn latency(value: Duration) -> String {
    time(value.as_secs_f64())
}

fn figures(outcome: &Outcome) -> String {
    let all = &outcome.stats.all;
    let elapsed = outcome.elapsed.as_secs_f64().max(1e-9);
    let mut rows = vec![
        (short(all.count as f64 / elapsed), "records a second", ""),
        (format!("{}B", bytes(all.bytes as f64 / elapsed)), "of values a second", ""),
        (latency(all.quantile(0.5)), "median latency", ""),
        (latency(all.quantile(0.99)), "99th percentile", ""),
        (latency(all.quantile(0.999)), "99.9th percentile", ""),
        (latency(all.longest()), "longest", ""),
        (format!("{:.0} ns", outcome.cpu_nanos_per_record()), "client CPU a record", ""),
        (short(all.count as f64), "records acknowledged", ""),
    ];
    if outcome.failed() > 0 {
        rows.push((short(outcome.failed() as f64), "records failed", "failed"));
    }
    let each = rows.iter().map(|(value, name, class)| {
        format!("<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>\n")
    });
    format!("<div class=\"figures\">\n{}</div>\n", each.collect::<String>())
}

/// Binary units without their `B`.
fn bytes(value: f64) -> String {
    let units = [(1_073_741_824.0, " Gi"), (1_048_576.0, " Mi"), (1024.0, " Ki")];
    let found = units.into_iter().find(|(size, _)| value >= *size);
    let (value, unit) = found.map_or((value, " "), |(size, unit)| (value / size, unit));
    format!("{}{unit}", short(value))
}

fn over_time(points: &[Point]) -> String {
    let middle = |point: &Point| (point.from + point.to).as_secs_f64() / 2.0;
    let end = points.last().map_or(0.0, |point| point.to.as_secs_f64());
    let rate = [Line {
        name: "records a second",
        class: "first",
        points: points.iter().map(|point| (middle(point), point.rate())).collect(),
    }];
    let largest = points.iter().map(Point::rate).fold(0.0, f64::max);
    let x = Axis::until("seconds since the start", end, seconds);
    let y = Axis::linear("records a second", largest, short);
    let label = |at: usize| {
        let point = points[at];
        let failed =
            if point.failed > 0 { format!(", {} failed", point.failed) } else { String::new() };
        format!("{:.2} s: {} records/s{failed}", middle(&point), short(point.rate()))
    };
    let mut text =
        section("Throughput", &rate, &draw("throughput over time", (&x, &y), &rate, label));

    let timed: Vec<Point> = points.iter().filter(|point| point.records > 0).copied().collect();
    let line = |name, class, of: fn(&Point) -> Duration| Line {
        name,
        class,
        points: timed.iter().map(|point| (middle(point), of(point).as_secs_f64())).collect(),
    };
    let lines = [
        line("longest", "third", |point| point.max),
        line("99th percentile", "second", |point| point.p99),
        line("median", "first", |point| point.p50),
    ];
    let (least, largest) = extremes(&lines);
    let y = Axis::log("latency", (least, largest), time);
    let label = |at: usize| {
        let point = timed[at];
        format!(
            "{:.2} s: median {}, 99th percentile {}, longest {}",
            middle(&point),
            latency(point.p50),
            latency(point.p99),
            latency(point.max)
        )
    };
    text.push_str(&section("Latency", &lines, &draw("latency over time", (&x, &y), &lines, label)));
    text
}

/// The least value above 0, and the largest.
fn extremes(lines: &[Line]) -> (f64, f64) {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    values.filter(|value| *value > 0.0).fold((f64::INFINITY, 0.0), |(least, largest), value| {
        (least.min(value), f64::max(largest, value))
    })
}

fn section(title: &str, lines: &[Line], svg: &str) -> String {
    format!("<h2>{title}</h2>\n<div>\n{}{svg}<p class=\"reading\"></p>\n</div>\n", legend(lines))
}

/// The latency against the share of records that were faster, both on logarithmic axes.
fn percentiles(outcome: &Outcome) -> String {
    let all = &outcome.stats.all;
    // As far as there are records to tell.
    let samples = all.latencies_counted().max(1) as f64;
    let shares: Vec<f64> = (0..=100)
        .map(|step| 10_f64.powf(f64::from(step) / 20.0))
        .take_while(|slower| *slower <= samples)
        .collect();
    let value = |slower: f64| all.quantile(1.0 - 1.0 / slower);
    let points = shares.iter().map(|slower| (*slower, value(*slower).as_secs_f64())).collect();
    let lines = [Line { name: "all records of the run", class: "first", points }];
    let x = Axis::log_with("percentile", &SLOWER);
    let y = Axis::log("latency", extremes(&lines), time);
    let label = |at: usize| {
        let slower = shares[at];
        format!("{:.4} %: {}", (1.0 - 1.0 / slower) * 100.0, latency(value(slower)))
    };
    section("Percentiles", &lines, &draw("latency by percentile", (&x, &y), &lines, label))
}

fn brokers(nodes: &[NodeMetrics]) -> String {
    let mut text = String::from(
        "<h2>Brokers</h2>\n<div class=\"wide\"><table>\n<tr><th>broker</th>\
         <th class=\"number\">requests</th><th class=\"number\">of them produce</th>\
         <th class=\"number\">sent</th><th class=\"number\">received</th>\
         <th class=\"number\">request latency: median</th><th class=\"number\">99 %</th>\
         <th class=\"number\">longest</th><th class=\"number\">connections lost</th></tr>\n",
    );
    for node in nodes {
        let id = if node.id < 0 { "bootstrap".to_owned() } else { node.id.to_string() };
        let told = |percent| {
            if node.latency.is_empty() {
                "–".to_owned()
            } else {
                latency(node.latency.percentile(percent))
            }
        };
        let _ = write!(text, "<tr><td>{id}, {}:{}</td>", escaped(&node.host), node.port);
        for cell in [
            node.requests.to_string(),
            node.produce_requests.to_string(),
            format!("{}B", bytes(node.bytes_out as f64)),
            format!("{}B", bytes(node.bytes_in as f64)),
            told(50.0),
            told(99.0),
            told(100.0),
            node.disconnects.to_string(),
        ] {
            let _ = write!(text, "<td class=\"number\">{cell}</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table></div>\n");
    text
}

/// Those that differ from their defaults first, the others folded away.
fn settings(settings: &[Setting]) -> String {
    let row = |setting: &Setting| {
        format!(
            "<tr class=\"{}\"><td><code>{}</code></td><td><code>{}</code></td>\
             <td><code>{}</code></td><td>{}</td></tr>\n",
            if setting.is_default() { "" } else { "chosen" },
            setting.name,
            escaped(&setting.value),
            escaped(setting.default),
            escaped(&setting.derived.map_or_else(|| setting.origin.to_string(), str::to_owned)),
        )
    };
    let table = |rows: String| {
        format!(
            "<div class=\"wide\"><table>\n<tr><th>setting</th><th>value</th><th>default</th>\
             <th>from</th></tr>\n{rows}</table></div>\n"
        )
    };
    let of = |is_default: bool| -> String {
        settings.iter().filter(|it| it.is_default() == is_default).map(row).collect()
    };
    format!(
        "<h2>Settings</h2>\n{}<details><summary>{} settings have their defaults</summary>\n{}\
         </details>\n",
        table(of(false)),
        settings.iter().filter(|it| it.is_default()).count(),
        table(of(true))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_their_unit() {
        let cases = [(0.0, "0"), (0.25, "0.25"), (7.0, "7"), (12.34, "12.3"), (999.0, "999")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(15_260_000.0), "15.3 M");
        assert_eq!(short(100_000.0), "100 k");
        assert_eq!(time(0.000_05), "50 µs");
        assert_eq!(time(0.001), "1 ms");
        assert_eq!(time(1.5), "1.5 s");
        assert_eq!(bytes(1536.0), "1.5 Ki");
    }

    #[test]
    fn what_a_broker_or_a_file_says_is_text_and_never_markup() {
        let mut node = NodeMetrics::default();
        node.host = "<script>\"&'".into();
        let table = brokers(&[node]);
        assert!(table.contains("&lt;script&gt;&quot;&amp;&#39;"), "{table}");
        assert!(!table.contains("<script>"));
    }
}
