//! `kuring produce`: lines become records, with the flags of Kafka's console producer.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kuring::{ConfigBuilder, ConfigError, Producer};

use super::client::ClientArgs;
use crate::console::{Console, Format, Input, Interrupt, ReaderOptions, Template};

const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// Send each line of standard input, or of a file, as a record, and wait for every acknowledgement.
///
/// A flag wins over --command-property, which wins over --command-config. What none of them sets
/// has the default of Kafka's console producer where that differs from the producer's: linger.ms
/// 1000, retries 3, request.timeout.ms 1500, send.buffer.bytes 102400.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    echo 'user-7:clicked' | kuring produce --bootstrap-server k1:9092 --topic events \\\n      \
    --key-separator :\n  \
    kuring produce --bootstrap-server k1:9092 --topic events --input log.jsonl \\\n      \
    --format json\n  \
    kuring produce --bootstrap-server k1:9092 --topic events -F '%p\\t%k\\t%s'")]
pub struct ProduceArgs {
    /// Topic to produce to.
    #[arg(long)]
    topic: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    producer: ProducerArgs,
}

/// Where lines come from, and what they say.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lines")]
struct SourceArgs {
    /// Read this file instead of standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// What a line is: text as --reader-property says, or an object of JSON with key, value,
    /// headers, partition and timestamp, each of them optional.
    #[arg(long, value_name = "HOW", default_value = "line")]
    format: FormatName,
    /// What a line is, by a template: %k key, %s value, %h headers (name=value,...), %p partition,
    /// %T milliseconds since 1970, %% a percent sign; \t, \n and \0 are understood.
    #[arg(short = 'F', value_name = "TEMPLATE", conflicts_with_all = ["format", "key_separator"])]
    template: Option<String>,
    /// Each line is a key, this, and a value; \t is understood. Short for the reader properties
    /// parse.key and key.separator.
    #[arg(long, value_name = "X")]
    key_separator: Option<String>,
    /// How lines are read: parse.key (false), key.separator (\t), parse.headers (false),
    /// headers.delimiter (\t), headers.separator (,), headers.key.separator (:), ignore.error
    /// (false), null.marker (none).
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_raw_property)]
    reader_property: Vec<(String, String)>,
    /// The old name of --reader-property.
    #[arg(
        long,
        value_name = "KEY=VALUE",
        value_parser = parse_raw_property,
        conflicts_with = "reader_property",
        hide = true
    )]
    property: Vec<(String, String)>,
    /// A file of reader properties; --reader-property wins.
    #[arg(long, value_name = "FILE")]
    reader_config: Option<PathBuf>,
    /// A class of Java's that reads lines; here --format and -F take its place.
    #[arg(long, value_name = "CLASS", hide = true)]
    line_reader: Option<String>,
}

/// The producer's settings, by the console producer's flags and by properties.
#[derive(Debug, Args)]
#[command(next_help_heading = "Producer")]
struct ProducerArgs {
    /// Wait for each record's acknowledgement before the next one; the first error ends it.
    #[arg(long)]
    sync: bool,
    /// Compress: none, gzip, snappy, lz4, zstd; gzip when the flag has no value.
    #[arg(long, value_name = "C", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,
    /// Bytes of a batch (batch.size).
    #[arg(long, value_name = "BYTES")]
    batch_size: Option<u64>,
    /// The old name of --batch-size, which it wins over.
    #[arg(long, value_name = "BYTES", hide = true)]
    max_partition_memory_bytes: Option<u64>,
    /// How often a batch is tried again (retries).
    #[arg(long, value_name = "N")]
    message_send_max_retries: Option<u32>,
    /// Before a batch is tried again (retry.backoff.ms).
    #[arg(long, value_name = "MS")]
    retry_backoff_ms: Option<u64>,
    /// How long a batch waits for more lines (linger.ms).
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Which replicas must have a record: 0, 1, or -1 for all (acks).
    #[arg(long, value_name = "ACKS", allow_negative_numbers = true)]
    request_required_acks: Option<String>,
    /// How long an answer may take (request.timeout.ms).
    #[arg(long, value_name = "MS")]
    request_timeout_ms: Option<u64>,
    /// How old metadata gets (metadata.max.age.ms).
    #[arg(long, value_name = "MS")]
    metadata_expiry_ms: Option<u64>,
    /// How long a line may wait for metadata and memory (max.block.ms).
    #[arg(long, value_name = "MS")]
    max_block_ms: Option<u64>,
    /// Memory for records without an acknowledgement (buffer.memory).
    #[arg(long, value_name = "BYTES")]
    max_memory_bytes: Option<u64>,
    /// The socket's send buffer (send.buffer.bytes).
    #[arg(long, value_name = "BYTES")]
    socket_buffer_size: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Text.
    Line,
    /// An object of JSON a line.
    Json,
}

