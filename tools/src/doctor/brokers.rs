//! The cluster as this machine reaches it: bootstrap servers, every broker's advertised listener,
//! and the topic.
//!
//! A bootstrap server only tells where the brokers are. Records go to the addresses that those
//! advertise, and an advertised listener that clients cannot resolve or reach is the most frequent
//! reason for a producer that connects and then does nothing.
//!
//! Bounds:   `LISTENERS_MAX` listeners are tried, `TRIED_AT_ONCE` at a time.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use kuring::config::HostPort;
use kuring::driver::dns::resolve_now;
use kuring::protocol::ApiKey;
use kuring::protocol::api::negotiate;
use kuring::protocol::api_versions::ApiVersionsResponse;
use kuring::protocol::metadata::{Broker, MetadataResponse, TopicMetadata};
use kuring::{ErrorCode, Settings};

use super::conversation::{Conversation, Limits, Trouble};
use super::system::counted;
use super::{Check, Question, Status, hello, memory};
use crate::clock;

const BROKERS: &str = "brokers";
const BOOTSTRAP: &str = "bootstrap";
const CLUSTER: &str = "cluster";
const LISTENER: &str = "listener";
const TOPIC: &str = "topic";

const LISTENERS_MAX: usize = 128;
const TRIED_AT_ONCE: usize = 16;
/// A person is waiting; what takes longer is worth a line.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The checks, and how many brokers there are, as far as that is known.
pub(super) fn check(question: &Question) -> (Vec<Check>, usize) {
    let settings = &question.assumed;
    let servers = &settings.bootstrap_servers;
    if !question.ask_brokers {
        let remedy = "name some: --bootstrap-server HOST:PORT";
        return (vec![Check::warning(BROKERS, "none named, so none was asked", remedy)], 1);
    }
    let limits = Limits {
        connect: settings.connection_setup_timeout.base.min(WAIT_MAX),
        answer: settings.request_timeout.min(WAIT_MAX),
    };
    let mut checks = Vec::new();
    let mut found = None;
    for server in servers {
        let reached = bootstrap(server, settings, limits);
        checks.push(reached.check);
        if let (None, Some((mut conversation, versions))) = (&found, reached.conversation) {
            let answer = conversation.metadata(&versions, question.topic.as_deref());
            match answer.and_then(accepted) {
                Ok(metadata) => found = Some(metadata),
                Err(trouble) => checks.push(no_metadata(server, &trouble)),
            }
        }
    }
    let Some(metadata) = found else { return (checks, servers.len()) };
    // One server that answers is enough; the others are for the day when it does not.
    for check in &mut checks {
        check.status = check.status.min(Status::Warning);
    }
    checks.push(cluster(&metadata));
    checks.extend(listeners(&metadata, settings, limits));
    if let Some(name) = &question.topic {
        checks.push(topic(name, &servers[0], &metadata, settings));
        checks.extend(memory(name, &metadata, settings));
    }
    (checks, metadata.brokers.len())
}

fn accepted(metadata: MetadataResponse) -> Result<MetadataResponse, Trouble> {
    match metadata.error {
        ErrorCode::None => Ok(metadata),
        code => Err(Trouble::Refused(code)),
    }
}

struct Reached {
    check: Check,
    conversation: Option<(Conversation, ApiVersionsResponse)>,
}

impl Reached {
    fn problem(name: &'static str, fact: String, remedy: impl Into<String>) -> Self {
        Self { check: Check::problem(name, fact, remedy), conversation: None }
    }
}

fn bootstrap(server: &HostPort, settings: &Settings, limits: Limits) -> Reached {
    let subject = server.to_string();
    let addresses = match resolve_now(&server.host, server.port) {
        Ok(addresses) => addresses,
        Err(error) => {
            let fact = format!("{subject} cannot be resolved: {error}");
            return Reached::problem(BOOTSTRAP, fact, format!("$ getent ahosts {}", server.host));
        }
    };
    reach(BOOTSTRAP, &subject, &addresses, settings, limits).unwrap_or_else(|failures| {
        let (fact, remedy) = unreachable(&subject, &failures);
        Reached::problem(BOOTSTRAP, fact, remedy)
    })
}

