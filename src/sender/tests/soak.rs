//! A random schedule: whatever the network and the brokers do, each record gets one verdict, and
//! the logs agree with it.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::super::backoff::Random;
use super::rig::{Rig, config, ms};
use super::wire::{self, Arrived, Said};
use super::world::address_of;
use crate::config::ConfigBuilder;
use crate::ids::ConnectionId;
use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;

const PARTITIONS: usize = 4;
const BROKERS: i32 = 3;
const RECORDS: usize = 150;

/// Errors that a broker gives before it has written anything.
const RETRIABLE: [ErrorCode; 4] = [
    ErrorCode::NotEnoughReplicas,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::CorruptMessage,
    ErrorCode::UnknownTopicOrPartition,
];

/// Errors that a broker may give after it has written.
const DOUBTFUL: [ErrorCode; 3] = [
    ErrorCode::NotEnoughReplicasAfterAppend,
    ErrorCode::NotLeaderOrFollower,
    ErrorCode::RequestTimedOut,
];

/// What may happen beside what always may.
#[derive(Clone, Copy, Default)]
struct Weather {
    /// Single batches are refused for good.
    rejections: bool,
    /// Delivery timeouts are short enough to be met.
    expiry: bool,
    /// Topics take batches of a certain size only, which changes now and then.
    narrow: bool,
    /// A close with this much time ends the run in its middle.
    close_ms: Option<u64>,
}

struct Soak {
    rig: Rig,
    random: Random,
    weather: Weather,
    sent: usize,
}

impl Soak {
    fn new(seed: u64, config: ConfigBuilder, weather: Weather) -> Self {
        let mut rig = Rig::cold(config, &[1, 2, 3, 1]);
        rig.world.stalled.extend(1..=BROKERS);
        Self { rig, random: Random::new(seed), weather, sent: 0 }
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.random.below(times) == 0
    }

    fn broker(&mut self) -> i32 {
        1 + self.random.below(BROKERS as usize) as i32
    }

    fn append(&mut self) {
        let partition = format!("t-{}", self.random.below(PARTITIONS));
        let value = format!("{}:{}", self.sent, "x".repeat(self.random.below(200)));
        if self.rig.try_append(&partition, &value).is_some() {
            self.sent += 1;
        }
    }

    /// The driver reports that a frame is written, in the order of the connection.
    fn return_a_frame(&mut self) {
        if !self.rig.world.frames.is_empty() {
            let at = self.random.below(self.rig.world.frames.len());
            self.rig.world.return_frame(at);
        }
    }

    /// A broker handles the oldest request of one of its connections.
    fn handle_a_request(&mut self) {
        let mut connections: Vec<ConnectionId> = Vec::new();
        for arrived in &self.rig.world.inbox {
            if !connections.contains(&arrived.connection) {
                connections.push(arrived.connection);
            }
        }
        if connections.is_empty() {
            return;
        }
        let connection = connections[self.random.below(connections.len())];
        let inbox = &mut self.rig.world.inbox;
        let at = inbox.iter().position(|arrived| arrived.connection == connection).unwrap();
        let request = inbox.remove(at).unwrap();
        let answer = self.produce_answer(&request);
        // Sometimes the answer never comes, and the connection goes.
        if self.one_in(12) {
            self.cut(connection);
        } else {
            self.rig.world.answer(&request, answer);
        }
    }

    fn produce_answer(&mut self, request: &Arrived) -> Vec<u8> {
        let mut said = Vec::new();
        for batch in request.batches() {
            let mut refuse = |error| said.push(Said::refused(error));
            if self.random.below(6) == 0 {
                refuse(RETRIABLE[self.random.below(RETRIABLE.len())]);
            } else if self.weather.rejections && self.random.below(12) == 0 {
                refuse(ErrorCode::InvalidRecord);
            } else {
                let written = self.rig.world.logs.append(batch);
                let doubtful = written.error == ErrorCode::None && self.random.below(15) == 0;
                match doubtful {
                    true => refuse(DOUBTFUL[self.random.below(DOUBTFUL.len())]),
                    false => said.push(written),
                }
            }
        }
        let throttle_ms = if self.one_in(20) { 50 } else { 0 };
        wire::produce_answer(request, &said, throttle_ms)
    }

    fn cut(&mut self, connection: ConnectionId) {
        if self.rig.world.open.contains_key(&connection) {
            self.rig.world.close(connection, "reset by peer");
        }
    }

    fn misfortune(&mut self) {
        match self.random.below(6) {
            0 => {
                let mut open: Vec<_> = self.rig.world.open.keys().copied().collect();
                open.sort_by_key(|connection| (connection.slot, connection.generation));
                if !open.is_empty() {
                    let connection = open[self.random.below(open.len())];
                    self.cut(connection);
                }
            }
            1 => {
                let (partition, leader) = (self.random.below(PARTITIONS), self.broker());
                self.rig.world.lead("t", partition, leader);
                self.rig.cluster.mark_stale();
            }
            2 => {
                let broker = self.broker();
                self.rig.world.refused.insert(address_of(broker));
            }
            3 => self.rig.world.refused.clear(),
            4 if self.weather.narrow => {
                let bytes_max = [Some(120), Some(280), Some(350), None][self.random.below(4)];
                self.rig.world.logs.bytes_max = bytes_max;
            }
            _ => self.rig.sender.handle_flush(self.sent as u64, self.rig.now),
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 => self.append(),
            5..=8 => self.rig.turn(),
            9..=11 => self.return_a_frame(),
            12..=14 => self.handle_a_request(),
            15..=17 => {
                self.rig.step();
                self.rig.perform();
            }
            18 => {
                self.rig.now += ms(self.random.below(40) as u64);
            }
            _ if self.one_in(3) => self.misfortune(),
            _ => self.rig.turn(),
        }
    }

