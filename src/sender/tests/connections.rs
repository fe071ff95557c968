//! Connections: greeting, answers in order, time limits, throttling, addresses, versions.
#![forbid(unsafe_code)]

use core::net::SocketAddr;

use super::rig::{Rig, config, ms};
use super::wire::{self, Said};
use crate::config::Acks;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

#[test]
fn net_1_a_connection_takes_a_request_only_when_the_last_one_is_written() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    rig.world.stalled.insert(1);
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    assert_eq!(rig.world.frames.len(), 1);
    rig.world.return_frames();
    rig.run();
    assert_eq!(rig.pending(), ["1: t-0 7000/0@1 [a]", "1: t-0 7000/0@2 [b]"]);
}

#[test]
fn net_2_an_answer_to_another_request_closes_the_connection() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    rig.send("t-0", "b");
    let (first, second) = (rig.produce(), rig.produce());
    let said = [Said::written(0)];
    rig.world.receive(second.connection, wire::produce_answer(&second, &said, 0));
    rig.run();
    assert!(!rig.world.open.contains_key(&first.connection));
    assert_eq!(rig.verdict(a), "pending", "its requests are lost, and tried again");
    rig.advance(ms(300));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    rig.assert_nothing_left();
}

#[test]
fn net_2_bytes_that_nobody_asked_for_close_the_connection() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0, 0, 0, 4, 0, 0, 0, 99],
        &[0xff, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff, 0],
    ];
    for bytes in answers {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", "a");
        let request = rig.produce();
        rig.world.receive(request.connection, bytes.to_vec());
        rig.run();
        assert!(!rig.world.open.contains_key(&request.connection), "{bytes:?}");
        rig.advance(ms(300));
        rig.accept_next();
        rig.assert_nothing_left();
    }
}

#[test]
fn net_2_an_answer_cut_at_any_byte_loses_nothing() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "warm");
    rig.accept_next();
    let mut cut = 0;
    loop {
        rig.send("t-0", "a");
        let request = rig.produce();
        let whole = rig.world.produce_answer(&request);
        if cut == whole.len() {
            break;
        }
        // The batch was written; the answer comes in part, and then the connection is gone.
        rig.world.receive(request.connection, whole[..cut].to_vec());
        rig.run();
        rig.cut(request.connection);
        rig.advance(ms(300));
        rig.accept_next();
        cut += 1;
        assert_eq!(rig.log("t-0").len(), cut + 1, "cut after {} bytes", cut - 1);
    }
}

#[test]
fn net_2_an_answer_may_come_byte_by_byte() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    for byte in rig.world.produce_answer(&request) {
        assert_eq!(rig.verdict(a), "pending");
        rig.world.receive(request.connection, vec![byte]);
        rig.run();
    }
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn net_3_correlation_ids_count_up() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.send("t-0", "b");
    let (first, second) = (rig.produce(), rig.produce());
    assert_eq!(second.correlation, first.correlation + 1);
}

#[test]
fn net_4_one_late_request_closes_the_connection_and_all_of_its_requests_timed_out() {
    let config = config().idempotence(false).retries(0).request_timeout(ms(500));
    let mut rig = Rig::new(config, &[1, 1]);
    let a = rig.send("t-0", "a");
    rig.advance(ms(400));
    let b = rig.send("t-1", "b");
    let request = rig.produce();
    rig.advance(ms(99));
    assert_eq!(rig.verdict(a), "pending");
    rig.advance(ms(1));
    assert!(!rig.world.open.contains_key(&request.connection));
    assert_eq!(rig.verdict(a), "REQUEST_TIMED_OUT, maybe written");
    assert_eq!(rig.verdict(b), "REQUEST_TIMED_OUT, maybe written");
    rig.assert_nothing_left();
}

#[test]
fn net_4_a_plain_disconnect_is_a_network_exception() {
    let mut rig = Rig::new(config().idempotence(false).retries(0), &[1]);
    let a = rig.send("t-0", "a");
    let request = rig.produce();
    rig.cut(request.connection);
    assert_eq!(rig.verdict(a), "NETWORK_EXCEPTION, maybe written");
    rig.assert_nothing_left();
}

#[test]
fn net_4_requests_that_timed_out_are_sent_again_in_order() {
    let mut rig = Rig::new(config().request_timeout(ms(500)), &[1]);
    for value in ["a", "b", "c"] {
        rig.send("t-0", value);
    }
    rig.advance(ms(500));
    rig.world.inbox.clear();
    rig.advance(ms(120));
    for _ in 0..10 {
        while !rig.pending().is_empty() {
            rig.accept_next();
        }
        rig.advance(ms(20));
    }
    assert_eq!(rig.log("t-0"), ["a", "b", "c"]);
    rig.assert_nothing_left();
}