/// Talks to the first address that can be connected to, or says why none can.
fn reach(
    name: &'static str,
    subject: &str,
    addresses: &[SocketAddr],
    settings: &Settings,
    limits: Limits,
) -> Result<Reached, Vec<Failure>> {
    let mut failures = Vec::new();
    for address in addresses {
        let start = clock::now();
        match Conversation::connect(*address, limits) {
            Ok(conversation) => {
                let took = clock::now() - start;
                let subject = with_addresses(subject, addresses, *address);
                return Ok(talk(name, &subject, took, conversation, settings, &failures));
            }
            Err(error) => failures.push((*address, error)),
        }
    }
    Err(failures)
}

/// `name:9092 (10.0.0.7)`; with several addresses also which one answered.
fn with_addresses(subject: &str, all: &[SocketAddr], answered: SocketAddr) -> String {
    match all {
        [only] if subject.contains(&only.ip().to_string()) => subject.to_owned(),
        [only] => format!("{subject} ({})", only.ip()),
        _ => {
            let shown: Vec<_> = all.iter().take(4).map(|it| it.ip().to_string()).collect();
            let more = if all.len() > shown.len() { ", ..." } else { "" };
            format!("{subject} ({}{more}; {} answered)", shown.join(", "), answered.ip())
        }
    }
}

type Failure = (SocketAddr, io::Error);

fn unreachable(subject: &str, failures: &[Failure]) -> (String, String) {
    let error = failures.last().map_or_else(String::new, |(address, error)| {
        if subject.contains(&address.ip().to_string()) {
            error.to_string()
        } else {
            format!("{address}: {error}")
        }
    });
    let refused =
        failures.iter().any(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused);
    let remedy = if refused {
        "nothing listens on that port there: is the broker running, and is this its port? On the \
         broker's machine:\n$ ss -ltn"
    } else {
        "a firewall, a security group or a missing route is in the way"
    };
    (format!("{subject} cannot be reached: {error}"), remedy.to_owned())
}

/// Asks for the versions, and judges them.
fn talk(
    name: &'static str,
    subject: &str,
    took: Duration,
    mut conversation: Conversation,
    settings: &Settings,
    failures: &[Failure],
) -> Reached {
    let versions = match conversation.versions() {
        Ok(versions) => versions,
        Err(trouble) => {
            let (fact, remedy) = not_kafka(&trouble, &conversation);
            return Reached::problem(name, format!("{subject}: {fact}"), remedy);
        }
    };
    let has = |api| versions.range(api).is_some();
    let check = match missing(&versions, settings) {
        Some(_) if !has(ApiKey::Produce) && !has(ApiKey::Metadata) => Check::problem(
            name,
            format!("{subject} is a controller's port and takes no records"),
            "use the port of a broker's listener, usually 9092",
        ),
        Some(missing) => Check::problem(
            name,
            format!("{subject} is too old or too new: {missing}"),
            "use a broker of Kafka 0.11 or later, or set enable.idempotence=false if \
             InitProducerId alone is missing",
        ),
        None => {
            let took = took.as_secs_f64() * 1e3;
            let fact = format!("{subject}: connected in {took:.1} ms; {}", spoken(&versions));
            let slow = |(_, error): &&Failure| error.kind() == io::ErrorKind::TimedOut;
            match failures.iter().find(slow) {
                None => Check::ok(name, fact),
                Some((address, error)) => Check::warning(
                    name,
                    format!("{fact}; before that {address}: {error}"),
                    "take the dead address out of the name's records, or repair it",
                ),
            }
        }
    };
    let usable = check.status != Status::Problem;
    Reached { check, conversation: usable.then_some((conversation, versions)) }
}

/// What listens there instead of a broker that speaks in plain, and what to do.
fn not_kafka(trouble: &Trouble, conversation: &Conversation) -> (String, String) {
    const TLS: &str = "this port speaks TLS, and this version of Kuring does not";
    const PLAIN: &str = "use the port of a PLAINTEXT listener (listeners= of the broker)";
    let remedy = match trouble {
        Trouble::Strange(bytes) if hello::is_record(bytes) => return (TLS.into(), PLAIN.into()),
        Trouble::Strange(bytes) if bytes.starts_with(b"HTTP/") => {
            return (
                "a web server listens there, no Kafka broker".into(),
                "use the broker's port, usually 9092".into(),
            );
        }
        Trouble::Closed | Trouble::Silent(_) | Trouble::Strange(_) if conversation.is_tls() => {
            return (TLS.into(), PLAIN.into());
        }
        Trouble::Silent(_) => {
            "is it a broker's port? One that hangs is seen in its log; a proxy in between accepts \
             connections for a broker that is gone"
        }
        Trouble::Closed => "is it a broker's port? Its log says why it closed the connection",
        _ => "use the broker's port, usually 9092",
    };
    (trouble.to_string(), remedy.to_owned())
}

