//! The console producer: what `kuring produce` does once its flags are read.
//!
//! Bounds:   `OUTSTANDING_MAX` records without a verdict, one line of at most `LINE_BYTES_MAX`,
//!           whatever the size of the input.
//!
//! Reading order: input (bytes) -> lines -> fields (what a line says) -> template, json (two other
//! ways to say it).
#![forbid(unsafe_code)]

mod fields;
mod input;
mod json;
mod lines;
mod template;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use kuring::{Delivery, Header, Record, SendError, Topic};

pub use fields::{Fields, LineFormat, ReaderOptions};
pub use input::{Input, Interrupt};
pub use template::Template;

use crate::commands::concerns_one_record;
use lines::{LINE_BYTES_MAX, Line, read_line};

const OUTSTANDING_MAX: usize = 64 * 1024;
/// Failures beyond these are only counted.
const PRINTED_FAILURES_MAX: u64 = 20;
/// Lines between two moves of the bar.
const BAR_EVERY: u64 = 4096;

/// How a line says what to send.
#[derive(Debug)]
pub enum Format {
    /// As Kafka's console producer has it.
    Line(LineFormat),
    /// By a template of fields.
    Template(Template),
    /// An object of JSON.
    Json,
}

impl Format {
    fn fields<'a>(&self, line: &'a [u8]) -> Result<Fields<'a>, String> {
        match self {
            Self::Line(format) => format.fields(line),
            Self::Template(template) => template.fields(line),
            Self::Json => json::fields(line),
        }
    }
}

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Tally {
    acknowledged: u64,
    failed: u64,
    possibly_written: u64,
    /// The line that ended it.
    stopped: Option<u64>,
}

impl Tally {
    /// Whether everything that was read was acknowledged.
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.stopped.is_none()
    }

    fn fail(&mut self, line: u64, error: &dyn std::fmt::Display, possibly_written: bool) {
        self.failed += 1;
        self.possibly_written += u64::from(possibly_written);
        if self.failed <= PRINTED_FAILURES_MAX {
            eprintln!("kuring produce: line {line}: {error}");
        } else if self.failed == PRINTED_FAILURES_MAX + 1 {
            eprintln!("kuring produce: further failures are only counted");
        }
    }

    /// Tells the counts, unless all went well and nobody interrupted.
    pub fn print(&self, is_interrupted: bool) {
        if let Some(line) = self.stopped {
            eprintln!("kuring produce: stopped at line {line}; the lines behind it were not read");
        }
        if is_interrupted {
            eprintln!("kuring produce: interrupted; what was read is sent");
        }
        if is_interrupted || !self.is_clean() {
            eprintln!(
                "kuring produce: {} records acknowledged, {} failed ({} of them possibly written)",
                self.acknowledged, self.failed, self.possibly_written
            );
        }
    }
}

/// Sends lines to a topic and counts what becomes of them.
#[derive(Debug)]
pub struct Console {
    topic: Topic,
    format: Format,
    /// Each record's verdict is awaited before the next one, and the first error ends it.
    is_sync: bool,
    outstanding: VecDeque<(u64, Delivery)>,
    tally: Tally,
}

impl Console {
    /// Sends to `topic` what lines say in this format.
    pub fn new(topic: Topic, format: Format, is_sync: bool) -> Self {
        let outstanding = VecDeque::with_capacity(OUTSTANDING_MAX);
        Self { topic, format, is_sync, outstanding, tally: Tally::default() }
    }

    /// Sends line after line until the input ends or sending has become pointless.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn send_lines(&mut self, input: &mut Input) -> io::Result<()> {
        let bar = bar(input);
        let prompts = input.is_terminal();
        let mut bytes = 0;
        let mut line = Vec::new();
        for number in 1.. {
            if prompts {
                print!(">");
                io::stdout().flush()?;
            }
            let read = read_line(input.reader(), LINE_BYTES_MAX, &mut line)?;
            bytes += line.len() as u64 + 1;
            if let Some(bar) = bar.as_ref().filter(|_| number % BAR_EVERY == 0) {
                bar.set_position(bytes);
            }
            let goes_on = match read {
                Line::End => break,
                Line::TooLong => {
                    self.tally.fail(number, &"the line is longer than 100 MiB", false);
                    !self.is_sync
                }
                Line::Whole => self.send(number, &line),
            };
            if !goes_on {
                self.tally.stopped = Some(number);
                break;
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        Ok(())
    }

    /// Whether to go on with the next line.
    fn send(&mut self, number: u64, line: &[u8]) -> bool {
        let fields = match self.format.fields(line) {
            Ok(fields) => fields,
            Err(wrong) => {
                self.tally.fail(number, &wrong, false);
                return false;
            }
        };
        match accept(&self.topic, &fields) {
            Err(error) => {
                self.tally.fail(number, &error, error.possibly_written());
                !self.is_sync && concerns_one_record(&error)
            }
            Ok(delivery) => {
                self.outstanding.push_back((number, delivery));
                if self.is_sync {
                    self.settle_one();
                    return self.tally.failed == 0;
                }
                while self.outstanding.front().is_some_and(|(_, delivery)| delivery.is_done())
                    || self.outstanding.len() == OUTSTANDING_MAX
                {
                    self.settle_one();
                }
                true
            }
        }
    }

    /// Waits for every verdict.
    pub fn settle_all(mut self) -> Tally {
        while !self.outstanding.is_empty() {
            self.settle_one();
        }
        self.tally
    }

    /// Waits for the oldest record's verdict.
    fn settle_one(&mut self) {
        let Some((number, delivery)) = self.outstanding.pop_front() else { return };
        match delivery.wait() {
            Ok(_) => self.tally.acknowledged += 1,
            Err(error) => self.tally.fail(number, &error, error.possibly_written()),
        }
    }
}

fn accept(topic: &Topic, fields: &Fields<'_>) -> Result<Delivery, SendError> {
    let headers: Vec<Header<'_>> =
        fields.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
    let mut record = Record::new().headers(&headers);
    if let Some(key) = &fields.key {
        record = record.key(&**key);
    }
    if let Some(value) = &fields.value {
        record = record.value(&**value);
    }
    if let Some(partition) = fields.partition {
        record = record.partition(partition);
    }
    if let Some(timestamp) = fields.timestamp {
        record = record.timestamp(timestamp);
    }
    topic.blocking_send(record)
}

/// A bar, where somebody looks and the input's size is known.
fn bar(input: &Input) -> Option<ProgressBar> {
    let bytes = input.bytes().filter(|_| io::stderr().is_terminal())?;
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, eta {eta}")
        .expect("the template is a constant that was tried");
    Some(ProgressBar::new(bytes).with_style(style))
}
