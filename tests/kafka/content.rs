//! The records that the tests send: each is a function of its thread and number, so whoever reads
//! the log can say what must be there without having kept it.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use kuring::{Header, Record};

use crate::support::batches::LogRecord;

/// A record's content, all of it slices of one pool of random bytes.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) key: Option<&'static [u8]>,
    pub(crate) value: Option<&'static [u8]>,
    pub(crate) headers: Vec<Header<'static>>,
    /// Explicit create time; the producer takes the clock's otherwise.
    pub(crate) timestamp: Option<i64>,
}

impl Content {
    /// Mixed sizes, 0 bytes to 100 KiB and most below 200; null and empty keys and values, up to
    /// three headers, some with an explicit timestamp.
    pub(crate) fn mixed(thread: usize, number: u32) -> Self {
        let mut dice = Dice::of(thread, number);
        let value_length = match dice.below(10_000) {
            0..1_000 => None,
            1_000..1_500 => Some(0),
            1_500..8_500 => Some(1 + dice.below(200)),
            8_500..9_900 => Some(200 + dice.below(1_800)),
            9_900..9_990 => Some(2_000 + dice.below(14_000)),
            _ => Some(16_000 + dice.below((100 << 10) - 16_000 + 1)),
        };
        let key_length = match dice.below(10) {
            0..3 => None,
            3 => Some(0),
            _ => Some(1 + dice.below(40)),
        };
        let headers = match dice.below(10) {
            0..7 => 0,
            _ => 1 + dice.below(3),
        };
        let past_day_ms = i64::try_from(dice.below(86_400_000)).expect("a day fits");
        Self {
            value: value_length.map(|length| dice.slice(length)),
            key: key_length.map(|length| dice.slice(length)),
            headers: (0..headers).map(|_| dice.header()).collect(),
            timestamp: (dice.below(2) == 0).then_some(SOME_DAY_MS + past_day_ms),
        }
    }

    /// About a hundred bytes, always with a key and without anything unusual.
    pub(crate) fn small(thread: usize, number: u32) -> Self {
        let mut dice = Dice::of(thread, number);
        let (key, value) = (Some(dice.slice(8)), Some(dice.slice(92)));
        Self { key, value, headers: Vec::new(), timestamp: None }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let mut record = Record::new().headers(&self.headers);
        if let Some(key) = self.key {
            record = record.key(key);
        }
        if let Some(value) = self.value {
            record = record.value(value);
        }
        if let Some(timestamp) = self.timestamp {
            record = record.timestamp(timestamp);
        }
        record
    }

    /// Whether `found` is this record with the given timestamp.
    pub(crate) fn is(&self, found: &LogRecord<'_>, timestamp: i64) -> bool {
        let headers = self.headers.iter().map(|header| (header.key.as_bytes(), header.value));
        found.key == self.key
            && found.value == self.value
            && found.timestamp == self.timestamp.unwrap_or(timestamp)
            && headers.eq(found.headers.iter().copied())
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(thread: usize, number: u32) -> Self {
        Self((thread as u64) << 32 | u64::from(number))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn slice(&mut self, length: usize) -> &'static [u8] {
        let start = self.below(POOL_BYTES - length);
        &pool()[start..start + length]
    }

    fn header(&mut self) -> Header<'static> {
        let key = ["", "h", "trace-id", "größe"][self.below(4)];
        let value = match self.below(4) {
            0 => None,
            1 => Some(0),
            _ => Some(self.below(64)),
        };
        Header { key, value: value.map(|length| self.slice(length)) }
    }
}

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut dice = Dice(1);
        (0..POOL_BYTES / 8).flat_map(|_| dice.next().to_le_bytes()).collect()
    })
}

const POOL_BYTES: usize = 1 << 20;
/// In the past, because brokers refuse timestamps more than an hour ahead.
const SOME_DAY_MS: i64 = 1_700_000_000_000;
