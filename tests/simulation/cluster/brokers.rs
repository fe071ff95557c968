//! Brokers: they stop, come back, are cut off from the others and join them again.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::agenda::{Event, Place};
use super::images::Image;
use super::plan::{FaultKind, Line};
use super::replica::{Replica, View};
use super::{Cluster, codes};

/// Where every broker can be reached, whatever its advertised port is: as behind a DNS name.
const BOOTSTRAP_PORT: u16 = 9092;
const FIRST_PORT: u16 = 19092;

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) node: i32,
    pub(super) line: Line,
    pub(super) host: Rc<str>,
    pub(super) ip: Ipv4Addr,
    pub(super) port: u16,
    pub(super) is_up: bool,
    /// Whether neither the controller nor the other brokers can reach it.
    pub(super) is_cut_off: bool,
    /// Whether the controller takes it for alive.
    pub(super) is_registered: bool,
    /// Counts its starts and stops.
    pub(super) life: u64,
    /// The cluster as it knew it when it was cut off.
    pub(super) frozen: Option<Rc<Image>>,
    machine: u8,
}

impl Broker {
    pub(super) fn new(node: i32, line: Line) -> Self {
        let mut broker = Self {
            node,
            line,
            host: "".into(),
            ip: Ipv4Addr::UNSPECIFIED,
            port: FIRST_PORT,
            is_up: true,
            is_cut_off: false,
            is_registered: true,
            life: 0,
            frozen: None,
            machine: 0,
        };
        broker.settle_on(0);
        broker
    }

    fn settle_on(&mut self, machine: u8) {
        self.machine = machine;
        self.ip = Ipv4Addr::new(10, 0, machine, self.node as u8);
        self.host = self.ip.to_string().into();
    }

    fn bootstrap(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, self.node as u8)), BOOTSTRAP_PORT)
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), self.port)
    }
}

impl Cluster {
    pub(super) fn broker(&self, node: i32) -> &Broker {
        &self.brokers[node as usize - 1]
    }

    pub(super) fn broker_mut(&mut self, node: i32) -> &mut Broker {
        &mut self.brokers[node as usize - 1]
    }

