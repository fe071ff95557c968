//! `kuring doctor`: what a stranger runs before the first record.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use kuring::{ConfigBuilder, Settings};

use super::client::ClientArgs;
use crate::doctor::{Question, Status, System, examine, json, text};

const CLIENT_ID: &str = "kuring-doctor";
/// Wider paragraphs are harder to read, and narrower terminals are rare.
const COLUMNS: usize = 80;
/// Where the settings name no server. It is not asked.
const NO_SERVER: &str = "localhost:9092";

/// Check this machine, the settings and the cluster before the first record. The exit status is 0
/// without a problem (warnings do not count), 1 with one, 2 for arguments that make no sense.
///
/// Run it as the user and in the container or unit of the service: limits and filters differ.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Also look for this topic; it is not created.
    #[arg(long)]
    topic: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Examines, prints, and says by its status whether a problem was found.
///
/// # Errors
/// The output cannot be written.
pub fn run(args: &DoctorArgs) -> io::Result<ExitCode> {
    let question = question(args);
    let checks = examine(&System::detect(question.assumed.driver), &question);
    let mut out = io::stdout().lock();
    if args.json {
        out.write_all(json(&checks).as_bytes())?;
    } else {
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        out.write_all(text(&checks, COLUMNS, colour).as_bytes())?;
    }
    let sick = checks.iter().any(|check| check.status == Status::Problem);
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Settings that are wrong stop none of the other checks: those go on with the defaults, and with
/// the servers of the command line.
fn question(args: &DoctorArgs) -> Question {
    // A file that cannot be read is the settings' problem, and told there.
    let named = args.client.names_brokers().unwrap_or(true);
    let placeholder = (!named).then_some(NO_SERVER);
    let settings =
        args.client.builder(CLIENT_ID, placeholder).and_then(|builder| builder.settings());
    let with = |servers: &str| ConfigBuilder::new().bootstrap_servers(servers).settings();
    let (assumed, ask_brokers): (Settings, bool) = match &settings {
        Ok(settings) => (settings.clone(), named),
        Err(_) => match args.client.bootstrap_server.as_deref().map(with) {
            Some(Ok(assumed)) => (assumed, true),
            _ => (with(NO_SERVER).expect("defaults and a valid server"), false),
        },
    };
    Question { settings, assumed, ask_brokers, topic: args.topic.clone() }
}
