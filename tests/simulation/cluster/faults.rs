//! What goes wrong in a broker: around a batch, and with time.
#![forbid(unsafe_code)]

use super::agenda::{Event, Place};
use super::answers::Verdict;
use super::batch::Head;
use super::plan::FaultKind;
use super::{Cluster, codes};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

impl Cluster {
    /// What a broker says of a batch that it does not even try to append.
    pub(super) fn fault_before(
        &mut self,
        broker: i32,
        place: Place,
        head: &Head,
    ) -> Option<Verdict> {
        let lists = [
            (FaultKind::RetriableBefore, codes::RETRIABLE),
            (FaultKind::FinalBefore, codes::FINAL),
            (FaultKind::FatalBefore, codes::FATAL),
        ];
        for (kind, codes) in lists {
            if self.faults.strikes(kind) {
                return Some(Verdict::error(*self.faults.of(kind).pick(codes)));
            }
        }
        if self.faults.strikes(FaultKind::InvalidRecord) {
            return Some(self.invalid_record(head));
        }
        if self.faults.strikes(FaultKind::WrongLeader) {
            let codes = [codes::NOT_LEADER, codes::NOT_LEADER, codes::FENCED_LEADER_EPOCH];
            let code = *self.faults.of(FaultKind::WrongLeader).pick(&codes);
            let leader = self.hint(broker, place);
            return Some(Verdict { leader, ..Verdict::error(code) });
        }
        None
    }

    fn invalid_record(&mut self, head: &Head) -> Verdict {
        let random = self.faults.of(FaultKind::InvalidRecord);
        let listed = random.below(u64::from(head.count.min(4)) + 1);
        let mut indexes: Vec<i32> =
            (0..listed).map(|_| random.below(u64::from(head.count)) as i32).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let message = |index| (index, random.one_in(2).then_some("a record that is not valid"));
        let record_errors = indexes.into_iter().map(message).collect();
        let message = self.faults.of(FaultKind::InvalidRecord).one_in(2);
        let message = message.then_some("one or more records have been rejected");
        Verdict { record_errors, message, ..Verdict::error(codes::INVALID_RECORD) }
    }

    /// What a broker says of a batch although it has appended it.
    pub(super) fn fault_after(&mut self) -> Option<i16> {
        if self.faults.strikes(FaultKind::RetriableAfter) {
            return Some(*self.faults.of(FaultKind::RetriableAfter).pick(codes::RETRIABLE_AFTER));
        }
        let strikes = self.faults.strikes(FaultKind::ServerErrorAfter);
        strikes.then_some(codes::UNKNOWN_SERVER_ERROR)
    }

    pub(super) fn throttle(&mut self) -> i32 {
        if self.faults.strikes(FaultKind::ThrottleHuge) {
            return self.faults.of(FaultKind::ThrottleHuge).magnitude(3_600_000, 1 << 30) as i32;
        }
        if self.faults.strikes(FaultKind::Throttle) {
            return self.faults.of(FaultKind::Throttle).magnitude(1, 3_000) as i32;
        }
        0
    }

    /// Puts the next fault of a kind on the agenda.
    pub(super) fn schedule(&mut self, kind: FaultKind) {
        if let Some(wait) = self.faults.interval(kind) {
            self.agenda.add(self.now + wait, Event::Fault(kind));
        }
    }

    /// A timed fault strikes.
    pub(super) fn strike(&mut self, kind: FaultKind) {
        if self.is_healed {
            return;
        }
        self.schedule(kind);
        self.faults.counts[kind as usize] += 1;
        let node = 1 + self.faults.of(kind).index(self.brokers.len()) as i32;
        let duration = self.faults.of(kind).magnitude(50 * MILLISECOND, 30 * SECOND);
        let places = self.places();
        let Some(place) = (!places.is_empty()).then(|| *self.faults.of(kind).pick(&places)) else {
            return;
        };
        match kind {
            FaultKind::BrokerStop => self.stop(node, duration),
            FaultKind::BrokerRoll => self.roll(node),
            FaultKind::DeposedLeader => self.cut_off(node, duration),
            FaultKind::LeaderMove => self.move_leader(place, node),
            FaultKind::UncleanElection => self.provoke_unclean(place, duration),
            FaultKind::StuckFollower => self.stick(place, duration),
            FaultKind::TopicDelete => self.delete_for(place.topic, duration),
            FaultKind::PartitionsAdded => {
                self.add_partition(place.topic);
                if self.topics[place.topic].is_ready {
                    self.make_ready(place.topic);
                }
            }
            FaultKind::ProducerExpiry => self.expire_producers(place),
            FaultKind::Retention => self.retain(place),
            other => unreachable!("{other:?} does not come with time"),
        }
    }

