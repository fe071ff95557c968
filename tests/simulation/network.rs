//! The network between shards and brokers, and the driver that each shard has of it.
//!
//! A link is one connection. Its bytes move in pieces, later than they were sent, at the pace of
//! the faults: the client's side, the broker's side and what is under way between them are apart,
//! so that each may end without the others.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use kuring::driver::{ConnectionError, Driver, Event, Frame, SocketOptions, Step, Waker};
use kuring::ids::ConnectionId;

use crate::agenda::{Agenda, LinkStep, MICROSECOND, MILLISECOND, SECOND, What};
use crate::cluster::{Cluster, Response};
use crate::faults::{Chance, Fault};
use crate::random::Random;
use crate::trace;
use crate::wiretap::Wiretap;

/// What a driver has to report.
#[derive(Debug)]
enum Notice {
    Connected,
    Sent { frame: Frame, complete: bool },
    Received(Vec<u8>),
    Closed(Step, io::ErrorKind),
}

/// A frame that a socket is taking.
#[derive(Debug)]
struct Outgoing {
    frame: Frame,
    /// Its bytes as they were when it was handed over: they must not change while it is lent.
    copy: Vec<u8>,
    taken: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Connecting,
    Open,
    /// The end is decided and not yet known to this side.
    Ending,
    Closed,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Bytes under way in one direction, in order.
#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<(u64, Piece)>,
    last: u64,
    /// Nothing goes in any more: what is sent vanishes.
    is_cut: bool,
}

impl Pipe {
    /// Puts a piece in; returns when it arrives.
    fn push(&mut self, due: u64, piece: Piece) -> u64 {
        self.last = self.last.max(due);
        self.queue.push_back((self.last, piece));
        self.last
    }
}

/// Where a frame goes that is sent on a connection which has ended.
const NO_LINK: u64 = u64::MAX;

/// One connection.
#[derive(Debug)]
struct Link {
    shard: usize,
    local: ConnectionId,
    broker: Option<i32>,
    client: Side,
    out: Option<Outgoing>,
    stalled_until: u64,
    up: Pipe,
    down: Pipe,
    broker_is_open: bool,
    /// Bytes at the broker that are not a whole request yet, or wait for their turn.
    inbound: Vec<u8>,
    /// The life of the broker that accepted it: a broker that starts again knows nothing of it.
    life: u64,
    /// How the client's side ends.
    end: (Step, io::ErrorKind),
}

#[derive(Debug)]
pub(crate) struct Network {
    agenda: Rc<Agenda>,
    random: Random,
    pub(crate) chance: Chance,
    pub(crate) cluster: Cluster,
    pub(crate) tap: Wiretap,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    /// Links by shard and slot; the newest of each.
    by_slot: BTreeMap<(usize, u32), u64>,
    notices: Vec<VecDeque<(u64, ConnectionId, Notice)>>,
    /// Shards that have something to see.
    pub(crate) poked: Vec<bool>,
    /// Until when each shard meant to wait, as of its last wait; and whether it was told something.
    pub(crate) waits: Vec<(Option<Instant>, bool)>,
    /// Paths that are stopped, in either direction.
    clogged: BTreeSet<(usize, i32)>,
    /// Nanoseconds that a path takes at least.
    latencies: BTreeMap<(usize, i32), u64>,
    pub(crate) bytes_up: u64,
}

impl Network {
    pub(crate) fn new(
        agenda: &Rc<Agenda>,
        random: Random,
        chance: Chance,
        cluster: Cluster,
        tap: Wiretap,
        brokers: Vec<i32>,
        shards: usize,
    ) -> Self {
        let mut latency = random.fork(1);
        let typical = latency.magnitude(20 * MICROSECOND, 20 * MILLISECOND);
        let paths = (0..shards).flat_map(|shard| brokers.iter().map(move |id| (shard, *id)));
        let latencies = paths.map(|path| (path, latency.between(typical / 4, typical))).collect();
        Self {
            agenda: Rc::clone(agenda),
            random,
            chance,
            cluster,
            tap,
            links: BTreeMap::new(),
            next_link: 1,
            by_slot: BTreeMap::new(),
            notices: (0..shards).map(|_| VecDeque::new()).collect(),
            poked: vec![false; shards],
            waits: vec![(None, false); shards],
            clogged: BTreeSet::new(),
            latencies,
            bytes_up: 0,
        }
    }

