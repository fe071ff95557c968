//! Headers that are kept: a list that owns its keys and values.
//!
//! Owns:     all keys in one string and all values in one vector, which are used again.
#![forbid(unsafe_code)]

use std::fmt;

use super::Header;

/// Headers of a record, in order; keys may repeat. Clearing it keeps its memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HeaderList {
    keys: String,
    values: Vec<u8>,
    ends: Vec<End>,
}

/// Where a header's parts end; they begin where those of the one before end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    key: usize,
    value: usize,
    is_null: bool,
}

impl HeaderList {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: String::new(), values: Vec::new(), ends: Vec::new() }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds a header at the end.
    pub fn push(&mut self, key: &str, value: Option<&[u8]>) {
        self.keys.push_str(key);
        self.values.extend_from_slice(value.unwrap_or_default());
        let (key, is_null) = (self.keys.len(), value.is_none());
        self.ends.push(End { key, value: self.values.len(), is_null });
    }

    /// Removes all headers with this key.
    pub fn remove(&mut self, key: &str) {
        if self.iter().any(|header| header.key == key) {
            let all = std::mem::take(self);
            let others = all.iter().filter(|header| header.key != key);
            others.for_each(|header| self.push(header.key, header.value));
        }
    }

    /// Removes all headers.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.ends.clear();
    }

    /// The headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        let mut start = End::default();
        self.ends.iter().map(move |end| {
            let value = (!end.is_null).then(|| &self.values[start.value..end.value]);
            let header = Header { key: &self.keys[start.key..end.key], value };
            start = *end;
            header
        })
    }

    /// The last header with this key: the one that counts for readers who want one.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<Header<'_>> {
        self.iter().filter(|header| header.key == key).last()
    }

    /// The memory that it holds.
    pub(crate) fn capacity_bytes(&self) -> usize {
        let ends = self.ends.capacity() * size_of::<End>();
        self.keys.capacity() + self.values.capacity() + ends
    }

    /// Has these headers instead.
    pub(crate) fn replace(&mut self, headers: &[Header<'_>]) {
        self.clear();
        headers.iter().for_each(|header| self.push(header.key, header.value));
    }

    /// Has those of another list instead; keeps its own memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.clear();
        self.keys.push_str(&other.keys);
        self.values.extend_from_slice(&other.values);
        self.ends.extend_from_slice(&other.ends);
    }
}

impl fmt::Debug for HeaderList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: [Header<'_>; 4] = [
        Header { key: "größe", value: Some(b"7") },
        Header { key: "", value: None },
        Header { key: "a", value: Some(b"") },
        Header { key: "größe", value: Some(b"8") },
    ];

    #[test]
    fn a_list_gives_back_what_was_put_in() {
        let mut list = HeaderList::new();
        list.replace(&HEADERS);
        assert!(list.iter().eq(HEADERS) && list.len() == 4 && !list.is_empty());
        assert_eq!(list.last("größe"), Some(HEADERS[3]));
        assert_eq!(list.last("b"), None);
        let mut copy = HeaderList::new();
        copy.push("old", None);
        copy.copy_from(&list);
        assert_eq!(copy, list);
        list.remove("größe");
        list.remove("not there");
        assert!(list.iter().eq([HEADERS[1], HEADERS[2]]));
        list.clear();
        assert!(list.is_empty() && list.iter().next().is_none() && list != copy);
    }
}
