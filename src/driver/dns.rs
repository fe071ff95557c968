//! Host names to addresses, off the sender's core: the system's resolver blocks, for seconds.
//!
//! Owns:     one thread, started by the first name that needs it.
//! Thread:   the shard's, except for the lookups.
//! Bounds:   [`QUEUE_MAX`] lookups waiting; the one after that fails at once.
//! Never:    blocks the caller, not even in drop: a slow lookup ends alone.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Waker;
use crate::config::unpin_current_thread;

/// Lookups that may wait: every bootstrap server and broker of a large cluster at once.
pub const QUEUE_MAX: usize = 1024;

/// What a name resolves to; never an empty list.
pub type Resolution = io::Result<Vec<SocketAddr>>;

#[derive(Debug)]
struct Lookup {
    token: u64,
    host: String,
    port: u16,
}

#[derive(Debug)]
struct Answers {
    queue: Mutex<VecDeque<(u64, Resolution)>>,
    /// Nobody waits for answers any more.
    abandoned: AtomicBool,
    waker: Waker,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Resolution)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, token: u64, resolution: Resolution) {
        self.lock().push_back((token, resolution));
        self.waker.wake();
    }
}

/// Resolves names for one shard.
#[derive(Debug)]
pub struct Resolver {
    lookups: Option<SyncSender<Lookup>>,
    answers: Arc<Answers>,
}

impl Resolver {
    /// A resolver that wakes the shard when it has an answer. Starts no thread yet.
    pub fn new(waker: Waker) -> Self {
        let queue = Mutex::default();
        let answers = Arc::new(Answers { queue, abandoned: AtomicBool::new(false), waker });
        Self { lookups: None, answers }
    }

    /// Asks for the addresses of `host`, which may be an address itself, an IPv6 one also in
    /// brackets. Exactly one answer per call comes out of [`drain`](Self::drain). Allocates.
    pub fn resolve(&mut self, token: u64, host: &str, port: u16) {
        if let Some(address) = literal(host) {
            return self.answers.put(token, Ok(vec![SocketAddr::new(address, port)]));
        }
        let lookup = Lookup { token, host: host.to_owned(), port };
        let sent = self.lookups().and_then(|lookups| {
            lookups.try_send(lookup).map_err(|_| io::ErrorKind::WouldBlock.into())
        });
        if let Err(error) = sent {
            self.answers.put(token, Err(error));
        }
    }

    /// Hands out the answers that have arrived. The waker was used for each of them.
    pub fn drain(&mut self, mut handle: impl FnMut(u64, Resolution)) {
        loop {
            // A statement of its own, so that the lock is not held while the answer is handled.
            let answer = self.answers.lock().pop_front();
            let Some((token, resolution)) = answer else { return };
            handle(token, resolution);
        }
    }

