//! What is asked of a producer whose peer is hostile.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kuring::{Delivery, DriverChoice, Producer, Record, RecordMetadata, SendError};

use crate::counting::peak_and_largest;
use crate::support::deadline::Deadline;
use crate::support::fake_broker::{FakeBroker, PATIENCE, Seen, Turn};
use crate::support::rig::{builder, millis, verdict};

/// All tests of this binary run in one process, and none takes more than a few of these.
const PEAK_BYTES_MAX: usize = 96 << 20;
const ALLOCATION_BYTES_MAX: usize = 16 << 20;

pub(crate) const APIS: [ApiKey; 4] =
    [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::Produce];

/// A producer whose every wait is short.
pub(crate) fn impatient(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    builder(broker, driver)
        .max_block(millis(250))
        .request_timeout(millis(100))
        .delivery_timeout(millis(250))
        .build()
        .unwrap()
}

/// As [`endures`]; the record's error, if any, is the one that the attack explains.
pub(crate) fn survives(
    driver: DriverChoice,
    api: ApiKey,
    broker: &FakeBroker,
    attack: impl FnMut() -> Turn + Send + 'static,
) -> Option<SendError> {
    let error = endures(driver, api, broker, attack);
    error.inspect(|error| check_error(api, error))
}

/// Does `attack` to each request of this kind, until a record has failed of it and the request was
/// tried again; then the same producer has to deliver. The record's error comes back, if any.
pub(crate) fn endures(
    driver: DriverChoice,
    api: ApiKey,
    broker: &FakeBroker,
    mut attack: impl FnMut() -> Turn + Send + 'static,
) -> Option<SendError> {
    // The first metadata request may come before anybody wants a topic: its answer has none, and is
    // left alone, so that every attacked answer looks the same.
    let meant =
        move |seen: &Seen| seen.api == api && (api != ApiKey::Metadata || !seen.topics.is_empty());
    broker.script(move |seen| if meant(seen) { attack() } else { Turn::Serve });
    let producer = impatient(broker, driver);
    let topic = producer.topic("t");
    let deadline = Deadline::after(PATIENCE);
    let mut numbers = 0..;
    // On a busy machine a record's short time may be over before the attack, or before the second.
    let error = loop {
        let value = format!("attacked {:?}", numbers.next());
        let sent = topic.blocking_send(Record::new().value(&value));
        let Err(error) = sent.and_then(verdict) else { break None };
        assert!(!matches!(error, SendError::SenderFailed { .. }), "{error}");
        let met = api != ApiKey::Produce || has_arrived(broker, &value);
        if met && broker.count(api) >= 2 {
            break Some(error);
        }
        deadline.check(|| format!("a second request of {api:?}, the last error: {error}"));
    };
    broker.sane();
    recovers(&producer);
    let summary = producer.close(PATIENCE);
    assert!(summary.acknowledged > 0, "{summary:?}");
    error
}

/// Whether a produce request with this value has reached the broker.
fn has_arrived(broker: &FakeBroker, value: &str) -> bool {
    broker.state(|state| {
        let batches = state.seen.iter().flat_map(|seen| &seen.batches);
        let mut records = batches.flat_map(|batch| &batch.records);
        records.any(|record| record.value.as_deref() == Some(value.as_bytes()))
    })
}

/// The error is about the time that passed, not about a bug.
fn check_error(api: ApiKey, error: &SendError) {
    let written = api == ApiKey::Produce;
    match error {
        SendError::TimedOut { possibly_written, .. } if *possibly_written == written => {}
        SendError::Unknown { .. } if !written => {}
        _ => panic!("{api:?} was attacked, and the record has {error:?}"),
    }
}

/// Sends until a record arrives.
pub(crate) fn recovers(producer: &Producer) -> RecordMetadata {
    let deadline = Deadline::after(PATIENCE);
    let topic = producer.topic("t");
    loop {
        let sent = topic.blocking_send(Record::new().value("recovered"));
        match sent.and_then(Delivery::wait) {
            Ok(told) => return told,
            Err(error) => deadline.check(|| format!("a recovery, the last error: {error}")),
        }
    }
}

/// Long enough for every retry that a test asks for.
pub(crate) fn patient(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    builder(broker, driver)
        .retry_backoff(millis(1))
        .retry_backoff_max(millis(1))
        .reconnect_backoff(millis(1))
        .reconnect_backoff_max(millis(1))
        .request_timeout(Duration::from_secs(5))
        .delivery_timeout(Duration::from_secs(100))
        .max_block(Duration::from_secs(100))
        .build()
        .unwrap()
}

/// No claimed length or count was believed.
pub(crate) fn check_memory() {
    let (peak, largest) = peak_and_largest();
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes at one time");
    assert!(largest < ALLOCATION_BYTES_MAX, "{largest} bytes at once");
}
