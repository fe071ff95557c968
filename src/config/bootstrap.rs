//! `bootstrap.servers`: a list of `host:port`, read and checked, not resolved.
#![forbid(unsafe_code)]

use std::fmt;

use super::error::{BootstrapProblem, ConfigError};
use super::value::trim;

pub(super) const KEY: &str = "bootstrap.servers";
const ACCEPTED: &str = "write host:port entries with commas between them, such as kafka-1:9092";

/// DNS names have at most 253 characters; an IPv6 address with a zone has fewer.
const HOST_BYTES_MAX: usize = 253;

/// A server's name or address, and its port. Printed as `host:port`, `[address]:port` for IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads the whole list (CFG-6). Entries that differ only in the case of the host are duplicates.
pub(super) fn parse_list(list: Option<&str>) -> Result<Vec<HostPort>, ConfigError> {
    let missing = || ConfigError::Missing { key: KEY, accepted: ACCEPTED };
    let list = trim(list.ok_or_else(missing)?);
    if list.is_empty() {
        return Err(missing());
    }
    let mut servers: Vec<HostPort> = Vec::new();
    for entry in list.split(',').map(trim) {
        let refused = |problem| ConfigError::Bootstrap { entry: entry.to_owned(), problem };
        let server = parse_entry(entry).map_err(refused)?;
        let same = |other: &HostPort| {
            other.port == server.port && other.host.eq_ignore_ascii_case(&server.host)
        };
        if servers.iter().any(same) {
            return Err(refused(BootstrapProblem::Duplicate));
        }
        servers.push(server);
    }
    Ok(servers)
}

fn parse_entry(entry: &str) -> Result<HostPort, BootstrapProblem> {
    if entry.is_empty() {
        return Err(BootstrapProblem::Empty);
    }
    // Java reads PLAINTEXT://host:port as host:port, and listeners are often copied from brokers.
    let address = match entry.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("PLAINTEXT") => rest,
        Some(_) => return Err(BootstrapProblem::Scheme),
        None => entry,
    };
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(BootstrapProblem::BadBrackets)?;
        if !is_ipv6(host) {
            return Err(BootstrapProblem::BadBrackets);
        }
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if port.is_empty() => return Err(BootstrapProblem::NoPort),
            None => return Err(BootstrapProblem::BadBrackets),
        };
        return Ok(HostPort { host: host.to_owned(), port });
    }
    let (host, port) = address.rsplit_once(':').ok_or(BootstrapProblem::NoPort)?;
    if host.contains([':', ']']) {
        return Err(BootstrapProblem::BadBrackets);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(allowed) {
        return Err(BootstrapProblem::BadHost);
    }
    Ok(HostPort { host: host.to_owned(), port: parse_port(port)? })
}

/// Whether it has the characters and colons of an IPv6 address; the resolver has the last word.
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
    let hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    host.len() <= HOST_BYTES_MAX
        && address.bytes().filter(|byte| *byte == b':').count() >= 2
        && address.bytes().all(hex)
        && !zone.is_empty()
        && zone.bytes().all(name)
}

fn parse_port(text: &str) -> Result<u16, BootstrapProblem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(BootstrapProblem::BadPort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Vec<String> {
        parse_list(Some(list)).expect("valid").iter().map(HostPort::to_string).collect()
    }

    fn problem(list: &str) -> BootstrapProblem {
        match parse_list(Some(list)) {
            Err(ConfigError::Bootstrap { problem, .. }) => problem,
            other => panic!("{list:?} gave {other:?}"),
        }
    }

    #[test]
    fn hosts_and_addresses_are_read_in_order_with_spaces_around_them() {
        assert_eq!(read(" kafka-1:9092 , 10.0.0.1:9093"), ["kafka-1:9092", "10.0.0.1:9093"]);
        assert_eq!(read("[::1]:9092,[fe80::1%eth0]:1"), ["[::1]:9092", "[fe80::1%eth0]:1"]);
        assert_eq!(read("plaintext://b:65535"), ["b:65535"]);
        let parsed = parse_list(Some("[2001:db8::7]:9092")).expect("valid");
        assert_eq!(parsed[0], HostPort { host: "2001:db8::7".to_owned(), port: 9092 });
    }

    #[test]
    fn cfg_6_an_entry_without_a_port_or_with_a_bad_one_is_refused() {
        assert_eq!(problem("kafka-1"), BootstrapProblem::NoPort);
        assert_eq!(problem("[::1]"), BootstrapProblem::NoPort);
        for list in ["a:", "a:x", "a:0", "a:65536", "a:-1", "a:+1", "a:9092x", "[::1]:", "a: 9092"]
        {
            assert_eq!(problem(list), BootstrapProblem::BadPort, "{list}");
        }
    }

    #[test]
    fn cfg_6_an_entry_without_a_host_is_refused() {
        for list in [":9092", "a b:9092", "ä:9092", "a/b:9092", &format!("{}:1", "a".repeat(254))]
        {
            assert_eq!(problem(list), BootstrapProblem::BadHost, "{list}");
        }
    }

    #[test]
    fn cfg_6_an_ipv6_address_needs_its_brackets() {
        for list in ["::1:9092", "[::1:9092", "::1]:9092", "[kafka]:9092", "[]:9092", "[::1]9092"] {
            assert_eq!(problem(list), BootstrapProblem::BadBrackets, "{list}");
        }
        assert_eq!(problem("[fe80::1%]:9092"), BootstrapProblem::BadBrackets);
    }

    #[test]
    fn cfg_6_empty_lists_empty_entries_and_duplicates_are_refused() {
        for list in [None, Some(""), Some("  ")] {
            let refused = parse_list(list);
            assert!(matches!(refused, Err(ConfigError::Missing { key: KEY, .. })), "{list:?}");
        }
        assert_eq!(problem("a:1,,b:1"), BootstrapProblem::Empty);
        assert_eq!(problem("a:1,"), BootstrapProblem::Empty);
        assert_eq!(problem("a:1,b:1,A:1"), BootstrapProblem::Duplicate);
        assert_eq!(read("a:1,a:2").len(), 2);
    }

    #[test]
    fn other_protocols_than_plaintext_are_refused() {
        assert_eq!(problem("SSL://a:9093"), BootstrapProblem::Scheme);
    }
}
