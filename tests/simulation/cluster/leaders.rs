//! Who leads a partition, who follows, and how far the followers are.
//!
//! The controller decides at once; brokers hear of it later, each in its own time. Until then an
//! old leader goes on as before, and a new one does not know yet.
#![forbid(unsafe_code)]

use super::account::Forgotten;
use super::agenda::{Event, Place};
use super::plan::FaultKind;
use super::replica::Follower;
use super::{Cluster, codes};

const MILLISECOND: u64 = 1_000_000;

impl Cluster {
    /// Elects an in-sync replica that is alive: `wanted` if it is one.
    pub(super) fn elect(&mut self, place: Place, wanted: Option<i32>) {
        let partition = self.partition(place);
        let is_candidate =
            |node: &i32| partition.decided.isr.contains(node) && self.broker(*node).is_registered;
        let first = partition.replicas.iter().map(|replica| replica.node).find(is_candidate);
        let elected = wanted.filter(is_candidate).or(first);
        let decided = &mut self.partition_mut(place).decided;
        decided.leader = elected.unwrap_or(-1);
        decided.epoch += 1;
        self.publish(place);
        if elected.is_none() && self.faults.strikes(FaultKind::UncleanChoice) {
            let wait =
                self.faults.of(FaultKind::UncleanChoice).magnitude(MILLISECOND, 5_000_000_000);
            self.agenda.add(self.now + wait, Event::Unclean { place, node: None });
        }
    }

    /// Elects any replica that is alive: the log is what it has.
    pub(super) fn elect_unclean(&mut self, place: Place, wanted: Option<i32>) {
        if self.partition(place).decided.leader >= 0 || !self.topics[place.topic].is_live {
            return;
        }
        let is_candidate = |node: &i32| self.broker(*node).is_registered;
        let first = self.nodes_of(place).into_iter().find(is_candidate);
        let Some(elected) = wanted.filter(is_candidate).or(first) else { return };
        let partition = self.partition_mut(place);
        let is_unclean = !partition.decided.isr.contains(&elected);
        partition.decided.leader = elected;
        partition.decided.epoch += 1;
        partition.decided.isr = vec![elected];
        if is_unclean {
            partition.unclean.push(partition.decided.epoch);
        }
        self.publish(place);
    }

    /// The controller has decided something: brokers will hear of it.
    pub(super) fn publish(&mut self, place: Place) {
        self.partition_mut(place).decided.version += 1;
        self.images.touch();
        self.nodes_of(place).into_iter().for_each(|node| self.tell(place, node));
    }

    /// A broker will hear what was decided.
    pub(super) fn tell(&mut self, place: Place, node: i32) {
        if self.is_linked(node) {
            let lag = self.random.magnitude(100_000, self.plan.news_lag_max.max(200_000));
            self.agenda.add(self.now + lag, Event::Learn { place, node });
        }
    }

    /// A broker hears what was decided.
    pub(super) fn learn(&mut self, place: Place, node: i32) {
        if !self.is_linked(node) || !self.topics[place.topic].is_live {
            return;
        }
        let now = self.now;
        let decided = self.partition(place).decided.clone();
        let nodes = self.nodes_of(place);
        let Some(replica) = self.partition_mut(place).replica_mut(node) else { return };
        if replica.view.version >= decided.version {
            return;
        }
        let (led, epoch) = (replica.leads(), replica.view.epoch);
        replica.view = decided;
        let leads = replica.leads();
        if leads && (!led || epoch != replica.view.epoch) {
            let others = nodes.into_iter().filter(|other| *other != node);
            let follower = |node| Follower { node, end: 0, caught_at: now };
            replica.followers = others.map(follower).collect();
            let forgotten = replica.forgotten;
            if forgotten > 0 {
                self.note_forgotten(place, forgotten);
            }
        }
        if led && !leads {
            self.fail_awaited(place, node, codes::NOT_LEADER);
        }
        if leads {
            self.check_isr_later(place);
            self.advance_high(place, node);
        } else {
            self.fetch_soon(place, node);
        }
    }

    pub(super) fn note_forgotten(&mut self, place: Place, before: u64) {
        let (topic, partition) = (self.topics[place.topic].id, place.partition as i32);
        let at = self.now;
        self.account.forgotten.push(Forgotten { topic, partition, before, at });
    }

    /// Puts a fetch on the agenda, if none is there.
    pub(super) fn fetch_soon(&mut self, place: Place, node: i32) {
        let lag = self.random.magnitude(20_000, self.plan.fetch_lag_max.max(40_000));
        self.fetch_at(place, node, self.now + lag);
    }

    fn fetch_at(&mut self, place: Place, node: i32, at: u64) {
        let Some(replica) = self.partition_mut(place).replica_mut(node) else { return };
        if !replica.is_fetching && !replica.leads() {
            replica.is_fetching = true;
            self.agenda.add(at, Event::Fetch { place, node });
        }
    }