#[test]
fn net_4_throttle_time_that_was_handed_out_meanwhile_counts_extra() {
    let mut rig = Rig::new(config().request_timeout(ms(500)), &[1, 1]);
    rig.send("t-0", "a");
    rig.send("t-1", "b");
    rig.world.throttle_ms = 300;
    rig.accept_next();
    rig.world.throttle_ms = 0;
    let request = rig.produce();
    rig.advance(ms(799));
    assert!(rig.world.open.contains_key(&request.connection));
    rig.advance(ms(1));
    assert!(!rig.world.open.contains_key(&request.connection));
}

#[test]
fn net_4_a_greeting_without_an_answer_ends_as_well() {
    let mut rig = Rig::new(config().request_timeout(ms(500)), &[2]);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.send("t-0", "a");
    assert_eq!(rig.connects_to(2), 1);
    rig.advance(ms(600));
    assert_eq!(rig.connects_to(2), 2);
    rig.world.held.retain(|api| *api != ApiKey::ApiVersions);
    while rig.pending().is_empty() {
        rig.advance(ms(50));
    }
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn net_5_a_throttled_connection_sends_nothing_and_reads_on() {
    let mut rig = Rig::new(config(), &[1, 1]);
    rig.send("t-0", "a");
    let b = rig.send("t-1", "b");
    rig.world.throttle_ms = 1_000;
    rig.accept_next();
    let c = rig.send("t-0", "c");
    rig.world.throttle_ms = 100;
    rig.accept_next();
    assert_eq!(rig.verdict(b), "offset 0", "reads continue");
    rig.advance(ms(999));
    assert!(rig.pending().is_empty(), "the second answer does not shorten the rest");
    rig.advance(ms(1));
    rig.world.throttle_ms = 0;
    rig.accept_next();
    assert_eq!(rig.verdict(c), "offset 1");
    rig.assert_nothing_left();
}

#[test]
fn net_5_metadata_waits_for_a_throttled_connection_too() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    rig.world.throttle_ms = 2_000;
    let request = rig.produce();
    rig.accept(&request);
    let asked = rig.world.seen.len();
    rig.cluster.mark_stale();
    rig.advance(ms(1_999));
    let to_it =
        |rig: &Rig| rig.world.seen[asked..].iter().filter(|(broker, _)| *broker == 1).count();
    // The bootstrap connection leads to the same broker, but it is another connection.
    assert!(to_it(&rig) <= 1);
    assert_eq!(rig.sender.nodes[1].in_flight.len(), 0);
}

#[test]
fn net_5_a_rest_is_no_failure_however_long_and_its_end_never_moves_back() {
    let config = config().request_timeout(ms(500)).connection_idle_max(Some(ms(1_000)));
    let mut rig = Rig::new(config, &[1, 1]);
    rig.send("t-0", "a");
    rig.world.throttle_ms = 60_000;
    let request = rig.produce();
    rig.accept(&request);
    rig.world.throttle_ms = 0;
    let b = rig.send("t-0", "b");
    rig.advance(ms(59_999));
    assert!(rig.pending().is_empty());
    assert!(rig.world.open.contains_key(&request.connection), "neither late nor idle");
    rig.advance(ms(1));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
    assert_eq!(rig.sender.counters().retries, 0);
    rig.assert_nothing_left();
}

#[test]
fn net_5_a_broker_that_asks_for_24_days_gets_five_minutes() {
    let mut rig = Rig::new(config().delivery_timeout(ms(900_000)), &[1]);
    rig.send("t-0", "a");
    rig.world.throttle_ms = i32::MAX;
    rig.accept_next();
    rig.world.throttle_ms = 0;
    let b = rig.send("t-0", "b");
    rig.advance(ms(299_999));
    assert!(rig.pending().is_empty());
    rig.advance(ms(1));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    assert_eq!(rig.verdict(b), "offset 1");
}

