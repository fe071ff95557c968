//! Checks against the null broker, and against peers that a person runs into instead of a broker.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use kuring::ConfigBuilder;

use super::*;
use crate::doctor::Status::{Ok as Good, Problem, Warning};
use crate::sink::{Sink, SinkOptions};

/// What the checks say about these servers.
fn ask(servers: &str, topic: Option<&str>) -> Vec<Check> {
    let properties = [("request.timeout.ms", "300"), ("linger.ms", "0")];
    let builder = ConfigBuilder::new().bootstrap_servers(servers).properties(properties).unwrap();
    let assumed = builder.settings().unwrap();
    let topic = topic.map(str::to_owned);
    check(&Question { settings: Ok(assumed.clone()), assumed, ask_brokers: true, topic }).0
}

fn only(mut checks: Vec<Check>) -> Check {
    assert_eq!(checks.len(), 1, "{checks:?}");
    checks.remove(0)
}

fn named<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {checks:?}"))
}

/// A peer that treats each connection so, until the tests end.
fn peer(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let treat = std::sync::Arc::new(treat);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let treat = std::sync::Arc::clone(&treat);
            thread::spawn(move || treat(stream));
        }
    });
    address.to_string()
}

/// Leader, replicas, in-sync replicas.
type Partition = (i32, i32, i32);

/// A broker of few words: ApiVersions 0, Metadata 4, and what the test wants.
#[derive(Clone, Default)]
struct Scripted {
    /// In place of the usual versions.
    versions: Option<Vec<[i16; 3]>>,
    brokers: Vec<(i32, String, i32)>,
    /// The topic's error, and its partitions.
    topic: Option<(i16, Vec<Partition>)>,
    closes_at_metadata: bool,
}

impl Scripted {
    fn start(self) -> String {
        peer(move |stream| {
            // Ends when the peer does.
            let _ = self.serve(stream);
        })
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let mut request = vec![0; u32::from_be_bytes(size) as usize];
            stream.read_exact(&mut request)?;
            let (api, version) = (request[1], request[3]);
            let mut answer = request[4..8].to_vec();
            match (api, version) {
                (18, 0) => self.put_versions(&mut answer),
                // UNSUPPORTED_VERSION and no list, as old brokers answer.
                (18, _) => answer.extend_from_slice(&[0, 35]),
                _ if self.closes_at_metadata => return Ok(()),
                _ => self.put_metadata(&mut answer),
            }
            stream.write_all(&(answer.len() as u32).to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }

    fn put_versions(&self, out: &mut Vec<u8>) {
        let usual = || vec![[0, 0, 9], [3, 0, 4], [18, 0, 0], [22, 0, 1]];
        let versions = self.versions.clone().unwrap_or_else(usual);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(versions.len() as i32).to_be_bytes());
        versions.iter().flatten().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    }

    fn put_metadata(&self, out: &mut Vec<u8>) {
        put(out, &[0, self.brokers.len() as i32]);
        for (id, host, port) in &self.brokers {
            put(out, &[*id]);
            put_text(out, host);
            put(out, &[*port]);
            out.extend_from_slice(&[0xff, 0xff]);
        }
        put_text(out, "cluster-7");
        put(out, &[-1, self.topic.iter().len() as i32]);
        if let Some((error, partitions)) = &self.topic {
            out.extend_from_slice(&error.to_be_bytes());
            put_text(out, "t");
            out.push(0);
            put(out, &[partitions.len() as i32]);
            for (index, (leader, replicas, in_sync)) in partitions.iter().enumerate() {
                out.extend_from_slice(&[0, 0]);
                put(out, &[index as i32, *leader]);
                for count in [replicas, in_sync] {
                    put(out, &[*count]);
                    (0..*count).for_each(|broker| put(out, &[broker]));
                }
            }
        }
    }
}

