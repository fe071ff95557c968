//! A TCP proxy in the test's process that makes weather: it delays, throttles, cuts and holds what
//! passes between a client and one broker.
//!
//! Owns:     a leased port, an accepting thread and two threads per connection; all end with it.
//! Bounds:   one chunk of [`CHUNK_BYTES`] per direction is held in memory, the rest stays in the
//!           sockets, so a held or throttled sender meets a full window as on a real slow link.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

use super::ports::Port;

/// What happens to bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Each chunk waits this long, in both directions.
    Delay(Duration),
    /// Bytes per second, of each connection and direction.
    Throttle(usize),
    /// Each connection is cut after some number of bytes below this, in either direction.
    Cut(usize),
    /// What the broker answers waits until the weather changes.
    HoldAnswers,
    /// Nothing passes in either direction, and nothing more is read: windows close.
    HoldAll,
}

/// A proxy in front of one broker. Dropped: its connections are closed.
pub(crate) struct Proxy {
    port: Port,
    sky: Arc<Sky>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Accepts connections at a port of its own and passes them on to `target`.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let port = Port::lease();
        let listener = TcpListener::bind(port.address()).expect("a leased port is free");
        // Accepted sockets inherit it. The kernel would let megabytes wait in them otherwise.
        let small = SockRef::from(&listener).set_recv_buffer_size(CHUNK_BYTES);
        small.expect("a buffer's size can be set");
        let sky = Arc::new(Sky {
            target,
            state: Mutex::new(State {
                weather: Weather::Clear,
                ended: false,
                open: HashMap::new(),
                opened: 0,
                cuts: 0,
                dice: u64::from(port.number()),
            }),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let sky = Arc::clone(&sky);
            move || sky.accept(&listener)
        });
        Self { port, sky, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.sky.lock().weather = weather;
        self.sky.changed.notify_all();
    }

    /// Closes every connection that is open now.
    pub(crate) fn cut_all(&self) {
        let mut state = self.sky.lock();
        state.cuts += state.open.len() as u64;
        state.close_all();
    }

    /// Bytes that clients have handed to their kernel and this side's has not taken, by connection.
    pub(crate) fn unsent(&self) -> Vec<usize> {
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux has /proc");
        let to_here = format!("0100007F:{:04X}", self.port.number());
        let queued = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let is_client = fields.nth(2) == Some(&to_here);
            let queue = fields.nth(1).and_then(|queues| queues.split(':').next());
            let bytes = queue.and_then(|hex| usize::from_str_radix(hex, 16).ok());
            bytes.filter(|bytes| is_client && *bytes > 0)
        };
        table.lines().filter_map(queued).collect()
    }

    /// How many connections the proxy has cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.sky.lock().cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.sky.lock();
            state.ended = true;
            state.close_all();
        }
        self.sky.changed.notify_all();
        // Wakes the acceptor, which looks whether it is over before it serves anybody.
        TcpStream::connect(self.port.address()).ok();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().ok();
        }
    }
}

/// What the threads of a proxy share.
struct Sky {
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    weather: Weather,
    ended: bool,
    /// Both ends of each open connection.
    open: HashMap<u64, [TcpStream; 2]>,
    opened: u64,
    cuts: u64,
    dice: u64,
}

impl State {
    fn close_all(&self) {
        for end in self.open.values().flatten() {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// SplitMix64; which bytes are cut differs from run to run anyway, with the timing.
    fn below(&mut self, limit: usize) -> usize {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToBroker,
    ToClient,
}

/// What one chunk may do: this many bytes pass, and then the connection lives on or is cut.
struct Passage {
    bytes: usize,
    cut: bool,
}

impl Sky {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            for client in listener.incoming() {
                if self.lock().ended {
                    return;
                }
                // A broker that is not there: the client sees its connection close.
                let Ok(client) = client else { continue };
                let Ok(broker) = TcpStream::connect_timeout(&self.target, CONNECT_MAX) else {
                    continue;
                };
                let Some(id) = self.enter(&client, &broker) else { continue };
                let ends = (client.try_clone(), broker.try_clone());
                let (Ok(client_end), Ok(broker_end)) = ends else { continue };
                scope.spawn(move || self.pipe(id, client, broker_end, Direction::ToBroker));
                scope.spawn(move || self.pipe(id, broker, client_end, Direction::ToClient));
            }
        });
    }

    fn enter(&self, client: &TcpStream, broker: &TcpStream) -> Option<u64> {
        client.set_nodelay(true).ok()?;
        broker.set_nodelay(true).ok()?;
        let ends = [client.try_clone().ok()?, broker.try_clone().ok()?];
        let mut state = self.lock();
        state.opened += 1;
        let id = state.opened;
        state.open.insert(id, ends);
        Some(id)
    }

    /// Moves bytes one way until either end closes or the weather cuts the connection.
    fn pipe(&self, id: u64, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = [0; CHUNK_BYTES];
        let mut budget = None;
        'open: while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let passage = self.pass(direction, rest.len(), &mut budget);
                let (now, later) = rest.split_at(passage.bytes);
                if to.write_all(now).is_err() || passage.cut {
                    break 'open;
                }
                rest = later;
            }
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
        self.lock().open.remove(&id);
    }

    /// Waits as the weather says, and tells how much of `available` passes.
    fn pass(&self, direction: Direction, available: usize, budget: &mut Option<usize>) -> Passage {
        let mut state = self.lock();
        loop {
            if state.ended {
                return Passage { bytes: 0, cut: true };
            }
            match state.weather {
                Weather::HoldAll => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
                Weather::HoldAnswers if direction == Direction::ToClient => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                Weather::Clear | Weather::HoldAnswers => {
                    return Passage { bytes: available, cut: false };
                }
                Weather::Delay(delay) => {
                    self.wait(state, delay);
                    return Passage { bytes: available, cut: false };
                }
                Weather::Throttle(rate) => {
                    self.wait(state, THROTTLE_STEP);
                    let step = rate * THROTTLE_STEP.as_millis() as usize / 1000;
                    return Passage { bytes: available.min(step.max(1)), cut: false };
                }
                Weather::Cut(limit) => {
                    let left = budget.get_or_insert_with(|| state.below(limit));
                    if available <= *left {
                        *left -= available;
                        return Passage { bytes: available, cut: false };
                    }
                    let bytes = *left;
                    state.cuts += 1;
                    return Passage { bytes, cut: true };
                }
            }
        }
    }

    fn wait(&self, state: MutexGuard<'_, State>, time: Duration) {
        let waited = self.changed.wait_timeout_while(state, time, |state| !state.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

const CHUNK_BYTES: usize = 16 << 10;
const THROTTLE_STEP: Duration = Duration::from_millis(20);
const CONNECT_MAX: Duration = Duration::from_secs(5);