    fn lookups(&mut self) -> io::Result<&SyncSender<Lookup>> {
        if self.lookups.is_none() {
            let (sender, receiver) = sync_channel(QUEUE_MAX);
            let answers = Arc::clone(&self.answers);
            thread::Builder::new()
                .name("kuring-resolver".to_owned())
                .spawn(move || work(&receiver, &answers))?;
            self.lookups = Some(sender);
        }
        self.lookups.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Relaxed: only saves lookups that nobody waits for. The closed channel ends the thread.
        self.answers.abandoned.store(true, Relaxed);
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// Resolves on the calling thread, which blocks: for the start of a producer only.
///
/// # Errors
/// What the resolver said, or that it found nothing.
pub fn resolve_now(host: &str, port: u16) -> Resolution {
    match literal(host) {
        Some(address) => Ok(vec![SocketAddr::new(address, port)]),
        None => look_up(host, port),
    }
}

/// The name that an address resolves back to; the address as text where there is none. Blocks: for
/// the start of a producer only.
pub fn canonical_name(address: IpAddr) -> String {
    dns_lookup::lookup_addr(&address).unwrap_or_else(|_| address.to_string())
}

fn work(lookups: &Receiver<Lookup>, answers: &Answers) {
    // Refused at worst; then names are resolved on the sender's core.
    unpin_current_thread();
    for Lookup { token, host, port } in lookups {
        // Relaxed: see drop.
        if answers.abandoned.load(Relaxed) {
            return;
        }
        answers.put(token, look_up(&host, port));
    }
}

fn look_up(host: &str, port: u16) -> Resolution {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Driver;
    use crate::driver::epoll::EpollDriver;

    /// Answers by token, in order of arrival, until there are `count`.
    fn answers(
        driver: &mut EpollDriver,
        resolver: &mut Resolver,
        count: usize,
    ) -> Vec<(u64, Resolution)> {
        let mut all = Vec::new();
        while all.len() < count {
            driver.wait(None, &mut |_| {});
            resolver.drain(|token, resolution| all.push((token, resolution)));
        }
        all
    }

    fn rig() -> (EpollDriver, Resolver) {
        let driver = EpollDriver::new().unwrap();
        let resolver = Resolver::new(driver.waker());
        (driver, resolver)
    }

    #[test]
    fn literal_addresses_are_answered_without_a_thread() {
        let (mut driver, mut resolver) = rig();
        let hosts = ["127.0.0.1", "::1", "[::1]", "[2001:db8::7]"];
        for (token, host) in hosts.iter().enumerate() {
            resolver.resolve(token as u64, host, 9092);
        }
        assert!(resolver.lookups.is_none());
        let answers = answers(&mut driver, &mut resolver, hosts.len());
        let text: Vec<_> = answers.iter().map(|(_, all)| all.as_ref().unwrap()[0]).collect();
        let expected = ["127.0.0.1:9092", "[::1]:9092", "[::1]:9092", "[2001:db8::7]:9092"];
        assert_eq!(text, expected.map(|address| address.parse().unwrap()));
    }

    #[test]
    fn a_name_is_resolved_and_the_shard_is_woken() {
        let (mut driver, mut resolver) = rig();
        resolver.resolve(7, "localhost", 1234);
        let answers = answers(&mut driver, &mut resolver, 1);
        let (7, Ok(addresses)) = &answers[0] else { panic!("{answers:?}") };
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert!(addresses.iter().all(|address| address.port() == 1234));
    }

    #[test]
    fn an_address_has_a_name_or_is_its_own() {
        let loopback = canonical_name("127.0.0.1".parse().unwrap());
        assert!(!loopback.is_empty());
        // TEST-NET-1: nobody has it.
        assert_eq!(canonical_name("192.0.2.1".parse().unwrap()), "192.0.2.1");
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_an_error() {
        let (mut driver, mut resolver) = rig();
        for (token, host) in ["", "no such host", "-.-", "[::1", "a.invalid"].iter().enumerate() {
            resolver.resolve(token as u64, host, 1);
        }
        let answers = answers(&mut driver, &mut resolver, 5);
        assert!(answers.iter().all(|(_, resolution)| resolution.is_err()), "{answers:?}");
        let tokens: Vec<_> = answers.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_queue_is_an_error_for_the_one_that_finds_it_full() {
        let (_driver, mut resolver) = rig();
        let (sender, receiver) = sync_channel(1);
        resolver.lookups = Some(sender);
        resolver.resolve(1, "first", 1);
        resolver.resolve(2, "second", 1);
        let mut failed = Vec::new();
        resolver.drain(|token, resolution| failed.push((token, resolution.unwrap_err().kind())));
        assert_eq!(failed, [(2, io::ErrorKind::WouldBlock)]);
        assert_eq!(receiver.recv().unwrap().token, 1);
    }

    #[test]
    fn drop_ends_the_thread_without_the_lookups_that_wait() {
        let (_driver, mut resolver) = rig();
        let (sender, receiver) = sync_channel(8);
        resolver.lookups = Some(sender);
        (0..8).for_each(|token| resolver.resolve(token, "localhost", 1));
        let answers = Arc::clone(&resolver.answers);
        drop(resolver);
        work(&receiver, &answers);
        assert!(answers.lock().is_empty());
    }
}