fn put(out: &mut Vec<u8>, numbers: &[i32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A cluster whose one broker advertises this.
fn advertising(host: &str, port: i32) -> Vec<Check> {
    let brokers = vec![(5, host.to_owned(), port)];
    ask(&Scripted { brokers, ..Scripted::default() }.start(), None)
}

/// A broker that advertises itself, and has this topic.
fn with_topic(error: i16, partitions: &[Partition]) -> Check {
    let sink = Sink::start(&SinkOptions::default()).unwrap();
    let brokers = vec![(0, "127.0.0.1".to_owned(), sink.address().port().into())];
    let topic = Some((error, partitions.to_vec()));
    let checks = ask(&Scripted { brokers, topic, ..Scripted::default() }.start(), Some("t"));
    assert_eq!(named(&checks, LISTENER).status, Good, "{checks:?}");
    named(&checks, TOPIC).clone()
}

#[test]
fn a_sound_broker_is_ok_from_name_to_topic() {
    let sink = Sink::start(&SinkOptions { partitions: 3, ..SinkOptions::default() }).unwrap();
    let checks = ask(&format!("localhost:{}", sink.address().port()), Some("t"));
    assert!(checks.iter().all(|check| check.status == Good), "{checks:?}");
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(names, [BOOTSTRAP, CLUSTER, LISTENER, TOPIC]);
    assert!(checks[0].fact.contains("127.0.0.1"), "{checks:?}");
    assert!(checks[0].fact.contains("Produce v13"), "{checks:?}");
    assert!(checks[3].fact.starts_with("t: 3 partitions on 1 leader"), "{checks:?}");
}

#[test]
fn a_topic_of_more_partitions_than_memory_has_batches_for_is_a_warning() {
    let asked = |partitions| {
        let sink = Sink::start(&SinkOptions { partitions, ..SinkOptions::default() }).unwrap();
        ask(&sink.address().to_string(), Some("t"))
    };
    // 32 MiB of batches of 16 KiB, by default.
    let names = |checks: &[Check]| checks.iter().map(|check| check.name).collect::<Vec<_>>();
    assert_eq!(names(&asked(2048)), [BOOTSTRAP, CLUSTER, LISTENER, TOPIC]);
    let checks = asked(2049);
    assert_eq!(names(&checks), [BOOTSTRAP, CLUSTER, LISTENER, TOPIC, "memory"]);
    assert_eq!(checks[4].status, Warning, "{checks:?}");
}

#[test]
fn asking_for_a_topic_does_not_create_it() {
    let sink = Sink::start(&SinkOptions { topics_auto: true, ..SinkOptions::default() }).unwrap();
    let checks = ask(&sink.address().to_string(), Some("t"));
    let topic = named(&checks, TOPIC);
    assert_eq!(topic.status, Warning, "{checks:?}");
    assert!(topic.remedy.as_ref().unwrap().contains("$ kafka-topics.sh --create"), "{topic:?}");
}

#[test]
fn a_closed_port_is_a_problem() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let check = only(ask(&address.to_string(), None));
    assert_eq!((check.name, check.status), (BOOTSTRAP, Problem));
    assert!(check.fact.contains("refused"), "{check:?}");
    assert!(check.remedy.unwrap().contains("ss -ltn"));
}

#[test]
fn a_name_that_does_not_resolve_is_a_problem() {
    let check = only(ask("a.invalid:9092", None));
    assert_eq!(check.status, Problem);
    assert!(check.fact.contains("cannot be resolved"), "{check:?}");
}

#[test]
fn one_server_that_works_makes_the_others_warnings() {
    let sink = Sink::start(&SinkOptions::default()).unwrap();
    let checks = ask(&format!("a.invalid:9092,{}", sink.address()), None);
    assert_eq!(checks[0].status, Warning, "{checks:?}");
    assert!(checks[1..].iter().all(|check| check.status == Good), "{checks:?}");
}

#[test]
fn peers_that_are_no_brokers_are_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let says = |words: &'static [u8]| {
        peer(move |mut stream| {
            let mut request = [0; 64];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(words);
        })
    };
    for (server, part) in [
        (silent.local_addr().unwrap().to_string(), "no answer within 300ms"),
        (says(b""), "closed without an answer"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a web server"),
        (says(b"SSH-2.0-OpenSSH_9.9\r\n"), "no Kafka broker: \"SSH-2.0"),
        (says(&[0xff; 100]), "no Kafka broker"),
        (says(&[0, 0, 0, 4, 9, 9, 9, 9]), "no Kafka broker"),
        (says(&[0, 0, 0, 2, 9, 9]), "cannot be read"),
        (says(&[0, 0, 0, 4, 0, 0, 0, 0]), "cannot be read"),
        (says(&[0, 0, 1, 0, 0]), "no Kafka broker"),
        (says(&[21, 3, 3, 0, 2, 2, 80]), "speaks TLS"),
    ] {
        let check = only(ask(&server, None));
        assert_eq!(check.status, Problem, "{part}: {check:?}");
        assert!(check.fact.contains(part), "{part}: {check:?}");
    }
}

