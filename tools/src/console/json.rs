//! Lines of JSON: `{"key": …, "value": …, "headers": {…}, "partition": 3, "timestamp": 17}`.
//!
//! Every member may be missing or null. A text is its characters in UTF-8; any other key or value
//! is its JSON, without spaces. Headers are an object, or a list of `[name, value]` where names
//! repeat.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fields::{Fields, Headers};

pub(super) fn fields<'a>(line: &[u8]) -> Result<Fields<'a>, String> {
    let value = serde_json::from_slice(line).map_err(|error| format!("it is no JSON: {error}"))?;
    let Value::Object(mut members) = value else {
        return Err("it is no JSON object".to_owned());
    };
    let fields = Fields {
        key: members.remove("key").and_then(bytes),
        value: members.remove("value").and_then(bytes),
        headers: headers(members.remove("headers"))?,
        partition: number(&mut members, "partition")?,
        timestamp: number(&mut members, "timestamp")?,
    };
    match members.keys().next() {
        Some(unknown) => Err(format!(
            "{unknown:?} is no member of a record: key, value, headers, partition and timestamp are"
        )),
        None => Ok(fields),
    }
}

fn bytes<'a>(value: Value) -> Option<Cow<'a, [u8]>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes().into()),
        other => Some(other.to_string().into_bytes().into()),
    }
}

fn number<N: TryFrom<i64>>(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<N>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_i64().and_then(|number| N::try_from(number).ok());
            number.map(Some).ok_or_else(|| format!("{name} {value} is no whole number of its size"))
        }
    }
}

fn headers<'a>(value: Option<Value>) -> Result<Headers<'a>, String> {
    let wrong = || "headers are an object, or a list of [name, value]".to_owned();
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(members)) => {
            Ok(members.into_iter().map(|(key, value)| (key.into(), bytes(value))).collect())
        }
        Some(Value::Array(pairs)) => pairs
            .into_iter()
            .map(|pair| match pair {
                Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
                    Ok([Value::String(key), value]) => Ok((key.into(), bytes(value))),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_may_be_there_and_none_must_be() {
        let line = br#"{"key":"a","value":{"b":[1, 2]},"headers":{"h":"x","n":null},
                        "partition":2,"timestamp":1700000000000}"#;
        let all = fields(line).unwrap();
        assert_eq!(all.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(all.value.as_deref(), Some(&br#"{"b":[1,2]}"#[..]));
        assert_eq!((all.partition, all.timestamp), (Some(2), Some(1_700_000_000_000)));
        assert_eq!(all.headers.len(), 2);
        assert_eq!(fields(b"{}"), Ok(Fields::default()));
        let repeated = fields(br#"{"headers":[["a","1"],["a",null]]}"#).unwrap();
        assert_eq!(repeated.headers, [("a".into(), bytes("1".into())), ("a".into(), None)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, word) in [
            (&b"nothing"[..], "no JSON"),
            (b"[1]", "no JSON object"),
            (br#"{"keys":"a"}"#, "\"keys\""),
            (br#"{"partition":"a"}"#, "partition"),
            (br#"{"partition":5000000000}"#, "partition"),
            (br#"{"headers":3}"#, "headers"),
        ] {
            let wrong = fields(line).unwrap_err();
            assert!(wrong.contains(word), "{wrong}");
        }
    }
}
