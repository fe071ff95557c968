//! Each fault, met by a producer: what is acknowledged is in the log once, in order.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::testing::{Api, Cluster, ClusterError};
use kuring::{BrokerId, Delivery, DriverChoice, ErrorCode, Producer, Record};

use crate::rig::{PATIENCE, one, producer, values};
use crate::support::rig::{builder_for, millis, offsets, verdict};

fn send(producer: &Producer, value: &str) -> Delivery {
    producer.topic("t").blocking_send(Record::new().partition(0).value(value)).unwrap()
}

/// Sends five records under a fault, and looks whether they are in the log once, in order.
fn sent_once_in_order(cluster: &Cluster) {
    let producer = producer(cluster);
    let deliveries = ["a", "b", "c", "d", "e"].map(|value| send(&producer, value));
    assert_eq!(offsets(deliveries.into()), [0, 1, 2, 3, 4]);
    assert_eq!(values(&cluster.records("t").unwrap()), ["a", "b", "c", "d", "e"]);
    assert_eq!(cluster.complaints(), [""; 0]);
}

#[test]
fn a_retriable_error_strikes_as_often_as_it_was_told_and_nothing_is_lost() {
    for code in [ErrorCode::NotLeaderOrFollower, ErrorCode::NotEnoughReplicas] {
        let cluster = one();
        let fault = cluster.fail(Api::Produce).partition("t", 0).with(code).times(3);
        sent_once_in_order(&cluster);
        assert_eq!(fault.hits(), 3, "{code}");
        assert_eq!(cluster.duplicates("t").unwrap(), 0, "{code}: it was not appended");
    }
}

#[test]
fn seq_an_error_after_the_append_leads_to_a_duplicate_that_keeps_its_offset() {
    let cluster = one();
    let code = ErrorCode::NotEnoughReplicasAfterAppend;
    let fault = cluster.fail(Api::Produce).with(code).after_append().once();
    sent_once_in_order(&cluster);
    assert_eq!((fault.hits(), cluster.duplicates("t").unwrap()), (1, 1));
}

#[test]
fn a_final_error_fails_the_records_with_the_brokers_code() {
    let cluster = one();
    cluster.fail(Api::Produce).with(ErrorCode::TopicAuthorizationFailed).once();
    let producer = producer(&cluster);
    let error = verdict(send(&producer, "denied")).unwrap_err();
    assert!(error.to_string().contains("TOPIC_AUTHORIZATION_FAILED"), "{error}");
    assert!(!error.possibly_written());
    assert!(cluster.records("t").unwrap().is_empty());
}

#[test]
fn net_a_connection_that_is_closed_before_or_after_the_append_loses_and_doubles_nothing() {
    for (after_append, duplicates) in [(false, 0), (true, 1)] {
        let cluster = one();
        let fault = cluster.fail(Api::Produce).disconnect();
        let fault = if after_append { fault.after_append().once() } else { fault.once() };
        sent_once_in_order(&cluster);
        assert_eq!((fault.hits(), cluster.duplicates("t").unwrap()), (1, duplicates));
    }
}

#[test]
fn exp_a_lost_answer_and_a_lost_request_are_noticed_in_time_and_sent_again() {
    for answer in [true, false] {
        let cluster = one();
        let fault = cluster.fail(Api::Produce);
        let fault = if answer { fault.lose_answer() } else { fault.lose_request() }.once();
        let producer = builder_for(cluster.bootstrap_servers(), DriverChoice::Epoll)
            .request_timeout(millis(200))
            .build()
            .unwrap();
        assert_eq!(verdict(send(&producer, "a")).unwrap().offset, Some(0));
        assert_eq!((fault.hits(), values(&cluster.records("t").unwrap())), (1, vec!["a".into()]));
        // On a busy machine other requests may take too long as well.
        assert!(!answer || cluster.duplicates("t").unwrap() >= 1, "it was there already");
    }
}

#[test]
fn a_held_answer_waits_and_its_records_are_in_the_log_already() {
    let cluster = one();
    let fault = cluster.fail(Api::Produce).hold().once();
    let producer = producer(&cluster);
    let delivery = send(&producer, "held");
    assert_eq!(values(&cluster.await_records("t", 1, PATIENCE).unwrap()), ["held"]);
    fault.await_hits(1, PATIENCE).unwrap();
    assert!(!delivery.is_done(), "nobody has answered");
    fault.release();
    assert_eq!(verdict(delivery).unwrap().offset, Some(0));
}

#[test]
fn delayed_answers_keep_their_order() {
    let cluster = one();
    let fault = cluster.fail(Api::Produce).delay(millis(30)).times(2);
    sent_once_in_order(&cluster);
    assert!(fault.hits() >= 1);
}