    fn now(&self) -> u64 {
        self.agenda.now()
    }

    /// One way's time, this time.
    fn latency(&mut self, shard: usize, broker: Option<i32>) -> u64 {
        let path = broker.and_then(|broker| self.latencies.get(&(shard, broker)).copied());
        let base = path.unwrap_or(MILLISECOND);
        base + self.random.below(base / 4 + 10 * MICROSECOND)
    }

    fn notify(&mut self, id: u64, notice: Notice) {
        let Some(link) = self.links.get(&id) else { return };
        self.notices[link.shard].push_back((id, link.local, notice));
        self.poked[link.shard] = true;
    }

    fn link_of(&self, shard: usize, connection: ConnectionId) -> Option<u64> {
        let id = *self.by_slot.get(&(shard, connection.slot))?;
        (self.links.get(&id)?.local == connection).then_some(id)
    }

    fn step_after(&self, id: u64, nanos: u64, step: LinkStep) {
        self.agenda.after(nanos, What::Link(id, step));
    }

    fn is_clogged(&self, link: &Link) -> bool {
        link.broker.is_some_and(|broker| self.clogged.contains(&(link.shard, broker)))
    }

    // What a driver is asked to do.

    fn connect(&mut self, shard: usize, local: ConnectionId, address: SocketAddr) {
        let broker = self.cluster.broker_at(address);
        let id = self.next_link;
        self.next_link += 1;
        trace!(self.agenda, "link {id}: shard {shard} {local:?} -> {broker:?} {address}");
        let mut after = 2 * self.latency(shard, broker);
        if self.chance.strikes(Fault::ConnectSlow) {
            after += self.chance.of(Fault::ConnectSlow).magnitude(MILLISECOND, 30 * SECOND);
        }
        if !self.chance.strikes(Fault::ConnectHang) {
            self.step_after(id, after, LinkStep::Connect);
        }
        self.by_slot.insert((shard, local.slot), id);
        self.links.insert(
            id,
            Link {
                shard,
                local,
                broker,
                client: Side::Connecting,
                out: None,
                stalled_until: 0,
                up: Pipe::default(),
                down: Pipe::default(),
                broker_is_open: false,
                inbound: Vec::new(),
                life: 0,
                end: (Step::Connect, io::ErrorKind::ConnectionRefused),
            },
        );
    }

    fn send(&mut self, shard: usize, local: ConnectionId, frame: Frame) {
        let id = self.link_of(shard, local);
        let open = id.and_then(|id| Some((id, self.links.get_mut(&id)?)));
        let Some((id, link)) = open.filter(|(_, link)| link.client == Side::Open) else {
            // A link that is unknown or gone: only its frame comes back. The sender counts it as
            // sent until it hears of that.
            let copy: Vec<u8> =
                (0..frame.parts.len()).flat_map(|part| frame.part(part)).copied().collect();
            self.tap.sends(NO_LINK, &copy);
            self.tap.gives_up(NO_LINK);
            let notice = Notice::Sent { frame, complete: false };
            self.notices[shard].push_back((0, local, notice));
            self.poked[shard] = true;
            return;
        };
        assert!(link.out.is_none(), "link {id} has two frames in the driver");
        let copy: Vec<u8> =
            (0..frame.parts.len()).flat_map(|part| frame.part(part)).copied().collect();
        trace!(self.agenda, "link {id}: {} bytes to send", copy.len());
        self.tap.sends(id, &copy);
        link.out = Some(Outgoing { frame, copy, taken: 0 });
        let soon = self.random.below(20 * MICROSECOND);
        self.step_after(id, soon, LinkStep::Transmit);
    }

    fn shutdown(&mut self, shard: usize, local: ConnectionId) {
        let Some(id) = self.link_of(shard, local) else { return };
        let straggles = self.chance.strikes(Fault::Straggler);
        let late = self.chance.of(Fault::Straggler).magnitude(MILLISECOND, 60 * SECOND);
        let now = self.now();
        let soon = if self.chance.strikes(Fault::LateReturn) {
            self.chance.of(Fault::LateReturn).magnitude(MILLISECOND, 5 * SECOND)
        } else {
            self.random.magnitude(MICROSECOND, MILLISECOND)
        };
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.client {
            Side::Closed => return,
            // The peer's end may be far away behind its answers; nobody waits for these any more.
            Side::Ending => return self.step_after(id, soon, LinkStep::Gone),
            _ => {}
        }
        trace!(self.agenda, "link {id}: shut down by its shard");
        self.tap.gives_up(id);
        if link.client == Side::Open {
            if straggles {
                link.up.queue.iter_mut().for_each(|(due, _)| *due = (*due).max(now + late));
                link.up.last = link.up.last.max(now + late);
            }
            let due = link.up.push(now, Piece::End);
            self.agenda.at(due, What::Link(id, LinkStep::Up));
        }
        link.client = Side::Ending;
        link.end = (Step::Shutdown, io::ErrorKind::ConnectionAborted);
        self.step_after(id, soon, LinkStep::Gone);
    }

