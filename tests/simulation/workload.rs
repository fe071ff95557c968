//! The application: a few tasks that use one producer in every way it offers to async code.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use kuring::{Delivery, Producer, Purge, Record, SendError, Topic, TrySendError};

use crate::agenda::{Agenda, MILLISECOND, SECOND, What};
use crate::faults::{Chance, Fault};
use crate::ledger::{Entry, FATAL, Keep, Ledger, Offer, Verdict, Verdicts};
use crate::random::Random;
use crate::scenario::Work;
use crate::stamp::{BYTES_MIN, Stamp};
use crate::trace;

/// Records of one `send_batch`, at most.
const BATCH_MAX: u64 = 20;

/// What all tasks of a run share.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) agenda: Rc<Agenda>,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) chance: Rc<RefCell<Chance>>,
    pub(crate) producer: Producer,
    pub(crate) topics: Vec<(Topic, u64)>,
    pub(crate) work: Work,
    /// Whether nothing goes wrong any more: then nobody dawdles.
    pub(crate) is_healed: Cell<bool>,
}

/// One task.
pub(crate) struct Task {
    number: usize,
    random: Random,
    sent: u32,
    app: Rc<Application>,
    /// Places in the ledger of deliveries that it may wait for.
    waiting: Vec<usize>,
    is_closed: bool,
}

impl Task {
    pub(crate) fn new(number: usize, random: Random, app: &Rc<Application>) -> Self {
        let app = Rc::clone(app);
        Self { number, random, sent: 0, app, waiting: Vec::new(), is_closed: false }
    }

    /// Sends so many records, in this way and that.
    pub(crate) async fn run(mut self, records: u32) {
        while self.sent < records && !self.is_closed {
            self.pause().await;
            let work = self.app.work.clone();
            if self.random.one_in(work.flush_every) {
                self.flush().await;
            } else if self.random.one_in(work.warm_up_every) {
                self.warm_up().await;
            } else if self.random.one_in(work.purge_every) {
                self.purge().await;
            } else if self.random.one_in(work.pause_every) {
                self.pause_topic().await;
            } else if self.random.one_in(work.wait_every) {
                self.wait().await;
            } else if self.random.below(100) < work.reserved {
                self.reserve().await;
            } else if self.random.below(100) < work.batches {
                self.send_batch().await;
            } else if self.random.below(100) < work.tries {
                self.try_send();
            } else {
                self.send().await;
            }
        }
    }

    /// One record to every partition, and as often as it takes to be acknowledged: the producer
    /// still works. Returns what did not work within `nanos` after the first try.
    pub(crate) async fn probe(mut self, nanos: u64) -> Vec<String> {
        let mut failed = Vec::new();
        let until = self.app.agenda.now() + nanos;
        let topics: Vec<u64> = self.app.topics.iter().map(|(_, partitions)| *partitions).collect();
        for (topic, partitions) in topics.into_iter().enumerate() {
            for partition in 0..partitions as i32 {
                if let Err(last) = self.probe_partition(topic, partition, until).await {
                    failed.push(format!("topic {topic} partition {partition}: {last}"));
                }
            }
        }
        failed
    }

    async fn probe_partition(
        &mut self,
        topic: usize,
        partition: i32,
        until: u64,
    ) -> Result<(), String> {
        let mut pause = MILLISECOND;
        loop {
            let stamp = self.next_stamp(topic, partition);
            let offer = Offer { stamp, key: None, value: stamp.value(BYTES_MIN) };
            let last = match self.app.topics[topic].0.send(record(&offer)).await {
                Ok(delivery) => {
                    let place = self.accept(&offer, delivery, Keep::ToTheEnd);
                    let ledger = Rc::clone(&self.app.ledger);
                    Verdicts { ledger, place }.await;
                    match &self.app.ledger.borrow().entries[place].verdict {
                        Some(Verdict::Acknowledged { .. }) => return Ok(()),
                        // Only close is left after that.
                        Some(Verdict::NotWritten(name)) if name == FATAL => return Ok(()),
                        other => format!("{other:?}"),
                    }
                }
                Err(error) => {
                    self.refuse(&offer, error.kind_name());
                    error.to_string()
                }
            };
            if self.app.agenda.now() > until {
                return Err(last);
            }
            self.sleep(pause).await;
            pause = (2 * pause).min(10 * SECOND);
        }
    }

