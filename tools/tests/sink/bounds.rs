//! What no client sends: the connection ends, the sink goes on, memory stays bounded.
#![forbid(unsafe_code)]

use std::io::Write;

use kafka_protocol::messages::{MetadataRequest, ProduceRequest};
use kuring_tools::sink::{SinkHandle, SinkOptions};

use crate::client::{Client, batch, fit, produce, start};

fn is_alive(sink: &SinkHandle) {
    assert_eq!(Client::connect(sink).topic("alive").error_code, 0);
}

/// Pseudo-random bytes, the same in every run.
fn noise(mut state: u64, count: usize) -> Vec<u8> {
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn bytes_that_are_no_request_end_their_connection_only() {
    let mut head = vec![0, 0, 1, 0, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    head.extend_from_slice(&0x7fff_ffff_u32.to_be_bytes()); // topics of a metadata request
    let cases: [(&str, Vec<u8>); 8] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n".to_vec()),
        ("TLS", [&[22, 3, 1, 2, 0, 1][..], &[7; 100]].concat()),
        ("a negative length", vec![0xff; 16]),
        ("a length of 2 GiB", [&[0x7f, 0xff, 0xff, 0xff][..], &[0; 32]].concat()),
        ("a length of 0", vec![0; 16]),
        ("an unknown API", vec![0, 0, 0, 10, 0x70, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ("a version from the future", vec![0, 0, 0, 10, 0, 0, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        ("a count of 0x7fffffff", [head, vec![0; 242]].concat()),
    ];
    let sink = start(SinkOptions::default());
    for (what, bytes) in &cases {
        let mut client = Client::connect(&sink);
        client.stream.write_all(bytes).unwrap();
        assert!(client.read_to_close().is_empty(), "{what}");
        is_alive(&sink);
    }
    let totals = sink.stop().unwrap().totals;
    assert_eq!(totals.garbage_connections, cases.len() as u64);
    assert!(totals.first_garbage.is_some());
}

#[test]
fn random_bytes_never_stop_the_sink() {
    for verify in [false, true] {
        let sink = start(SinkOptions { verify, ..SinkOptions::default() });
        for seed in 0..200 {
            let mut client = Client::connect(&sink);
            // A possible length in front, so that the bytes behind it are looked at.
            let mut bytes = noise(seed, 2000);
            bytes[..4].copy_from_slice(&[0, 0, 7, 0xcc]);
            // Half of them start as a request of an API that is served.
            if seed % 2 == 0 {
                let apis = [(0, 9), (0, 13), (3, 12), (10, 4), (22, 5), (18, 3)];
                let (api, version) = apis[(seed / 2) as usize % apis.len()];
                bytes[4..14].copy_from_slice(&[0, api, 0, version, 0, 0, 0, 1, 0xff, 0xff]);
                bytes[14] = 0;
            }
            // The sink may close while this is on its way.
            let _ = client.stream.write_all(&bytes);
            let _ = client.stream.shutdown(std::net::Shutdown::Write);
            client.read_to_close();
        }
        is_alive(&sink);
    }
}

#[test]
fn a_connection_cut_at_any_byte_of_a_request_leaves_the_sink_alone() {
    let sink = start(SinkOptions { verify: true, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    let request = fit(produce(&topic, &[(0, batch(0, 2))]), 13);
    let frame = client.encode(&request, 13);
    for cut in 0..frame.len() {
        let mut client = Client::connect(&sink);
        client.stream.write_all(&frame[..cut]).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.read_to_close().is_empty());
    }
    // Only a cut behind the whole batch leaves it counted, and repeats of it are known as such.
    assert_eq!((sink.totals().batches, sink.totals().errors), (1, 0));
    is_alive(&sink);
}

#[test]
fn a_request_with_any_byte_changed_is_answered_or_refused() {
    for verify in [false, true] {
        let sink = start(SinkOptions { verify, ..SinkOptions::default() });
        let mut client = Client::connect(&sink);
        let topic = client.topic("events");
        let request = fit(produce(&topic, &[(0, batch(0, 2)), (1, batch(0, 1))]), 13);
        let frame = client.encode(&request, 13);
        for at in 0..frame.len() {
            let mut changed = frame.to_vec();
            changed[at] ^= 0xff;
            let mut client = Client::connect(&sink);
            client.stream.write_all(&changed).unwrap();
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            client.read_to_close();
        }
        is_alive(&sink);
    }
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_length_that_is_claimed_but_never_sent_costs_nothing() {
    let sink = start(SinkOptions { verify: true, ..SinkOptions::default() });
    let before = resident();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let mut client = Client::connect(&sink);
            let frame = [0x06, 0x3f, 0xff, 0xff, 0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff];
            client.stream.write_all(&frame).unwrap();
            client
        })
        .collect();
    is_alive(&sink);
    // 100 connections that claim 100 MiB each; other tests run beside this one.
    assert!(resident().saturating_sub(before) < 256 << 20, "from {before} to {}", resident());
    drop(clients);
}

#[test]
fn a_client_that_never_reads_is_held_back_and_its_answers_stay_bounded() {
    let sink = start(SinkOptions { partitions: 1000, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    client.topic("events");
    let request = MetadataRequest::default().with_topics(None);
    let frame = client.encode(&request, 9);
    let burst = frame.repeat(1000);
    client.stream.set_nonblocking(true).unwrap();
    // 26 KB of answer for some 20 bytes: this fills the socket's buffers both ways.
    let mut sent = 0;
    let mut refused = 0;
    while refused < 50 {
        match client.stream.write(&burst) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                // The sink answers a round trip: what it could take, it has taken.
                is_alive(&sink);
                refused += 1;
            }
        }
    }
    let answered = sink.totals().metadata_requests;
    assert!((answered as usize) < sent / frame.len(), "{answered} of {} bytes", sent);
    drop(client);
    is_alive(&sink);
}

#[test]
fn answers_of_a_client_that_reads_late_are_all_there_and_in_order() {
    let sink = start(SinkOptions { partitions: 1000, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    client.topic("events");
    let request = MetadataRequest::default().with_topics(None);
    let frame = client.encode(&request, 9);
    let mut writer = client.stream.try_clone().unwrap();
    // 1000 answers of 26 KB, far more than the sink holds back.
    let sent = std::thread::spawn(move || {
        for number in 0..1000_u32 {
            let mut numbered = frame.to_vec();
            numbered[8..12].copy_from_slice(&number.to_be_bytes());
            writer.write_all(&numbered).unwrap();
        }
    });
    for number in 0..1000_u32 {
        let answer = client.frame().unwrap();
        assert_eq!(answer[..4], number.to_be_bytes());
        assert!(answer.len() > 20_000);
    }
    sent.join().unwrap();
}

#[test]
fn one_answer_may_be_larger_than_what_is_held_back_for_a_slow_reader() {
    let sink = start(SinkOptions { partitions: 100_000, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    assert_eq!(topic.partitions.len(), 100_000);
    let batches: Vec<_> = (0..60_000).map(|partition| (partition, batch(0, 1))).collect();
    let request = fit(produce(&topic, &batches), 9);
    let frame = client.encode(&request, 9);
    let mut writer = client.stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || writer.write_all(&frame).unwrap());
    let answer = client.answer::<ProduceRequest>(9);
    sent.join().unwrap();
    assert_eq!(answer.responses[0].partition_responses.len(), 60_000);
}

#[test]
fn wrong_options_are_errors_that_say_so() {
    use kuring_tools::sink::Sink;
    let error = |options| Sink::start(&options).unwrap_err().to_string();
    let text = error(SinkOptions { partitions: 0, ..SinkOptions::default() });
    assert!(text.contains("0 partitions"), "{text}");
    let text = error(SinkOptions { brokers: 0, ..SinkOptions::default() });
    assert!(text.contains("0 brokers"), "{text}");
    let anywhere = "0.0.0.0:0".into();
    let text = error(SinkOptions { brokers: 2, listen: anywhere, ..SinkOptions::default() });
    assert!(text.contains("2 brokers at 0.0.0.0:0"), "{text}");
    let text = error(SinkOptions { listen: "nowhere".into(), ..SinkOptions::default() });
    assert!(text.contains("listen on nowhere"), "{text}");
    let text = error(SinkOptions { cpu: Some(1023), ..SinkOptions::default() });
    assert!(text.contains("pin to CPU 1023"), "{text}");
    let taken = start(SinkOptions::default());
    let listen = taken.address().to_string();
    let text = error(SinkOptions { listen: listen.clone(), ..SinkOptions::default() });
    assert!(text.contains(&listen), "{text}");
}
