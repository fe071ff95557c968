//! Typed records as Java reads them, and what interceptors do to records on their way.
#![forbid(unsafe_code)]

use std::sync::mpsc::channel;
use std::time::Duration;

use kuring::serializer::{
    Boolean, Double, Float, Integer, Long, Nullable, RecordHeaders, SerializeError, Serializer,
    Short, Target, Text, Uuid,
};
use kuring::{
    DeliveryReport, Header, HeaderList, Interceptor, OnSendError, Outgoing, Producer, Record,
    TypedRecord,
};

use crate::support::jars::Version;
use crate::support::java::{SEPARATOR, consume_as, consume_with_headers};
use crate::support::kafka::{Cluster, shared};

const TOPIC: &str = "typed";

/// Sends these to a partition, and has Java read them as `types`: lines of what Java makes of each.
fn read_by_java<K, V>(
    cluster: &Cluster,
    partition: i32,
    serializers: (impl Serializer<K> + 'static, impl Serializer<V> + 'static),
    types: [&str; 2],
    records: &[(K, V)],
) -> String {
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let topic = producer.typed_topic(TOPIC, serializers.0, serializers.1);
    for (key, value) in records {
        let record = TypedRecord::new().key(key).value(value).partition(partition);
        drop(topic.blocking_send(record).unwrap());
    }
    let summary = producer.close(Duration::from_secs(30));
    assert_eq!(summary.acknowledged, records.len() as u64);
    consume_as(cluster, TOPIC, partition, records.len(), types)
}

fn lines(expected: &[[&str; 2]]) -> String {
    expected.iter().map(|[key, value]| format!("{key}{SEPARATOR}{value}\n")).collect()
}

pub(crate) fn typed_records_are_what_java_s_deserializers_read(version: Version) {
    let cluster = shared(version);
    cluster.create_topic(TOPIC, 5, 1, &[]);
    let records = [(i32::MIN, i64::MAX), (-1, 0), (16_909_060, i64::MIN)];
    let found = read_by_java(cluster, 0, (Integer, Long), ["Integer", "Long"], &records);
    let expected =
        [["-2147483648", "9223372036854775807"], ["-1", "0"], ["16909060", "-9223372036854775808"]];
    assert_eq!(found, lines(&expected));

    let records = [(i16::MIN, f64::NEG_INFINITY), (255, -0.1), (i16::MAX, f64::NAN)];
    let found = read_by_java(cluster, 1, (Short, Double), ["Short", "Double"], &records);
    assert_eq!(found, lines(&[["-32768", "-Infinity"], ["255", "-0.1"], ["32767", "NaN"]]));

    let uuid = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978_u128;
    let records = [(uuid, 1.5_f32), (0, f32::MIN_POSITIVE), (u128::MAX, -0.0)];
    let found = read_by_java(cluster, 2, (Uuid, Float), ["UUID", "Float"], &records);
    let expected = [
        ["01234567-89ab-cdef-0f1e-2d3c4b5a6978", "1.5"],
        ["00000000-0000-0000-0000-000000000000", "1.17549435E-38"],
        ["ffffffff-ffff-ffff-ffff-ffffffffffff", "-0.0"],
    ];
    assert_eq!(found, lines(&expected));

    let records = [("größe 1", Some(true)), ("", Some(false))];
    let serializers = (Text, Nullable(Boolean));
    let found = read_by_java(cluster, 3, serializers, ["String", "Boolean"], &records);
    assert_eq!(found, lines(&[["größe 1", "true"], ["", "false"]]));
    // The console consumer hands a word for null to the deserializer, which takes only text.
    let serializers = (Text, Nullable(Text));
    let records = [("tombstone", None::<&str>), ("empty", Some(""))];
    let found = read_by_java(cluster, 4, serializers, ["String", "String"], &records);
    assert_eq!(found, lines(&[["tombstone", "null"], ["empty", ""]]));
}

/// Text, and in headers what it is and how long.
struct Described;

impl Serializer<str> for Described {
    fn serialize(
        &self,
        _: Target<'_>,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn serialize_with_headers(
        &self,
        target: Target<'_>,
        headers: &mut RecordHeaders<'_>,
        text: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), SerializeError> {
        headers.push("content-type", Some(b"text/plain"));
        headers.push(&format!("{}-length", target.field), Some(text.len().to_string().as_bytes()));
        self.serialize(target, text, out)
    }
}

pub(crate) fn headers_that_serializers_add_are_read_by_java(version: Version) {
    let (cluster, name) = (shared(version), "described");
    cluster.create_topic(name, 1, 1, &[]);
    let producer = Producer::builder().bootstrap_servers(cluster.bootstrap()).build().unwrap();
    let topic = producer.typed_topic::<str, str>(name, Described, Described);
    let own = [Header { key: "own", value: Some(b"first") }];
    let records = [
        TypedRecord::new().key("größe").value("7"),
        TypedRecord::new().value("alone").headers(&own),
    ];
    topic.blocking_send_batch(&records, &mut Vec::new()).unwrap();
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, 2);
    let expected = "content-type:text/plain,key-length:7,content-type:text/plain,value-length:1\t\
                    größe\t7\n\
                    own:first,content-type:text/plain,value-length:5\tnull\talone\n";
    assert_eq!(consume_with_headers(cluster, name, 0, 2), expected);
}

/// Adds a header, takes one away, and hides every second value.
struct Stamp;

impl Interceptor for Stamp {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        let number: u32 = std::str::from_utf8(record.value().unwrap_or_default())?.parse()?;
        record.headers_mut().remove("secret");
        record.headers_mut().push("number", Some(&number.to_be_bytes()));
        if number % 2 == 1 {
            record.set_value(None);
        }
        Ok(())
    }

    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        assert!(report.verdict.is_ok() && headers.last("number").is_some());
    }
}

pub(crate) fn what_an_interceptor_changes_is_in_the_log(version: Version) {
    const COUNT: usize = 5_000;
    let (cluster, name) = (shared(version), "intercepted");
    cluster.create_topic(name, 1, 1, &[]);
    let (told, heard) = channel();
    let producer = Producer::builder()
        .bootstrap_servers(cluster.bootstrap())
        .interceptor(Stamp)
        .delivery_handler(move |number, report| {
            told.send((number, report.to_result().unwrap().offset.unwrap())).unwrap();
        })
        .build()
        .unwrap();
    let topic = producer.topic(name);
    let headers = ["kept", "secret"].map(|key| Header { key, value: Some(b"own") });
    for number in 0..COUNT {
        let value = number.to_string();
        let record = Record::new().value(&value).headers(&headers);
        topic.blocking_submit(record, number as u64).unwrap();
    }
    assert_eq!(producer.close(Duration::from_secs(30)).acknowledged, COUNT as u64);
    let places: Vec<_> = heard.try_iter().collect();
    assert_eq!(places.len(), COUNT);
    assert!(places.iter().all(|(number, offset)| *number == *offset as u64));
    let mut count = 0;
    cluster.read(name, 0, |found| {
        let number = found.offset as u32;
        let text = number.to_string();
        let value = number.is_multiple_of(2).then_some(text.as_bytes());
        assert_eq!(found.value, value);
        let stamp = number.to_be_bytes();
        let expected: [(&[u8], Option<&[u8]>); 2] =
            [(b"kept", Some(b"own")), (b"number", Some(&stamp))];
        assert!(found.headers.iter().copied().eq(expected), "{found:?}");
        count += 1;
    });
    assert_eq!(count, COUNT);
}
