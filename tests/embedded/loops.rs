//! Loops without a runtime.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::thread;

use kafka_protocol::messages::ApiKey;
use kuring::embedded::LocalTopic;
use kuring::{Completion, DriverChoice, Embedded, Progress, Record, TrySendError};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::support::deadline::{Deadline, now};
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::own_process::in_own_process;
use crate::support::rig::{builder, millis};

pub(crate) fn embedded(broker: &FakeBroker, driver: DriverChoice) -> Embedded {
    let producer = builder(broker, driver).embedded().unwrap();
    producer.blocking_warm_up(&["t"]).unwrap();
    producer
}

/// Moves what can be polled to `found`.
pub(crate) fn poll(producer: &Embedded, found: &mut Vec<Completion>) {
    let mut completions = [const { Completion::EMPTY }; 7];
    loop {
        let count = producer.poll_deliveries(&mut completions);
        found.extend_from_slice(&completions[..count]);
        if count < completions.len() {
            return;
        }
    }
}

/// That these are all records of a partition that 0, 1, 2, … were submitted to, in order.
pub(crate) fn are_in_order(found: &[Completion], count: u64) {
    let told = found.iter().map(|completion| {
        let acknowledged = completion.verdict.as_ref().unwrap();
        (completion.user_data, acknowledged.offset.unwrap())
    });
    assert!(told.eq((0..count).zip(0..)), "{found:?}");
}

