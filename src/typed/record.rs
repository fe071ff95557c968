//! A record whose key and value are types.
#![forbid(unsafe_code)]

use crate::record::{Header, Record};

/// A record with a key of type `K` and a value of type `V`, each of which may be missing.
///
/// A pair of references is one too: `topic.blocking_send((&key, &value))`.
#[derive(Debug)]
pub struct TypedRecord<'a, K: ?Sized, V: ?Sized> {
    pub(super) key: Option<&'a K>,
    pub(super) value: Option<&'a V>,
    /// The rest of it.
    pub(super) plain: Record<'a>,
}

impl<K: ?Sized, V: ?Sized> Clone for TypedRecord<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for TypedRecord<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> Default for TypedRecord<'_, K, V> {
    fn default() -> Self {
        Self { key: None, value: None, plain: Record::new() }
    }
}

impl<'a, K: ?Sized, V: ?Sized> From<(&'a K, &'a V)> for TypedRecord<'a, K, V> {
    fn from((key, value): (&'a K, &'a V)) -> Self {
        Self::new().key(key).value(value)
    }
}

impl<'a, K: ?Sized, V: ?Sized> TypedRecord<'a, K, V> {
    /// A record without key, value (null), headers, timestamp and partition.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key; its bytes choose the partition, as [`Record::key`] says.
    #[must_use]
    pub fn key(mut self, key: &'a K) -> Self {
        self.key = Some(key);
        self
    }

    /// The value. Without one the record is a tombstone.
    #[must_use]
    pub fn value(mut self, value: &'a V) -> Self {
        self.value = Some(value);
        self
    }

    /// As [`Record::headers`]. Those that serializers add come behind them.
    #[must_use]
    pub fn headers(mut self, headers: &'a [Header<'a>]) -> Self {
        self.plain = self.plain.headers(headers);
        self
    }

    /// As [`Record::timestamp`].
    #[must_use]
    pub fn timestamp(mut self, ms: i64) -> Self {
        self.plain = self.plain.timestamp(ms);
        self
    }

    /// As [`Record::partition`].
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.plain = self.plain.partition(partition);
        self
    }
}
