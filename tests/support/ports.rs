//! Ports for test brokers: free, ours for as long as the lease lives, in this process and others.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;

use rustix::fs::{FlockOperation, flock};

use super::jars::target;

/// A port of the loopback address, free when leased, and leased to nobody else while this lives.
pub(crate) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub(crate) fn lease() -> Self {
        let folder = target().join("kafka/ports");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        // Each process starts somewhere else, so they seldom try the same port.
        let start = process::id() as u16 % COUNT;
        (0..COUNT)
            .map(|step| FIRST + (start + step) % COUNT)
            .find_map(|number| {
                let lock = File::create(folder.join(number.to_string())).ok()?;
                flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
                TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
                Some(Self { number, _lock: lock })
            })
            .expect("one of some thousand ports is free")
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

/// Below the range from which Linux takes the ports of outgoing connections (32768 to 60999):
/// a client that retries against a stopped broker's port in that range can meet itself, and then
/// the broker cannot come back.
const FIRST: u16 = 18_000;
const COUNT: u16 = 8_000;