    async fn sleep(&self, nanos: u64) {
        let (agenda, number) = (&self.app.agenda, self.number);
        let until = agenda.now() + nanos;
        agenda.at(until, What::Task(number));
        poll_fn(|_| if agenda.now() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    async fn pause(&mut self) {
        let most = if self.app.is_healed.get() { 1_000 } else { self.app.work.pause_max };
        let nanos = self.random.below(most);
        // Bursts are as frequent as single calls.
        if !self.random.one_in(2) {
            self.sleep(nanos).await;
        }
    }

    /// Runs a future, but drops it after a while.
    async fn for_a_while<F: Future>(&mut self, nanos: u64, future: F) -> Option<F::Output> {
        let (agenda, number) = (Rc::clone(&self.app.agenda), self.number);
        let until = agenda.now() + nanos;
        agenda.at(until, What::Task(number));
        let mut future = pin!(future);
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if agenda.now() >= until => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn next_stamp(&mut self, topic: usize, partition: i32) -> Stamp {
        self.sent += 1;
        Stamp { task: self.number as u16, number: self.sent, topic: topic as u16, partition }
    }

    fn offer(&mut self, topic: usize) -> Offer {
        let work = &self.app.work;
        let partitions = self.app.topics[topic].1;
        let mut partition = -1;
        if self.random.below(100) < work.explicit {
            // Now and then one that is not there, or not yet.
            let beyond = u64::from(self.random.one_in(200));
            partition = self.random.below(partitions + beyond) as i32;
        }
        let is_keyed = self.random.below(100) < work.keyed;
        let key = is_keyed.then(|| format!("key-{}", self.random.below(50)).into_bytes());
        let bytes = self.random.magnitude(BYTES_MIN as u64, work.value_bytes_max) as usize;
        let stamp = self.next_stamp(topic, partition);
        Offer { stamp, key, value: stamp.value(bytes) }
    }

    fn topic(&mut self) -> usize {
        self.random.index(self.app.topics.len())
    }

    fn keep(&mut self) -> Keep {
        if self.app.chance.borrow_mut().strikes(Fault::DroppedDelivery) {
            return Keep::Not;
        }
        let is_kept = self.random.below(100) < self.app.work.kept;
        if is_kept { Keep::ToTheEnd } else { Keep::UntilTheVerdict }
    }

    fn accept(&mut self, offer: &Offer, delivery: Delivery, keep: Keep) -> usize {
        let now = self.app.agenda.now();
        trace!(self.app.agenda, "accepted {:?}", offer.stamp);
        let place = self.app.ledger.borrow_mut().accept(offer, delivery, keep, now);
        if keep != Keep::Not {
            self.waiting.push(place);
        }
        place
    }

    fn refuse(&mut self, offer: &Offer, why: &str) {
        trace!(self.app.agenda, "refused {:?}: {why}", offer.stamp);
        self.app.ledger.borrow_mut().refuse(offer, why);
    }

    fn failed(&mut self, offer: &Offer, error: &SendError) {
        self.refuse(offer, error.kind_name());
        assert!(!error.possibly_written(), "{:?} was not accepted: {error}", offer.stamp);
        self.is_closed |=
            matches!(error, SendError::Closed { .. } | SendError::SenderFailed { .. });
    }

    async fn send(&mut self) {
        let topic = self.topic();
        let (offer, keep) = (self.offer(topic), self.keep());
        let app = Rc::clone(&self.app);
        let future = app.topics[topic].0.send(record(&offer));
        let is_dropped = app.chance.borrow_mut().strikes(Fault::DroppedFuture);
        let outcome = if is_dropped {
            let nanos = app.chance.borrow_mut().of(Fault::DroppedFuture).magnitude(1, SECOND);
            self.for_a_while(nanos, future).await
        } else {
            Some(future.await)
        };
        match outcome {
            Some(Ok(delivery)) => drop(self.accept(&offer, delivery, keep)),
            Some(Err(error)) => self.failed(&offer, &error),
            None => self.refuse(&offer, "dropped future"),
        }
    }

    fn try_send(&mut self) {
        let topic = self.topic();
        let (offer, keep) = (self.offer(topic), self.keep());
        match self.app.topics[topic].0.try_send(record(&offer)) {
            Ok(delivery) => drop(self.accept(&offer, delivery, keep)),
            Err(error) => self.not_taken(&offer, error),
        }
    }

    /// Writes a value in place, at leisure, or does not after all. Meanwhile it sends nothing else,
    /// so its order is the same whether the reservation comes in time or late.
    async fn reserve(&mut self) {
        let topic = self.topic();
        let (offer, keep) = (self.offer(topic), self.keep());
        let app = Rc::clone(&self.app);
        let reserved = app.topics[topic].0.reserve_record(record(&offer), offer.value.len());
        let mut reservation = match reserved {
            Ok(reservation) => reservation,
            Err(error) => return self.not_taken(&offer, error),
        };
        let half = offer.value.len() / 2;
        reservation[..half].copy_from_slice(&offer.value[..half]);
        if self.random.below(100) < app.work.dawdled && !app.is_healed.get() {
            let nanos = self.random.magnitude(1_000, 200 * MILLISECOND);
            self.sleep(nanos).await;
        }
        reservation[half..].copy_from_slice(&offer.value[half..]);
        if self.random.below(100) < app.work.dropped {
            return self.refuse(&offer, "dropped reservation");
        }
        loop {
            match reservation.try_commit() {
                Ok(delivery) => {
                    self.accept(&offer, delivery, keep);
                    return;
                }
                Err(TrySendError::Memory) if !self.random.one_in(4) => {
                    self.sleep(MILLISECOND).await;
                }
                Err(error) => return self.not_taken(&offer, error),
            }
        }
    }

    fn not_taken(&mut self, offer: &Offer, error: TrySendError) {
        match error {
            TrySendError::Rejected(error) => self.failed(offer, &error),
            error => {
                self.is_closed |= error == TrySendError::Closed;
                self.refuse(offer, "try_send");
            }
        }
    }

    async fn send_batch(&mut self) {
        let topic = self.topic();
        let count = self.random.between(1, BATCH_MAX);
        let offers: Vec<Offer> = (0..count).map(|_| self.offer(topic)).collect();
        let records: Vec<Record<'_>> = offers.iter().map(record).collect();
        let mut deliveries = Vec::new();
        let app = Rc::clone(&self.app);
        let outcome = {
            let future = app.topics[topic].0.send_batch(&records, &mut deliveries);
            let is_dropped = app.chance.borrow_mut().strikes(Fault::DroppedFuture);
            let forever = u64::MAX / 4;
            let nanos = match is_dropped {
                true => app.chance.borrow_mut().of(Fault::DroppedFuture).magnitude(1, SECOND),
                false => forever,
            };
            if nanos == forever {
                Some(future.await)
            } else {
                self.for_a_while(nanos, future).await
            }
        };
        let mut left = offers.iter();
        for delivery in deliveries {
            let offer = left.next().expect("no more deliveries than records");
            let keep = self.keep();
            self.accept(offer, delivery, keep);
        }
        match outcome {
            Some(Ok(())) => assert!(left.next().is_none(), "send_batch took all and said so"),
            Some(Err(error)) => {
                let offer = left.next().expect("send_batch failed at a record");
                self.failed(offer, &error);
            }
            None => {}
        }
        left.for_each(|offer| self.refuse(offer, "behind the end of a send_batch"));
    }

    async fn flush(&mut self) {
        let app = Rc::clone(&self.app);
        let before = app.ledger.borrow().entries.len();
        trace!(app.agenda, "task {} flushes", self.number);
        let nanos = self.random.magnitude(MILLISECOND, 20 * SECOND);
        if self.for_a_while(nanos, app.producer.flush()).await.is_some() {
            let mut ledger = app.ledger.borrow_mut();
            ledger.look();
            let open = ledger.entries[..before].iter().find(|entry| entry.verdict.is_none());
            assert!(open.is_none(), "a flush is over, and this one has no verdict: {open:?}");
        }
    }

    /// Gives up some of what has no verdict. When the purge is over, so is what it meant.
    async fn purge(&mut self) {
        let app = Rc::clone(&self.app);
        let before = app.ledger.borrow().entries.len();
        let topic = (!self.random.one_in(3)).then(|| self.topic());
        let name = topic.map(|topic| Rc::clone(&app).topics[topic].0.name().to_string());
        let purge = Purge {
            topic: name.as_deref(),
            queued: !self.random.one_in(4),
            in_flight: self.random.one_in(2),
        };
        trace!(app.agenda, "task {} purges {purge:?}", self.number);
        let nanos = self.random.magnitude(MILLISECOND, 20 * SECOND);
        let is_over = self.for_a_while(nanos, app.producer.purge(purge)).await.is_some();
        if is_over && purge.queued && purge.in_flight {
            let mut ledger = app.ledger.borrow_mut();
            ledger.look();
            let is_meant = |entry: &&Entry| topic.is_none_or(|it| entry.stamp.topic == it as u16);
            let mut meant = ledger.entries[..before].iter().filter(is_meant);
            let open = meant.find(|entry| entry.verdict.is_none());
            assert!(open.is_none(), "a purge is over, and this one has no verdict: {open:?}");
        }
    }

    /// Holds a topic back for a while; others go on sending to it.
    async fn pause_topic(&mut self) {
        let app = Rc::clone(&self.app);
        let topic = &app.topics[self.topic()].0;
        trace!(app.agenda, "task {} pauses {}", self.number, topic.name());
        topic.pause();
        if !app.is_healed.get() {
            let nanos = self.random.magnitude(MILLISECOND, 20 * SECOND);
            self.sleep(nanos).await;
        }
        trace!(app.agenda, "task {} resumes {}", self.number, topic.name());
        topic.resume();
    }

    async fn warm_up(&mut self) {
        let app = Rc::clone(&self.app);
        let topic = self.topic();
        let name = app.topics[topic].0.name();
        let nanos = self.random.magnitude(MILLISECOND, 20 * SECOND);
        drop(self.for_a_while(nanos, app.producer.warm_up(&[name])).await);
    }

    /// Waits for some of the deliveries, from the oldest on or in any order.
    async fn wait(&mut self) {
        let count = self.random.magnitude(1, 100).min(self.waiting.len() as u64);
        for _ in 0..count {
            let at = if self.random.one_in(4) { self.random.index(self.waiting.len()) } else { 0 };
            let place = self.waiting.remove(at);
            let ledger = Rc::clone(&self.app.ledger);
            let nanos = self.random.magnitude(MILLISECOND, 10 * SECOND);
            let verdict = Verdicts { ledger, place };
            if self.for_a_while(nanos, verdict).await.is_none() {
                return;
            }
        }
    }
}

fn record(offer: &Offer) -> Record<'_> {
    let mut record = Record::new().value(&offer.value);
    if let Some(key) = &offer.key {
        record = record.key(key);
    }
    if offer.stamp.partition >= 0 {
        record = record.partition(offer.stamp.partition);
    }
    record
}
