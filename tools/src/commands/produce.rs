//! `kuring produce`: lines from standard input become records.
//!
//! Bounds:   `OUTSTANDING_MAX` records without a verdict, one line of at most `LINE_BYTES_MAX`,
//!           whatever the size of the input.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kuring::{Delivery, Record, SendError, Topic};

use super::client::ClientArgs;
use super::concerns_one_record;

const CLIENT_ID: &str = "console-producer";
const OUTSTANDING_MAX: usize = 64 * 1024;
/// Above every broker's usual limit; the producer's own limit says no earlier.
const LINE_BYTES_MAX: u64 = 100 << 20;
/// Failures beyond these are only counted.
const PRINTED_FAILURES_MAX: u64 = 20;
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// Send each line of standard input as a record, and wait for every acknowledgement.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// Topic to produce to.
    #[arg(long)]
    topic: String,
    /// What separates the key from the value in each line; \t is understood. Without it, lines
    /// are values and there are no keys.
    #[arg(long, value_name = "X")]
    key_separator: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Produces until the input ends; the exit status is 1 unless everything was acknowledged.
///
/// # Errors
/// A setting, or the input cannot be read.
pub fn run(args: &ProduceArgs) -> io::Result<ExitCode> {
    let separator = args.key_separator.as_deref().map(super::unescape);
    if separator.as_ref().is_some_and(String::is_empty) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "--key-separator is empty"));
    }
    if !args.client.names_brokers()? {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no broker is named: give --bootstrap-server",
        ));
    }
    let producer = args.client.producer(CLIENT_ID, None).map_err(io::Error::other)?;
    let mut console = Console::new(producer.topic(&args.topic), separator);
    let read = console.send_lines(&mut io::stdin().lock());
    producer.blocking_flush();
    console.settle_all();
    producer.close(CLOSE_WITHIN);
    read?;
    console.tally.print();
    Ok(if console.tally.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: u64,
    failed: u64,
    possibly_written: u64,
    /// The line and the error that ended it.
    stopped: Option<u64>,
}

impl Tally {
    fn is_clean(&self) -> bool {
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

    fn print(&self) {
        if let Some(line) = self.stopped {
            eprintln!("kuring produce: stopped at line {line}; the lines behind it were not read");
        }
        if !self.is_clean() {
            eprintln!(
                "kuring produce: {} records acknowledged, {} failed ({} of them possibly written)",
                self.acknowledged, self.failed, self.possibly_written
            );
        }
    }
}

struct Console {
    topic: Topic,
    separator: Option<String>,
    outstanding: VecDeque<(u64, Delivery)>,
    tally: Tally,
}

impl Console {
    fn new(topic: Topic, separator: Option<String>) -> Self {
        let outstanding = VecDeque::with_capacity(OUTSTANDING_MAX);
        Self { topic, separator, outstanding, tally: Tally::default() }
    }

    /// Sends line after line until the input ends or sending has become pointless.
    fn send_lines(&mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            match read_line(input, LINE_BYTES_MAX, &mut line)? {
                Line::End => return Ok(()),
                Line::TooLong => {
                    self.tally.fail(number, &"the line is longer than 100 MiB", false);
                    continue;
                }
                Line::Whole => {}
            }
            if let Err(error) = self.send(number, &line) {
                self.tally.fail(number, &error, error.possibly_written());
                if !concerns_one_record(&error) {
                    self.tally.stopped = Some(number);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, number: u64, line: &[u8]) -> Result<(), SendError> {
        let record = match &self.separator {
            None => Record::new().value(line),
            Some(separator) => match find(line, separator.as_bytes()) {
                Some(at) => Record::new().key(&line[..at]).value(&line[at + separator.len()..]),
                None => {
                    self.tally.fail(number, &"there is no key separator in it", false);
                    return Ok(());
                }
            },
        };
        let delivery = self.topic.blocking_send(record)?;
        self.outstanding.push_back((number, delivery));
        while self.outstanding.front().is_some_and(|(_, delivery)| delivery.is_done())
            || self.outstanding.len() == OUTSTANDING_MAX
        {
            self.settle_one();
        }
        Ok(())
    }

    fn settle_all(&mut self) {
        while !self.outstanding.is_empty() {
            self.settle_one();
        }
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

/// What was read.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    /// It was dropped, up to its end.
    TooLong,
    End,
}

/// Reads up to the next newline, which is not part of the line; the last line may lack it. Every
/// other byte stays as it is, a carriage return included.
fn read_line(input: &mut impl BufRead, bytes_max: u64, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    // One byte more, for the newline.
    if input.take(bytes_max + 1).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > bytes_max {
        skip_line(input)?;
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole)
}

/// Drops the rest of a line that is too long.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(bytes.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

fn find(line: &[u8], separator: &[u8]) -> Option<usize> {
    line.windows(separator.len()).position(|window| window == separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_divides_key_and_value() {
        assert_eq!(find(b"k:v:w", b":"), Some(1));
        assert_eq!(find(b"k::v", b"::"), Some(1));
        assert_eq!(find(b"kv", b":"), None);
        assert_eq!(find(b"", b":"), None);
    }

    fn lines(mut input: &[u8]) -> Vec<Result<Vec<u8>, ()>> {
        let mut line = Vec::new();
        let mut all = Vec::new();
        loop {
            match read_line(&mut input, 5, &mut line).unwrap() {
                Line::End => return all,
                Line::Whole => all.push(Ok(line.clone())),
                Line::TooLong => all.push(Err(())),
            }
        }
    }

    #[test]
    fn lines_keep_every_byte_but_their_newline() {
        let whole = |text: &[u8]| Ok(text.to_vec());
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n"), [whole(b"")]);
        assert_eq!(
            lines(b"a\r\n\0\xff\n\nlast"),
            [whole(b"a\r"), whole(b"\0\xff"), whole(b""), whole(b"last")]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_up_to_the_next_one() {
        assert_eq!(
            lines(b"12345\n123456\n1234567890\nok\n1234567"),
            [Ok(b"12345".to_vec()), Err(()), Err(()), Ok(b"ok".to_vec()), Err(())]
        );
    }
}
