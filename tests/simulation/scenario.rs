//! What one seed draws: the producer's settings, the cluster, the work, the faults.
#![forbid(unsafe_code)]

use std::time::Duration;

use kuring::{Acks, Compression, ConfigBuilder, PartitionerClass, Settings};

use crate::agenda::{MILLISECOND, SECOND};
use crate::cluster::Plan;
use crate::faults::{Either, Rates};
use crate::random::Random;

/// How the application behaves.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) tasks: usize,
    /// Records of all tasks together.
    pub(crate) records: u32,
    /// Bytes of a value, at most.
    pub(crate) value_bytes_max: u64,
    /// Nanoseconds between two calls of a task, at most.
    pub(crate) pause_max: u64,
    /// Of 100 records: how many name their partition, and how many have a key.
    pub(crate) explicit: u64,
    pub(crate) keyed: u64,
    /// Of 100 calls: `try_send`, `send_batch`.
    pub(crate) tries: u64,
    pub(crate) batches: u64,
    /// One call in so many is a flush, a warm-up or a wait for deliveries.
    pub(crate) flush_every: u64,
    pub(crate) warm_up_every: u64,
    pub(crate) wait_every: u64,
    /// Of 100 deliveries: how many are kept to the end.
    pub(crate) kept: u64,
    /// Of 100 calls: values written in place. Of 100 of these: how many are dropped, and how many
    /// are open for a while.
    pub(crate) reserved: u64,
    pub(crate) dropped: u64,
    pub(crate) dawdled: u64,
    /// One call in so many is a purge, or a pause of a topic.
    pub(crate) purge_every: u64,
    pub(crate) pause_every: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
    pub(crate) shards: usize,
    pub(crate) plan: Plan,
    pub(crate) rates: Rates,
    pub(crate) work: Work,
    /// When everything becomes well.
    pub(crate) heal_at: u64,
}

/// What topics are compressed with.
pub(crate) const CODECS: [Compression; 6] = [
    Compression::None,
    Compression::GZIP,
    Compression::Snappy,
    Compression::LZ4,
    Compression::Zstd(1),
    Compression::Zstd(-7),
];

fn nanos(value: u64) -> Duration {
    Duration::from_nanos(value)
}

impl Scenario {
    pub(crate) fn draw(seed: u64, records: u32) -> Self {
        let root = Random::new(seed);
        let mut random = root.fork(1);
        let shards = *random.pick(&[1, 1, 2, 3]);
        let settings = settings(&mut random, &mut root.fork(5), shards);
        let mut plan = Plan::draw(&mut root.fork(2));
        plan.is_idempotent = Some(settings.idempotence);
        let rates = Rates::draw(&mut root.fork(3));
        let work = Work::draw(&mut root.fork(4), &settings, records);
        let heal_at = random.magnitude(SECOND, 120 * SECOND);
        Self { seed, settings, shards, plan, rates, work, heal_at }
    }

    /// Generators for the parts of the run, by label.
    pub(crate) fn random(&self, label: u64) -> Random {
        Random::new(self.seed).fork(100 + label)
    }

    pub(crate) fn is_on(&self, kind: Either) -> bool {
        match kind {
            Either::World(kind) => self.rates.of(kind) > 0,
            Either::Cluster(kind) => self.plan.rate(kind) > 0,
        }
    }

    pub(crate) fn switch_off(&mut self, kind: Either) {
        match kind {
            Either::World(kind) => self.rates.switch_off(kind),
            Either::Cluster(kind) => self.plan.set_rate(kind, 0),
        }
    }

    /// The faults that the run has.
    pub(crate) fn faults(&self) -> Vec<Either> {
        Either::all().filter(|kind| self.is_on(*kind)).collect()
    }
}

