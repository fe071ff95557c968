//! What a fault did to the traffic, as one row of a table.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::jars::Version;
use crate::traffic::{Outcome, Outcomes};

/// One fault on one line of Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) line: Version,
    pub(crate) fault: &'static str,
    pub(crate) driver: &'static str,
    pub(crate) records: usize,
    pub(crate) acknowledged: usize,
    pub(crate) possibly_written: usize,
    pub(crate) not_written: usize,
    /// Of the possibly written ones, those in the log.
    pub(crate) turned_out_written: usize,
    pub(crate) errors: usize,
    pub(crate) silence: Silence,
    pub(crate) seconds: u64,
    pub(crate) note: String,
}

impl Row {
    /// For a fault that could not be played to its end.
    pub(crate) fn unfinished(line: Version, fault: &'static str, note: String) -> Self {
        Self {
            line,
            fault,
            driver: "",
            records: 0,
            acknowledged: 0,
            possibly_written: 0,
            not_written: 0,
            turned_out_written: 0,
            errors: 1,
            silence: Silence::default(),
            seconds: 0,
            note,
        }
    }

    fn text(&self) -> String {
        let millis = |time: Duration| time.as_millis().to_string();
        line([
            self.line.number(),
            self.fault,
            self.driver,
            &self.records.to_string(),
            &self.acknowledged.to_string(),
            &self.possibly_written.to_string(),
            &self.turned_out_written.to_string(),
            &self.not_written.to_string(),
            &self.errors.to_string(),
            &millis(self.silence.of_all),
            &millis(self.silence.of_one),
            &self.seconds.to_string(),
            &self.note,
        ])
    }
}

/// The longest times between two acknowledgements.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    /// Of the whole producer.
    pub(crate) of_all: Duration,
    /// Of the partition that waited longest.
    pub(crate) of_one: Duration,
}

impl Silence {
    pub(crate) fn of(outcomes: &Outcomes, partitions: i32) -> Self {
        let gap = |only: Option<i32>| {
            let mut times = acknowledgements(outcomes, only);
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        };
        let of_one = (0..partitions).map(|partition| gap(Some(partition))).max();
        Self { of_all: gap(None), of_one: of_one.unwrap_or_default() }
    }
}

/// When each acknowledgement came, of all partitions or only of one.
pub(crate) fn acknowledgements(outcomes: &Outcomes, only: Option<i32>) -> Vec<Instant> {
    let time = |outcome: &Outcome| match outcome {
        Outcome::Acknowledged { partition, at, .. } => {
            only.is_none_or(|only| only == *partition).then_some(*at)
        }
        _ => None,
    };
    outcomes.iter().flatten().filter_map(time).collect()
}

/// Every row of this process, in the order in which they came.
static ROWS: Mutex<Vec<Row>> = Mutex::new(Vec::new());

pub(crate) fn enter(row: Row) {
    say(row.text().trim_end());
    ROWS.lock().unwrap_or_else(PoisonError::into_inner).push(row);
}

pub(crate) fn print_heads() {
    say(&format!("\n{}{}", line(HEADS), line(UNITS).trim_end()));
}

pub(crate) fn print_table() {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let rows: String = rows.iter().map(Row::text).collect();
    say(&format!("\n{}{}{rows}", line(HEADS), line(UNITS)));
}

fn line(cells: [&str; 13]) -> String {
    let [kafka, fault, driver, rest @ .., note] = cells;
    let numbers: String = rest.iter().map(|cell| format!(" {cell:>8}")).collect();
    format!("{kafka:<6} {fault:<18} {driver:<11}{numbers}  {note}\n")
}

const HEADS: [&str; 13] = [
    "Kafka", "fault", "driver", "records", "acked", "possibly", "of them", "not", "verdict",
    "silence", "silence", "played", "",
];
const UNITS: [&str; 13] =
    ["", "", "", "", "", "written", "there", "written", "errors", "all, ms", "one, ms", "s", ""];

/// To standard output, past the capture of the test runner: whoever runs minutes of faults sees
/// how far they are, and the table also when all is well.
pub(crate) fn say(text: &str) {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}").ok();
    output.flush().ok();
}
