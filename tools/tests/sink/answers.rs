//! Every version of every answer, decoded by the oracle.
#![forbid(unsafe_code)]

use std::io::Write;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, FindCoordinatorRequest, InitProducerIdRequest, MetadataRequest,
    ProduceRequest,
};
use kafka_protocol::protocol::StrBytes;
use kuring_tools::sink::{Sink, SinkOptions};

use crate::client::{Client, batch, fit, produce, start, topic_name, verifying};

#[test]
fn api_versions_0_to_4_list_what_is_served() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("oracle");
            request.client_software_version = StrBytes::from_static_str("1");
        }
        let answer = client.call(&request, version);
        assert_eq!(answer.error_code, 0);
        let range = |key| {
            let api = answer.api_keys.iter().find(|api| api.api_key == key).unwrap();
            (api.min_version, api.max_version)
        };
        assert_eq!(range(18), (0, 4));
        assert_eq!(range(3), (0, 13));
        assert_eq!(range(22), (0, 5));
        assert_eq!(range(0).1, 13);
    }
}

#[test]
fn an_api_versions_request_of_the_future_is_answered_in_the_form_of_version_0() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    // Version 90, and a header and body that nobody can know yet.
    client.stream.write_all(&[0, 0, 0, 12, 0, 18, 0, 90, 0, 0, 0, 7, 0xff, 0xfe, 1, 2]).unwrap();
    let frame = client.frame().unwrap();
    assert_eq!(frame[..6], [0, 0, 0, 7, 0, 35]); // correlation id, UNSUPPORTED_VERSION
    assert_eq!(frame.len(), 4 + 2 + 4 + frame[9] as usize * 6);
}

#[test]
fn metadata_0_to_13_says_that_every_topic_exists_and_is_led_here() {
    let sink = start(SinkOptions { partitions: 3, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    for version in 0..=13 {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name("events")));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = client.call(&request, version);
        let broker = &answer.brokers[0];
        assert_eq!(broker.host.as_str(), "127.0.0.1");
        assert_eq!(broker.port, i32::from(sink.address().port()));
        let topic = &answer.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3), "version {version}");
        assert_eq!(topic.name.as_ref().unwrap().as_str(), "events");
        for (index, partition) in (0..).zip(&topic.partitions) {
            assert_eq!((partition.error_code, partition.partition_index), (0, index));
            assert_eq!(partition.leader_id, broker.node_id);
        }
        assert_eq!(topic.topic_id.is_nil(), version < 10);
    }
}

#[test]
fn several_brokers_listen_side_by_side_and_lead_the_partitions_in_turn() {
    let sink = start(SinkOptions { brokers: 3, partitions: 7, ..SinkOptions::default() });
    let port = i32::from(sink.address().port());
    for number in 1..=3 {
        let address = format!("127.0.0.{number}:{port}").parse().unwrap();
        let mut client = Client::connect_to(address);
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name("events")));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = client.call(&request, 12);
        let hosts: Vec<_> = answer.brokers.iter().map(|it| (it.host.as_str(), it.port)).collect();
        assert_eq!(hosts, [("127.0.0.1", port), ("127.0.0.2", port), ("127.0.0.3", port)]);
        let ids: Vec<_> = answer.brokers.iter().map(|it| it.node_id.0).collect();
        let leaders = answer.topics[0].partitions.iter().map(|it| it.leader_id.0);
        assert_eq!((ids, leaders.collect()), (vec![1, 2, 3], vec![1, 2, 3, 1, 2, 3, 1]));
    }
}

#[test]
fn metadata_by_id_finds_the_name_and_an_unknown_id_has_its_error() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    let known = client.topic("events").topic_id;
    let unknown = client.topic("other").topic_id;
    let fresh = verifying();
    let mut elsewhere = Client::connect(&fresh);
    assert_eq!(elsewhere.topic("events").topic_id, known, "the same name has the same id");
    for version in [12, 13] {
        let asked = [known, unknown]
            .map(|id| MetadataRequestTopic::default().with_topic_id(id).with_name(None));
        let request = MetadataRequest::default().with_topics(Some(asked.to_vec()));
        let topics = elsewhere.call(&request, version).topics;
        assert_eq!(topics[0].name.as_ref().unwrap().as_str(), "events");
        assert_eq!((topics[1].error_code, &topics[1].name), (100, &None));
    }
}

