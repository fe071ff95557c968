//! The few protobuf messages of OpenTelemetry that metrics without histograms need.
//!
//! ```text
//! MetricsData       1 resource_metrics
//! ResourceMetrics   1 resource { 1 attributes }, 2 scope_metrics { 2 metrics }
//! Metric            1 name, 5 gauge { 1 data_points }, or
//!                   7 sum { 1 data_points, 2 aggregation_temporality, 3 is_monotonic }
//! NumberDataPoint   2 start_time_unix_nano, 3 time_unix_nano, 4 as_double, 7 attributes
//! KeyValue          1 key, 2 value { 1 string_value }
//! ```
//!
//! Source:   opentelemetry/proto/metrics/v1/metrics.proto, version 1; the protobuf encoding guide.
#![forbid(unsafe_code)]

use crate::protocol::varint::{VARLONG_BYTES_MAX, write_unsigned_long};

/// How a value is stored: the low bits of a field's tag.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
}

/// What a counter's value counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temporality {
    /// The last push.
    Delta = 1,
    /// The producer's start.
    Cumulative = 2,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// It goes up and down.
    Gauge,
    /// It only grows.
    Sum(Temporality),
}

/// A number, and of when and whom it is. Times are nanoseconds of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    pub(super) attributes: &'a [(&'a str, &'a str)],
    /// Of a sum: what it counts from.
    pub(super) since: u64,
    pub(super) now: u64,
    pub(super) value: f64,
}

/// A `MetricsData` of one resource, whose metrics `write` adds.
pub(super) fn encode(
    resource: &[(&'static str, String)],
    write: impl FnOnce(&mut Message),
) -> Vec<u8> {
    let mut out = Message(Vec::new());
    out.nested(1, |out| {
        out.nested(1, |out| {
            resource.iter().for_each(|(key, value)| out.attribute(1, key, value));
        });
        out.nested(2, write);
    });
    out.0
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Adds a metric to a `ScopeMetrics`.
    pub(super) fn metric(&mut self, name: &str, number: Number, point: &Point<'_>) {
        self.nested(2, |out| {
            out.text(1, name);
            match number {
                Number::Gauge => out.nested(5, |out| out.point(point, false)),
                Number::Sum(temporality) => out.nested(7, |out| {
                    out.point(point, true);
                    out.number(2, temporality as u64);
                    out.number(3, u64::from(true));
                }),
            }
        });
    }

    fn point(&mut self, point: &Point<'_>, is_sum: bool) {
        self.nested(1, |out| {
            if is_sum {
                out.fixed(2, point.since);
            }
            out.fixed(3, point.now);
            out.fixed(4, point.value.to_bits());
            point.attributes.iter().for_each(|(key, value)| out.attribute(7, key, value));
        });
    }

    fn attribute(&mut self, field: u64, key: &str, value: &str) {
        self.nested(field, |out| {
            out.text(1, key);
            out.nested(2, |out| out.text(1, value));
        });
    }

    fn tag(&mut self, field: u64, wire: Wire) {
        self.varint(field << 3 | wire as u64);
    }

    fn varint(&mut self, value: u64) {
        let mut bytes = [0; VARLONG_BYTES_MAX];
        let size = write_unsigned_long(&mut bytes, value);
        self.0.extend_from_slice(&bytes[..size]);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.tag(field, Wire::Varint);
        self.varint(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.tag(field, Wire::Fixed64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, field: u64, value: &str) {
        self.tag(field, Wire::Length);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// A message inside this one. Its length is known, and put in front, when it is complete.
    fn nested(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.tag(field, Wire::Length);
        let start = self.0.len();
        write(self);
        let mut bytes = [0; VARLONG_BYTES_MAX];
        let size = write_unsigned_long(&mut bytes, (self.0.len() - start) as u64);
        self.0.splice(start..start, bytes[..size].iter().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out by hand from the encoding guide.
    #[test]
    fn the_bytes_are_those_of_the_encoding_guide() {
        let resource = [("r", "a".to_owned())];
        let point = |attributes| Point { attributes, since: 1, now: 2, value: 1.0 };
        let bytes = encode(&resource, |out| {
            out.metric("g", Number::Gauge, &point(&[]));
            out.metric("s", Number::Sum(Temporality::Delta), &point(&[("k", "v")]));
        });
        let one = [0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let gauge_point = [&[0x19, 2, 0, 0, 0, 0, 0, 0, 0, 0x21][..], &one].concat();
        let gauge = [&[0x0a, 1, b'g', 0x2a, 20, 0x0a, 18][..], &gauge_point].concat();
        let attribute = [0x3a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v'];
        let sum_point = [&[0x11, 1, 0, 0, 0, 0, 0, 0, 0][..], &gauge_point, &attribute].concat();
        let sum =
            [&[0x0a, 1, b's', 0x3a, 43, 0x0a, 37][..], &sum_point, &[0x10, 1, 0x18, 1]].concat();
        let scope = [&[0x12, 25][..], &gauge, &[0x12, 48], &sum].concat();
        let of_resource = [0x0a, 10, 0x0a, 8, 0x0a, 1, b'r', 0x12, 3, 0x0a, 1, b'a'];
        let length = (of_resource.len() + 2 + scope.len()) as u8;
        let head = [&[0x0a, length][..], &of_resource, &[0x12, scope.len() as u8]].concat();
        assert_eq!(bytes, [head, scope].concat());
    }

    #[test]
    fn a_message_of_more_than_127_bytes_has_a_longer_length() {
        let name = "n".repeat(300);
        let bytes = encode(&[], |out| {
            out.metric(
                &name,
                Number::Gauge,
                &Point { attributes: &[], since: 0, now: 0, value: 0.0 },
            );
        });
        // A tag and two bytes of 325 in front of the metric: 303 of its name, 22 of its gauge.
        assert_eq!(bytes[..8], [0x0a, 0xcd, 0x02, 0x0a, 0, 0x12, 0xc8, 0x02]);
        assert_eq!(bytes[8..11], [0x12, 0xc5, 0x02]);
        assert_eq!(bytes.len(), 3 + 2 + 3 + 3 + 325);
    }
}
