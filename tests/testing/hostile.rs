//! What no client sends: the brokers close the connection, say why, and serve the others.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use kuring::testing::Cluster;

use crate::rig::{PATIENCE, Writer, addresses, batch, connect, one, produce};

/// Sends bytes and returns what comes back until the broker closes, or until the client does.
fn talk(cluster: &Cluster, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addresses(cluster)[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // A reset says the same as an end.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn is_sane(cluster: &Cluster) {
    assert_eq!(produce(&mut connect(cluster), batch(Writer::NOBODY, &["v"])).0, 0);
}

#[test]
fn sizes_and_requests_that_cannot_be_are_refused_with_a_complaint() {
    let cluster = one();
    let bytes: [(&[u8], &str); 6] = [
        (&[0xff, 0, 0, 0], "a request's size: a response of -16777216 bytes"),
        (&[0x7f, 0xff, 0xff, 0xff], "the limit is 104857600"),
        (&frame(&[0, 0, 0]), "a request's header: api_version"),
        (&frame(&[0, 99, 0, 0, 0, 0, 0, 1, 0xff, 0xff]), "request 99 version 0"),
        (&frame(&[0, 0, 0, 99, 0, 0, 0, 1, 0xff, 0xff]), "Produce version 99: 3 to 13"),
        (&frame(&[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]), "topics"),
    ];
    for (bytes, expected) in bytes {
        assert_eq!(talk(&cluster, bytes), [0; 0]);
        let complaints = cluster.complaints();
        assert!(complaints.last().unwrap().contains(expected), "{complaints:?}");
    }
    is_sane(&cluster);
}

/// A request, cut everywhere and changed everywhere, never does harm.
#[test]
fn every_cut_and_every_flipped_byte_of_a_request_is_survived() {
    let cluster = one();
    let records = batch(Writer { id: 7, epoch: 0, sequence: 0 }, &["value"]);
    let mut body = vec![0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0];
    body.extend_from_slice(&[0, 0xff, 0xff, 0, 0, 1, 0, 2, 2, b't', 2, 0, 0, 0, 0]);
    body.push(records.len() as u8 + 1);
    body.extend_from_slice(&records);
    body.extend_from_slice(&[0, 0, 0]);
    assert!(talk(&cluster, &frame(&body)).len() > 20, "the request itself is sound");
    for length in 0..body.len() {
        assert_eq!(talk(&cluster, &frame(&body[..length])), [0; 0], "cut at {length}");
        let whole = frame(&body);
        assert_eq!(talk(&cluster, &whole[..length + 4]), [0; 0], "ended at {length}");
    }
    for index in 0..body.len() {
        for flip in [0x01, 0x40, 0x80, 0xff] {
            let mut bytes = body.clone();
            bytes[index] ^= flip;
            talk(&cluster, &frame(&bytes));
        }
    }
    is_sane(&cluster);
    assert!(cluster.records("t").is_ok());
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_the_others_are_served() {
    let cluster = Cluster::builder().topic("t", 1000).start().unwrap();
    let mut deaf = TcpStream::connect(addresses(&cluster)[0]).unwrap();
    deaf.set_nonblocking(true).unwrap();
    // All topics, in version 1: 27 kB each.
    let request = frame(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let many = request.repeat(1000);
    // Until nothing more is taken: the answers fill both buffers and then the broker's own.
    let mut sent = 0;
    let end = loop {
        match deaf.write(&many[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        is_sane(&cluster);
        assert!(sent < 64 << 20, "the broker goes on reading");
    };
    assert_eq!(end.kind(), ErrorKind::WouldBlock);
    assert_eq!(cluster.complaints(), [""; 0]);
    is_sane(&cluster);
}
