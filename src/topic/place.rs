//! Which partition a record goes to.
//!
//! Thread:   any.
//! Never:    waits. Only a partitioner of the user's runs foreign code, before anything is claimed.
//! Source:   API-4, API-5, PRT-1, STK-1, ADP-1 to ADP-4, AVL-1, AVL-2, RCK-1 of the Java producer.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Blocked, Topic, invalid};
use crate::clock;
use crate::config::Settings;
use crate::error::SendError;
use crate::partitioner::rule::Asked;
use crate::partitioner::table::{Candidate, Table, Version};
use crate::partitioner::{Rule, Unplaced, Way, sticky};
use crate::record::Record;

/// What a producer's settings say about a topic's records that name no partition.
pub(super) fn rule_of(topic: &str, settings: &Settings) -> Rule {
    match settings.partitioners.of_topic(topic) {
        Some(custom) => Rule::custom(custom.clone()),
        None => Rule::named(settings.partitioner, settings.ignore_keys),
    }
}

impl Topic {
    /// Where the record goes. API-4.
    #[inline]
    pub(super) fn way(&self, record: &Record<'_>, count: u32) -> Result<Way, Blocked> {
        let Some(partition) = record.partition else {
            return Ok(self.shared.rule.way(record.key, count));
        };
        // Negative ones wrap to above every count.
        if partition as u32 >= count {
            return Err(if partition < 0 {
                invalid("partition", i64::from(partition))
            } else {
                Blocked::Metadata { partition: Some(partition) }
            });
        }
        Ok(Way::To(partition))
    }

    /// The record's partition; None for a sticky one. The answer of a partitioner that is asked for
    /// each record is kept in the record: a call that has to wait asks once.
    #[inline]
    pub(super) fn partition_of(
        &self,
        record: &mut Record<'_>,
        count: u32,
    ) -> Result<Option<i32>, Blocked> {
        match self.way(record, count)? {
            Way::To(partition) => Ok(Some(partition)),
            Way::Sticky => Ok(None),
            Way::Anew => {
                record.partition = Some(self.ask(record, count)?);
                Ok(record.partition)
            }
        }
    }

    #[inline(never)]
    fn ask(&self, record: &Record<'_>, count: u32) -> Result<i32, Blocked> {
        let is_led = |partition| self.producer.cluster.has_leader(self.name(), partition);
        let unplaced = Unplaced {
            topic: self.name(),
            key: record.key,
            value: record.value,
            partition_count: count,
            is_led: &is_led,
        };
        let rule = &self.shared.rule;
        let next = || self.next_in_turn(count);
        let partition = rule.asked().answer(&unplaced, next, || sticky::draw(count, is_led));
        // API-5. Negative ones wrap to above every count.
        if partition as u32 >= count {
            let topic = Arc::clone(self.name());
            return Err(SendError::NoSuchPartition { topic, partition, count }.into());
        }
        Ok(partition)
    }

    /// The partition after the last one, of those that have a leader, or of all.
    fn next_in_turn(&self, count: u32) -> i32 {
        let turn = self.shared.rule.next_turn();
        let next = self.of_table(count, |table| table.in_turn(turn, count));
        next.unwrap_or((turn % count) as i32)
    }

    /// A partition for a thread to stick to.
    #[inline(never)]
    pub(super) fn draw(&self, count: u32) -> i32 {
        self.of_table(count, |table| table.draw(count)).unwrap_or_else(|| {
            let cluster = &self.producer.cluster;
            sticky::draw(count, |partition| cluster.has_leader(self.name(), partition))
        })
    }

    /// Looks into the topic's table, which is made if it is old.
    fn of_table<T>(&self, count: u32, look: impl FnOnce(&Table) -> T) -> T {
        let (cluster, settings) = (&self.producer.cluster, &self.producer.settings);
        let goes_in_turn = matches!(self.shared.rule.asked(), Asked::Next);
        let is_adaptive = settings.adaptive_partitioning && !goes_in_turn;
        let rack = settings.client_rack.as_deref();
        let rack = rack.filter(|_| settings.rack_aware && !goes_in_turn);
        let version = Version { generation: cluster.generation(), count };
        let fill = |table: &mut Table, good_until| {
            let snapshot = cluster.snapshot();
            let topic = snapshot.topic(self.name());
            let candidates = (0..count).map(|partition| {
                let known = topic.and_then(|topic| topic.partitions.get(partition as usize));
                let leader = known.and_then(|known| known.leader);
                let ring = self.shared.rings.get(partition);
                Candidate {
                    is_led: leader.is_some(),
                    is_near: leader
                        .zip(rack)
                        .is_some_and(|(leader, rack)| snapshot.rack_of(leader) == Some(rack)),
                    is_blocked: ring.is_some_and(|ring| ring.is_blocked()),
                    queued: ring.map(|ring| ring.waiting()),
                }
            });
            table.fill(version, good_until, is_adaptive, candidates);
        };
        // Without queue lengths in it a table only grows old with the metadata.
        let now = if is_adaptive { clock::now_nanos() } else { 0 };
        self.shared.spread.draw(version, now, fill, look)
    }
}