#[test]
fn metadata_of_all_topics_lists_those_that_were_asked_for() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    client.topic("a");
    client.topic("b");
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(client.call(&all, 9).topics.len(), 2);
    let none = MetadataRequest::default().with_topics(Some(vec![]));
    assert_eq!(client.call(&none, 9).topics.len(), 0);
    assert_eq!(client.call(&none, 0).topics.len(), 2);
    assert_eq!(client.topic("not a name").error_code, 17);
}

#[test]
fn a_topic_that_is_made_by_its_first_request_is_unknown_to_it() {
    let sink = start(SinkOptions { topics_auto: true, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    assert_eq!(client.topic("events").error_code, 3);
    assert_eq!(client.topic("events").error_code, 0);
}

#[test]
fn init_producer_id_0_to_5_gives_a_new_id_each_time() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    let mut ids = Vec::new();
    for version in 0..=5 {
        let answer = client.call(&InitProducerIdRequest::default(), version);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        ids.push(answer.producer_id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn find_coordinator_0_to_6_names_this_broker() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    let key = StrBytes::from_static_str("id");
    for version in 0..=6 {
        let mut request = FindCoordinatorRequest::default();
        if version >= 1 {
            request.key_type = 1;
        }
        if version >= 4 {
            request.coordinator_keys = vec![key.clone(), key.clone()];
        } else {
            request.key = key.clone();
        }
        let answer = client.call(&request, version);
        let port = i32::from(sink.address().port());
        if version >= 4 {
            assert_eq!(answer.coordinators.len(), 2);
            assert_eq!((answer.coordinators[1].port, answer.coordinators[1].error_code), (port, 0));
        } else {
            assert_eq!((answer.port, answer.error_code), (port, 0));
        }
    }
}

#[test]
fn produce_3_to_13_counts_offsets_up_for_each_partition() {
    for verify in [false, true] {
        let sink = start(SinkOptions { verify, ..SinkOptions::default() });
        let mut client = Client::connect(&sink);
        let topic = client.topic("events");
        for version in 3..=13 {
            let round = i32::from(version) - 3;
            let batches = [(0, batch(round * 10, 10)), (7, batch(round * 3, 3))];
            let request = fit(produce(&topic, &batches), version);
            let answer = client.call(&request, version);
            let partitions = &answer.responses[0].partition_responses;
            let seen: Vec<_> =
                partitions.iter().map(|it| (it.index, it.error_code, it.base_offset)).collect();
            let round = i64::from(round);
            assert_eq!(seen, [(0, 0, round * 10), (7, 0, round * 3)], "version {version}");
        }
        let totals = sink.stop().unwrap().totals;
        assert_eq!((totals.batches, totals.records), (22, 143));
        assert_eq!((totals.errors, totals.first_error), (0, None));
    }
}

#[test]
fn produce_names_unknown_partitions_topics_and_wrong_acks() {
    let sink = start(SinkOptions::default());
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    let error = |client: &mut Client, request: &ProduceRequest, version| {
        client.call(request, version).responses[0].partition_responses[0].error_code
    };
    let beyond = produce(&topic, &[(10, batch(0, 1))]);
    assert_eq!(error(&mut client, &fit(beyond, 9), 9), 3);
    let known = produce(&topic, &[(0, batch(0, 1))]);
    assert_eq!(error(&mut client, &fit(known.clone().with_acks(2), 9), 9), 21);
    let fresh = start(SinkOptions::default());
    let mut elsewhere = Client::connect(&fresh);
    assert_eq!(error(&mut elsewhere, &fit(known, 13), 13), 100);
}

#[test]
fn produce_with_acks_0_has_no_answer_and_the_next_request_has_its_own() {
    let sink = verifying();
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    let request = fit(produce(&topic, &[(0, batch(0, 5))]).with_acks(0), 9);
    let frame = client.encode(&request, 9);
    client.stream.write_all(&frame).unwrap();
    assert_eq!(client.topic("events").error_code, 0);
    assert_eq!(sink.totals().records, 5);
}

#[test]
fn requests_that_arrive_byte_by_byte_are_answered_as_well() {
    for verify in [false, true] {
        let sink = start(SinkOptions { verify, ..SinkOptions::default() });
        let mut client = Client::connect(&sink);
        let topic = client.topic("events");
        let request = fit(produce(&topic, &[(0, batch(0, 5)), (1, batch(0, 2))]), 12);
        let frame = client.encode(&request, 12);
        for byte in &frame {
            client.stream.write_all(&[*byte]).unwrap();
        }
        let answer = client.answer::<ProduceRequest>(12);
        assert_eq!(answer.responses[0].partition_responses[1].error_code, 0);
        assert_eq!(sink.totals().records, 7);
    }
}

#[test]
fn batches_larger_than_the_buffer_pass_with_and_without_a_look_at_them() {
    for verify in [false, true] {
        let sink = start(SinkOptions { verify, ..SinkOptions::default() });
        let mut client = Client::connect(&sink);
        let topic = client.topic("events");
        for round in 0..3 {
            // About 1.2 MB: records of 50 to 1500 bytes.
            let request = fit(produce(&topic, &[(0, batch(round * 1450, 1450))]), 13);
            let answer = client.call(&request, 13);
            let partition = &answer.responses[0].partition_responses[0];
            assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(round) * 1450));
        }
        let totals = sink.stop().unwrap().totals;
        assert_eq!((totals.records, totals.first_error), (3 * 1450, None));
    }
}

#[test]
fn one_of_several_brokers_can_be_slow() {
    let delay = Duration::from_millis(30);
    let options = SinkOptions { brokers: 2, slow: Some((2, delay)), ..SinkOptions::default() };
    let sink = start(options.clone());
    let port = sink.address().port();
    let mut took = [Duration::ZERO; 2];
    for (number, took) in (1..=2).zip(&mut took) {
        let mut client = Client::connect_to(format!("127.0.0.{number}:{port}").parse().unwrap());
        let topic = client.topic("events");
        let start = kuring_tools::clock::now();
        client.call(&fit(produce(&topic, &[(number - 1, batch(0, 5))]), 9), 9);
        *took = start.elapsed();
    }
    assert!(took[1] >= delay, "{took:?}");
    let wrong = SinkOptions { slow: Some((3, delay)), ..options };
    assert!(Sink::start(&wrong).unwrap_err().to_string().contains("the numbers 1 to 2"));
}

#[test]
fn a_delayed_answer_is_late_and_nothing_passes_it() {
    let delay = Duration::from_millis(30);
    let sink = start(SinkOptions { delay, ..SinkOptions::default() });
    let mut client = Client::connect(&sink);
    let topic = client.topic("events");
    let start = kuring_tools::clock::now();
    let request = fit(produce(&topic, &[(0, batch(0, 5))]), 9);
    let mut frames = client.encode(&request, 9).to_vec();
    let first = frames[8..12].to_vec(); // correlation id
    frames.extend_from_slice(&client.encode(&InitProducerIdRequest::default(), 4));
    client.stream.write_all(&frames).unwrap();
    assert_eq!(client.frame().unwrap()[..4], first[..]);
    assert!(start.elapsed() >= delay);
    assert_eq!(client.answer::<InitProducerIdRequest>(4).error_code, 0);
}

#[test]
fn a_stalled_broker_answers_when_it_goes_on_and_the_others_meanwhile() {
    let sink = start(SinkOptions { brokers: 2, partitions: 2, ..SinkOptions::default() });
    let mut first = Client::connect(&sink);
    let second = first.call(&MetadataRequest::default(), 9).brokers[1].clone();
    let address = format!("{}:{}", second.host.as_str(), second.port);
    let mut stalled = Client::connect_to(address.parse().unwrap());
    assert_eq!(stalled.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    sink.stall(1, true);
    sink.totals();
    // A connection that is made meanwhile is not served either.
    let late = Client::connect_to(address.parse().unwrap());
    let mut waiting = [stalled, late];
    for client in &mut waiting {
        let frame = client.encode(&ApiVersionsRequest::default(), 0);
        client.stream.write_all(&frame).unwrap();
    }
    for _ in 0..10 {
        first.call(&ApiVersionsRequest::default(), 0);
    }
    for client in &waiting {
        client.stream.set_nonblocking(true).unwrap();
        let refused = client.stream.peek(&mut [0]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
        client.stream.set_nonblocking(false).unwrap();
    }
    sink.stall(1, false);
    for client in &mut waiting {
        assert_eq!(client.answer::<ApiVersionsRequest>(0).error_code, 0);
    }
}