    // What happens to links.

    pub(crate) fn step(&mut self, id: u64, step: LinkStep) {
        if !self.links.contains_key(&id) {
            return;
        }
        match step {
            LinkStep::Connect => self.connected(id),
            LinkStep::Transmit => self.transmit(id),
            LinkStep::Returned => self.returned(id),
            LinkStep::Up => self.pump_up(id),
            LinkStep::Down => self.pump_down(id),
            LinkStep::Gone => self.gone(id),
        }
    }

    fn connected(&mut self, id: u64) {
        let link = &self.links[&id];
        if link.client != Side::Connecting {
            return;
        }
        if self.is_clogged(link) {
            // The next SYN may come through.
            return self.step_after(id, SECOND, LinkStep::Connect);
        }
        let is_up = link.broker.is_some_and(|broker| {
            // The address was looked up when the connect began.
            self.cluster.broker_is_up(broker)
        });
        let is_reset = self.chance.strikes(Fault::ConnectReset);
        let Some(link) = self.links.get_mut(&id) else { return };
        if !is_up || is_reset {
            let kind = io::ErrorKind::ConnectionReset;
            link.end.1 = if is_up { kind } else { io::ErrorKind::ConnectionRefused };
            link.client = Side::Ending;
            return self.gone(id);
        }
        link.client = Side::Open;
        link.broker_is_open = true;
        link.life = link.broker.map_or(0, |broker| self.cluster.broker_life(broker));
        trace!(self.agenda, "link {id}: connected");
        self.notify(id, Notice::Connected);
    }

    fn transmit(&mut self, id: u64) {
        let (now, latency) = (self.now(), {
            let link = &self.links[&id];
            let (shard, broker) = (link.shard, link.broker);
            self.latency(shard, broker)
        });
        let in_pieces = self.chance.strikes(Fault::Pieces);
        let is_cut = self.chance.strikes(Fault::CutUp);
        let stall = self.stall();
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(out) = link.out.as_mut().filter(|_| link.client == Side::Open) else { return };
        link.stalled_until = link.stalled_until.max(stall.map_or(0, |stall| now + stall));
        if link.stalled_until > now {
            trace!(self.agenda, "link {id}: stalled until {}", link.stalled_until);
            return self.agenda.at(link.stalled_until, What::Link(id, LinkStep::Transmit));
        }
        let rest = out.copy.len() - out.taken;
        if rest == 0 {
            return;
        }
        let mut count = if in_pieces { self.random.between(1, rest as u64) as usize } else { rest };
        if is_cut {
            count = self.random.below(count as u64 + 1) as usize;
        }
        let piece = bytes_of(&out.frame, out.taken, count);
        assert!(
            piece[..] == out.copy[out.taken..out.taken + count],
            "link {id}: bytes changed while the driver held them"
        );
        out.taken += count;
        self.bytes_up += count as u64;
        if !link.up.is_cut {
            let due = link.up.push(now + latency, Piece::Bytes(piece));
            self.agenda.at(due, What::Link(id, LinkStep::Up));
        }
        let is_all = out.taken == out.copy.len();
        if is_cut {
            return self.cut(id, io::ErrorKind::ConnectionReset);
        }
        let late = self.chance.strikes(Fault::LateReturn) && is_all;
        let mut after = self.random.magnitude(100, 50 * MICROSECOND);
        if late {
            after = self.chance.of(Fault::LateReturn).magnitude(MILLISECOND, 5 * SECOND);
        }
        let next = if is_all { LinkStep::Returned } else { LinkStep::Transmit };
        self.step_after(id, after, next);
    }

    /// For how long the socket takes nothing, if it does.
    fn stall(&mut self) -> Option<u64> {
        if self.chance.strikes(Fault::StallForever) {
            return Some(u64::MAX / 4);
        }
        let stalls = self.chance.strikes(Fault::Stall);
        stalls.then(|| self.chance.of(Fault::Stall).magnitude(MILLISECOND, 60 * SECOND))
    }

