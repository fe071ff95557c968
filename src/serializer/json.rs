//! JSON, by serde.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::{SerializeError, Serializer, Target};

/// What serde can serialize, as JSON without white space. Feature `serde_json`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kuring::Producer;
/// use kuring::serializer::{Json, Text};
/// use std::collections::BTreeMap;
///
/// # if false {
/// let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
/// let topic = producer.typed_topic::<str, BTreeMap<&str, f64>>("prices", Text, Json);
/// let delivery = topic.blocking_send(("gold", &BTreeMap::from([("bid", 1.25)])))?;
/// # drop(delivery);
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<T: Serialize + ?Sized> Serializer<T> for Json {
    fn serialize(&self, _: Target<'_>, value: &T, out: &mut Vec<u8>) -> Result<(), SerializeError> {
        Ok(serde_json::to_writer(out, value)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Field;
    use super::*;

    #[test]
    fn values_are_json_and_what_json_does_not_have_is_an_error() {
        let target = Target::new("t", Field::Value);
        let mut out = Vec::new();
        Json.serialize(target, &BTreeMap::from([("a", Some(1)), ("b", None)]), &mut out).unwrap();
        assert_eq!(out, br#"{"a":1,"b":null}"#);
        let keys_are_lists = BTreeMap::from([([1, 2], 3)]);
        let error = Json.serialize(target, &keys_are_lists, &mut out).unwrap_err();
        assert!(error.to_string().contains("key must be a string"), "{error}");
    }
}
