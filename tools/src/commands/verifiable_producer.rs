//! `kuring verifiable-producer`: what Kafka's system tests start in the place of Java's, line for
//! line.
//!
//! Each event is one line of JSON on standard output, its time and name first. Events come in the
//! order of the verdicts; whatever their number, memory stays: a record is its number.
//!
//! Source:   `VerifiableProducer` of Apache Kafka's tools, and kafkatest, which reads its lines.
#![forbid(unsafe_code)]

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use clap::Args;
use kuring::{Acknowledged, Completion, ErrorCode, Producer, Record, SendError};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::concerns_one_record;
use crate::clock::{now, wall};

/// Verdicts taken at a time.
const COMPLETIONS: usize = 256;
/// How long the last records may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(3600);
/// How long a wait may keep a signal unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Produce numbers, and tell as JSON lines what became of each.
#[derive(Debug, Args)]
pub struct VerifiableProducerArgs {
    /// Topic to produce to.
    #[arg(long)]
    topic: String,
    /// Brokers to start from.
    #[arg(long, value_name = "HOST:PORT,...")]
    bootstrap_server: String,
    /// Records to send; -1: until told to end.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    max_messages: i64,
    /// Records a second, about; -1: as many as possible.
    #[arg(long, value_name = "R", default_value_t = -1, allow_negative_numbers = true)]
    throughput: i64,
    /// Which replicas must have a record: 0, 1, or -1 for all.
    #[arg(
        long,
        default_value = "-1",
        allow_negative_numbers = true,
        value_parser = ["0", "1", "-1"]
    )]
    acks: String,
    /// A file of producer settings; they win over --acks, and over retries, which are 0 here.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The old name of --command-config.
    #[arg(
        long = "producer.config",
        value_name = "FILE",
        conflicts_with = "command_config",
        hide = true
    )]
    producer_config: Option<PathBuf>,
    /// The first record's time in milliseconds since 1970; the others' follow by the clock. -1:
    /// each has the time at which it is sent.
    #[arg(long, value_name = "MS", default_value_t = -1, allow_negative_numbers = true)]
    message_create_time: i64,
    /// Values are this number, a dot, and the record's number.
    #[arg(long, value_name = "P")]
    value_prefix: Option<i64>,
    /// Keys are 0 to one less than this, in turn; without it there are none.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    repeating_keys: Option<u64>,
}

/// Produces until the last record or a signal; the exit status is 0 however the records fared.
///
/// # Errors
/// A setting, a signal's handler, standard output.
pub fn run(args: &VerifiableProducerArgs) -> io::Result<ExitCode> {
    let is_told_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_told_to_end))?;
    }
    let mut builder = Producer::builder()
        .property("acks", &args.acks)
        .and_then(|builder| builder.property("retries", "0"))
        .map_err(io::Error::other)?;
    if let Some(file) = args.command_config.as_ref().or(args.producer_config.as_ref()) {
        builder = builder.properties_file(file).map_err(io::Error::other)?;
    }
    let builder = builder.bootstrap_servers(&args.bootstrap_server);
    let producer = builder.build().map_err(io::Error::other)?;
    let out = BufWriter::new(io::stdout().lock());
    let mut run = Verifiable { args, producer, out, began: now(), sent: 0, acknowledged: 0 };
    run.event("startup_complete", "")?;
    run.send_all(&is_told_to_end)?;
    run.producer.close(CLOSE_WITHIN);
    run.tell_verdicts()?;
    run.event("shutdown_complete", "")?;
    run.totals()?;
    Ok(ExitCode::SUCCESS)
}

struct Verifiable<'a, W: Write> {
    args: &'a VerifiableProducerArgs,
    producer: Producer,
    out: W,
    began: Instant,
    sent: u64,
    acknowledged: u64,
}