/// Submits records that are numbered on, until there is no memory.
fn submit(topic: &LocalTopic, next: &mut u64, end: u64) {
    while *next < end {
        let value = next.to_string();
        match topic.try_submit(Record::new().partition(0).value(&value), *next) {
            Ok(()) => *next += 1,
            Err(TrySendError::Memory) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn a_bare_loop_gets_one_completion_per_record_in_order(driver: DriverChoice) {
    const RECORDS: u64 = 20_000;
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = embedded(&broker, driver);
    let topic = producer.topic("t");
    let (mut next, mut found) = (0, Vec::new());
    while (found.len() as u64) < RECORDS {
        submit(&topic, &mut next, RECORDS);
        producer.turn(None);
        poll(&producer, &mut found);
    }
    are_in_order(&found, RECORDS);
    assert_eq!(producer.close(PATIENCE).acknowledged, RECORDS);
    poll(&producer, &mut found);
    assert_eq!(found.len() as u64, RECORDS, "each has one");
    let values = broker.values("t", 0);
    assert!(values.into_iter().eq((0..RECORDS).map(|number| number.to_string())));
}

/// Waits as a loop of one's own does: for the descriptor, until the deadline.
fn wait(producer: &Embedded) {
    let until = producer.next_deadline().map(|until| until.saturating_duration_since(now()));
    let until = until.unwrap_or(PATIENCE);
    let until = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: until.subsec_nanos().into() };
    let mut watched = [PollFd::new(producer, PollFlags::IN)];
    rustix::event::poll(&mut watched, Some(&until)).unwrap();
}

pub(crate) fn a_loop_that_waits_on_the_descriptor_is_told_of_everything(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = builder(&broker, driver).embedded().unwrap();
    let topic = producer.topic("t");
    let (mut sent, mut found) = (0, Vec::new());
    let deadline = Deadline::after(PATIENCE);
    while found.len() < 200 {
        deadline.check(|| format!("{} of 200 completions", found.len()));
        // One at a time: each round trip needs the loop to be told of the answer.
        if sent == found.len() as u64 {
            match topic.try_submit(Record::new().value("v"), sent) {
                Ok(()) => sent += 1,
                Err(TrySendError::Metadata) => {}
                Err(error) => panic!("{error}"),
            }
        }
        while producer.turn(Some(now())) == Progress::Again {}
        poll(&producer, &mut found);
        if found.len() as u64 != sent || sent == 0 {
            wait(&producer);
        }
    }
    are_in_order(&found, 200);
    assert!(producer.as_fd().try_clone_to_owned().is_ok());
}

pub(crate) fn a_future_of_somebody_else_is_waited_for_as_well(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = embedded(&broker, driver);
    let topic = producer.topic("t");
    let other = builder(&broker, DriverChoice::Epoll).build().unwrap();
    other.blocking_warm_up(&["t"]).unwrap();
    for _ in 0..20 {
        let own = topic.try_send(Record::new().value("own")).unwrap();
        // Resolved by another thread, while this one waits in a turn.
        let others = other.topic("t").blocking_send(Record::new().value("other's")).unwrap();
        assert!(producer.block_on(others).unwrap().offset.is_some());
        assert!(producer.block_on(own).unwrap().offset.is_some());
    }
    // And it sends what nobody waits for here.
    let forgotten = topic.try_send(Record::new().value("own")).unwrap();
    producer.blocking_flush();
    assert!(forgotten.verdict().unwrap().is_ok());
    producer.close(PATIENCE);
    assert_eq!(producer.block_on(std::future::ready(1)), 1, "also when it is closed");
    assert_eq!(broker.state(|state| state.stored("t")), 41);
}

pub(crate) fn what_is_sent_is_due_at_once_and_what_lingers_is_due_then(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    for linger in [0, 60_000] {
        let producer =
            builder(&broker, driver).linger(millis(linger)).delivery_timeout(PATIENCE * 9);
        let producer = producer.embedded().unwrap();
        producer.blocking_warm_up(&["t"]).unwrap();
        while producer.turn(Some(now())) == Progress::Again {}
        assert!(producer.next_deadline().is_none_or(|due| due > now()));
        let delivery = producer.topic("t").try_send(Record::new()).unwrap();
        let due = producer.next_deadline().expect("a record waits");
        assert_eq!(due > now(), linger > 0);
        if linger > 0 {
            assert!(due <= now() + millis(linger), "at the end of the linger");
        }
        producer.blocking_flush();
        assert!(delivery.is_done());
        producer.close(PATIENCE);
        assert_eq!(producer.turn(None), Progress::Ended);
    }
    assert_eq!(broker.count(ApiKey::Produce), 2);
}

pub(crate) fn two_on_two_threads_do_not_meet(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 2)]);
    let bootstrap = broker.bootstrap();
    let run = |partition: i32| {
        let bootstrap = bootstrap.clone();
        move || {
            let producer = crate::support::rig::builder_for(bootstrap, driver).embedded().unwrap();
            producer.blocking_warm_up(&["t"]).unwrap();
            let topic = producer.topic("t");
            let mut found = Vec::new();
            for number in 0..5_000 {
                let record = Record::new().partition(partition).value("v");
                while topic.try_submit(record, number).is_err() {
                    producer.turn(None);
                }
                producer.turn(Some(now()));
                poll(&producer, &mut found);
            }
            let summary = producer.close(PATIENCE);
            poll(&producer, &mut found);
            are_in_order(&found, 5_000);
            assert_eq!(summary.acknowledged, 5_000);
        }
    };
    let threads = [thread::spawn(run(0)), thread::spawn(run(1))];
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

pub(crate) fn it_has_no_thread_and_ignores_the_affinity(driver: DriverChoice) {
    let name = match driver {
        DriverChoice::Epoll => "epoll",
        DriverChoice::Uring => "uring",
        _ => "auto",
    };
    if !in_own_process(&format!("{name}::it_has_no_thread_and_ignores_the_affinity")) {
        return;
    }
    let broker = FakeBroker::start(&[("t", 1)]);
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let first = cpus.take(1).map(|cpu| cpu.to_string()).collect::<String>();
    let pinned = builder(&broker, driver).property("kuring.affinity", &first).unwrap();
    let producer = pinned.embedded().unwrap();
    // `auto` takes the ring where there is one, and the tests need one.
    let chosen = if driver == DriverChoice::Epoll { "epoll" } else { "uring" };
    assert_eq!(producer.metrics().driver, chosen);
    producer.blocking_warm_up(&["t"]).unwrap();
    assert_eq!(rustix::thread::sched_getaffinity(None).unwrap(), allowed);
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
    assert_eq!(names.filter(|name| name.starts_with("kuring")).count(), 0);
    assert_eq!(producer.close(PATIENCE).failed, 0);
}