    fn returned(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let whole = link.out.take_if(|out| out.taken == out.copy.len());
        if let Some(out) = whole {
            self.notify(id, Notice::Sent { frame: out.frame, complete: true });
        }
    }

    /// The connection is gone, for both sides or for one.
    fn cut(&mut self, id: u64, kind: io::ErrorKind) {
        let is_half_open = self.chance.strikes(Fault::HalfOpen);
        let client_learns = !is_half_open || self.chance.of(Fault::HalfOpen).one_in(2);
        let broker_learns = !is_half_open || !client_learns;
        let now = self.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        trace!(self.agenda, "link {id}: cut, client learns {client_learns}");
        link.up.is_cut = true;
        link.down.is_cut = true;
        let (shard, broker) = (link.shard, link.broker);
        if broker_learns {
            let due = link.up.push(now, Piece::End);
            self.agenda.at(due, What::Link(id, LinkStep::Up));
        }
        if client_learns && link.client == Side::Open {
            link.client = Side::Ending;
            link.end = (Step::Receive, kind);
            let after = self.latency(shard, broker);
            self.step_after(id, after, LinkStep::Gone);
        }
    }

    /// The client's side ends: its frame comes back, then the last event.
    fn gone(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.client != Side::Ending {
            return;
        }
        link.client = Side::Closed;
        let ((step, kind), out) = (link.end, link.out.take());
        if let Some(out) = out {
            let complete = out.taken == out.copy.len();
            self.notify(id, Notice::Sent { frame: out.frame, complete });
        }
        self.notify(id, Notice::Closed(step, kind));
    }

    fn pump_up(&mut self, id: u64) {
        loop {
            let now = self.now();
            let Some(link) = self.links.get(&id) else { return };
            let is_due = link.up.queue.front().is_some_and(|(due, _)| *due <= now);
            if !is_due || self.is_clogged(link) {
                return;
            }
            // Nobody listens at the address of a link without a broker.
            let is_up = link.broker.is_some_and(|node| self.cluster.broker_life(node) == link.life);
            let Some(link) = self.links.get_mut(&id) else { return };
            let Some((_, piece)) = link.up.queue.pop_front() else { return };
            match piece {
                Piece::Bytes(_) if !link.broker_is_open => {}
                Piece::Bytes(_) if !is_up => self.broker_closes(id),
                Piece::Bytes(bytes) => {
                    link.inbound.extend_from_slice(&bytes);
                    self.handle_requests(id);
                }
                Piece::End => self.close_at_broker(id),
            }
        }
    }

    /// The broker handles what has arrived whole: one request of a connection after the other, as
    /// brokers do.
    fn handle_requests(&mut self, id: u64) {
        loop {
            let now = self.now();
            let Some(link) = self.links.get_mut(&id) else { return };
            let Some(size) = link.inbound.first_chunk::<4>() else { return };
            let end = 4 + u32::from_be_bytes(*size) as usize;
            if link.inbound.len() < end {
                return;
            }
            let frame: Vec<u8> = link.inbound.drain(..end).collect();
            let broker = link.broker.unwrap_or(-1);
            let response = self.cluster.request(broker, id, &frame[4..], now);
            trace!(self.agenda, "link {id}: broker {broker} read {end} bytes: {response:?}");
            match response {
                Response::Now(answer) => self.answer(id, answer),
                Response::Waits(_) | Response::Silent => {}
                Response::Cut => return self.broker_closes(id),
            }
        }
    }

    /// A broker answers a request.
    pub(crate) fn answer(&mut self, id: u64, mut bytes: Vec<u8>) {
        let (now, latency) = (self.now(), {
            let Some(link) = self.links.get(&id) else { return };
            let (shard, broker) = (link.shard, link.broker);
            self.latency(shard, broker)
        });
        let is_cut = self.chance.strikes(Fault::CutDown);
        let mut due = now + latency;
        if self.chance.strikes(Fault::SlowAnswer) {
            due += self.chance.of(Fault::SlowAnswer).magnitude(MILLISECOND, 60 * SECOND);
        }
        let in_pieces = self.chance.strikes(Fault::Pieces);
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.down.is_cut || !link.broker_is_open {
            return;
        }
        if is_cut {
            bytes.truncate(self.random.index(bytes.len()));
        }
        while !bytes.is_empty() {
            let length = bytes.len() as u64;
            let count = if in_pieces { self.random.between(1, length) } else { length };
            let rest = bytes.split_off(count as usize);
            due = link.down.push(due, Piece::Bytes(bytes));
            self.agenda.at(due, What::Link(id, LinkStep::Down));
            bytes = rest;
            due += self.random.below(100 * MICROSECOND);
        }
        if is_cut {
            let due = link.down.push(due, Piece::End);
            link.down.is_cut = true;
            self.agenda.at(due, What::Link(id, LinkStep::Down));
        }
    }