    /// The node ids of all brokers.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = i32> {
        1..=self.brokers.len() as i32
    }

    /// Whether it accepts connections. When it goes down its connections are cut.
    pub(crate) fn broker_is_up(&self, node: i32) -> bool {
        self.broker(node).is_up
    }

    /// Changes with every stop and start: a connection belongs to one life.
    pub(crate) fn broker_life(&self, node: i32) -> u64 {
        self.broker(node).life
    }

    /// Where metadata says that the broker is, once it has heard.
    pub(crate) fn address(&self, node: i32) -> SocketAddr {
        self.broker(node).address()
    }

    /// Addresses that lead to each broker for good.
    pub(crate) fn bootstrap(&self) -> Vec<SocketAddr> {
        self.brokers.iter().map(Broker::bootstrap).collect()
    }

    /// Who listens at an address, if anybody: a broker that has moved has left its old one.
    pub(crate) fn broker_at(&self, address: SocketAddr) -> Option<i32> {
        let listens = |broker: &&Broker| [broker.address(), broker.bootstrap()].contains(&address);
        self.brokers.iter().find(listens).map(|broker| broker.node)
    }

    /// Whether a broker can talk to the controller and to other brokers.
    pub(super) fn is_linked(&self, node: i32) -> bool {
        let broker = self.broker(node);
        broker.is_up && !broker.is_cut_off
    }

    /// Ends a broker's life as `kill -9` does, for `downtime`.
    pub(super) fn stop(&mut self, node: i32, downtime: u64) {
        if !self.broker(node).is_up {
            return;
        }
        let broker = self.broker_mut(node);
        broker.is_up = false;
        broker.is_cut_off = false;
        broker.frozen = None;
        broker.life += 1;
        let life = broker.life;
        self.agenda.add(self.now + downtime, Event::Return { node, life });
        self.agenda.add(self.now + self.plan.session, Event::Notice { node, life });
        self.waiting.retain(|_, waiting| waiting.broker != node);
        self.cut_links_of(node);
        for place in self.places() {
            if let Some(replica) = self.partition_mut(place).replica_mut(node) {
                replica.awaited.clear();
                replica.view = View { leader: -1, ..View::default() };
            }
        }
    }

    /// The controller takes a broker for dead: others lead.
    pub(super) fn notice(&mut self, node: i32) {
        if !self.broker(node).is_registered {
            return;
        }
        self.broker_mut(node).is_registered = false;
        self.images.touch();
        for place in self.places() {
            self.leave(place, node);
        }
    }

    /// Takes a broker out of the in-sync replicas, unless it is the last, and out of the lead.
    pub(super) fn leave(&mut self, place: Place, node: i32) {
        let decided = &mut self.partition_mut(place).decided;
        let leads = decided.leader == node;
        let is_member = decided.isr.contains(&node) && decided.isr.len() > 1;
        if is_member {
            decided.isr.retain(|member| *member != node);
        }
        if leads {
            self.elect(place, None);
        } else if is_member {
            self.publish(place);
        }
    }

    /// A stopped broker starts.
    pub(super) fn come_back(&mut self, node: i32, life: u64) {
        if self.broker(node).is_up || self.broker(node).life != life {
            return;
        }
        // A new life is a new registration: the old one ends first.
        self.notice(node);
        let forgets = self.faults.strikes(FaultKind::StateLoss);
        if self.faults.strikes(FaultKind::PortChange) {
            self.broker_mut(node).port += 1;
        }
        if self.may_lose_disks(node) && self.faults.strikes(FaultKind::NodeReplaced) {
            let broker = self.broker_mut(node);
            broker.settle_on(broker.machine + 1);
            self.each_replica(node, |replica| {
                *replica = Replica::new(replica.node, replica.view.clone());
            });
        }
        if forgets {
            self.each_replica(node, Replica::forget);
        }
        let broker = self.broker_mut(node);
        broker.is_up = true;
        broker.life += 1;
        self.register(node);
    }

    /// Whether another broker has all that this one has to have.
    fn may_lose_disks(&self, node: i32) -> bool {
        !self.places().into_iter().any(|place| {
            let partition = self.partition(place);
            partition.decided.isr.contains(&node) || partition.authority().node == node
        })
    }

    fn each_replica(&mut self, node: i32, mut change: impl FnMut(&mut Replica)) {
        for place in self.places() {
            if let Some(replica) = self.partition_mut(place).replica_mut(node) {
                change(replica);
            }
        }
    }

    /// Cuts a broker off from the others, not from its clients.
    pub(super) fn cut_off(&mut self, node: i32, duration: u64) {
        if !self.is_linked(node) {
            return;
        }
        let image = self.image();
        let broker = self.broker_mut(node);
        broker.is_cut_off = true;
        broker.frozen = Some(image);
        let life = broker.life;
        self.agenda.add(self.now + duration, Event::Rejoin { node, life });
        self.agenda.add(self.now + self.plan.session, Event::Notice { node, life });
    }

    pub(super) fn rejoin(&mut self, node: i32, life: u64) {
        let broker = self.broker_mut(node);
        if !broker.is_cut_off || broker.life != life {
            return;
        }
        broker.is_cut_off = false;
        broker.frozen = None;
        self.register(node);
    }

    /// The controller hears of the broker, and the broker of what was decided.
    fn register(&mut self, node: i32) {
        self.broker_mut(node).is_registered = true;
        self.images.touch();
        for place in self.places() {
            let partition = self.partition(place);
            if partition.replica(node).is_none() {
                continue;
            }
            let is_leaderless = partition.decided.leader < 0 && self.topics[place.topic].is_ready;
            if is_leaderless && partition.decided.isr.contains(&node) {
                self.elect(place, None);
            }
            self.tell(place, node);
            self.nodes_of(place).into_iter().for_each(|node| self.fetch_soon(place, node));
            self.check_isr_later(place);
        }
    }

    /// Ends the waits of all who asked this broker for more than it can do now.
    pub(super) fn fail_awaited(&mut self, place: Place, node: i32, code: i16) {
        let Some(replica) = self.partition_mut(place).replica_mut(node) else { return };
        let awaited = std::mem::take(&mut replica.awaited);
        for awaited in awaited {
            let code = match code {
                codes::UNKNOWN_TOPIC if self.asks_by_id(awaited.ticket) => codes::UNKNOWN_TOPIC_ID,
                code => code,
            };
            self.refuse_awaited(awaited.ticket, awaited.place, code);
        }
    }
}