    fn roll(&mut self, node: i32) {
        if !self.is_linked(node) {
            return;
        }
        for place in self.places() {
            if self.partition(place).decided.leader == node {
                let decided = &self.partition(place).decided;
                let other = decided
                    .isr
                    .iter()
                    .copied()
                    .find(|other| *other != node && self.broker(*other).is_registered);
                if other.is_some() {
                    self.elect(place, other);
                }
            }
        }
        let wait = self.faults.of(FaultKind::BrokerRoll).magnitude(MILLISECOND, SECOND);
        self.agenda.add(self.now + wait, Event::Stop { node });
    }

    fn move_leader(&mut self, place: Place, node: i32) {
        let decided = &self.partition(place).decided;
        let can = decided.leader >= 0 && decided.leader != node && decided.isr.contains(&node);
        if can && self.broker(node).is_registered {
            self.elect(place, Some(node));
        }
    }

    /// Leaves one replica behind, then takes the others down.
    fn provoke_unclean(&mut self, place: Place, duration: u64) {
        let leader = self.partition(place).decided.leader;
        let others = self.nodes_of(place).into_iter().filter(|node| *node != leader);
        let others: Vec<i32> = others.filter(|node| self.is_linked(*node)).collect();
        if others.is_empty() || leader < 0 {
            return;
        }
        let node = *self.faults.of(FaultKind::UncleanElection).pick(&others);
        self.stick_node(place, node, self.now + duration + 30 * SECOND);
        self.agenda.add(self.now + duration, Event::Unclean { place, node: Some(node) });
    }

    /// The in-sync replicas go down; the one that was left behind is elected.
    pub(super) fn take_unclean(&mut self, place: Place, node: Option<i32>) {
        let Some(node) = node else { return self.elect_unclean(place, None) };
        if self.is_healed || !self.topics[place.topic].is_live || !self.is_linked(node) {
            return;
        }
        let members = self.partition(place).decided.isr.clone();
        if members.contains(&node) || members.iter().any(|it| !self.broker(*it).is_up) {
            return;
        }
        for member in members {
            let downtime =
                self.faults.of(FaultKind::UncleanElection).magnitude(50 * MILLISECOND, 10 * SECOND);
            self.stop(member, downtime);
            self.notice(member);
        }
        self.elect_unclean(place, Some(node));
        if let Some(replica) = self.partition_mut(place).replica_mut(node) {
            replica.stuck_until = 0;
        }
    }

    fn stick(&mut self, place: Place, duration: u64) {
        let leader = self.partition(place).decided.leader;
        let others: Vec<i32> =
            self.nodes_of(place).into_iter().filter(|node| *node != leader).collect();
        if !others.is_empty() {
            let node = *self.faults.of(FaultKind::StuckFollower).pick(&others);
            self.stick_node(place, node, self.now + duration);
        }
    }

    fn stick_node(&mut self, place: Place, node: i32, until: u64) {
        if let Some(replica) = self.partition_mut(place).replica_mut(node) {
            replica.stuck_until = until;
        }
    }

    fn delete_for(&mut self, topic: usize, duration: u64) {
        let planned = self.topics[topic].planned;
        self.delete(topic);
        self.agenda.add(self.now + duration, Event::Create { planned });
    }

    pub(super) fn create_again(&mut self, planned: usize) {
        let before = self.plan.topics[planned].partitions as u64;
        let partitions = match self.is_healed {
            true => before,
            false => {
                self.faults.of(FaultKind::TopicDelete).between((before - 1).max(1), before + 1)
            }
        };
        self.create(planned, partitions as usize);
    }

    fn expire_producers(&mut self, place: Place) {
        let partition = self.partition_mut(place);
        partition.replicas.iter_mut().for_each(super::replica::Replica::forget);
        let before = partition.replicas.iter().map(|replica| replica.forgotten).max();
        self.note_forgotten(place, before.unwrap_or(0));
    }

    /// Moves the log's start up to somewhere below the high watermark.
    fn retain(&mut self, place: Place) {
        let leader = self.partition(place).decided.leader;
        let forgets = self.plan.retention_forgets;
        let random = self.faults.of(FaultKind::Retention).next();
        let Some(leading) = self.partition_mut(place).replica_mut(leader) else { return };
        let room = leading.high.saturating_sub(leading.start);
        leading.start += random.checked_rem(room + 1).unwrap_or(0);
        if forgets {
            let start = leading.start;
            leading.producers.forget_before(start);
            self.note_forgotten(place, start);
        }
    }
}