    /// A follower fetches all that it lacks.
    pub(super) fn fetch(&mut self, place: Place, node: i32) {
        let now = self.now;
        let (is_linked, is_live) = (self.is_linked(node), self.topics[place.topic].is_live);
        let Some(replica) = self.partition_mut(place).replica_mut(node) else { return };
        replica.is_fetching = false;
        let (leader, epoch, stuck_until) =
            (replica.view.leader, replica.view.epoch, replica.stuck_until);
        if !is_live {
            return;
        }
        if !is_linked || leader < 0 || leader == node || !self.is_linked(leader) {
            // Whoever is told later that there is a leader fetches then; at the latest when all is
            // well.
            if self.is_healed && leader != node {
                self.fetch_at(place, node, now + 50 * MILLISECOND);
            }
            return;
        }
        if stuck_until > now {
            return self.fetch_at(place, node, stuck_until);
        }
        let replicas = &mut self.partition_mut(place).replicas;
        let at = |node: i32| replicas.iter().position(|replica| replica.node == node);
        let (Some(own), Some(other)) = (at(node), at(leader)) else { return };
        let Ok([replica, leading]) = replicas.get_disjoint_mut([own, other]) else { return };
        if !leading.leads() || leading.view.epoch != epoch {
            // One of the two has not heard yet.
            return self.fetch_at(place, node, now + 20 * MILLISECOND);
        }
        replica.fetch(leading);
        let end = replica.end();
        let follower = leading.followers.iter_mut().find(|follower| follower.node == node);
        let follower = follower.expect("a leader knows its followers");
        (follower.end, follower.caught_at) = (end, now);
        let is_in_sync = leading.view.isr.contains(&node);
        if !is_in_sync {
            self.grow_isr(place, leader, node);
        }
        // The leader may not have heard yet how things stand; a follower goes on fetching.
        if !self.partition(place).decided.isr.contains(&node) {
            self.fetch_at(place, node, now + 50 * MILLISECOND);
        }
        self.advance_high(place, leader);
    }

    /// A follower that has caught up is in sync again, if the controller takes the leader's word.
    fn grow_isr(&mut self, place: Place, leader: i32, node: i32) {
        let is_registered = self.broker(node).is_registered;
        let partition = self.partition_mut(place);
        let Some(leading) = partition.replica(leader) else { return };
        if leading.view.version == partition.decided.version && is_registered {
            partition.decided.isr.push(node);
            self.publish_from(place, leader);
        }
    }

    /// What the leader asked for was decided: it is the first to know.
    fn publish_from(&mut self, place: Place, leader: i32) {
        self.publish(place);
        let partition = self.partition_mut(place);
        let decided = partition.decided.clone();
        if let Some(leading) = partition.replica_mut(leader) {
            leading.view = decided;
        }
    }

    /// Puts a look at the in-sync replicas on the agenda, if there is none.
    pub(super) fn check_isr_later(&mut self, place: Place) {
        let at = self.now + self.plan.replica_lag_max;
        let partition = self.partition_mut(place);
        if !partition.is_checked {
            partition.is_checked = true;
            self.agenda.add(at, Event::CheckIsr { place });
        }
    }

    /// A leader takes out of the in-sync replicas who has been behind for too long.
    pub(super) fn check_isr(&mut self, place: Place) {
        let (now, lag_max) = (self.now, self.plan.replica_lag_max);
        self.partition_mut(place).is_checked = false;
        let leader = self.partition(place).decided.leader;
        if leader < 0 || !self.is_linked(leader) || !self.topics[place.topic].is_live {
            return;
        }
        let partition = self.partition_mut(place);
        let Some(leading) = partition.replica(leader) else { return };
        if leading.view.version != partition.decided.version {
            return self.check_isr_later(place);
        }
        let end = leading.end();
        let is_behind =
            |follower: &&Follower| follower.end < end && leading.view.isr.contains(&follower.node);
        let behind: Vec<Follower> = leading.followers.iter().filter(is_behind).copied().collect();
        let is_late = |follower: &&Follower| follower.caught_at + lag_max <= now;
        let late: Vec<i32> = behind.iter().filter(is_late).map(|it| it.node).collect();
        if !late.is_empty() {
            partition.decided.isr.retain(|node| !late.contains(node));
            self.publish_from(place, leader);
            self.advance_high(place, leader);
            // They go on fetching, and come back once they have caught up.
            late.iter().for_each(|node| self.fetch_soon(place, *node));
        }
        if late.len() < behind.len() {
            self.check_isr_later(place);
        }
    }

    /// Moves a leader's high watermark, and answers those who waited for it.
    pub(super) fn advance_high(&mut self, place: Place, leader: i32) {
        let Some(leading) = self.partition_mut(place).replica_mut(leader) else { return };
        leading.advance();
        if leading.awaited.is_empty() {
            return;
        }
        for awaited in leading.passed() {
            self.accept_awaited(place, leader, awaited);
        }
    }
}
