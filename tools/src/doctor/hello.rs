//! Whether a port speaks TLS: the first words of a client are said to it, and whatever a TLS
//! server answers to them, agreement or refusal, starts in a way that nothing else does.
//!
//! Source:   RFC 8446, section 4.1.2 (ClientHello) and 5.1 (records).
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::conversation::Limits;

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;

/// Whether what listens there answers in TLS records.
pub(super) fn is_answered(address: SocketAddr, limits: Limits) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect_timeout(&address, limits.connect)?;
        stream.set_read_timeout(Some(limits.answer))?;
        stream.set_write_timeout(Some(limits.answer))?;
        stream.write_all(&client_hello())?;
        let mut start = [0; 2];
        stream.read_exact(&mut start)?;
        std::io::Result::Ok(start)
    };
    answer().is_ok_and(|start| is_record(&start))
}

/// Whether bytes start as a TLS handshake or alert does: the type, then major version 3.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    matches!(bytes, [HANDSHAKE | ALERT, 3, ..])
}

/// A ClientHello for TLS 1.2 and 1.3. The connection goes no further, so nothing in it is secret.
fn client_hello() -> Vec<u8> {
    const SUITES: [u8; 8] = [0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f, 0xc0, 0x30];
    const VERSIONS: [u8; 5] = [4, 3, 4, 3, 3];
    const GROUPS: [u8; 6] = [0, 4, 0, 29, 0, 23];
    const SIGNATURES: [u8; 8] = [0, 6, 4, 3, 8, 4, 4, 1];
    let mut extensions = Vec::new();
    // Supported versions, groups, signature algorithms, and an empty list of key shares.
    for (kind, body) in
        [(43, &VERSIONS[..]), (10, &GROUPS[..]), (13, &SIGNATURES[..]), (51, &[0, 0][..])]
    {
        extensions.extend_from_slice(&[0, kind]);
        extensions.extend(with_length(body));
    }
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[0x5a; 32]);
    hello.push(0);
    hello.extend(with_length(&SUITES));
    hello.extend_from_slice(&[1, 0]);
    hello.extend(with_length(&extensions));
    let mut message = vec![1, 0];
    message.extend(with_length(&hello));
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(with_length(&message));
    record
}

/// `bytes` behind their 16-bit length.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a hello has some hundred bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_a_hello_cover_what_follows_them() {
        let hello = client_hello();
        let length = |at: usize| usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
        assert_eq!(length(3), hello.len() - 5, "record");
        assert_eq!((hello[5], hello[6]), (1, 0), "ClientHello, below 64 KiB");
        assert_eq!(length(7), hello.len() - 9, "handshake");
        let suites = 9 + 2 + 32 + 1;
        let extensions = suites + 2 + length(suites) + 2;
        assert_eq!(length(extensions), hello.len() - extensions - 2, "extensions");
    }

    #[test]
    fn tls_records_are_told_from_other_answers() {
        assert!(is_record(&[22, 3, 3, 0, 1]) && is_record(&[21, 3, 1]));
        assert!(!is_record(b"HTTP/1.1") && !is_record(&[0, 0, 0, 9]) && !is_record(&[22]));
    }
}
