//! Charts of the main contenders: plain SVG, bars of medians with whiskers from least to most.
//!
//! They follow the reader's light or dark scheme. Where less is better, a bar that would dwarf all
//! others ends at a double stroke; its value is written beside it.

use std::fmt::Write;

use compare_measure::Mode;

use crate::results::{Cell, Part, Row, Sample, median};
use crate::table;

/// Who is drawn; the tables have everyone.
const DRAWN: [&str; 13] = [
    "kuring",
    "kuring-spin",
    "kuring-uring",
    "librdkafka",
    "java",
    "franz-go",
    "kacrab",
    "krafka",
    "rskafka-batches",
    "rskafka",
    "wall",
    "floor-blocking",
    "floor-busy",
];

const WIDTH: f64 = 860.0;
const MARGIN: f64 = 20.0;
/// Where the bars start, and the longest of them.
const BARS_X: f64 = 230.0;
const BARS_WIDTH: f64 = 470.0;
const ROW_HEIGHT: f64 = 24.0;
const BAR_HEIGHT: f64 = 14.0;
const LINE_HEIGHT: f64 = 16.0;

/// A bar longer than this many times the middle one is cut.
const CUT_FROM: f64 = 6.0;

/// Letters of a line of the caption, by the width of the picture.
const CAPTION_LETTERS: usize = 132;

const STYLE: &str = "<style>\n\
    text { font: 13px system-ui, sans-serif; fill: #1f2328; }\n\
    .ground { fill: #ffffff; }\n\
    .title { font-size: 18px; font-weight: 600; }\n\
    .panel { font-size: 14px; font-weight: 600; }\n\
    .small { font-size: 12px; fill: #59636e; }\n\
    .other { fill: #9aa4af; }\n\
    .own { fill: #2f6fde; }\n\
    .limit { fill: #cfd6dd; }\n\
    .line { stroke: #1f2328; stroke-width: 1.2; }\n\
    .cut { stroke: #ffffff; stroke-width: 3; }\n\
    @media (prefers-color-scheme: dark) {\n\
      text { fill: #e6edf3; }\n\
      .ground { fill: #0d1117; }\n\
      .small { fill: #9198a1; }\n\
      .other { fill: #6e7884; }\n\
      .own { fill: #4c8dff; }\n\
      .limit { fill: #3d444d; }\n\
      .line { stroke: #e6edf3; }\n\
      .cut { stroke: #0d1117; }\n\
    }\n\
    </style>\n";

/// One contender's bar.
struct Bar {
    label: String,
    class: &'static str,
    median: f64,
    least: f64,
    most: f64,
    /// Written after the value.
    mark: &'static str,
}

/// Bars of one figure of one cell.
struct Panel {
    title: String,
    digits: usize,
    /// More is better: nobody's bar is cut, least of all the winner's.
    up: bool,
    bars: Vec<Bar>,
}

/// Every chart that there are figures for: its file's name and its text.
pub(crate) fn all(parts: &[Part]) -> Vec<(&'static str, String)> {
    let throughput = |figure: fn(&Sample) -> f64, unit: &'static str, digits: usize, up: bool| {
        let panels: Vec<Panel> = parts
            .iter()
            .flat_map(|part| main_cells(part).map(move |cell| (part, cell)))
            .map(|(part, cell)| panel(part, cell, (figure, unit, digits), up))
            .collect();
        panels
    };
    let charts = [
        (
            "throughput.svg",
            "Records a second (more is better)",
            throughput(|sample| sample.report.records_per_sec / 1e6, "M records/s", 2, true),
            false,
        ),
        (
            "cpu.svg",
            "Client CPU per record (less is better)",
            throughput(|sample| sample.report.cpu_ns_per_record, "ns per record", 0, false),
            false,
        ),
        ("latency.svg", "Latency (less is better)", latency_panels(parts), true),
    ];
    let drawn = charts.into_iter().filter(|(_, _, panels, _)| !panels.is_empty());
    drawn
        .map(|(name, title, panels, late)| (name, draw(title, &panels, &caption(parts, late))))
        .collect()
}