/// Spaces count: they may separate.
fn parse_raw_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), super::unescape(value)))
        }
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

/// Produces until the input ends; the exit status is 1 unless everything was acknowledged.
///
/// # Errors
/// A setting, or the input cannot be read.
pub fn run(args: &ProduceArgs) -> io::Result<ExitCode> {
    let format = args.source.read_format().map_err(wrong)?;
    let producer = args.start()?;
    let mut input = Input::open(args.source.input.as_deref(), Interrupt::new()?)?;
    let mut console = Console::new(producer.topic(&args.topic), format, args.producer.sync);
    let read = console.send_lines(&mut input);
    producer.blocking_flush();
    let tally = console.settle_all();
    producer.close(CLOSE_WITHIN);
    read?;
    tally.print(input.is_interrupted());
    let is_clean = tally.is_clean() && !input.is_interrupted();
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl SourceArgs {
    fn read_format(&self) -> Result<Format, String> {
        if let Some(class) = &self.line_reader {
            return Err(format!(
                "--line-reader {class}: Java classes cannot be used; see --format"
            ));
        }
        let has_reader_options = self.key_separator.is_some()
            || self.reader_config.is_some()
            || !self.reader_property.is_empty()
            || !self.property.is_empty();
        let is_line = self.template.is_none() && self.format == FormatName::Line;
        if has_reader_options && !is_line {
            return Err("reader properties and --key-separator are for --format line".to_owned());
        }
        if let Some(template) = &self.template {
            let template = Template::new(&super::unescape(template));
            return template.map(Format::Template).map_err(|error| format!("-F: {error}"));
        }
        if self.format == FormatName::Json {
            return Ok(Format::Json);
        }
        let mut options = ReaderOptions::default();
        if let Some(file) = &self.reader_config {
            for (name, value) in read_pairs(file)? {
                options.set(&name, &value)?;
            }
        }
        if let Some(separator) = &self.key_separator {
            options.set("parse.key", "true")?;
            options.set("key.separator", &super::unescape(separator))?;
        }
        if !self.property.is_empty() {
            eprintln!("--property is the old name of --reader-property.");
        }
        for (name, value) in self.reader_property.iter().chain(&self.property) {
            options.set(name, value)?;
        }
        options.format().map(Format::Line)
    }
}

/// Lines of `name=value`; empty ones and those that begin with # say nothing.
fn read_pairs(file: &Path) -> Result<Vec<(String, String)>, String> {
    let named =
        |error: &dyn std::fmt::Display| format!("--reader-config {}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(&error))?;
    text.lines()
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|line| parse_raw_property(line.trim_start()).map_err(|error| named(&error)))
        .collect()
}

impl ProduceArgs {
    fn start(&self) -> io::Result<Producer> {
        if !self.client.names_brokers()? {
            return Err(wrong("no broker is named: give --bootstrap-server".to_owned()));
        }
        let builder = self.builder().map_err(io::Error::other)?;
        builder.build().map_err(io::Error::other)
    }

    /// What comes later wins: defaults, file, properties, flags.
    fn builder(&self) -> Result<ConfigBuilder, ConfigError> {
        let builder = Producer::builder().client_id("console-producer").properties(DEFAULTS)?;
        self.client.builder_from(builder, None)?.properties(self.producer.flags())
    }
}

impl ProducerArgs {
    /// The properties that the flags set.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        [
            ("compression.type", self.compression_codec.clone()),
            ("batch.size", number(self.max_partition_memory_bytes.or(self.batch_size))),
            ("retries", self.message_send_max_retries.map(|value| value.to_string())),
            ("retry.backoff.ms", number(self.retry_backoff_ms)),
            ("linger.ms", number(self.timeout)),
            ("acks", self.request_required_acks.clone()),
            ("request.timeout.ms", number(self.request_timeout_ms)),
            ("metadata.max.age.ms", number(self.metadata_expiry_ms)),
            ("max.block.ms", number(self.max_block_ms)),
            ("buffer.memory", number(self.max_memory_bytes)),
            ("send.buffer.bytes", number(self.socket_buffer_size)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// The console producer's own defaults, where they differ from the producer's.
const DEFAULTS: [(&str, &str); 4] = [
    ("linger.ms", "1000"),
    ("request.timeout.ms", "1500"),
    ("retries", "3"),
    ("send.buffer.bytes", "102400"),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: ProduceArgs,
    }

    fn parsed(arguments: &[&str]) -> Result<ProduceArgs, clap::Error> {
        let line = ["kuring", "--topic", "t", "--bootstrap-server", "k:1"];
        Line::try_parse_from(line.iter().chain(arguments)).map(|line| line.args)
    }

    fn setting(arguments: &[&str], name: &str) -> String {
        let settings = parsed(arguments).unwrap().builder().unwrap().settings().unwrap();
        let effective = settings.effective();
        effective.iter().find(|it| it.name == name).unwrap().value.clone()
    }

    #[test]
    fn a_flag_wins_over_a_property_and_that_over_the_console_producer_s_default() {
        assert_eq!(setting(&[], "linger.ms"), "1000");
        assert_eq!(setting(&[], "retries"), "3");
        assert_eq!(setting(&[], "request.timeout.ms"), "1500");
        let property = ["--command-property", "linger.ms=7"];
        assert_eq!(setting(&property, "linger.ms"), "7");
        assert_eq!(setting(&[&property[..], &["--timeout", "9"]].concat(), "linger.ms"), "9");
        assert_eq!(setting(&["--producer-property", "acks=1"], "acks"), "1");
        assert_eq!(setting(&["--request-required-acks", "-1"], "acks"), "all");
    }

    #[test]
    fn every_flag_reaches_its_property() {
        for (flag, value, name) in [
            ("--batch-size", "1234", "batch.size"),
            ("--max-partition-memory-bytes", "4321", "batch.size"),
            ("--message-send-max-retries", "9", "retries"),
            ("--retry-backoff-ms", "77", "retry.backoff.ms"),
            ("--request-timeout-ms", "2500", "request.timeout.ms"),
            ("--metadata-expiry-ms", "60000", "metadata.max.age.ms"),
            ("--max-block-ms", "123", "max.block.ms"),
            ("--max-memory-bytes", "8388608", "buffer.memory"),
            ("--socket-buffer-size", "65536", "send.buffer.bytes"),
            ("--compression-codec", "lz4", "compression.type"),
        ] {
            assert_eq!(setting(&[flag, value], name), value, "{flag}");
        }
        assert_eq!(setting(&["--compression-codec"], "compression.type"), "gzip");
        let both = ["--batch-size", "1", "--max-partition-memory-bytes", "2"];
        assert_eq!(setting(&both, "batch.size"), "2");
    }

    #[test]
    fn an_old_and_a_new_name_of_the_same_flag_are_an_error() {
        for arguments in [
            ["--command-property", "a=b", "--producer-property", "c=d"],
            ["--command-config", "f", "--producer.config", "g"],
            ["--reader-property", "a=b", "--property", "c=d"],
        ] {
            let refused = parsed(&arguments).unwrap_err();
            assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict, "{arguments:?}");
        }
    }

    #[test]
    fn formats_that_contradict_each_other_are_refused() {
        for (arguments, word) in [
            (&["--format", "json", "--reader-property", "parse.key=true"][..], "--format line"),
            (&["-F", "%k%s"], "-F: two fields"),
            (&["--line-reader", "com.example.Reader"], "--format"),
            (&["--reader-config", "/no/such/file"], "/no/such/file"),
        ] {
            let refused = parsed(arguments).unwrap().source.read_format().unwrap_err();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