#[test]
fn net_5_throttled_metadata_does_not_keep_the_other_brokers_from_being_asked() {
    let mut rig = Rig::cold(config(), &[2]);
    rig.world.says.throttle_ms = i32::MAX;
    rig.run();
    let a = rig.send("t-0", "a");
    rig.world.says.throttle_ms = 0;
    rig.advance(ms(2_000));
    rig.refuse_next(ErrorCode::NotLeaderOrFollower);
    rig.world.lead("t", 0, 3);
    rig.advance(ms(3_000));
    if rig.pending()[0].starts_with("2: ") {
        rig.refuse_next(ErrorCode::NotLeaderOrFollower);
        rig.advance(ms(2_000));
    }
    assert_eq!(rig.accept_next(), "3: t-0 7000/0@0 [a]");
    assert_eq!(rig.verdict(a), "offset 0");
}

#[test]
fn net_6_what_waits_for_a_resting_connection_expires_in_time() {
    let mut rig = Rig::new(config().delivery_timeout(ms(40_000)), &[1]);
    rig.send("t-0", "a");
    rig.world.throttle_ms = 100_000;
    rig.accept_next();
    let b = rig.send("t-0", "b");
    rig.advance(ms(39_999));
    assert_eq!(rig.verdict(b), "pending");
    rig.advance(ms(1));
    assert_eq!(rig.verdict(b), "timed-out");
    rig.assert_nothing_left();
}

#[test]
fn net_5_old_produce_versions_throttle_on_the_brokers_side() {
    let mut rig = Rig::cold(config(), &[1]);
    let old = vec![
        (ApiKey::Produce, 0, 5),
        (ApiKey::Metadata, 0, 5),
        (ApiKey::ApiVersions, 0, 1),
        (ApiKey::InitProducerId, 0, 0),
    ];
    rig.world.ranges.insert(1, old);
    rig.run();
    rig.send("t-0", "a");
    rig.world.throttle_ms = 60_000;
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a]");
    rig.send("t-0", "b");
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@1 [b]");
    rig.assert_nothing_left();
}

#[test]
fn net_7_without_acks_a_record_is_done_when_it_is_written_to_the_socket() {
    let mut rig = Rig::new(config().acks(Acks::None), &[1]);
    rig.send("t-0", "warm");
    rig.world.stalled.insert(1);
    let a = rig.send("t-0", "a");
    assert_eq!(rig.verdict(a), "pending");
    rig.world.return_frames();
    rig.run();
    assert_eq!(rig.verdict(a), "written");
    rig.world.stalled.clear();
    for value in ["b", "c", "d", "e", "f", "g", "h"] {
        let record = rig.send("t-0", value);
        assert_eq!(rig.verdict(record), "written", "no answer is awaited");
    }
    rig.world.inbox.clear();
    rig.advance(ms(60_000));
    rig.assert_nothing_left();
}

#[test]
fn net_7_without_acks_a_frame_that_was_not_written_is_tried_again() {
    let mut rig = Rig::new(config().acks(Acks::None), &[1]);
    rig.send("t-0", "warm");
    rig.world.stalled.insert(1);
    let a = rig.send("t-0", "a");
    let connection = rig.world.frames[0].connection;
    rig.cut(connection);
    assert_eq!(rig.verdict(a), "pending");
    rig.world.stalled.clear();
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(a), "written");
    rig.assert_nothing_left();
}