/// The throughput cells of the partition count that stands for the rest: ten, or the first.
fn main_cells(part: &Part) -> impl Iterator<Item = &Cell> {
    let all = || part.cells.iter().filter(|cell| cell.mode == Mode::Throughput);
    let usual = all().find(|cell| cell.partitions == 10).or_else(|| all().next());
    let partitions = usual.map(|cell| cell.partitions);
    all().filter(move |cell| Some(cell.partitions) == partitions)
}

fn latency_panels(parts: &[Part]) -> Vec<Panel> {
    let mut panels = Vec::new();
    for part in parts {
        for cell in &part.cells {
            let figures: &[(Figure, &'static str)] = match cell.mode {
                Mode::Throughput => &[],
                Mode::Rtt => &[
                    (|sample| of(sample).map_or(f64::NAN, |found| found.p50_us), "p50, µs"),
                    (|sample| of(sample).map_or(f64::NAN, |found| found.p99_us), "p99, µs"),
                ],
                Mode::OpenLoop => {
                    &[(|sample| of(sample).map_or(f64::NAN, |found| found.p999_us), "p99.9, µs")]
                }
                Mode::SendLatency => {
                    &[(|sample| of(sample).map_or(f64::NAN, |found| found.p9999_us), "p99.99, µs")]
                }
            };
            for &(figure, unit) in figures {
                panels.push(panel(part, cell, (figure, unit, 1), false));
            }
        }
    }
    panels
}

type Figure = fn(&Sample) -> f64;

fn of(sample: &Sample) -> Option<&compare_measure::Percentiles> {
    sample.report.latency.as_ref()
}

/// The best comes first; `up` says that more is better.
fn panel(part: &Part, cell: &Cell, figure: (Figure, &'static str, usize), up: bool) -> Panel {
    let (figure, unit, digits) = figure;
    let place = if part.is_real() { "real Kafka" } else { "null broker" };
    let rows = cell.rows.iter().filter(|row| DRAWN.contains(&row.contender.as_str()));
    let mut bars: Vec<Bar> = rows.filter_map(|row| bar(row, figure)).collect();
    bars.sort_by(|one, other| {
        let order = one.median.total_cmp(&other.median);
        if up { order.reverse() } else { order }
    });
    Panel { title: format!("{}, {place}: {unit}", table::title(cell)), digits, up, bars }
}

fn bar(row: &Row, figure: Figure) -> Option<Bar> {
    let figures = row.figures(figure);
    let (least, most) = (*figures.first()?, *figures.last()?);
    let version = &row.samples.first()?.report.version;
    let version = version.split(' ').next().unwrap_or_default();
    let class = match row.contender.as_str() {
        name if name.starts_with("kuring") => "own",
        name if name.starts_with("wall") || name.starts_with("floor") => "limit",
        _ => "other",
    };
    let late = row.samples.iter().any(|sample| of(sample).is_some_and(|found| found.behind));
    let lost = row.samples.iter().any(|sample| sample.report.acknowledged < sample.report.records);
    let mark = match (late, lost || !row.failures.is_empty()) {
        (_, true) => " ⚠ not all acked",
        (true, _) => " ⚠ behind",
        _ => "",
    };
    let label = format!("{} {version}", row.contender).trim_end().to_owned();
    Some(Bar { label, class, median: median(&figures), least, most, mark })
}

/// What all have in common, then each contender's own settings.
fn caption(parts: &[Part], latency: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for part in parts {
        let text = format!(
            "{}. Kuring {}, {}; {}. Bars are medians, whiskers go from least to most.",
            part.heading,
            part.commit,
            part.machine,
            table::rounds(part)
        );
        lines.extend(wrap(&text));
    }
    for name in DRAWN {
        let cells = parts.iter().flat_map(|part| &part.cells);
        let cells = cells.filter(|cell| (cell.mode != Mode::Throughput) == latency);
        let row = cells.flat_map(|cell| &cell.rows).find(|row| row.contender == name);
        if let Some(report) = row.and_then(|row| row.samples.first()).map(|one| &one.report) {
            lines.extend(wrap(&format!("{name}: {} {}", report.version, report.settings)));
        }
    }
    lines
}

/// Lines of at most so many letters, broken at blanks.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        let last = lines.len() - 1;
        if lines[last].chars().count() + word.chars().count() + 1 > CAPTION_LETTERS {
            lines.push(format!("  {word}"));
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

fn draw(title: &str, panels: &[Panel], caption: &[String]) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 18.0;
    text(&mut body, "title", (MARGIN, y), title);
    for panel in panels {
        y += 34.0;
        text(&mut body, "panel", (MARGIN, y), &panel.title);
        y += 10.0;
        let limit = limit(panel);
        for bar in &panel.bars {
            draw_bar(&mut body, bar, y, limit, panel.digits);
            y += ROW_HEIGHT;
        }
    }
    y += 12.0;
    for line in caption {
        y += LINE_HEIGHT;
        text(&mut body, "small", (MARGIN, y), line);
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{STYLE}\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n",
        escape(title),
    )
}

/// What the whole width stands for.
fn limit(panel: &Panel) -> f64 {
    let mut medians: Vec<f64> = panel.bars.iter().map(|bar| bar.median).collect();
    medians.sort_by(f64::total_cmp);
    let most = panel.bars.iter().map(|bar| bar.most).fold(0.0, f64::max);
    let cut = CUT_FROM * median(&medians);
    let limit = if most > cut && !panel.up { cut } else { most };
    limit.max(f64::MIN_POSITIVE)
}

fn draw_bar(out: &mut String, bar: &Bar, y: f64, limit: f64, digits: usize) {
    let x = |value: f64| BARS_X + (value / limit).min(1.0) * BARS_WIDTH;
    let middle = y + ROW_HEIGHT / 2.0;
    let top = middle - BAR_HEIGHT / 2.0;
    let width = (x(bar.median) - BARS_X).max(1.0);
    let label = escape(&bar.label);
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n\
         <rect class=\"{}\" x=\"{BARS_X}\" y=\"{top:.1}\" width=\"{width:.1}\" \
         height=\"{BAR_HEIGHT}\" rx=\"2\"/>",
        BARS_X - 8.0,
        middle + 4.5,
        bar.class,
    );
    if bar.most > bar.least {
        line(out, "line", (x(bar.least), middle), (x(bar.most), middle));
        for end in [bar.least, bar.most] {
            if end <= limit {
                line(out, "line", (x(end), middle - 4.0), (x(end), middle + 4.0));
            }
        }
    }
    if bar.median > limit {
        let cut = BARS_X + BARS_WIDTH - 24.0;
        for shift in [0.0, 7.0] {
            line(out, "cut", (cut + shift, top + 15.0), (cut + shift + 5.0, top - 1.0));
        }
    }
    let value = format!("{:.digits$}{}", bar.median, bar.mark);
    text(out, "", (x(bar.most.max(bar.median)) + 7.0, middle + 4.5), &value);
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), words: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let words = escape(words);
    let _ = writeln!(out, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>");
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1,
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar_of(median: f64) -> Bar {
        Bar { label: "a & b".into(), class: "own", median, least: median, most: median, mark: "" }
    }

    fn panel_of(up: bool) -> Panel {
        let bars = vec![bar_of(1.0), bar_of(2.0), bar_of(100.0)];
        Panel { title: "p".into(), digits: 0, up, bars }
    }

    #[test]
    fn a_bar_that_would_dwarf_the_others_is_cut_and_keeps_its_value() {
        assert_eq!(limit(&panel_of(false)), 12.0);
        let drawn = draw("t", &[panel_of(false)], &[]);
        assert_eq!(drawn.matches("class=\"cut\"").count(), 2);
        assert!(drawn.contains(">100</text>"));
        assert!(drawn.contains("a &amp; b"));
    }

    #[test]
    fn a_winner_s_bar_is_not_cut() {
        assert_eq!(limit(&panel_of(true)), 100.0);
        assert!(!draw("t", &[panel_of(true)], &[]).contains("class=\"cut\""));
    }

    #[test]
    fn a_caption_is_broken_at_blanks() {
        let lines = wrap(&"word ".repeat(100));
        assert!(lines.len() > 1);
        assert!(lines.iter().all(|line| line.chars().count() <= CAPTION_LETTERS));
    }
}
