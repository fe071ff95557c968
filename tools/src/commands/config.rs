//! `kuring config`: every setting and its meaning, and what a producer makes of a configuration.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use kuring::config::{FileProperty, Verdict, property};
use kuring::{ConfigBuilder, ConfigError, Settings};

use super::client::parse_property;
use crate::settings::{self, Selection};

/// Columns of the text output: as wide as a terminal that nobody has made wider.
const COLUMNS: usize = 80;

/// List every setting with its type, default and meaning; or, with --file or --property, print what
/// a producer makes of that configuration: each value in force, a star where it is not the default,
/// and where it came from. The exit status is 0 for a configuration that a producer takes
/// (warnings do not count), 1 for one that it refuses, 2 for arguments that make no sense.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// List only settings whose name contains one of these.
    #[arg(conflicts_with_all = ["file", "property", "markdown"])]
    names: Vec<String>,
    /// A properties file, such as a Java producer's.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Settings, each KEY=VALUE; they win over the file's.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = parse_property)]
    property: Vec<(String, String)>,
    /// Print one JSON object.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the list as the page docs/settings.md.
    #[arg(long, conflicts_with_all = ["file", "property"])]
    markdown: bool,
}

/// Prints, and says by its status whether the configuration is valid.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &ConfigArgs) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if args.file.is_none() && args.property.is_empty() {
        let selection = Selection::new(&args.names);
        let text = match (args.json, args.markdown) {
            (true, _) => settings::json(&selection),
            (_, true) => settings::markdown(),
            (false, false) => settings::text(&selection, COLUMNS),
        };
        out.write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let judged = judge(args);
    if args.json {
        let made = judged.settings.as_ref();
        let text = settings::effective_json(made, &judged.errors, &judged.warnings);
        out.write_all(text.as_bytes())?;
    } else {
        judged.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        judged.errors.iter().for_each(|error| eprintln!("error: {error}"));
        if let Some(settings) = &judged.settings {
            write!(out, "{settings}")?;
        }
    }
    Ok(if judged.settings.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What became of a configuration.
#[derive(Debug, Default)]
struct Judged {
    /// None when something is wrong.
    settings: Option<Settings>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Goes through everything, so that all that is wrong with a file is said at once.
fn judge(args: &ConfigArgs) -> Judged {
    let mut judged = Judged::default();
    let mut builder = ConfigBuilder::new();
    let read = args.file.as_ref().map_or_else(|| Ok(Vec::new()), FileProperty::read_all);
    for read in judged.take(read).unwrap_or_default() {
        let place = format!("{}:{}: ", read.path.display(), read.line);
        judged.warn_of(&place, &read.name, &read.value);
        builder = judged.take(builder.clone().file_property(&read)).unwrap_or(builder);
    }
    for (name, value) in &args.property {
        judged.warn_of("", name, value);
        builder = judged.take(builder.clone().property(name, value)).unwrap_or(builder);
    }
    // A value that was refused is not there, and what goes with it cannot be judged.
    if judged.errors.is_empty() {
        judged.settings = judged.take(builder.settings());
    }
    let effective = judged.settings.iter().flat_map(Settings::effective);
    let derived = effective.filter(|setting| setting.name != "client.id");
    let derived = derived.filter_map(|setting| {
        setting.derived.map(|why| format!("{} is {}: {why}", setting.name, setting.value))
    });
    judged.warnings.extend(derived.collect::<Vec<_>>());
    judged.warnings.extend(judged.settings.as_ref().and_then(too_large_to_keep));
    judged
}

/// Java's own settings let a record be larger than all the memory there is for records.
fn too_large_to_keep(settings: &Settings) -> Option<String> {
    let (request, memory) = (settings.request_bytes_max as u64, settings.buffer_memory);
    (request > memory).then(|| {
        format!(
            "max.request.size={request} is above buffer.memory={memory}: records above \
             buffer.memory will be refused"
        )
    })
}

impl Judged {
    fn take<T>(&mut self, made: Result<T, ConfigError>) -> Option<T> {
        made.map_err(|error| self.errors.push(error.to_string())).ok()
    }

    fn warn_of(&mut self, place: &str, name: &str, value: &str) {
        match property(name).map(|property| property.verdict()) {
            // An empty list asks for nothing.
            Some(Verdict::Ignored { .. }) if value.trim().is_empty() => {}
            Some(Verdict::Ignored { instead }) => {
                self.warnings.push(format!("{place}{name} is ignored: {instead}"));
            }
            None => self.warnings.push(format!(
                "{place}{name} is ignored: neither Kafka nor Kuring knows it; correct the spelling"
            )),
            Some(_) => {}
        }
    }
}