fn settings(random: &mut Random, placing: &mut Random, shards: usize) -> Settings {
    let acks = *random.pick(&[
        Acks::All,
        Acks::All,
        Acks::All,
        Acks::All,
        Acks::All,
        Acks::All,
        Acks::Leader,
        Acks::None,
    ]);
    let idempotence = acks == Acks::All && !random.one_in(6);
    let retries = if random.one_in(8) { random.below(6) as u32 + 1 } else { i32::MAX as u32 };
    let linger = if random.one_in(2) { 0 } else { random.magnitude(100_000, 100 * MILLISECOND) };
    let batch_bytes = *random.pick(&[200, 500, 1_000, 4_096, 16_384]);
    let memory = batch_bytes.max(1_000) * shards as u64 * random.magnitude(3, 256);
    let request_timeout = random.magnitude(100 * MILLISECOND, 30 * SECOND);
    let whole_ms = |nanos: u64| Duration::from_millis(nanos.div_ceil(MILLISECOND));
    let delivery = linger + request_timeout + random.magnitude(MILLISECOND, 90 * SECOND);
    let (retry, reconnect) = (random.magnitude(1, 200), random.magnitude(1, 200));
    let setup = random.magnitude(50, 10_000);
    let ms = Duration::from_millis;
    let mut builder = ConfigBuilder::new()
        .bootstrap_servers("127.0.0.1:9092")
        .client_id("simulated")
        .acks(acks)
        .retries(retries)
        .linger(whole_ms(linger))
        .batch_bytes(batch_bytes as usize)
        .buffer_memory(memory)
        .max_block(nanos(random.magnitude(10 * MILLISECOND, 60 * SECOND)))
        .request_bytes_max(*random.pick(&[1 << 20, 1 << 20, 40_000, 4_000]))
        .in_flight_max(random.between(1, 5) as usize)
        .retry_backoff(ms(retry))
        .retry_backoff_max(ms(retry * random.between(1, 20)))
        .delivery_timeout(whole_ms(delivery + MILLISECOND))
        .request_timeout(whole_ms(request_timeout))
        .reconnect_backoff(ms(reconnect))
        .reconnect_backoff_max(ms(reconnect * random.between(1, 20)))
        .connection_setup_timeout(ms(setup))
        .connection_setup_timeout_max(ms(setup * random.between(1, 4)))
        .connection_idle_max(random.one_in(4).then(|| ms(random.magnitude(500, 60_000))))
        .metadata_age_max(ms(random.magnitude(200, 300_000)))
        .metadata_idle_max(ms(random.magnitude(5_000, 300_000)))
        .ignore_keys(random.one_in(10))
        .shards(shards);
    if acks == Acks::All {
        builder = builder.idempotence(idempotence);
    }
    if random.one_in(10) {
        builder = builder.spin(Duration::from_micros(random.between(1, 100)));
    }
    builder = builder.reserve_max(nanos(random.magnitude(1_000, 50 * MILLISECOND)));
    if placing.one_in(3) {
        builder = builder.compression(*placing.pick(&CODECS));
    }
    placed(builder, placing).settings().expect("only settings that go together are drawn")
}

/// With settings about where records go that name no partition.
fn placed(builder: ConfigBuilder, random: &mut Random) -> ConfigBuilder {
    let classes = PartitionerClass::ALL;
    let class = if random.one_in(2) { PartitionerClass::BuiltIn } else { *random.pick(&classes) };
    let timeout = if random.one_in(2) { 0 } else { random.magnitude(MILLISECOND, 10 * SECOND) };
    builder
        .partitioner_class(class)
        .adaptive_partitioning(!random.one_in(4))
        .availability_timeout(nanos(timeout))
        .rack_aware(random.one_in(4))
        .client_rack("a")
}

impl Work {
    fn draw(random: &mut Random, settings: &Settings, records: u32) -> Self {
        let share = |random: &mut Random| if random.one_in(3) { 0 } else { random.below(100) };
        let seldom = |random: &mut Random| match random.one_in(2) {
            true => u64::MAX,
            false => random.magnitude(20, 2_000),
        };
        Self {
            tasks: random.between(1, 5) as usize,
            records,
            value_bytes_max: random.magnitude(40, 2 * settings.batch_bytes as u64),
            pause_max: random.magnitude(1_000, 100 * MILLISECOND),
            explicit: share(random),
            keyed: share(random),
            tries: share(random),
            batches: share(random) / 4,
            flush_every: random.magnitude(20, 2_000),
            warm_up_every: random.magnitude(100, 4_000),
            wait_every: random.magnitude(4, 2_000),
            kept: share(random),
            reserved: share(random) / 2,
            dropped: share(random) / 2,
            dawdled: share(random),
            purge_every: seldom(random),
            pause_every: seldom(random),
        }
    }
}