impl<W: Write> Verifiable<'_, W> {
    fn send_all(&mut self, is_told_to_end: &AtomicBool) -> io::Result<()> {
        let topic = self.producer.topic(&self.args.topic);
        let last = u64::try_from(self.args.max_messages).unwrap_or(u64::MAX);
        while self.sent < last && !is_told_to_end.load(Relaxed) {
            let number = self.sent;
            if !self.is_due(number) {
                self.wait_until_due(number);
                self.tell_verdicts()?;
                continue;
            }
            let (key, value) = (self.key(number), self.value(number));
            let mut record = Record::new().value(value.as_bytes());
            if let Some(key) = &key {
                record = record.key(key.as_bytes());
            }
            if let Some(time) = self.create_time() {
                record = record.timestamp(time);
            }
            self.sent += 1;
            if let Err(error) = topic.blocking_submit(record, number) {
                self.error(number, &error)?;
                if !concerns_one_record(&error) && matches!(error, SendError::Closed { .. }) {
                    break;
                }
            }
            self.tell_verdicts()?;
        }
        Ok(())
    }

    fn is_due(&self, number: u64) -> bool {
        self.due(number).is_none_or(|due| due <= now())
    }

    /// When a record is to be sent at the rate asked for.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = u32::try_from(self.args.throughput).ok().filter(|rate| *rate > 0)?;
        Some(self.began + Duration::from_secs_f64(number as f64 / f64::from(rate)))
    }

    fn wait_until_due(&self, number: u64) {
        let soon = now() + LOOK_EVERY;
        let until = self.due(number).map_or(soon, |due| due.min(soon));
        // It returns early for verdicts, and they are told at once.
        if !self.producer.wait_deliveries(until) {
            crate::clock::wait_until(until);
        }
    }

    fn create_time(&self) -> Option<i64> {
        let first = self.args.message_create_time;
        let elapsed = i64::try_from((now() - self.began).as_millis()).unwrap_or(i64::MAX);
        (first >= 0).then(|| first.saturating_add(elapsed))
    }

    fn key(&self, number: u64) -> Option<String> {
        self.args.repeating_keys.map(|keys| (number % keys).to_string())
    }

    fn value(&self, number: u64) -> String {
        match self.args.value_prefix {
            Some(prefix) => format!("{prefix}.{number}"),
            None => number.to_string(),
        }
    }

    fn tell_verdicts(&mut self) -> io::Result<()> {
        let mut completions = [const { Completion::EMPTY }; COMPLETIONS];
        loop {
            let count = self.producer.poll_deliveries(&mut completions);
            for completion in &completions[..count] {
                match &completion.verdict {
                    Ok(written) => self.success(completion.user_data, written)?,
                    Err(error) => self.error(completion.user_data, error)?,
                }
            }
            if count == 0 {
                return self.out.flush();
            }
        }
    }

    fn success(&mut self, number: u64, written: &Acknowledged) -> io::Result<()> {
        self.acknowledged += 1;
        let (key, value) = self.quoted(number);
        let topic = quoted(&self.args.topic);
        let offset = written.offset.unwrap_or(-1);
        let partition = written.partition;
        let fields = format!(
            ",\"key\":{key},\"value\":{value},\"topic\":{topic},\"partition\":{partition},\
             \"offset\":{offset}"
        );
        self.event("producer_send_success", &fields)
    }

    fn error(&mut self, number: u64, error: &SendError) -> io::Result<()> {
        let (key, value) = self.quoted(number);
        let fields = format!(
            ",\"key\":{key},\"value\":{value},\"topic\":{},\"exception\":{},\"message\":{}",
            quoted(&self.args.topic),
            quoted(&format!("class {}", class_of(error))),
            quoted(&error.to_string())
        );
        self.event("producer_send_error", &fields)
    }

    fn quoted(&self, number: u64) -> (String, String) {
        let key = self.key(number).map_or_else(|| "null".to_owned(), |key| quoted(&key));
        (key, quoted(&self.value(number)))
    }

    fn totals(&mut self) -> io::Result<()> {
        let seconds = (now() - self.began).as_secs_f64().max(1e-3);
        let fields = format!(
            ",\"sent\":{},\"acked\":{},\"target_throughput\":{},\"avg_throughput\":{}",
            self.sent,
            self.acknowledged,
            self.args.throughput,
            self.acknowledged as f64 / seconds
        );
        self.event("tool_data", &fields)
    }

    /// One line: the time, the name, and what else there is.
    fn event(&mut self, name: &str, fields: &str) -> io::Result<()> {
        let timestamp = wall().as_millis();
        writeln!(self.out, "{{\"timestamp\":{timestamp},\"name\":\"{name}\"{fields}}}")?;
        self.out.flush()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The Java client's class for an error, which the system tests' logs name.
fn class_of(error: &SendError) -> String {
    let kafka = |name: &str| format!("org.apache.kafka.common.errors.{name}");
    match error {
        SendError::TooLarge { .. } => kafka("RecordTooLargeException"),
        SendError::InvalidField { .. } | SendError::NoSuchPartition { .. } => {
            "java.lang.IllegalArgumentException".to_owned()
        }
        SendError::Unknown { .. } | SendError::TimedOut { .. } => kafka("TimeoutException"),
        SendError::InvalidTopic { .. } => kafka("InvalidTopicException"),
        SendError::MemoryExhausted { .. } => {
            "org.apache.kafka.clients.producer.BufferExhaustedException".to_owned()
        }
        SendError::Denied { code }
        | SendError::Rejected { code, .. }
        | SendError::InvalidBatch { code, .. }
        | SendError::Fatal { code, .. } => kafka(&exception_of(*code)),
        SendError::Closed { .. } => "java.lang.IllegalStateException".to_owned(),
        _ => "org.apache.kafka.common.KafkaException".to_owned(),
    }
}

/// Most classes are called as their codes are.
fn exception_of(code: ErrorCode) -> String {
    let name = code.name();
    let special = match name {
        "UNKNOWN_SERVER_ERROR" => "UnknownServer",
        "CORRUPT_MESSAGE" => "CorruptRecord",
        "MESSAGE_TOO_LARGE" => "RecordTooLarge",
        "RECORD_LIST_TOO_LARGE" => "RecordBatchTooLarge",
        "REQUEST_TIMED_OUT" => "Timeout",
        "NETWORK_EXCEPTION" => "Network",
        "INVALID_TOPIC_EXCEPTION" => "InvalidTopic",
        "KAFKA_STORAGE_ERROR" => "KafkaStorage",
        "OUT_OF_ORDER_SEQUENCE_NUMBER" => "OutOfOrderSequence",
        "DUPLICATE_SEQUENCE_NUMBER" => "DuplicateSequence",
        "INVALID_PRODUCER_ID_MAPPING" => "InvalidPidMapping",
        other => return format!("{}Exception", camel(other.trim_end_matches("_FAILED"))),
    };
    format!("{special}Exception")
}

fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    name.split('_').filter(|part| !part.is_empty()).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_java_client_s_class_names() {
        let rejected = |code| SendError::Rejected { code, message: None, possibly_written: false };
        let cases = [
            (rejected(ErrorCode::NotEnoughReplicas), "errors.NotEnoughReplicasException"),
            (rejected(ErrorCode::NotLeaderOrFollower), "errors.NotLeaderOrFollowerException"),
            (rejected(ErrorCode::MessageTooLarge), "errors.RecordTooLargeException"),
            (
                SendError::Denied { code: ErrorCode::TopicAuthorizationFailed },
                "errors.TopicAuthorizationException",
            ),
            (SendError::Closed { possibly_written: false }, "java.lang.IllegalStateException"),
        ];
        for (error, class) in cases {
            assert!(class_of(&error).ends_with(class), "{}", class_of(&error));
        }
    }
}
