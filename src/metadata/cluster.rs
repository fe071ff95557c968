//! Where the snapshot is published, which topics are wanted, and who waits for news.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::task::Waker;

use arc_swap::ArcSwap;

use super::snapshot::{BrokerNode, LeaderHint, Merged, Snapshot};
use crate::ids::ClientInstanceId;
use crate::park;
use crate::partitioner::murmur2;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::metadata::MetadataResponse;

/// A topic in use. Senders of records read `partition_count` and nothing else: the snapshot's part
/// that the path of a record needs, without a lock, a reference count or a lookup.
#[derive(Debug)]
pub struct TopicEntry {
    name: Arc<str>,
    hash: u32,
    /// Partitions, 0 while the topic is not known.
    count: AtomicU32,
    /// Nanoseconds on the process's clock, as of the last batch that was opened.
    used_at: AtomicU64,
    /// Whether the topic was ever in an answer since it was last wanted (MD-9).
    answered: AtomicBool,
    /// The topic's last error, as its wire code; 0 for none (MD-8).
    error: AtomicI32,
    /// Whether its batches stay where they are.
    paused: AtomicBool,
}

impl TopicEntry {
    fn new(name: Arc<str>) -> Self {
        Self {
            hash: murmur2(name.as_bytes()),
            name,
            count: AtomicU32::new(0),
            used_at: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            error: AtomicI32::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// Holds the topic's batches back, or lets them go.
    pub fn set_paused(&self, paused: bool) {
        // Release: who sees a record that was accepted later sees this. The record itself is
        // published by its ring, so the shard's load need not be more than Relaxed.
        self.paused.store(paused, Release);
    }

    /// Whether the topic's batches are held back.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// The name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Which of `shards` owns a partition: fixed for the producer's life.
    pub fn shard_of(&self, partition: i32, shards: usize) -> usize {
        (self.hash as usize).wrapping_add(partition as usize) % shards
    }

    /// How many partitions there are; 0 while the topic is not known.
    #[inline]
    pub fn partition_count(&self) -> u32 {
        self.count.load(Acquire)
    }

    /// The topic is in use (once per batch).
    pub fn touch(&self, now: u64) {
        self.used_at.store(now, Relaxed);
    }

    /// What the brokers last said about the topic, if it was an error.
    pub fn last_error(&self) -> Option<ErrorCode> {
        let code = ErrorCode::from_wire(self.error.load(Relaxed) as i16);
        (code != ErrorCode::None).then_some(code)
    }

    /// Forgets the remembered error: the next answer decides again (MD-8).
    pub fn forget_error(&self) {
        self.error.store(0, Relaxed);
    }

    /// When the topic was last used.
    pub fn used_at(&self) -> u64 {
        self.used_at.load(Relaxed)
    }
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    deadline: u64,
    waker: Waker,
}

/// A snapshot that was published, and its number.
#[derive(Clone, Debug)]
pub struct Published {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its number, as [`Cluster::generation`] counts.
    pub generation: u64,
}

/// What a metadata answer brought.
#[derive(Debug)]
pub struct Update {
    /// The snapshot after it.
    pub published: Published,
    /// Whether anything is new (MD-5).
    pub changed: bool,
    /// Whether another update is needed soon (MD-2).
    pub incomplete: bool,
}

/// The cluster, as all threads of one producer see it.
#[derive(Debug, Default)]
pub struct Cluster {
    snapshot: ArcSwap<Snapshot>,
    /// Held from reading a snapshot to storing the one made of it: answers are one shard's, leader
    /// hints any shard's, and none may undo another.
    writing: Mutex<()>,
    /// Counts the published snapshots.
    generation: AtomicU64,
    /// In the order of their names: requests are the same in every run.
    topics: RwLock<BTreeMap<Arc<str>, Arc<TopicEntry>>>,
    waiting: Mutex<Vec<Waiting>>,
    next_ticket: AtomicU64,
    /// A topic without metadata is wanted: a partial request is due (MD-1).
    topic_wanted: AtomicBool,
    /// Somebody saw that the metadata is wrong: a full request is due (MD-2).
    stale: AtomicBool,
    closed: AtomicBool,
    /// What the cluster calls this producer in its telemetry, once it has said so (TEL-1).
    instance: OnceLock<ClientInstanceId>,
    /// No bootstrap server has an address, and nobody looks for one any more.
    unresolved: AtomicBool,
}

impl Cluster {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether the partition has a leader, as far as the newest snapshot knows.
    pub fn has_leader(&self, topic: &str, partition: i32) -> bool {
        let snapshot = self.snapshot.load();
        let found = snapshot.topic(topic).and_then(|t| t.partitions.get(partition as usize));
        found.is_some_and(|found| found.leader.is_some())
    }

    /// Counts the published snapshots: a reader with the current number has the newest.
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// The entry of a topic, made if need be. Does not ask the brokers.
    pub fn entry(&self, name: &str) -> Arc<TopicEntry> {
        let read = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = read.get(name) {
            return Arc::clone(entry);
        }
        drop(read);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        let made = || Arc::new(TopicEntry::new(Arc::clone(&name)));
        Arc::clone(topics.entry(Arc::clone(&name)).or_insert_with(made))
    }

    /// Asks for the metadata of a topic. The caller nudges shard 0 afterwards.
    pub fn want(&self, entry: &TopicEntry, now: u64) {
        entry.touch(now);
        // The first time it goes out at once; what was answered before waits its turn (MD-5).
        if entry.answered.load(Relaxed) {
            self.stale.store(true, Release);
        } else {
            self.topic_wanted.store(true, Release);
        }
    }

    /// Asks for a full update. The caller nudges shard 0 afterwards.
    pub fn mark_stale(&self) {
        self.stale.store(true, Release);
    }

    /// Whether a new topic was wanted since the last call. Shard 0 only.
    pub fn take_topic_wanted(&self) -> bool {
        take(&self.topic_wanted)
    }

    /// Whether the metadata was found wrong since the last call. Shard 0 only.
    pub fn take_stale(&self) -> bool {
        take(&self.stale)
    }

    /// The topics used since `idle_since`, and those of them that no answer has named yet (MD-1,
    /// MD-9). Shard 0 only; not on the path of records.
    pub fn topics_in_use(&self, idle_since: u64) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let used = topics.values().filter(|entry| {
            let wanted = entry.used_at() > 0;
            wanted && (entry.used_at() >= idle_since || !entry.answered.load(Relaxed))
        });
        let used: Vec<_> = used.collect();
        let unknown = used.iter().filter(|entry| entry.partition_count() == 0);
        let unknown = unknown.map(|entry| Arc::clone(entry.name())).collect();
        (used.iter().map(|entry| Arc::clone(entry.name())).collect(), unknown)
    }

    /// Publishes what an answer about the `asked` topics says, then wakes everybody who waits
    /// (MD-11). After a full answer only topics that were asked for stay. None if the answer is of
    /// no use (MD-6). Shard 0 only.
    pub fn merge(
        &self,
        answer: MetadataResponse,
        asked: &[Arc<str>],
        full: bool,
    ) -> Option<Update> {
        let keep = |name: &str| !full || asked.iter().any(|topic| **topic == *name);
        let writing = self.writing();
        let Merged { snapshot, changed, incomplete, topic_errors } =
            self.snapshot.load().merge(answer, keep)?;
        self.tell_topics(&snapshot, asked, &topic_errors);
        let published = self.store(snapshot);
        drop(writing);
        self.wake_all();
        Some(Update { published, changed, incomplete })
    }

    /// Publishes what brokers said about the leaders of some partitions (LDR-1, LDR-5); None if
    /// there is nothing new in it. Any shard.
    pub fn patch(&self, hints: &[LeaderHint], endpoints: &[BrokerNode]) -> Option<Published> {
        let _writing = self.writing();
        let patched = self.snapshot.load().patch(hints, endpoints)?;
        Some(self.store(patched))
    }

    /// Gives up the known brokers (RBT-2 to RBT-4). Any shard.
    pub fn forget_brokers(&self) -> Published {
        let _writing = self.writing();
        let without = self.snapshot.load().without_brokers();
        self.store(without)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `writing` is held.
    fn store(&self, snapshot: Snapshot) -> Published {
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        // Release: a reader of the new number finds the new snapshot. Partner: `generation`.
        let generation = self.generation.fetch_add(1, Release) + 1;
        Published { snapshot, generation }
    }

    fn tell_topics(
        &self,
        snapshot: &Snapshot,
        asked: &[Arc<str>],
        errors: &[(Arc<str>, ErrorCode)],
    ) {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        // Also what an answer left out: a topic is asked for without a wait only once.
        for entry in asked.iter().filter_map(|name| topics.get(name)) {
            entry.answered.store(true, Relaxed);
        }
        for (name, entry) in topics.iter() {
            let found = snapshot.topic(name);
            if found.is_some() {
                entry.error.store(0, Relaxed);
                entry.answered.store(true, Relaxed);
            }
            let count = found.map_or(0, |topic| topic.partitions.len() as u32);
            let was = entry.count.swap(count, Release);
            if was > 0 && count == 0 && !errors.iter().any(|(failed, _)| failed == name) {
                // Forgotten: not in use, until somebody wants it again, who then asks at once
                // (MD-1, MD-9).
                entry.used_at.store(0, Relaxed);
                entry.answered.store(false, Relaxed);
            }
        }
        for (name, code) in errors {
            if let Some(entry) = topics.get(name) {
                entry.error.store(i32::from(code.wire()), Relaxed);
                entry.answered.store(true, Relaxed);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a call that is going to wait.
    pub fn ticket(&self) -> u64 {
        self.next_ticket.fetch_add(1, Relaxed)
    }

    /// Wakes the caller at the next news, or at `deadline` (nanoseconds on the process's clock).
    pub fn wait(&self, ticket: u64, deadline: u64, waker: &Waker) {
        let mut waiting = self.waiting();
        match waiting.iter_mut().find(|waiting| waiting.ticket == ticket) {
            Some(found) if found.waker.will_wake(waker) => {}
            Some(found) => {
                let old = std::mem::replace(&mut found.waker, waker.clone());
                // With it a task may go, and with that whatever it holds: not under the lock.
                drop(waiting);
                drop(old);
            }
            None => waiting.push(Waiting { ticket, deadline, waker: waker.clone() }),
        }
    }

    /// The call is over.
    pub fn leave(&self, ticket: u64) {
        let mut waiting = self.waiting();
        let at = waiting.iter().position(|waiting| waiting.ticket == ticket);
        let left = at.map(|at| waiting.swap_remove(at));
        // The waker may take its task with it: not under the lock.
        drop(waiting);
        drop(left);
    }

    fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.waiting());
        woken.into_iter().for_each(|waiting| park::wake(waiting.waker));
    }

    /// Wakes the calls whose deadline has passed; returns the next deadline. Shard 0 only.
    pub fn expire(&self, now: u64) -> Option<u64> {
        let mut expired = Vec::new();
        let next = {
            let mut waiting = self.waiting();
            let mut index = 0;
            while index < waiting.len() {
                if waiting[index].deadline <= now {
                    expired.push(waiting.swap_remove(index).waker);
                } else {
                    index += 1;
                }
            }
            waiting.iter().map(|waiting| waiting.deadline).min()
        };
        expired.into_iter().for_each(park::wake);
        next
    }

    /// The cluster has given the producer this id, for life (TEL-1): who waits for it is woken.
    /// Shard 0 only.
    pub fn set_instance(&self, instance: ClientInstanceId) {
        if self.instance.set(instance).is_ok() {
            self.wake_all();
        }
    }

    /// The producer's id in the telemetry of the cluster, if it was given one.
    pub fn instance(&self) -> Option<ClientInstanceId> {
        self.instance.get().copied()
    }

    /// The producer is closed: waiting calls end.
    pub fn close(&self) {
        self.closed.store(true, Release);
        self.wake_all();
    }

    /// No bootstrap server had an address in time: waiting calls end, for good.
    pub fn give_up_bootstrap(&self) {
        self.unresolved.store(true, Release);
        self.wake_all();
    }

    /// Whether there is no bootstrap server with an address, for good.
    pub fn is_unresolved(&self) -> bool {
        self.unresolved.load(Acquire)
    }

    /// Whether the producer is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }
}

/// Takes a flag down that others raise and then nudge the shard about. Asked several times a batch,
/// and nearly always down: a look is a twentieth of a swap. Who raises it between the look and the
/// shard's sleep has nudged by then, and with that the shard does not sleep.
fn take(flag: &AtomicBool) -> bool {
    flag.load(Acquire) && flag.swap(false, AcqRel)
}