/// The requests that a producer sends, with these settings.
fn needed(settings: &Settings) -> impl Iterator<Item = ApiKey> {
    let idempotence = settings.idempotence.then_some(ApiKey::InitProducerId);
    [ApiKey::Produce, ApiKey::Metadata].into_iter().chain(idempotence)
}

fn missing(versions: &ApiVersionsResponse, settings: &Settings) -> Option<String> {
    let lacking = needed(settings).filter_map(|api| {
        let ours = api.versions();
        let theirs = match versions.range(api) {
            Some(range) if negotiate(ours, range).is_some() => return None,
            Some(range) => format!("{} {} to {}", api.name(), range.min, range.max),
            None => format!("no {}", api.name()),
        };
        Some(format!("it speaks {theirs}, Kuring {} to {}", ours.min, ours.max))
    });
    let lacking: Vec<String> = lacking.collect();
    (!lacking.is_empty()).then(|| lacking.join("; "))
}

/// The versions that will be used.
fn spoken(versions: &ApiVersionsResponse) -> String {
    let used = [ApiKey::Produce, ApiKey::Metadata, ApiKey::InitProducerId].map(|api| {
        let version = versions.range(api).and_then(|range| negotiate(api.versions(), range));
        version.map_or_else(
            || format!("no {}", api.name()),
            |version| format!("{} v{version}", api.name()),
        )
    });
    used.join(", ")
}

fn no_metadata(server: &HostPort, trouble: &Trouble) -> Check {
    match trouble {
        Trouble::Closed => Check::problem(
            CLUSTER,
            format!("{server} says its versions and closes at the first real question"),
            "so does a SASL listener, which this version of Kuring does not speak to: use the \
             port of a PLAINTEXT listener",
        ),
        _ => Check::problem(
            CLUSTER,
            format!("{server} gives no metadata: {trouble}"),
            "the broker's log says more; is it still starting?",
        ),
    }
}

fn cluster(metadata: &MetadataResponse) -> Check {
    let id = metadata.cluster_id.as_deref().unwrap_or("without an id");
    let brokers = counted(metadata.brokers.len(), "broker");
    if metadata.brokers.is_empty() {
        return Check::problem(
            CLUSTER,
            format!("{id}: the answer names no broker"),
            "the cluster is starting or has no broker that is alive: ask again, and read its log",
        );
    }
    Check::ok(CLUSTER, format!("{id}: {brokers}"))
}

/// One check per broker, in the order of the answer.
fn listeners(metadata: &MetadataResponse, settings: &Settings, limits: Limits) -> Vec<Check> {
    let mut checks = Vec::new();
    let tried = &metadata.brokers[..metadata.brokers.len().min(LISTENERS_MAX)];
    for group in tried.chunks(TRIED_AT_ONCE) {
        thread::scope(|scope| {
            let try_one = |broker| scope.spawn(move || listener(broker, settings, limits));
            let running: Vec<_> = group.iter().map(try_one).collect();
            checks.extend(running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }));
        });
    }
    let rest = metadata.brokers.len() - tried.len();
    if rest > 0 {
        checks.push(Check::ok(LISTENER, format!("{rest} more brokers were not tried")));
    }
    checks
}

