//! A driver, a pool, peers, and a record of what happened.

#![expect(unsafe_code, reason = "the claim of a buffer hands out a bare address")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kuring::accumulator::buffer_pool::{BufferIndex, BufferPool, HEAD_ROOM_BYTES};
use kuring::driver::{Driver, Event, Frame, Part, SocketOptions, Step};
use kuring::ids::ConnectionId;
use socket2::SockRef;

/// Only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const POOL_BYTES: u64 = 4 << 20;
pub(crate) const BATCH_BYTES: usize = 16 << 10;

pub(crate) fn now() -> Instant {
    kuring::clock::now()
}

/// An event that can be kept.
#[derive(Debug)]
pub(crate) enum Seen {
    Connected(ConnectionId),
    Sent(ConnectionId, Frame, bool),
    Received,
    Closed(ConnectionId, Step, std::io::ErrorKind),
}

pub(crate) struct Rig<D> {
    pub(crate) driver: D,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) seen: Vec<Seen>,
    /// Received bytes by slot.
    pub(crate) received: Vec<Vec<u8>>,
    generation: u32,
}

impl<D: Driver> Rig<D> {
    pub(crate) fn new(open: crate::Open<D>) -> Self {
        let pool = BufferPool::new(POOL_BYTES, BATCH_BYTES).unwrap();
        let driver = open(&pool);
        Self { driver, pool, seen: Vec::new(), received: vec![Vec::new(); 8], generation: 0 }
    }

    pub(crate) fn id(&mut self, slot: u32) -> ConnectionId {
        self.generation += 1;
        ConnectionId { slot, generation: self.generation }
    }

    pub(crate) fn connect(&mut self, slot: u32, address: SocketAddr) -> ConnectionId {
        self.connect_with(slot, address, &SocketOptions::default())
    }

    pub(crate) fn connect_with(
        &mut self,
        slot: u32,
        address: SocketAddr,
        options: &SocketOptions,
    ) -> ConnectionId {
        let id = self.id(slot);
        self.driver.connect(id, address, options);
        id
    }

    /// A connection and the peer's end of it.
    pub(crate) fn pair(&mut self, slot: u32, options: &SocketOptions) -> (ConnectionId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Loopback's segments of 64 KiB and tiny buffers would meet only at TCP's slow timers.
        SockRef::from(&listener).set_tcp_mss(1400).unwrap();
        let id = self.connect_with(slot, listener.local_addr().unwrap(), options);
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        self.run("connected", |rig| {
            rig.seen.iter().any(|seen| matches!(seen, Seen::Connected(of) if *of == id))
        });
        (id, peer)
    }

    /// One wait.
    pub(crate) fn turn(&mut self, until: Option<Instant>) {
        let (seen, received) = (&mut self.seen, &mut self.received);
        self.driver.wait(until, &mut |event| {
            seen.push(match event {
                Event::Connected(id) => Seen::Connected(id),
                Event::Sent { connection, frame, complete } => {
                    Seen::Sent(connection, frame, complete)
                }
                Event::Received(id, bytes) => {
                    received[id.slot as usize].extend_from_slice(bytes);
                    Seen::Received
                }
                Event::Closed(id, error) => Seen::Closed(id, error.step, error.error.kind()),
            });
        });
    }

    /// Waits until `done`.
    pub(crate) fn run(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let until = now() + PATIENCE;
        while !done(self) {
            assert!(now() < until, "waited in vain for {what}; seen: {:?}", self.seen);
            self.turn(Some(until));
        }
    }

    /// Waits for the frame of `id`, and takes it out of the record.
    pub(crate) fn frame_back(&mut self, id: ConnectionId) -> (Frame, bool) {
        let place = |rig: &Self| {
            rig.seen.iter().position(|seen| matches!(seen, Seen::Sent(of, ..) if *of == id))
        };
        self.run("the frame", |rig| place(rig).is_some());
        let index = place(self).unwrap();
        let Seen::Sent(_, frame, complete) = self.seen.remove(index) else { unreachable!() };
        (frame, complete)
    }

    /// Waits for the end of `id`.
    pub(crate) fn closed(&mut self, id: ConnectionId) -> (Step, std::io::ErrorKind) {
        self.run("closed", |rig| rig.closed_count(id) > 0);
        self.seen
            .iter()
            .find_map(|seen| match seen {
                Seen::Closed(of, step, kind) if *of == id => Some((*step, *kind)),
                _ => None,
            })
            .unwrap()
    }

    pub(crate) fn closed_count(&self, id: ConnectionId) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Closed(of, ..) if *of == id)).count()
    }

    pub(crate) fn received_at_least(&mut self, slot: usize, bytes: usize) {
        self.run("bytes", |rig| rig.received[slot].len() >= bytes);
    }

    /// A claimed buffer with `content` at its start.
    pub(crate) fn buffer(&self, content: &[u8]) -> BufferIndex {
        let bytes = content.len();
        assert!(self.pool.try_reserve(self.pool.cost(bytes)), "the pool is large enough");
        let index = self.pool.claim_reserved(bytes).unwrap();
        // SAFETY: obligation: stay inside the buffer. It has room for `content` and more in front.
        // Test: `a_frame_of_one_piece_of_the_arena_arrives_unchanged`.
        let start = unsafe { self.pool.base_of(index).add(HEAD_ROOM_BYTES) }.as_ptr();
        // SAFETY: obligation: nobody else uses the bytes. The buffer was claimed just now.
        // Test: as above.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), start, bytes) };
        index
    }

    pub(crate) fn release(&self, index: BufferIndex) {
        let cost = self.pool.release(index);
        self.pool.unreserve(cost);
    }
}

/// Bytes that show where they belong.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

/// A frame under construction: what is on the wire, and which buffers it borrows.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) frame: Frame,
    pub(crate) wire: Vec<u8>,
    pub(crate) buffers: Vec<BufferIndex>,
}

impl Built {
    pub(crate) fn head<D>(mut self, _: &Rig<D>, content: &[u8]) -> Self {
        let start = self.frame.head.len() as u32;
        self.frame.head.extend_from_slice(content);
        self.frame.parts.push(Part::Head { start, end: start + content.len() as u32 });
        self.wire.extend_from_slice(content);
        self
    }

    pub(crate) fn lent<D: Driver>(mut self, rig: &Rig<D>, content: &[u8]) -> Self {
        let index = rig.buffer(content);
        let loan = rig.pool.lend(index, HEAD_ROOM_BYTES, content.len());
        self.frame.parts.push(Part::Lent(loan));
        self.wire.extend_from_slice(content);
        self.buffers.push(index);
        self
    }
}

/// A single lent piece of the arena.
pub(crate) fn single<D: Driver>(rig: &Rig<D>, seed: u64, bytes: usize) -> Built {
    let built = Built::default().lent(rig, &pattern(seed, bytes));
    assert!(built.frame.contiguous().is_some() || bytes > BATCH_BYTES);
    built
}

/// `count` pieces of uneven sizes, some empty, some oversized, small and lent ones in turn.
pub(crate) fn gather<D: Driver>(rig: &Rig<D>, count: usize, bytes: usize) -> Built {
    let piece = (bytes / count.max(1)).max(1);
    (0..count).fold(Built::default(), |built, index| {
        let content = pattern(index as u64, piece / 2 + (index * 7919) % piece);
        match index % 5 {
            0 => built.head(rig, &content[..content.len().min(97)]),
            1 => built.head(rig, &[]),
            _ => built.lent(rig, &content),
        }
    })
}