    fn pump_down(&mut self, id: u64) {
        loop {
            let now = self.now();
            let Some(link) = self.links.get(&id) else { return };
            let is_due = link.down.queue.front().is_some_and(|(due, _)| *due <= now);
            if !is_due || self.is_clogged(link) {
                return;
            }
            let Some(link) = self.links.get_mut(&id) else { return };
            let is_open = link.client == Side::Open;
            match link.down.queue.pop_front() {
                Some((_, Piece::Bytes(bytes))) if is_open => {
                    self.notify(id, Notice::Received(bytes));
                }
                Some((_, Piece::End)) => self.cut(id, io::ErrorKind::ConnectionReset),
                _ => {}
            }
        }
    }

    /// The broker ends the connection.
    fn broker_closes(&mut self, id: u64) {
        let now = self.now();
        self.close_at_broker(id);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.up.is_cut = true;
        let (shard, broker) = (link.shard, link.broker);
        if link.client == Side::Open {
            let latency = self.latency(shard, broker);
            let Some(link) = self.links.get_mut(&id) else { return };
            // Behind the answers that are under way.
            let due = link.down.last.max(now + latency);
            link.client = Side::Ending;
            link.end = (Step::PeerClosed, io::ErrorKind::UnexpectedEof);
            self.agenda.at(due, What::Link(id, LinkStep::Gone));
        }
    }

    fn close_at_broker(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if std::mem::take(&mut link.broker_is_open) {
            link.inbound.clear();
            self.cluster.connection_closed(id);
        }
    }

    // The weather.

    /// Connections that brokers have ended, and those of brokers that went down.
    pub(crate) fn cut_by_brokers(&mut self) {
        let mut cuts = Vec::new();
        self.cluster.take_cuts(&mut cuts);
        cuts.into_iter().for_each(|id| self.broker_closes(id));
        let is_lost = |(id, link): (&u64, &Link)| {
            let life = link.broker.map_or(0, |broker| self.cluster.broker_life(broker));
            (link.broker_is_open && life != link.life).then_some(*id)
        };
        let lost: Vec<u64> = self.links.iter().filter_map(is_lost).collect();
        for id in lost {
            self.close_at_broker(id);
            self.cut(id, io::ErrorKind::ConnectionReset);
        }
    }

    pub(crate) fn clog(&mut self, shard: usize, broker: i32, nanos: u64) {
        trace!(self.agenda, "path {shard} - {broker}: clogged for {nanos}");
        self.clogged.insert((shard, broker));
        self.agenda.after(nanos, What::Unclog(shard, broker));
    }

    pub(crate) fn unclog(&mut self, shard: usize, broker: i32) {
        self.clogged.remove(&(shard, broker));
        self.wake_links();
    }

    fn wake_links(&self) {
        for id in self.links.keys() {
            self.step_after(*id, 0, LinkStep::Up);
            self.step_after(*id, 0, LinkStep::Down);
        }
    }

    /// Everything flows again, and whoever was cut off without knowing learns it.
    pub(crate) fn heal(&mut self) {
        self.chance.end();
        self.clogged.clear();
        let ids: Vec<u64> = self.links.keys().copied().collect();
        for id in ids {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let now = self.agenda.now();
            link.stalled_until = 0;
            let soon = |pipe: &mut Pipe| {
                pipe.queue.iter_mut().for_each(|(due, _)| *due = now);
                pipe.last = now;
            };
            soon(&mut link.up);
            soon(&mut link.down);
            let is_void = link.up.is_cut || link.down.is_cut;
            match link.client {
                Side::Connecting => self.step_after(id, MILLISECOND, LinkStep::Connect),
                Side::Open if is_void => self.cut(id, io::ErrorKind::ConnectionReset),
                Side::Open => self.step_after(id, MILLISECOND, LinkStep::Transmit),
                Side::Ending | Side::Closed => {}
            }
        }
        self.wake_links();
    }

