//! A record as an interceptor sees it, and what the interceptors have changed so far.
//!
//! Owns:     the changes of the interceptors that succeeded, and apart from them those of the one
//!           that is being called: when it fails, its half a change is undone.
//! Never:    copies what nobody changes.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::record::{Header, HeaderList, Record};

/// Headers that fit without the heap when interceptors have changed them.
const FEW: usize = 16;

/// A record on its way out. See [`Interceptor::on_send`](super::Interceptor::on_send).
#[derive(Debug)]
pub struct Outgoing<'a> {
    topic: &'a Arc<str>,
    plain: &'a Record<'a>,
    draft: &'a mut Draft,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(topic: &'a Arc<str>, plain: &'a Record<'a>, draft: &'a mut Draft) -> Self {
        Self { topic, plain, draft }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Arc<str> {
        self.topic
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        let changed = self.draft.find(|edits| edits.key.as_ref());
        changed.map_or(self.plain.key, |key| key.as_deref())
    }

    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        let changed = self.draft.find(|edits| edits.value.as_ref());
        changed.map_or(self.plain.value, |value| value.as_deref())
    }

    /// The headers, in order, without those that serializers add: they come behind these.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let changed = self.draft.headers();
        let plain = if changed.is_some() { &[] } else { self.plain.own_and_added_headers().0 };
        changed.into_iter().flat_map(HeaderList::iter).chain(plain.iter().copied())
    }

    /// The create time, if the caller chose it.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        self.draft.find(|edits| edits.timestamp.as_ref()).copied().or(self.plain.timestamp)
    }

    /// The partition, if the caller chose it.
    #[must_use]
    pub fn partition(&self) -> Option<i32> {
        let changed = self.draft.find(|edits| edits.partition.as_ref());
        changed.map_or(self.plain.partition, |partition| *partition)
    }

    /// Sends it with another key, or without one. With a key and no partition, the key chooses.
    pub fn set_key(&mut self, key: Option<Vec<u8>>) {
        self.draft.tried.key = Some(key);
    }

    /// Sends it with another value, or as a tombstone.
    pub fn set_value(&mut self, value: Option<Vec<u8>>) {
        self.draft.tried.value = Some(value);
    }

    /// The headers, to be changed. Copies them at the first call.
    pub fn headers_mut(&mut self) -> &mut HeaderList {
        let Draft { good, tried } = &mut *self.draft;
        if !tried.has_headers {
            tried.has_headers = true;
            match good.has_headers {
                true => tried.headers.copy_from(&good.headers),
                false => tried.headers.replace(self.plain.own_and_added_headers().0),
            }
        }
        &mut tried.headers
    }

    /// Sends it with this create time, in milliseconds since 1970.
    pub fn set_timestamp(&mut self, ms: i64) {
        self.draft.tried.timestamp = Some(ms);
    }

    /// Sends it to this partition, or to the one that is chosen as usual.
    pub fn set_partition(&mut self, partition: Option<i32>) {
        self.draft.tried.partition = Some(partition);
    }
}

/// Fields that were changed; the outer None is: not changed.
#[derive(Debug, Default)]
struct Edits {
    key: Option<Option<Vec<u8>>>,
    value: Option<Option<Vec<u8>>>,
    has_headers: bool,
    headers: HeaderList,
    timestamp: Option<i64>,
    partition: Option<Option<i32>>,
}

impl Edits {
    fn clear(&mut self) {
        (self.key, self.value) = (None, None);
        self.has_headers = false;
        self.headers.clear();
        (self.timestamp, self.partition) = (None, None);
    }
}

/// What interceptors have changed of a record.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    good: Edits,
    /// Of the one that is being called.
    tried: Edits,
}

impl Draft {
    /// The latest of a change.
    fn find<T>(&self, change: impl Fn(&Edits) -> Option<&T>) -> Option<&T> {
        change(&self.tried).or_else(|| change(&self.good))
    }

    fn headers(&self) -> Option<&HeaderList> {
        self.find(|edits| edits.has_headers.then_some(&edits.headers))
    }

    /// The interceptor has succeeded.
    pub(super) fn keep(&mut self) {
        let Self { good, tried } = self;
        good.key = tried.key.take().or_else(|| good.key.take());
        good.value = tried.value.take().or_else(|| good.value.take());
        good.timestamp = tried.timestamp.or(good.timestamp);
        good.partition = tried.partition.or(good.partition);
        if tried.has_headers {
            std::mem::swap(&mut good.headers, &mut tried.headers);
            good.has_headers = true;
        }
        tried.clear();
    }

    /// The interceptor has failed.
    pub(super) fn undo(&mut self) {
        self.tried.clear();
    }

    /// The record goes to this partition from now on.
    pub(crate) fn place(&mut self, partition: Option<i32>) {
        self.good.partition = Some(partition);
    }

    /// Nothing is changed; the lists keep their memory.
    pub(crate) fn clear(&mut self) {
        self.good.clear();
        self.tried.clear();
    }

    /// Hands on the record as it is to be sent.
    pub(crate) fn with_record<T>(
        &self,
        plain: &Record<'_>,
        call: impl FnOnce(&Record<'_>) -> T,
    ) -> T {
        let Edits { key, value, has_headers, headers, timestamp, partition } = &self.good;
        let mut few = [Header { key: "", value: None }; FEW];
        let mut many = Vec::new();
        let (_, added) = plain.own_and_added_headers();
        let count = headers.len() + added.len();
        let all = headers.iter().chain(added.iter().copied());
        let headers = match has_headers {
            false => plain.headers,
            true if count <= FEW => {
                few.iter_mut().zip(all).for_each(|(slot, header)| *slot = header);
                &few[..count]
            }
            true => {
                many.extend(all);
                &many
            }
        };
        call(&Record {
            key: key.as_ref().map_or(plain.key, |key| key.as_deref()),
            value: value.as_ref().map_or(plain.value, |value| value.as_deref()),
            headers,
            added_headers: plain.added_headers,
            timestamp: timestamp.or(plain.timestamp),
            partition: partition.unwrap_or(plain.partition),
        })
    }
}
