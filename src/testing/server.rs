//! The cluster's thread: it accepts, reads, has requests carried out, and writes answers.
//!
//! Thread:   `kuring-testing`, one for all brokers of a cluster: requests are carried out one at a
//!           time, in the order in which they are seen.
//! Bounds:   `CONNECTIONS_MAX` connections; one more is accepted and closed at once.
//! Never:    sleeps; waits for anything but sockets, the waker and the next delayed answer.
#![forbid(unsafe_code)]

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::connection::{Closed, Connection};
use super::shared::Shared;
use crate::clock;
use crate::ids::BrokerId;

/// Below the 1024 descriptors a process usually may open.
const CONNECTIONS_MAX: usize = 900;
const BACKLOG: i32 = 128;
const BUFFER_BYTES: usize = 64 << 10;

/// What a test asks of the thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Accept, and serve nobody.
    Pause(BrokerId),
    Resume(BrokerId),
    /// Close every connection, refuse new ones.
    Stop(BrokerId),
    Start(BrokerId),
    /// Close every connection of every broker.
    Disconnect,
}

/// An order, and where to say that it is done.
pub(super) type Ordered = (Order, Sender<io::Result<()>>);

/// A broker's port.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) broker: BrokerId,
    pub(super) address: SocketAddr,
    /// Bound, and never listening: it keeps the port ours while the broker is stopped.
    _keeper: Socket,
    listener: Option<TcpListener>,
    is_paused: bool,
}

impl Gate {
    /// Takes a port that the kernel chooses, and listens.
    pub(super) fn open(broker: BrokerId) -> io::Result<Self> {
        let keeper = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = keeper.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut gate = Self { broker, address, _keeper: keeper, listener: None, is_paused: false };
        gate.listen()?;
        Ok(gate)
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            let socket = bind(self.address)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            self.listener = Some(socket.into());
        }
        Ok(())
    }
}

/// Two sockets may have the port as long as only one of them listens.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub(super) struct Server {
    shared: Arc<Shared>,
    orders: Receiver<Ordered>,
    gates: Vec<Gate>,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

/// What a socket of a poll belongs to.
#[derive(Clone, Copy)]
enum Owner {
    Waker,
    Gate(usize),
    Connection(usize),
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Ordered>, gates: Vec<Gate>) -> Self {
        Self { shared, orders, gates, connections: Vec::new(), buffer: vec![0; BUFFER_BYTES] }
    }

    /// Serves until the cluster is dropped.
    pub(super) fn run(mut self) {
        while !self.shared.look(|state| state.is_ending) {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "the cluster for tests cannot wait for its sockets");
                    return;
                }
            };
            let mut closed = Vec::new();
            for (owner, flags) in ready {
                match owner {
                    Owner::Waker => {
                        // It is empty when another round was faster.
                        let _ = rustix::io::read(self.shared.waker(), &mut [0; 8]);
                    }
                    Owner::Gate(index) => self.accept(index),
                    Owner::Connection(index) => {
                        if let Err(end) = self.receive(index, flags) {
                            closed.push((index, end));
                        }
                    }
                }
            }
            self.end(closed);
            self.obey();
            self.advance();
        }
    }

    /// Waits for sockets, the waker, or the time of an answer; says what is ready.
    fn wait(&self) -> io::Result<Vec<(Owner, PollFlags)>> {
        let mut owners = vec![Owner::Waker];
        let mut sockets = vec![PollFd::new(self.shared.waker(), PollFlags::IN)];
        for (index, gate) in self.gates.iter().enumerate() {
            if let (Some(listener), false) = (&gate.listener, gate.is_paused) {
                owners.push(Owner::Gate(index));
                sockets.push(PollFd::new(listener, PollFlags::IN));
            }
        }
        let mut due = None;
        for (index, connection) in self.connections.iter().enumerate() {
            if self.is_paused(connection.broker) {
                continue;
            }
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, connection.wants_read());
            flags.set(PollFlags::OUT, connection.wants_write());
            owners.push(Owner::Connection(index));
            sockets.push(PollFd::new(&connection.stream, flags));
            due = due.into_iter().chain(connection.due()).min();
        }
        let left = due.map(|due| due.saturating_duration_since(clock::now()));
        let timeout = left.map(|left| Timespec::try_from(left).unwrap_or(LONG));
        match poll(&mut sockets, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = owners.into_iter().zip(sockets.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn is_paused(&self, broker: BrokerId) -> bool {
        self.gates.iter().any(|gate| gate.broker == broker && gate.is_paused)
    }

    fn accept(&mut self, index: usize) {
        let gate = &self.gates[index];
        let Some(listener) = &gate.listener else { return };
        // An error is a peer that is gone, or a lack of descriptors: the others are served on.
        while let Ok((stream, _)) = listener.accept() {
            let is_ready =
                stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok();
            if !is_ready || self.connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let number = self.shared.lock().next_connection();
            self.connections.push(Connection::new(stream, gate.broker, number));
        }
    }

    fn receive(&mut self, index: usize, flags: PollFlags) -> Result<(), Closed> {
        let connection = &mut self.connections[index];
        if connection.wants_read() && flags.contains(PollFlags::IN) {
            return connection.read(&mut self.buffer);
        }
        if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
            Err(Closed::Quietly)
        } else {
            Ok(())
        }
    }

    /// Ends connections by their place, the last ones first.
    fn end(&mut self, closed: Vec<(usize, Closed)>) {
        let mut state = self.shared.lock();
        for (index, end) in closed.into_iter().rev() {
            if let Closed::Because(text) = end {
                state.journal.complain(text);
            }
            self.connections.remove(index);
        }
    }

    fn obey(&mut self) {
        while let Ok((order, done)) = self.orders.try_recv() {
            let result = self.carry_out(order);
            // Whoever asked may have given up.
            let _ = done.send(result);
        }
    }

    fn carry_out(&mut self, order: Order) -> io::Result<()> {
        let (Order::Pause(broker)
        | Order::Resume(broker)
        | Order::Stop(broker)
        | Order::Start(broker)) = order
        else {
            self.connections.clear();
            return Ok(());
        };
        let Some(gate) = self.gates.iter_mut().find(|gate| gate.broker == broker) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match order {
            Order::Pause(_) => gate.is_paused = true,
            Order::Resume(_) => gate.is_paused = false,
            Order::Stop(_) => {
                gate.listener = None;
                self.connections.retain(|connection| connection.broker != broker);
            }
            Order::Start(_) => gate.listen()?,
            Order::Disconnect => {}
        }
        Ok(())
    }

    /// Lets every connection carry out and send what it can.
    fn advance(&mut self) {
        let paused: Vec<_> = self.gates.iter().filter(|gate| gate.is_paused).collect();
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        loop {
            let (appended, now) = (state.appended, clock::now());
            self.connections.retain_mut(|connection| {
                if paused.iter().any(|gate| gate.broker == connection.broker) {
                    return true;
                }
                match connection.advance(&mut state, now) {
                    Ok(()) => true,
                    Err(Closed::Quietly) => false,
                    Err(Closed::Because(text)) => {
                        state.journal.complain(text);
                        false
                    }
                }
            });
            // A consumer that was looked at first may wait for what came afterwards.
            if state.appended == appended {
                break;
            }
        }
        drop(state);
        shared.wake_waiters();
    }
}

/// Longer than any test.
const LONG: Timespec = Timespec { tv_sec: 1 << 30, tv_nsec: 0 };