#[test]
fn a_throttled_producer_is_told_for_how_long() {
    let cluster = one();
    let fault = cluster.fail(Api::Produce).throttle(millis(20)).always();
    sent_once_in_order(&cluster);
    assert!(fault.hits() >= 1);
    let hits = fault.hits();
    fault.disarm();
    let producer = producer(&cluster);
    assert_eq!(verdict(send(&producer, "f")).unwrap().offset, Some(5));
    assert_eq!(fault.hits(), hits);
}

#[test]
fn faults_of_other_requests_delay_the_start_and_no_more() {
    let cluster = one();
    let faults = [
        cluster.fail(Api::InitProducerId).with(ErrorCode::CoordinatorLoadInProgress).once(),
        cluster.fail(Api::Metadata).topic("t").with(ErrorCode::LeaderNotAvailable).once(),
        cluster.fail(Api::Metadata).partition("t", 0).with(ErrorCode::LeaderNotAvailable).once(),
        cluster.fail(Api::ApiVersions).disconnect().once(),
    ];
    sent_once_in_order(&cluster);
    assert_eq!(faults.map(|fault| fault.hits()), [1; 4]);
}

#[test]
fn rbt_4_a_greeting_that_is_sent_away_costs_time_and_no_record() {
    let cluster = one();
    let producer = producer(&cluster);
    assert_eq!(verdict(send(&producer, "a")).unwrap().offset, Some(0));
    let code = ErrorCode::RebootstrapRequired;
    let fault = cluster.fail(Api::ApiVersions).with(code).times(3);
    cluster.disconnect_clients();
    assert_eq!(verdict(send(&producer, "b")).unwrap().offset, Some(1));
    assert_eq!((fault.hits(), cluster.complaints()), (3, vec![]));
    assert_eq!(values(&cluster.records("t").unwrap()), ["a", "b"]);
    assert_eq!(cluster.duplicates("t").unwrap(), 0);
    let greetings = cluster.requests_of(Api::ApiVersions);
    assert!(greetings.iter().any(|greeting| greeting.version == 5), "it says whom it wants");
}

#[test]
fn an_error_strikes_its_partition_broker_and_client_only() {
    let cluster = Cluster::builder().brokers(2).topic("t", 2).topic("u", 1).start().unwrap();
    let code = ErrorCode::InvalidRecord;
    let missed = [
        cluster.fail(Api::Produce).partition("t", 7).with(code).always(),
        cluster.fail(Api::Produce).topic("v").with(code).always(),
        cluster.fail(Api::Produce).broker(BrokerId(2)).topic("u").with(code).always(),
        cluster.fail(Api::Produce).client_id("somebody-else").with(code).always(),
        cluster.fail(Api::Fetch).with(code).always(),
    ];
    let met = cluster.fail(Api::Produce).broker(BrokerId(2)).partition("t", 1).with(code).always();
    let producer = producer(&cluster);
    let send = |topic: &str, partition| {
        let record = Record::new().partition(partition).value("v");
        verdict(producer.topic(topic).blocking_send(record).unwrap())
    };
    assert!(send("t", 0).is_ok() && send("u", 0).is_ok());
    assert!(send("t", 1).is_err());
    assert_eq!(missed.map(|fault| fault.hits()), [0; 5]);
    assert_eq!(met.hits(), 1);
}

#[test]
fn faults_that_are_armed_one_after_the_other_strike_one_request_each() {
    let cluster = one();
    let codes =
        [ErrorCode::NotEnoughReplicas, ErrorCode::RequestTimedOut, ErrorCode::NetworkException];
    let faults = codes.map(|code| cluster.fail(Api::Produce).with(code).once());
    sent_once_in_order(&cluster);
    assert_eq!(faults.map(|fault| fault.hits()), [1; 3]);
    let requests = cluster.requests_of(Api::Produce);
    assert!(requests.len() >= 4, "three were refused: {requests:#?}");
    let sequences: Vec<_> = requests[..4].iter().map(|it| it.batches[0].base_sequence).collect();
    assert_eq!(sequences, [0; 4], "the first batch goes alone until it is acknowledged");
}

#[test]
fn what_does_not_come_is_told_with_what_there_is() {
    let cluster = one();
    let error = cluster.await_records("t", 2, Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.to_string(), "after 1ms, 0 of 2 records in t");
    let fault = cluster.fail(Api::Produce).hold().once();
    assert!(matches!(fault.await_hits(1, millis(1)), Err(ClusterError::TimedOut { found: 0, .. })));
    assert!(cluster.await_requests(Api::Fetch, 1, millis(1)).is_err());
}
