//! How the commands that produce are told about the cluster and the producer's settings.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use clap::Args;
use kuring::{ConfigBuilder, ConfigError, Producer, StartError};

/// The producer's settings.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Brokers to start from; wins over the property bootstrap.servers.
    #[arg(long, value_name = "HOST:PORT,...")]
    pub(super) bootstrap_server: Option<String>,
    /// Producer settings, each KEY=VALUE; they win over the file's.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = parse_property)]
    command_property: Vec<(String, String)>,
    /// A file of producer settings.
    #[arg(long, value_name = "FILE")]
    command_config: Option<PathBuf>,
    /// The old name of --command-property; the console producer's was another.
    #[arg(
        long,
        alias = "producer-property",
        value_name = "KEY=VALUE",
        num_args = 1..,
        value_parser = parse_property,
        conflicts_with = "command_property",
        hide = true
    )]
    producer_props: Vec<(String, String)>,
    /// The old name of --command-config.
    #[arg(
        long = "producer.config",
        value_name = "FILE",
        conflicts_with = "command_config",
        hide = true
    )]
    producer_config: Option<PathBuf>,
}

pub(super) fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

impl ClientArgs {
    fn file(&self) -> Option<&PathBuf> {
        self.command_config.as_ref().or(self.producer_config.as_ref())
    }

    fn properties(&self) -> impl Iterator<Item = &(String, String)> {
        self.command_property.iter().chain(&self.producer_props)
    }

    /// Whether a broker is named anywhere.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn names_brokers(&self) -> io::Result<bool> {
        if self.bootstrap_server.is_some()
            || self.properties().any(|(key, _)| key == "bootstrap.servers")
        {
            return Ok(true);
        }
        let Some(file) = self.file() else { return Ok(false) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", file.display()))
        })?;
        Ok(text.lines().any(|line| line.trim_start().starts_with("bootstrap.servers")))
    }

    /// Makes the producer; `brokers` wins over every setting.
    ///
    /// # Errors
    /// What the settings say wrong, or why the sender cannot run.
    pub(super) fn producer(
        &self,
        client_id: &str,
        brokers: Option<&str>,
    ) -> Result<Producer, StartError> {
        self.builder(client_id, brokers)?.build()
    }

    /// The producer's settings, not checked against each other yet; `brokers` wins over them.
    ///
    /// # Errors
    /// What one of them says wrong.
    pub(super) fn builder(
        &self,
        client_id: &str,
        brokers: Option<&str>,
    ) -> Result<ConfigBuilder, ConfigError> {
        self.builder_from(Producer::builder().client_id(client_id), brokers)
    }

    /// The same on top of a command's own defaults.
    ///
    /// # Errors
    /// What one of them says wrong.
    pub(super) fn builder_from(
        &self,
        mut builder: ConfigBuilder,
        brokers: Option<&str>,
    ) -> Result<ConfigBuilder, ConfigError> {
        if !self.producer_props.is_empty() || self.producer_config.is_some() {
            eprintln!(
                "--producer-props, --producer-property and --producer.config are the old names of \
                 --command-property and --command-config."
            );
        }
        if let Some(file) = self.file() {
            builder = builder.properties_file(file)?;
        }
        builder = builder.properties(self.properties().map(|(key, value)| (key, value)))?;
        if let Some(brokers) = brokers.or(self.bootstrap_server.as_deref()) {
            builder = builder.bootstrap_servers(brokers);
        }
        Ok(builder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_keeps_everything_behind_its_first_equals_sign() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(parse_property("linger.ms=5"), pair("linger.ms", "5"));
        assert_eq!(parse_property("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse_property("a="), pair("a", ""));
        assert!(parse_property("=5").is_err());
        assert!(parse_property("linger.ms").is_err());
    }
}
