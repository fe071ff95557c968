//! The two serializers of a topic: a typed record in, a record of bytes out.
//!
//! Thread:   any; the serializers run on the thread that sends.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::TypedRecord;
use super::scratch::{Parts, Slots};
use crate::record::Record;
use crate::serializer::{Field, RecordHeaders, SerializeError, Serializer, Target};

/// What a topic's keys and values are serialized by.
pub(super) struct Serializers<K: ?Sized, V: ?Sized> {
    key: Arc<dyn Serializer<K>>,
    value: Arc<dyn Serializer<V>>,
}

impl<K: ?Sized, V: ?Sized> Clone for Serializers<K, V> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), value: Arc::clone(&self.value) }
    }
}

impl<K: ?Sized, V: ?Sized> Serializers<K, V> {
    pub(super) fn new(
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value) }
    }

    /// The record as bytes: its own, or those that are written to `parts`. Headers that the
    /// serializers add stand behind the record's own, the key's first.
    ///
    /// # Errors
    /// Which part has no bytes, and why.
    pub(super) fn encode<'p, 's>(
        &self,
        topic: &str,
        record: TypedRecord<'p, K, V>,
        parts: &'p mut Parts,
        slots: &'s mut Slots<'p>,
    ) -> Result<Record<'s>, (Field, SerializeError)> {
        let Parts { key, value, added, kept } = parts;
        let (mut plain, own) = (record.plain, record.plain.headers);
        // One that failed or panicked may have left something.
        added.clear();
        let mut headers = RecordHeaders::new(own, added);
        let target = Target::new(topic, Field::Key);
        plain.key = bytes(&*self.key, target, &mut headers, record.key, key)?;
        let target = Target::new(topic, Field::Value);
        plain.value = bytes(&*self.value, target, &mut headers, record.value, value)?;
        if !added.is_empty() {
            plain.added_headers = added.len();
            plain.headers = slots.join(own, added, kept);
        }
        Ok(plain)
    }
}

/// The bytes of one part, its own or those written to `out`; None for null.
fn bytes<'p, T: ?Sized>(
    serializer: &dyn Serializer<T>,
    target: Target<'_>,
    headers: &mut RecordHeaders<'_>,
    part: Option<&'p T>,
    out: &'p mut Vec<u8>,
) -> Result<Option<&'p [u8]>, (Field, SerializeError)> {
    let Some(part) = part.filter(|part| !serializer.is_null(part)) else { return Ok(None) };
    if let Some(bytes) = serializer.borrow(part) {
        return Ok(Some(bytes));
    }
    out.clear();
    match serializer.serialize_with_headers(target, headers, part, out) {
        Ok(()) => Ok(Some(out)),
        Err(source) => Err((target.field, source)),
    }
}
