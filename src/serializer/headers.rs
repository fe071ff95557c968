//! The headers of a record while it is serialized.
#![forbid(unsafe_code)]

use crate::record::{Header, HeaderList};

/// The headers of a record that is being serialized: the caller's, which stay as they are, and
/// behind them those that serializers add, the key's first.
#[derive(Debug)]
pub struct RecordHeaders<'a> {
    own: &'a [Header<'a>],
    added: &'a mut HeaderList,
}

impl<'a> RecordHeaders<'a> {
    pub(crate) fn new(own: &'a [Header<'a>], added: &'a mut HeaderList) -> Self {
        Self { own, added }
    }

    /// Adds a header at the end. It is copied into memory that is used again.
    pub fn push(&mut self, key: &str, value: Option<&[u8]>) {
        self.added.push(key, value);
    }

    /// All of them so far, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.own.iter().copied().chain(self.added.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serializer::{Field, Long, Nullable, SerializeError, Serializer, Target};

    /// Says where it was asked, and which header came before.
    struct Numbered;

    impl Serializer<i64> for Numbered {
        fn serialize(&self, _: Target<'_>, _: &i64, _: &mut Vec<u8>) -> Result<(), SerializeError> {
            unreachable!("the form with headers is written anew")
        }

        fn serialize_with_headers(
            &self,
            target: Target<'_>,
            headers: &mut RecordHeaders<'_>,
            value: &i64,
            out: &mut Vec<u8>,
        ) -> Result<(), SerializeError> {
            let last = headers.iter().last().map(|header| header.key.to_owned());
            headers.push(&format!("{}{value}", target.field), last.as_deref().map(str::as_bytes));
            out.push(1);
            Ok(())
        }
    }

    #[test]
    fn a_serializer_sees_the_headers_so_far_and_adds_to_them() {
        let own = [Header { key: "own", value: None }];
        let mut added = HeaderList::new();
        let mut headers = RecordHeaders::new(&own, &mut added);
        let (key, value) = (Target::new("t", Field::Key), Target::new("t", Field::Value));
        let mut out = Vec::new();
        Numbered.serialize_with_headers(key, &mut headers, &7, &mut out).unwrap();
        let nullable = Nullable(Numbered);
        nullable.serialize_with_headers(value, &mut headers, &Some(8), &mut out).unwrap();
        nullable.serialize_with_headers(value, &mut headers, &None, &mut out).unwrap();
        // One that adds nothing.
        Long.serialize_with_headers(value, &mut headers, &9, &mut out).unwrap();
        let expected = [
            own[0],
            Header { key: "key7", value: Some(b"own") },
            Header { key: "value8", value: Some(b"key7") },
        ];
        assert!(headers.iter().eq(expected), "{headers:?}");
        assert_eq!(out, [1, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
    }
}
