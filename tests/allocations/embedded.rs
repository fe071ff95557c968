//! The same for an embedded producer: one thread sends, runs the turns and counts, on either driver
//! that can be embedded, in a loop of its own and as a task of tokio.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::embedded::{Local, LocalTopic};
use kuring::{Completion, Delivery, DriverChoice, Embedded, Metrics, Record, TrySendError};
use tokio::task::{LocalSet, spawn_local};

use crate::counting::{calls, count_this_thread};
use crate::support::deadline::{Deadline, bounded, now};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE};
use crate::support::rig::builder;
use crate::{BUFFER, Held, LINGER, PARTITIONS, RECORDS, TURN, Taken, VALUE, WARM_UP, WINDOW};

struct Flooded {
    broker: FakeBroker,
    held: Held,
    producer: Rc<Embedded>,
    topic: LocalTopic,
}

impl Flooded {
    fn new(driver: DriverChoice) -> Self {
        let (broker, held) = crate::forgetful();
        let producer = builder(&broker, driver).linger(LINGER).embedded().unwrap();
        producer.blocking_warm_up(&["t"]).unwrap();
        let topic = producer.topic("t");
        Self { broker, held, producer: Rc::new(producer), topic }
    }

    /// As much of what takes memory as ever: batches of these partitions in all of it, each full.
    fn fill(&self, partitions: Range<i32>) {
        let gate = Gate::default();
        *self.held.lock().unwrap() = Some(gate.clone());
        let deadline = Deadline::after(PATIENCE);
        let (mut submitted, mut refused) = (0, 0);
        for partition in partitions.cycle() {
            let record = Record::new().partition(partition).value(&VALUE);
            match self.topic.try_submit(record, 0) {
                Ok(()) => (submitted, refused) = (submitted + 1, 0),
                Err(TrySendError::Memory) if refused == 2 * PARTITIONS => break,
                Err(TrySendError::Memory) => {
                    deadline.check(|| "all memory to be in use".to_owned());
                    refused += 1;
                    self.producer.turn(Some(now()));
                }
                Err(error) => panic!("{error}"),
            }
        }
        *self.held.lock().unwrap() = None;
        gate.open();
        let mut completions = [const { Completion::EMPTY }; 100];
        while submitted > 0 {
            submitted -= self.take(&mut completions);
        }
    }

    /// Polls; waits in a turn if there was nothing.
    fn take(&self, completions: &mut [Completion]) -> usize {
        let count = self.producer.poll_deliveries(completions);
        if count == 0 {
            self.producer.turn(Some(now() + PATIENCE));
        }
        assert!(completions[..count].iter().all(|completion| completion.verdict.is_ok()));
        count
    }

    /// Submits so many, in a loop that never has more than the window under way.
    fn submit(&self, count: u64) {
        let mut completions = [const { Completion::EMPTY }; 100];
        let (mut submitted, mut completed) = (0, 0);
        while completed < count {
            while submitted < count && submitted - completed < WINDOW as u64 {
                let record = Record::new().value(&VALUE).partition(submitted as i32 % PARTITIONS);
                match self.topic.try_submit(record, submitted) {
                    Ok(()) => submitted += 1,
                    Err(TrySendError::Memory) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            completed += self.take(&mut completions) as u64;
        }
    }

    /// The same with deliveries that are awaited one by one; something else runs the turns.
    async fn send(&self, count: u64, window: &mut VecDeque<Local<Delivery>>) {
        for _ in 0..count {
            if window.len() == WINDOW {
                window.pop_front().unwrap().await.unwrap();
            }
            window.push_back(self.topic.send(Record::new().value(&VALUE)).await.unwrap());
        }
        for delivery in window.drain(..) {
            delivery.await.unwrap();
        }
    }

    fn measured(&self, calls: usize, before: &Metrics) -> Taken {
        let after = self.producer.metrics();
        assert_eq!(after.acknowledged - before.acknowledged, RECORDS);
        assert_eq!(self.broker.count(ApiKey::Produce), 0, "the broker keeps nothing");
        assert!(before.buffer_total_bytes > 100 * BUFFER, "room for many batches");
        Taken {
            calls,
            batches: after.batches - before.batches,
            requests: after.requests - before.requests,
        }
    }
}

fn warm(driver: DriverChoice) -> Flooded {
    count_this_thread();
    let flooded = Flooded::new(driver);
    for _ in 0..2 {
        (0..PARTITIONS).for_each(|partition| flooded.fill(partition..partition + 1));
        flooded.fill(0..PARTITIONS);
    }
    flooded
}

/// `watched`: with the descriptor in order for somebody who waits for it.
pub(crate) fn a_loop_takes_nothing(driver: DriverChoice, watched: bool) {
    bounded(Duration::from_secs(300), move || {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let flooded = warm(driver);
        if watched {
            flooded.producer.as_fd();
        }
        flooded.submit(WARM_UP);
        let (before, calls_before) = (flooded.producer.metrics(), calls());
        flooded.submit(RECORDS);
        let calls = calls() - calls_before;
        let taken = flooded.measured(calls, &before);
        assert!(taken.batches > 1000 && taken.requests > 200, "{taken:?}");
        assert_eq!(taken.calls, 0, "{taken:?}");
    });
}

pub(crate) fn a_task_takes_nothing(driver: DriverChoice) {
    bounded(Duration::from_secs(300), move || {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let flooded = warm(driver);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let taken = LocalSet::new().block_on(&runtime, async {
            spawn_local(flooded.producer.drive());
            let mut window = VecDeque::with_capacity(WINDOW);
            flooded.send(WARM_UP, &mut window).await;
            let (before, calls_before) = (flooded.producer.metrics(), calls());
            flooded.send(RECORDS, &mut window).await;
            let calls = calls() - calls_before;
            flooded.measured(calls, &before)
        });
        assert!(taken.batches > 1000 && taken.requests > 200, "{taken:?}");
        assert_eq!(taken.calls, 0, "{taken:?}");
    });
}