#[test]
fn a_tls_listener_that_only_closes_is_recognised_by_greeting_it() {
    let server = peer(|mut stream| {
        let mut first = [0; 1];
        let _ = stream.read_exact(&mut first);
        if first == [22] {
            let _ = stream.write_all(&[22, 3, 3, 0, 90, 2]);
        }
    });
    let check = only(ask(&server, None));
    assert!(check.fact.contains("speaks TLS"), "{check:?}");
    assert!(check.remedy.unwrap().contains("PLAINTEXT listener"));
}

#[test]
fn a_listener_that_closes_after_the_versions_wants_sasl() {
    let server = Scripted { closes_at_metadata: true, ..Scripted::default() }.start();
    let checks = ask(&server, None);
    assert_eq!(named(&checks, BOOTSTRAP).status, Good);
    let cluster = named(&checks, CLUSTER);
    assert_eq!(cluster.status, Problem);
    assert!(cluster.remedy.as_ref().unwrap().contains("SASL"), "{cluster:?}");
}

#[test]
fn a_broker_without_the_versions_is_named_with_what_is_missing() {
    for (versions, part) in [
        (vec![[0, 0, 2], [3, 0, 4], [18, 0, 0], [22, 0, 1]], "Produce 0 to 2, Kuring 3 to 13"),
        (vec![[0, 0, 9], [3, 0, 4], [18, 0, 0]], "no InitProducerId, Kuring 0 to 5"),
        (vec![[0, 0, 9], [18, 0, 0], [22, 0, 1]], "no Metadata"),
        (vec![[18, 0, 0], [52, 0, 2]], "a controller's port"),
    ] {
        let server = Scripted { versions: Some(versions), ..Scripted::default() }.start();
        let check = only(ask(&server, None));
        assert_eq!(check.status, Problem);
        assert!(check.fact.contains(part), "{check:?}");
    }
}

#[test]
fn an_advertised_listener_that_is_of_no_use_is_a_problem_with_its_remedy() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (host, port, part) in [
        ("kafka.invalid", 9092, "cannot be resolved"),
        ("localhost", i32::from(closed.port()), "to this machine that is itself"),
        ("127.0.0.1", 70_000, "no port"),
        ("127.0.0.1", 0, "no port"),
        ("127.0.0.1", -1, "no port"),
        ("", 9092, "cannot be resolved"),
    ] {
        let checks = advertising(host, port);
        let listener = named(&checks, LISTENER);
        assert_eq!(listener.status, Problem, "{checks:?}");
        assert!(listener.fact.contains(part), "{listener:?}");
        let remedy = listener.remedy.as_ref().unwrap();
        assert!(remedy.contains("advertised.listeners of broker 5"), "{remedy}");
    }
}

#[test]
fn a_name_from_the_network_does_not_get_into_a_command() {
    let checks = advertising("x.invalid;reboot", 9092);
    let remedy = named(&checks, LISTENER).remedy.as_ref().unwrap();
    assert!(!remedy.contains('$') && !remedy.contains("reboot"), "{remedy}");
    let checks = advertising("x.invalid\n$ reboot", 9092);
    assert!(!named(&checks, LISTENER).remedy.as_ref().unwrap().contains("reboot"));
}

#[test]
fn a_cluster_without_brokers_is_a_problem() {
    let checks = ask(&Scripted::default().start(), None);
    assert_eq!(named(&checks, CLUSTER).status, Problem);
}

#[test]
fn a_topic_is_judged_by_leaders_and_replicas() {
    assert_eq!(with_topic(0, &[(0, 1, 1), (0, 1, 1)]).status, Good);
    let leaderless = with_topic(0, &[(0, 1, 1), (-1, 1, 0)]);
    assert_eq!(leaderless.status, Problem);
    assert!(leaderless.fact.ends_with("without a leader: 1"), "{leaderless:?}");
    let lagging = with_topic(0, &[(0, 3, 2)]);
    assert_eq!(lagging.status, Warning);
    assert!(lagging.fact.contains("min.insync.replicas"), "{lagging:?}");
    assert_eq!(with_topic(0, &[]).status, Problem);
}

#[test]
fn a_topic_that_cannot_be_had_says_why() {
    assert_eq!(with_topic(3, &[]).status, Warning);
    let denied = with_topic(29, &[]);
    assert_eq!(denied.status, Problem);
    assert!(denied.remedy.unwrap().contains("kafka-acls.sh"));
    let invalid = with_topic(17, &[]);
    assert_eq!(invalid.status, Problem);
    assert!(invalid.fact.contains("INVALID_TOPIC"), "{invalid:?}");
}
