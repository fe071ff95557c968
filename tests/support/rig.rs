//! A producer with short times, and how tests wait for it.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kuring::{
    Affinity, ConfigBuilder, Delivery, DriverChoice, Producer, RecordMetadata, SendError,
};
use tokio::runtime;

use crate::support::deadline::Deadline;
use crate::support::fake_broker::{FakeBroker, PATIENCE};

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Times short enough for a test to meet them, and none so short that a busy machine meets them.
pub(crate) fn builder(broker: &FakeBroker, driver: DriverChoice) -> ConfigBuilder {
    builder_for(broker.bootstrap(), driver)
}

pub(crate) fn builder_for(bootstrap: impl Into<String>, driver: DriverChoice) -> ConfigBuilder {
    Producer::builder()
        .bootstrap_servers(bootstrap)
        .driver(driver)
        .affinity(Affinity::None)
        .shards(1)
        .buffer_memory(4 << 20)
        .linger(Duration::ZERO)
        .retry_backoff(millis(5))
        .retry_backoff_max(millis(20))
        .reconnect_backoff(millis(5))
        .reconnect_backoff_max(millis(20))
        .max_block(PATIENCE)
}

/// Runs a future to its end, which has to come.
pub(crate) fn run<F: Future>(what: &str, future: F) -> F::Output {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    ended.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The verdict on a record, which has to come.
pub(crate) fn verdict(delivery: Delivery) -> Result<RecordMetadata, SendError> {
    run("a verdict", delivery)
}

pub(crate) fn offsets(deliveries: Vec<Delivery>) -> Vec<i64> {
    let offset = |delivery| verdict(delivery).unwrap().offset.unwrap();
    deliveries.into_iter().map(offset).collect()
}

/// Waits for what no event tells: a counter that another thread publishes.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Deadline::after(PATIENCE);
    while !reached() {
        deadline.check(|| what.to_owned());
        std::thread::yield_now();
    }
}

/// Polls a future once.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