fn listener(broker: &Broker, settings: &Settings, limits: Limits) -> Check {
    let Broker { id, host, port, .. } = broker;
    let number = id.0;
    let subject = format!("broker {number} advertises {host}:{port}");
    let fix = format!(
        "set advertised.listeners of broker {number} to a name and port that clients reach, for \
         example\nadvertised.listeners=PLAINTEXT://HOST:9092"
    );
    let Some(valid) = u16::try_from(*port).ok().filter(|port| *port > 0) else {
        return Check::problem(LISTENER, format!("{subject}, which is no port"), fix);
    };
    let addresses = match resolve_now(host, valid) {
        Ok(addresses) => addresses,
        Err(error) => {
            // The name comes from the network, and a command is to be pasted.
            let plain =
                host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            let command = if plain { format!("\n$ getent ahosts {host}") } else { String::new() };
            let remedy = format!("{fix}\nor let this machine resolve it{command}");
            let fact = format!("{subject}, which cannot be resolved here: {error}");
            return Check::problem(LISTENER, fact, remedy);
        }
    };
    let failures = match reach(LISTENER, &subject, &addresses, settings, limits) {
        Ok(reached) => return reached.check,
        Err(failures) => failures,
    };
    let local = failures.iter().all(|(address, _)| address.ip().is_loopback());
    let (fact, remedy) = unreachable(&subject, &failures);
    let fact = if local { format!("{fact}; to this machine that is itself") } else { fact };
    Check::problem(LISTENER, fact, format!("{fix}\nIf the name is right: {remedy}"))
}

fn topic(name: &str, server: &HostPort, metadata: &MetadataResponse, settings: &Settings) -> Check {
    let named = |topic: &&TopicMetadata| topic.name.as_deref() == Some(name);
    let Some(found) = metadata.topics.iter().find(named) else {
        return Check::problem(TOPIC, format!("{name}: not in the broker's answer"), "ask again");
    };
    match found.error {
        ErrorCode::None => partitions(name, found, settings),
        ErrorCode::UnknownTopicOrPartition => Check::warning(
            TOPIC,
            format!("{name} does not exist; brokers create it if auto.create.topics.enable is on"),
            format!(
                "$ kafka-topics.sh --create --bootstrap-server {server} --topic {name} \
                 --partitions 10"
            ),
        ),
        ErrorCode::TopicAuthorizationFailed => Check::problem(
            TOPIC,
            format!("{name}: this client may not see it"),
            format!(
                "$ kafka-acls.sh --bootstrap-server {server} --add --allow-principal \
                 User:ANONYMOUS --producer --topic {name}"
            ),
        ),
        code => Check::problem(
            TOPIC,
            format!("{name}: {}", code.name()),
            format!("$ kafka-topics.sh --describe --bootstrap-server {server} --topic {name}"),
        ),
    }
}

/// Whether buffer.memory is enough for the topic.
fn memory(name: &str, metadata: &MetadataResponse, settings: &Settings) -> Option<Check> {
    let found = metadata.topics.iter().find(|topic| topic.name.as_deref() == Some(name))?;
    memory::for_partitions(settings, name, found.partitions.len())
}

fn partitions(name: &str, found: &TopicMetadata, settings: &Settings) -> Check {
    let all = &found.partitions;
    let listed = |those: Vec<i32>| {
        let shown: Vec<String> = those.iter().take(8).map(ToString::to_string).collect();
        let more = if those.len() > shown.len() { ", ..." } else { "" };
        format!("{}{more}", shown.join(", "))
    };
    let leaderless: Vec<i32> = all.iter().filter(|it| it.leader.0 < 0).map(|it| it.index).collect();
    let lagging: Vec<i32> =
        all.iter().filter(|it| it.isr.len() < it.replicas.len()).map(|it| it.index).collect();
    let mut leaders: Vec<_> = all.iter().map(|it| it.leader.0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let replicas = all.iter().map(|it| it.replicas.len()).min().unwrap_or(0);
    let fact = format!("{name}: {}", counted(all.len(), "partition"));
    let restart = "start the brokers that are down; which ones, says\n$ kafka-topics.sh --describe \
                   --bootstrap-server HOST:PORT --under-replicated-partitions";
    if all.is_empty() {
        Check::problem(TOPIC, fact, "the topic is being created or deleted: ask again")
    } else if !leaderless.is_empty() {
        Check::problem(TOPIC, format!("{fact}, without a leader: {}", listed(leaderless)), restart)
    } else if !lagging.is_empty() {
        let acks = settings.acks;
        Check::warning(
            TOPIC,
            format!(
                "{fact}, replicas out of sync in {}; with acks={acks} and too few in sync for \
                 min.insync.replicas, records wait",
                listed(lagging)
            ),
            restart,
        )
    } else {
        let (leaders, copies) = (counted(leaders.len(), "leader"), counted(replicas, "replica"));
        let all_in = if replicas == 1 { "in sync" } else { "each, all in sync" };
        Check::ok(TOPIC, format!("{fact} on {leaders}, {copies} {all_in}"))
    }
}

#[cfg(test)]
mod tests;
