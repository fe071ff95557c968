//! Telemetry at a fake broker: what it wants of its clients, and what is in their pushes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use kafka_protocol::messages::{GetTelemetrySubscriptionsResponse, PushTelemetryRequest};
use kafka_protocol::protocol::StrBytes;
use kuring::ClientInstanceId;

use super::fake_broker::State;

pub(crate) const ID: ClientInstanceId = ClientInstanceId(*b"kuring-tests-001");

/// A cluster that gives this id, and wants these metrics ten times a second.
pub(crate) fn wants(id: ClientInstanceId, requested: &[&str]) -> GetTelemetrySubscriptionsResponse {
    let requested = requested.iter().map(|prefix| StrBytes::from_string((*prefix).to_owned()));
    GetTelemetrySubscriptionsResponse::default()
        .with_client_instance_id(id.0.to_vec().try_into().expect("16 bytes"))
        .with_subscription_id(1)
        .with_push_interval_ms(100)
        .with_telemetry_max_bytes(1 << 20)
        .with_delta_temporality(true)
        .with_requested_metrics(requested.collect())
}

/// The length-delimited and the numeric fields of a protobuf message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let varint = |bytes: &mut &[u8]| {
        let end = bytes.iter().position(|byte| *byte < 128).expect("a varint ends") + 1;
        let (digits, rest) = bytes.split_at(end);
        *bytes = rest;
        digits.iter().rev().fold(0, |value, digit| value << 7 | u64::from(digit & 127))
    };
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let (number, inside) = match tag & 7 {
            0 => (varint(&mut bytes), &[][..]),
            1 => {
                let (fixed, rest) = bytes.split_first_chunk().expect("eight bytes");
                bytes = rest;
                (u64::from_le_bytes(*fixed), &[][..])
            }
            _ => {
                let length = varint(&mut bytes) as usize;
                let (inside, rest) = bytes.split_at(length);
                bytes = rest;
                (0, inside)
            }
        };
        found.push((tag >> 3, number, inside));
    }
    found
}

fn inside(bytes: &[u8], field: u64) -> Vec<&[u8]> {
    fields(bytes).into_iter().filter(|it| it.0 == field).map(|it| it.2).collect()
}

fn text(bytes: &[u8], field: u64) -> String {
    String::from_utf8(inside(bytes, field).concat()).expect("text")
}

/// Kind (0 a gauge, 1 what was added, 2 all so far) and value by name and attributes.
pub(crate) fn metrics(push: &PushTelemetryRequest) -> BTreeMap<String, (u64, f64)> {
    assert_eq!(push.compression_type, 0);
    let scope = inside(inside(&push.metrics, 1)[0], 2)[0];
    let read = |metric: &&[u8]| {
        let (gauge, sum) = (inside(metric, 5), inside(metric, 7));
        let of = gauge.iter().chain(&sum).next().expect("a gauge or a sum");
        let kind = fields(of).iter().find(|it| it.0 == 2).map_or(0, |it| it.1);
        let point = inside(of, 1)[0];
        let value = fields(point).iter().find(|it| it.0 == 4).expect("a value").1;
        let pair = |it: &[u8]| format!("{}={}", text(it, 1), text(inside(it, 2)[0], 1));
        let pairs = inside(point, 7).into_iter().map(pair);
        let name = [vec![text(metric, 1)], pairs.collect()].concat().join(" ");
        (name, (kind, f64::from_bits(value)))
    };
    inside(scope, 2).iter().map(read).collect()
}

/// What all pushes so far say of a metric.
pub(crate) fn told(state: &State, name: &str) -> Vec<(u64, f64)> {
    state.pushes.iter().filter_map(|push| metrics(push).get(name).copied()).collect()
}
