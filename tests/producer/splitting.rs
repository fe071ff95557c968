//! Batches that are too large for a topic, and refusals that name records.
#![forbid(unsafe_code)]

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use kafka_protocol::protocol::StrBytes;
use kuring::{Delivery, DriverChoice, ErrorCode, Producer, Record, SendError};

use crate::rig::{builder, offsets, verdict};
use crate::support::fake_broker::{FakeBroker, Gate, PATIENCE, Seen, Turn};

/// Much less than a batch of the producer below.
const LIMIT_BYTES: usize = 700;

/// Records wait until they are flushed, so that batches are full.
fn producer(broker: &FakeBroker, driver: DriverChoice) -> Producer {
    let builder = builder(broker, driver).linger(Duration::from_secs(600)).batch_bytes(4_000);
    builder.build().unwrap()
}

fn is_too_large(seen: &Seen) -> bool {
    seen.api == ApiKey::Produce && seen.batches.iter().any(|batch| batch.bytes > LIMIT_BYTES)
}

/// A broker whose topic has this limit.
fn narrow(broker: &FakeBroker) {
    broker.script(|seen| match is_too_large(seen) {
        true => Turn::Refuse(ResponseError::MessageTooLarge),
        false => Turn::Serve,
    });
}

fn send(producer: &Producer, values: impl Iterator<Item = String>) -> Vec<Delivery> {
    let topic = producer.topic("t");
    let send = |value: String| topic.blocking_send(Record::new().value(&value)).unwrap();
    values.map(send).collect()
}

pub(crate) fn spl_1_batches_above_the_topics_limit_arrive_once_in_order_with_true_offsets(
    driver: DriverChoice,
) {
    for idempotence in [true, false] {
        let broker = FakeBroker::start(&[("t", 1)]);
        narrow(&broker);
        let builder = builder(&broker, driver).linger(Duration::from_secs(600)).batch_bytes(4_000);
        let builder = match idempotence {
            true => builder,
            // A split consumes no retry (SPL-4): there is none.
            false => builder.idempotence(false).in_flight_max(1).retries(0),
        };
        let producer = builder.build().unwrap();
        // Of all sizes up to a third of the limit.
        let value = |number: usize| format!("{number}:{}", "x".repeat(number * 7 % 200));
        let deliveries = send(&producer, (0..600).map(value));
        producer.blocking_flush();
        assert!(deliveries.iter().all(Delivery::is_done));
        assert_eq!(offsets(deliveries), (0..600).collect::<Vec<_>>());
        assert_eq!(broker.values("t", 0), (0..600).map(value).collect::<Vec<_>>());
        let metrics = producer.metrics();
        assert!(metrics.splits > 10, "{metrics:?}");
        assert_eq!((metrics.records, metrics.acknowledged), (600, 600));
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        assert_eq!(producer.close(PATIENCE).acknowledged, 600);
    }
}

pub(crate) fn spl_1_a_record_above_the_topics_limit_fails_and_its_neighbours_arrive(
    driver: DriverChoice,
) {
    let broker = FakeBroker::start(&[("t", 1)]);
    narrow(&broker);
    let producer = producer(&broker, driver);
    let sizes = [10, 20, 1_000, 30, 40, 900, 50];
    let mut deliveries = send(&producer, sizes.into_iter().map(|size| "x".repeat(size)));
    producer.blocking_flush();
    let mut failed = Vec::new();
    for at in [5, 2] {
        failed.push(verdict(deliveries.remove(at)).unwrap_err());
    }
    for error in failed {
        assert!(!error.possibly_written());
        assert!(error.to_string().contains("max.message.bytes"), "{error}");
    }
    assert_eq!(offsets(deliveries), [0, 1, 2, 3, 4]);
    let summary = producer.close(PATIENCE);
    assert_eq!((summary.acknowledged, summary.failed, summary.never_sent), (5, 2, 0));
}

pub(crate) fn spl_7_a_flush_and_a_close_wait_for_the_last_piece(driver: DriverChoice) {
    for close in [false, true] {
        let broker = FakeBroker::start(&[("t", 1)]);
        let (gate, mut pieces) = (Gate::default(), 0);
        broker.script({
            let gate = gate.clone();
            move |seen| {
                if is_too_large(seen) {
                    return Turn::Refuse(ResponseError::MessageTooLarge);
                }
                pieces += usize::from(seen.api == ApiKey::Produce);
                // All but the first piece are answered late.
                if pieces > 1 { Turn::Hold(gate.clone()) } else { Turn::Serve }
            }
        });
        let producer = producer(&broker, driver);
        let deliveries = send(&producer, (0..8).map(|_| "x".repeat(300)));
        let ending = std::thread::spawn({
            let producer = producer.clone();
            move || match close {
                true => drop(producer.close(PATIENCE)),
                false => producer.blocking_flush(),
            }
        });
        broker.wait_for("the second piece", |state| (state.stored("t") > 2).then_some(()));
        assert!(!deliveries[7].is_done() && !ending.is_finished());
        gate.open();
        ending.join().unwrap();
        assert!(deliveries.iter().all(Delivery::is_done));
        assert_eq!(offsets(deliveries), (0..8).collect::<Vec<_>>());
    }
}

pub(crate) fn kip_467_named_records_fail_for_their_own_reason(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.script(|seen| match seen.batches.iter().any(|batch| batch.records.len() == 3) {
        true => Turn::Edit(Box::new(|response| {
            let partition = &mut response.responses[0].partition_responses[0];
            partition.error_code = ErrorCode::InvalidTimestamp.wire();
            partition.base_offset = -1;
            partition.record_errors = vec![
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(1)
                    .with_batch_index_error_message(Some(StrBytes::from_static_str(
                        "from the future",
                    ))),
            ];
        })),
        false => Turn::Serve,
    });
    let producer = producer(&broker, driver);
    let deliveries = send(&producer, (0..3).map(|number| number.to_string()));
    producer.blocking_flush();
    let errors: Vec<_> = deliveries.into_iter().map(|d| verdict(d).unwrap_err()).collect();
    for error in [&errors[0], &errors[2]] {
        let SendError::InvalidBatch { code: ErrorCode::InvalidTimestamp, .. } = error else {
            panic!("{error}")
        };
    }
    let SendError::Rejected { code: ErrorCode::InvalidTimestamp, .. } = &errors[1] else {
        panic!("{}", errors[1])
    };
    assert!(errors[1].to_string().contains("from the future"), "{}", errors[1]);
    assert_eq!(producer.close(PATIENCE).failed, 3);
}
