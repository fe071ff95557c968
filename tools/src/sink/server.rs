//! The sink's thread: one epoll set, every connection served from it.
//!
//! Thread:   `kuring-sink`.
//! Bounds:   `CONNECTIONS_MAX` connections; one more is accepted and closed at once.
#![forbid(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use super::connection::{Closed, Connection};
use super::{Broker, Report};
use crate::clock::now;
use crate::cpu::CpuTime;

/// Below the 1024 descriptors a process usually may open.
const CONNECTIONS_MAX: usize = 900;
const EVENTS_MAX: usize = 64;
const WAKE: u64 = u64::MAX;
/// From here on tokens are those of the listeners.
const LISTENERS: u64 = 1 << 32;

/// What the handle asks of the thread.
#[derive(Debug)]
pub(super) enum Command {
    Report(Sender<Report>),
    /// Serve this broker's connections no more, or again.
    Stall(usize, bool),
    Stop,
}

struct Slot {
    connection: Connection,
    /// Whose it is, by the broker's number.
    broker: usize,
    interest: epoll::EventFlags,
}

pub(super) struct Server {
    epoll: OwnedFd,
    listeners: Vec<TcpListener>,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    slots: Vec<Option<Slot>>,
    /// By the broker's number: it serves nobody, as if its process were stopped.
    stalled: Vec<bool>,
    broker: Broker,
}

impl Server {
    pub(super) fn new(
        listeners: Vec<TcpListener>,
        broker: Broker,
        wake: Arc<OwnedFd>,
        commands: Receiver<Command>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let readable = epoll::EventFlags::IN;
        for (listener, token) in listeners.iter().zip(LISTENERS..) {
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, epoll::EventData::new_u64(token), readable)?;
        }
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), readable)?;
        let stalled = vec![false; listeners.len()];
        Ok(Self { epoll, listeners, wake, commands, slots: Vec::new(), stalled, broker })
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<Report> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let (token, flags) = (event.data, event.flags);
                match token.u64() {
                    WAKE => {
                        if self.obey() {
                            return Ok(self.report());
                        }
                    }
                    listener @ LISTENERS.. => self.accept((listener - LISTENERS) as usize)?,
                    index => self.serve(index as usize, flags),
                }
            }
            if self.broker.has_delays() {
                self.release();
            }
        }
    }

    /// Until the first delayed answer is due; none without a delay.
    fn timeout(&self) -> Option<Timespec> {
        if !self.broker.has_delays() {
            return None;
        }
        let slots = self.slots.iter().flatten().filter(|slot| !self.stalled[slot.broker]);
        let first = slots.filter_map(|slot| slot.connection.next_due()).min()?;
        let wait = first.saturating_duration_since(now());
        Some(Timespec::try_from(wait).expect("a delay fits a timespec"))
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone already, or descriptors are short: serve those who are here.
                Err(_) => return Ok(()),
            };
            self.broker.totals.connections += 1;
            let index = match self.slots.iter().position(Option::is_none) {
                Some(index) => index,
                None if self.slots.len() < CONNECTIONS_MAX => {
                    self.slots.push(None);
                    self.slots.len() - 1
                }
                None => continue,
            };
            // A peer that is gone already shows in these calls first.
            let Ok(address) = stream.local_addr() else { continue };
            if stream.set_nodelay(true).is_err() || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let interest = epoll::EventFlags::IN;
            let token = epoll::EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &stream, token, interest)?;
            let connection = Connection::new(stream, address, self.broker.delay_of(address));
            self.slots[index] = Some(Slot { connection, broker: listener, interest });
            if self.stalled[listener] {
                self.settle(index, Ok(()));
            }
        }
    }

    /// Carries out the handle's commands; true means stop.
    fn obey(&mut self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut count);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Report(sender) => {
                    // Nobody waits any more: then nobody needs it.
                    let _ = sender.send(self.report());
                }
                Command::Stall(broker, stalled) => self.stall(broker, stalled),
                Command::Stop => return true,
            }
        }
        false
    }

    /// What the clients send meanwhile waits in their sockets and ours.
    fn stall(&mut self, broker: usize, stalled: bool) {
        self.stalled[broker] = stalled;
        for index in 0..self.slots.len() {
            if self.slots[index].as_ref().is_some_and(|slot| slot.broker == broker) {
                self.settle(index, Ok(()));
            }
        }
    }

    fn report(&self) -> Report {
        Report { totals: self.broker.totals.clone(), cpu: CpuTime::of_this_thread() }
    }

    fn serve(&mut self, index: usize, flags: epoll::EventFlags) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        let served = if flags.contains(epoll::EventFlags::HUP) {
            Err(Closed::ByPeer)
        } else {
            slot.connection.serve(&mut self.broker, now)
        };
        self.settle(index, served);
    }

    fn release(&mut self) {
        let time = now();
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            if self.stalled[slot.broker] {
                continue;
            }
            if slot.connection.next_due().is_some_and(|due| due <= time) {
                let released = slot.connection.release(&mut self.broker, now);
                self.settle(index, released);
            }
        }
    }

    /// Closes the connection, or asks epoll for what it waits for now.
    fn settle(&mut self, index: usize, served: Result<(), Closed>) {
        let Some(slot) = &mut self.slots[index] else { return };
        if let Err(closed) = served {
            if let Closed::Garbage(what) = closed {
                self.broker.totals.garbage_connections += 1;
                self.broker.totals.first_garbage.get_or_insert_with(|| what.to_owned());
            }
            // Dropping the socket takes it out of the epoll set.
            self.slots[index] = None;
            return;
        }
        let mut interest = epoll::EventFlags::empty();
        if !self.stalled[slot.broker] {
            interest.set(epoll::EventFlags::IN, slot.connection.wants_read());
            interest.set(epoll::EventFlags::OUT, slot.connection.wants_write());
        }
        if interest != slot.interest {
            let token = epoll::EventData::new_u64(index as u64);
            if epoll::modify(&self.epoll, &slot.connection.stream, token, interest).is_ok() {
                slot.interest = interest;
            } else {
                self.slots[index] = None;
            }
        }
    }
}