    /// Links that a client still has.
    pub(crate) fn open_links(&self) -> usize {
        self.links.values().filter(|link| link.client != Side::Closed).count()
    }

    /// Brokers learn of ends that the network kept from them, as they do after some minutes.
    pub(crate) fn close_forgotten(&mut self) {
        let is_forgotten = |link: &Link| {
            link.client == Side::Closed && link.up.queue.is_empty() && link.broker_is_open
        };
        let ids: Vec<u64> =
            self.links.iter().filter(|(_, link)| is_forgotten(link)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close_at_broker(id));
    }

    /// Whether nothing is under way to a broker any more.
    pub(crate) fn is_quiet(&self) -> bool {
        self.links.values().all(|link| link.up.queue.is_empty() && !link.broker_is_open)
    }

    /// A shard's thread is gone, and its driver with it.
    pub(crate) fn abandon(&mut self, shard: usize) {
        let ids: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.shard == shard).map(|(id, _)| *id).collect();
        for id in ids {
            self.tap.gives_up(id);
            let now = self.agenda.now();
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.client = Side::Closed;
            link.out = None;
            let due = link.up.push(now, Piece::End);
            self.agenda.at(due, What::Link(id, LinkStep::Up));
        }
        self.notices[shard].clear();
    }

    /// Forgets links that nobody has and nothing is under way on.
    pub(crate) fn sweep(&mut self) {
        self.links.retain(|_, link| {
            let is_idle = link.up.queue.is_empty() && !link.broker_is_open;
            link.client != Side::Closed || !is_idle
        });
    }
}

/// The bytes from `start` on, as they are in the frame now.
fn bytes_of(frame: &Frame, start: usize, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count);
    let mut skip = start;
    for part in 0..frame.parts.len() {
        let part = frame.part(part);
        let from = skip.min(part.len());
        skip -= from;
        let take = (count - bytes.len()).min(part.len() - from);
        bytes.extend_from_slice(&part[from..from + take]);
    }
    bytes
}

/// One shard's driver.
#[derive(Debug)]
pub(crate) struct SimDriver {
    pub(crate) shard: usize,
    pub(crate) network: Rc<RefCell<Network>>,
    pub(crate) flag: Arc<AtomicBool>,
}

impl SimDriver {
    fn notice(&self) -> Option<(ConnectionId, Notice)> {
        let mut network = self.network.borrow_mut();
        let network = &mut *network;
        let (id, local, notice) = network.notices[self.shard].pop_front()?;
        match &notice {
            Notice::Received(bytes) => network.tap.receives(id, bytes),
            Notice::Closed(..) => network.tap.gives_up(id),
            Notice::Sent { .. } => network.tap.returns(id),
            Notice::Connected => {}
        }
        Some((local, notice))
    }
}

impl Driver for SimDriver {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn connect(&mut self, connection: ConnectionId, address: SocketAddr, _: &SocketOptions) {
        self.network.borrow_mut().connect(self.shard, connection, address);
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        self.network.borrow_mut().send(self.shard, connection, frame);
    }

    fn shutdown(&mut self, connection: ConnectionId) {
        self.network.borrow_mut().shutdown(self.shard, connection);
    }

    fn waker(&self) -> Waker {
        Waker::raising(Arc::clone(&self.flag))
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        let mut left = {
            let mut network = self.network.borrow_mut();
            let network = &mut *network;
            let count = network.notices[self.shard].len() as u64;
            let is_short = count > 1 && network.chance.strikes(Fault::ShortWait);
            network.waits[self.shard] = (until, count > 0);
            if is_short { network.random.between(1, count) } else { count }
        };
        while left > 0
            && let Some((connection, notice)) = self.notice()
        {
            left -= 1;
            match notice {
                Notice::Connected => handle(Event::Connected(connection)),
                Notice::Sent { frame, complete } => {
                    handle(Event::Sent { connection, frame, complete });
                }
                Notice::Received(bytes) => handle(Event::Received(connection, &bytes)),
                Notice::Closed(step, kind) => {
                    let error = ConnectionError { step, error: kind.into() };
                    handle(Event::Closed(connection, error));
                }
            }
        }
        let mut network = self.network.borrow_mut();
        network.poked[self.shard] = !network.notices[self.shard].is_empty();
    }
}