#[test]
fn net_7_without_acks_an_answer_closes_the_connection() {
    let mut rig = Rig::new(config().acks(Acks::None), &[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.world.receive(request.connection, vec![0, 0, 0, 4, 0, 0, 0, 1]);
    rig.run();
    assert!(!rig.world.open.contains_key(&request.connection));
}

#[test]
fn net_8_a_connection_greets_before_anything_else() {
    let mut rig = Rig::new(config(), &[2]);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.send("t-0", "a");
    rig.advance(ms(100));
    let to_it: Vec<_> = rig.world.seen.iter().filter(|(broker, _)| *broker == 2).collect();
    assert_eq!(to_it, [&(2, ApiKey::ApiVersions)]);
    let request = rig.request(ApiKey::ApiVersions);
    let answer = rig.world.versions_answer(&request);
    rig.world.answer(&request, answer);
    rig.run();
    assert_eq!(rig.pending().len(), 1);
}

/// Answers the greeting of broker 2 with an error; returns the versions that were tried.
fn greet_with(error: ErrorCode, listed: &[(ApiKey, i16, i16)]) -> (Rig, Vec<i16>) {
    let mut rig = Rig::new(config(), &[2]);
    rig.world.held.push(ApiKey::ApiVersions);
    rig.send("t-0", "a");
    let first = rig.request(ApiKey::ApiVersions);
    rig.world.answer(&first, wire::versions_answer(&first, error, listed));
    rig.run();
    let mut versions = vec![first.version];
    if rig.world.inbox.iter().any(|arrived| arrived.api == ApiKey::ApiVersions) {
        let second = rig.request(ApiKey::ApiVersions);
        versions.push(second.version);
        let answer = rig.world.versions_answer(&second);
        rig.world.answer(&second, answer);
        rig.run();
    }
    (rig, versions)
}

#[test]
fn net_9_a_broker_that_does_not_know_the_version_names_one() {
    let unsupported = ErrorCode::UnsupportedVersion;
    let (mut rig, versions) = greet_with(unsupported, &[(ApiKey::ApiVersions, 0, 2)]);
    assert_eq!(versions, [4, 2]);
    rig.accept_next();
    let (mut rig, versions) = greet_with(unsupported, &[]);
    assert_eq!(versions, [4, 0], "without a list it is version 0");
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn net_9_any_other_error_ends_the_connection() {
    let (rig, versions) = greet_with(ErrorCode::ClusterAuthorizationFailed, &[]);
    assert_eq!(versions, [4]);
    assert!(rig.world.open.values().all(|broker| *broker != 2));
}

fn address(last: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, last], port).into()
}

#[test]
fn net_10_every_address_of_a_host_is_tried_before_it_is_resolved_again() {
    let mut rig = Rig::cold(config(), &[2]);
    rig.world.brokers[1].1 = "two.example".to_owned();
    rig.run();
    let found = [address(1, 9002), address(2, 9002), address(3, 9002)];
    rig.world.refused.extend(&found[..2]);
    rig.send("t-0", "a");
    rig.resolved(&found);
    let tried = |rig: &Rig| -> Vec<_> {
        rig.world.connects.iter().filter(|at| at.port() == 9002).copied().collect()
    };
    assert_eq!(tried(&rig), found);
    let request = rig.produce();
    // An established connection that is lost has the host resolved again.
    rig.cut(request.connection);
    rig.advance(ms(130));
    assert_eq!(rig.resolving.len(), 1);
    rig.resolved(&[address(4, 9002)]);
    assert_eq!(tried(&rig).last(), Some(&address(4, 9002)));
    rig.advance(ms(200));
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn net_10_a_host_that_is_not_resolved_is_asked_for_ever_more_rarely() {
    let mut rig = Rig::cold(config(), &[2]);
    rig.world.brokers[1].1 = "two.example".to_owned();
    rig.run();
    rig.send("t-0", "a");
    let mut waits = Vec::new();
    for _ in 0..6 {
        rig.resolved(&[]);
        let mut waited = 0;
        while rig.resolving.is_empty() {
            rig.advance(ms(1));
            waited += 1;
        }
        waits.push(waited);
    }
    assert!(waits[0] <= 61 && waits[5] >= 999, "{waits:?}");
}

#[test]
fn net_11_an_idle_connection_is_closed_and_made_again_when_it_is_needed() {
    let config = config().connection_idle_max(Some(ms(10_000)));
    let mut rig = Rig::new(config.metadata_age_max(ms(3_600_000)), &[2]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.accept(&request);
    rig.advance(ms(9_999));
    assert!(rig.world.open.contains_key(&request.connection));
    rig.advance(ms(1));
    assert!(!rig.world.open.contains_key(&request.connection));
    rig.advance(ms(1_000));
    rig.send("t-0", "b");
    rig.advance(ms(100));
    rig.accept_next();
    rig.assert_nothing_left();
}

#[test]
fn net_11_a_connection_with_a_request_out_is_not_idle() {
    let config = config().connection_idle_max(Some(ms(1_000)));
    let mut rig = Rig::new(config, &[1]);
    rig.send("t-0", "a");
    let request = rig.produce();
    rig.advance(ms(20_000));
    assert!(rig.world.open.contains_key(&request.connection));
    rig.accept(&request);
    rig.assert_nothing_left();
}

#[test]
fn what_a_driver_says_of_an_earlier_connection_is_not_taken_for_news_of_the_present_one() {
    let mut rig = Rig::new(config(), &[1]);
    rig.send("t-0", "a");
    let old = rig.produce();
    rig.cut(old.connection);
    rig.advance(ms(300));
    let present = rig.produce();
    assert_ne!(present.connection, old.connection);
    let now = rig.now;
    rig.sender.handle_received(old.connection, &[0, 0, 0, 1, 0xff], now);
    rig.sender.handle_closed(old.connection, &"again", now);
    rig.run();
    assert!(rig.world.open.contains_key(&present.connection), "it stays");
    rig.accept(&present);
    assert_eq!(rig.verdict(0), "offset 0");
    rig.assert_nothing_left();
}
