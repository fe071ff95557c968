//! While a run lasts: a bar on a terminal, the reference tool's lines otherwise.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::progress_line;
use super::stats::Collector;

/// Often enough for the eye.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// How much there is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    Records(u64),
    Time(Duration),
}

pub(super) enum Progress {
    Bar { bar: ProgressBar, goal: Goal },
    Lines { every: Duration },
    Silent,
}

impl Progress {
    pub(super) fn new(wanted: bool, goal: Goal, lines_every: Duration) -> Self {
        if !wanted {
            return Self::Silent;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { every: lines_every };
        }
        let length = match goal {
            Goal::Records(records) => records,
            Goal::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        };
        let style = ProgressStyle::with_template("{wide_bar} {percent:>3} % {msg} eta {eta}")
            .expect("the template is a constant that was tried");
        let bar = ProgressBar::new(length).with_style(style);
        Self::Bar { bar, goal }
    }

    /// How long until the next report.
    pub(super) fn every(&self) -> Duration {
        match self {
            Self::Bar { .. } => BAR_EVERY,
            Self::Lines { every } => *every,
            Self::Silent => Duration::from_secs(3600),
        }
    }

    /// Reports what happened since `since`; `settled` records have a verdict by now.
    pub(super) fn report(&self, window: &Collector, settled: u64, start: Instant, since: Instant) {
        let now = crate::clock::now();
        match self {
            Self::Bar { bar, goal } => {
                bar.set_position(match goal {
                    Goal::Records(_) => settled,
                    Goal::Time(_) => u64::try_from((now - start).as_millis()).unwrap_or(u64::MAX),
                });
                let seconds = (now - since).as_secs_f64().max(1e-9);
                bar.set_message(format!(
                    "{:.3} M records/s, {:.1} MB/s, p99 {:.3} ms",
                    window.count as f64 / seconds / 1e6,
                    window.megabytes() / seconds,
                    window.quantile(0.99).as_secs_f64() * 1e3
                ));
            }
            Self::Lines { .. } => {
                if window.count > 0 {
                    println!("{}", progress_line(window, now - since));
                }
            }
            Self::Silent => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Self::Bar { bar, .. } = self {
            bar.finish_and_clear();
        }
    }
}
