//! Line charts as SVG.
//!
//! Every number that is written was computed here; text comes from constants.
#![forbid(unsafe_code)]

use std::fmt::Write;

pub(super) const WIDTH: f64 = 860.0;
pub(super) const HEIGHT: f64 = 260.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// Lines across the plot, about.
const TICKS: f64 = 5.0;

/// A line: its name, its colour's class, its points.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis: where values lie on it, and which of them are named.
pub(super) struct Axis {
    pub(super) title: &'static str,
    from: f64,
    to: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a bit above the largest value.
    pub(super) fn linear(title: &'static str, largest: f64, name: fn(f64) -> String) -> Self {
        let largest = if largest > 0.0 { largest } else { 1.0 };
        let step = round_step(largest / TICKS);
        let count = (largest / step).ceil();
        let ticks = (0..=count as u32).map(|at| f64::from(at) * step);
        Self {
            title,
            from: 0.0,
            to: count * step,
            is_log: false,
            ticks: ticks.map(|at| (at, name(at))).collect(),
        }
    }

    /// From 0 to the largest value itself.
    pub(super) fn until(title: &'static str, largest: f64, name: fn(f64) -> String) -> Self {
        let mut axis = Self::linear(title, largest, name);
        if largest > 0.0 {
            axis.to = largest;
            axis.ticks.retain(|(at, _)| *at <= largest);
        }
        axis
    }

    /// Powers of ten around the values.
    pub(super) fn log(
        title: &'static str,
        (least, largest): (f64, f64),
        name: fn(f64) -> String,
    ) -> Self {
        let least = if least > 0.0 { least } else { 1.0 };
        let from = least.log10().floor();
        let to = largest.max(least).log10().ceil().max(from + 1.0);
        let ticks = (from as i32..=to as i32).map(|power| 10_f64.powi(power));
        let ticks = ticks.map(|at| (at, name(at))).collect();
        Self { title, from: 10_f64.powf(from), to: 10_f64.powf(to), is_log: true, ticks }
    }

    /// With the ticks that are given.
    pub(super) fn log_with(title: &'static str, ticks: &[(f64, &str)]) -> Self {
        let at = |index: usize| ticks.get(index).map_or(1.0, |(at, _)| *at);
        Self {
            title,
            from: at(0),
            to: at(ticks.len().saturating_sub(1)),
            is_log: true,
            ticks: ticks.iter().map(|(at, name)| (*at, (*name).to_owned())).collect(),
        }
    }

    /// 0 to 1 along the axis.
    fn place(&self, value: f64) -> f64 {
        let (from, to, value) = if self.is_log {
            (self.from.log10(), self.to.log10(), value.max(self.from).log10())
        } else {
            (self.from, self.to, value)
        };
        ((value - from) / (to - from)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= least * 0.999);
    times.unwrap_or(10.0) * power
}

/// A chart, with what a pointer over it is told in `data-points`: horizontal places in the drawing,
/// and the texts that `label` makes of each point's number.
pub(super) fn draw(
    about: &str,
    (x, y): (&Axis, &Axis),
    lines: &[Line],
    label: impl Fn(usize) -> String,
) -> String {
    let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
    let (end, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{about}\"");
    let longest = lines.iter().max_by_key(|line| line.points.len());
    let places: Vec<String> = longest.map_or_else(Vec::new, |line| {
        let place = |(at, point): (usize, &(f64, f64))| {
            format!("[{:.1},\"{}\"]", across(point.0), label(at))
        };
        line.points.iter().enumerate().map(place).collect()
    });
    let _ = writeln!(svg, " data-points='[{}]'>", places.join(","));
    for (value, name) in &y.ticks {
        let at = down(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (value, name) in &x.ticks {
        let at = across(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{floor}\"/>\
             <text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{name}</text>",
            floor + 16.0
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"title\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"title\" text-anchor=\"middle\" transform=\"translate(14 {:.1}) \
         rotate(-90)\">{}</text>",
        (LEFT + end) / 2.0,
        HEIGHT - 6.0,
        x.title,
        (TOP + floor) / 2.0,
        y.title
    );
    for line in lines {
        let points: Vec<_> =
            line.points.iter().map(|(a, b)| format!("{:.1},{:.1}", across(*a), down(*b))).collect();
        match &points[..] {
            [] => {}
            [only] => {
                let (a, b) = only.split_once(',').unwrap_or(("0", "0"));
                let _ = writeln!(
                    svg,
                    "<circle class=\"{}\" cx=\"{a}\" cy=\"{b}\" r=\"3\"/>",
                    line.class
                );
            }
            _ => {
                let _ = writeln!(
                    svg,
                    "<polyline class=\"line {}\" points=\"{}\"/>",
                    line.class,
                    points.join(" ")
                );
            }
        }
    }
    let _ = writeln!(
        svg,
        "<line class=\"pointer\" x1=\"0\" x2=\"0\" y1=\"{TOP}\" y2=\"{floor}\"/></svg>"
    );
    svg
}

/// The names of the lines, with their colours.
pub(super) fn legend(lines: &[Line]) -> String {
    let each = lines
        .iter()
        .map(|line| format!("<span class=\"key {}\"><i></i>{}</span>", line.class, line.name));
    format!("<p class=\"legend\">{}</p>\n", each.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        value.to_string()
    }

    #[test]
    fn steps_are_round_numbers() {
        for (least, step) in [(0.9, 1.0), (1.1, 2.0), (2.0, 2.0), (2.1, 5.0), (60.0, 100.0)] {
            assert!((round_step(least) - step).abs() < 1e-9, "{least}: {}", round_step(least));
        }
    }

    #[test]
    fn the_largest_value_lies_on_the_axis() {
        let axis = Axis::linear("", 11.0, plain);
        assert_eq!(axis.ticks.last().map(|(_, name)| name.as_str()), Some("15"));
        assert!((axis.place(7.5) - 0.5).abs() < 1e-9);
        let axis = Axis::log("", (0.03, 42.0), plain);
        let names: Vec<_> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0.01", "0.1", "1", "10", "100"]);
        assert!((axis.place(1.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn an_axis_of_time_ends_with_the_run() {
        let axis = Axis::until("", 6.2, plain);
        let names: Vec<_> = axis.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["0", "2", "4", "6"]);
        assert!((axis.place(3.1) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_measured_is_an_empty_chart_and_one_point_is_a_dot() {
        let axis = || Axis::linear("s", 0.0, plain);
        let line = |points| [Line { name: "a", class: "a", points }];
        let empty = draw("none", (&axis(), &axis()), &line(Vec::new()), |_| String::new());
        assert!(empty.contains("data-points='[]'") && !empty.contains("NaN"), "{empty}");
        let dot = draw("one", (&axis(), &axis()), &line(vec![(0.5, 0.5)]), |_| "x".to_owned());
        assert!(dot.contains("<circle class=\"a\""), "{dot}");
    }
}