    /// Everything works again; what is left is sent.
    fn calm_down(&mut self) {
        self.rig.world.refused.clear();
        self.rig.world.stalled.clear();
        self.weather = Weather::default();
        for _ in 0..400 {
            self.rig.world.return_frames();
            self.rig.run();
            while let Some(request) = self.rig.world.inbox.pop_front() {
                self.rig.accept(&request);
            }
            self.rig.advance(ms(100));
        }
    }

    /// One verdict per record; what was acknowledged is in the log where the verdict says, once, in
    /// order; what failed for certain is not there.
    fn assert_logs(&self, idempotent: bool) {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for partition in 0..PARTITIONS {
            let log = self.rig.log(&format!("t-{partition}"));
            for (at, value) in log.into_iter().enumerate() {
                places.entry(value).or_default().push(at);
            }
        }
        let mut last: HashMap<&str, i64> = HashMap::new();
        for (number, (partition, value, delivery)) in self.rig.records.iter().enumerate() {
            let found = places.get(value).map_or(&[][..], Vec::as_slice);
            match delivery.verdict().expect("every record has a verdict") {
                Ok(acknowledged) => {
                    let offset = acknowledged.offset.expect("no broker forgot a batch");
                    assert!(found.contains(&(offset as usize)), "{number}: {found:?}, {offset}");
                    if idempotent {
                        assert_eq!(found.len(), 1, "{number} is in the log once: {found:?}");
                        let before = last.insert(partition, offset).unwrap_or(-1);
                        assert!(before < offset, "{number}: order in {partition}");
                    }
                }
                Err(error) if error.possibly_written() => {
                    assert!(!idempotent || found.len() <= 1, "{number}: {found:?}");
                }
                Err(error) => assert!(found.is_empty(), "{number}: {error} and {found:?}"),
            }
        }
    }
}

/// Returns how many batches were split.
fn soak(seed: u64, config: ConfigBuilder, weather: Weather) -> u64 {
    let idempotent = config.settings().unwrap().idempotence;
    let mut soak = Soak::new(seed, config, weather);
    soak.rig.world.logs.bytes_max = weather.narrow.then_some(300);
    let mut steps = 0;
    while soak.sent < RECORDS && steps < 20_000 {
        soak.step();
        steps += 1;
    }
    if let Some(close_ms) = weather.close_ms {
        soak.rig.sender.handle_close(soak.rig.now + ms(close_ms), soak.rig.now);
        for _ in 0..200 {
            soak.step();
        }
    }
    soak.calm_down();
    soak.rig.assert_nothing_left();
    soak.assert_logs(idempotent);
    assert_eq!(soak.rig.ended, weather.close_ms.is_some());
    assert!(weather.expiry || weather.close_ms.is_some() || soak.rig.count(ApiKey::Produce) > 0);
    soak.rig.sender.counters().splits
}

/// `KURING_SOAK_SEEDS=100000` looks longer.
fn seeds() -> u64 {
    std::env::var("KURING_SOAK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[test]
fn random_faults_lose_double_and_reorder_nothing() {
    for seed in 0..seeds() {
        let config = config().linger(ms(seed % 3 * 5)).buffer_memory(40_000);
        println!("seed {seed}");
        soak(seed, config.in_flight_max(1 + seed as usize % 5), Weather::default());
    }
}

#[test]
fn random_faults_and_rejections_lose_double_and_reorder_nothing() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let weather = Weather { rejections: true, ..Weather::default() };
        soak(seed, config().buffer_memory(40_000), weather);
    }
}

#[test]
fn random_faults_and_short_timeouts_double_and_reorder_nothing() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let config = config().delivery_timeout(ms(700)).request_timeout(ms(400));
        let weather = Weather { rejections: seed % 2 == 0, expiry: true, ..Weather::default() };
        soak(seed, config.buffer_memory(40_000), weather);
    }
}

#[test]
fn random_faults_without_idempotence_lose_nothing() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let config = config().idempotence(false).buffer_memory(40_000);
        let weather =
            Weather { rejections: seed % 2 == 0, expiry: seed % 3 == 0, ..Weather::default() };
        soak(seed, config.delivery_timeout(ms(2_000)).request_timeout(ms(500)), weather);
    }
}

#[test]
fn random_faults_during_a_close_leave_nothing_behind() {
    for seed in 0..seeds() {
        println!("seed {seed}");
        let weather = Weather { close_ms: Some(seed % 4 * 200), ..Weather::default() };
        soak(seed, config().buffer_memory(40_000).linger(ms(20)), weather);
    }
}

#[test]
fn random_faults_and_splits_lose_double_and_reorder_nothing() {
    let mut splits = 0;
    for seed in 0..seeds() {
        println!("seed {seed}");
        let weather = Weather {
            narrow: true,
            rejections: seed % 4 == 1,
            expiry: seed % 3 == 1,
            close_ms: (seed % 5 == 4).then_some(seed % 4 * 100),
        };
        let config = config().linger(ms(10)).buffer_memory(40_000).idempotence(seed % 8 != 7);
        let config = if weather.expiry {
            config.delivery_timeout(ms(700)).request_timeout(ms(400))
        } else {
            config
        };
        splits += soak(seed, config, weather);
    }
    assert!(splits > seeds(), "there was something to split");
}
