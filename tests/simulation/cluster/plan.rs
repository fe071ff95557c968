//! What a run's cluster looks like, and which faults it has how often.
#![forbid(unsafe_code)]

use crate::random::Random;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// One row per kind: the enum, the names on the command line and the largest rates come from it.
macro_rules! fault_kinds {
    ($($(#[$doc:meta])+ $kind:ident, $pace:ident $rate_max:literal;)+) => {
        /// A kind of fault of brokers. Each has a rate in [`Plan`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum FaultKind {
            $($(#[$doc])+ $kind,)+
        }

        impl FaultKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)+];
            pub(crate) const COUNT: usize = Self::ALL.len();

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                }
            }

            /// Whether it comes with time (its rate is per thousand seconds) and not with requests
            /// (its rate is per million occasions).
            pub(crate) fn is_timed(self) -> bool {
                match self {
                    $(Self::$kind => fault_kinds!(@timed $pace),)+
                }
            }

            fn rate_max(self) -> u32 {
                match self {
                    $(Self::$kind => $rate_max,)+
                }
            }
        }
    };
    (@timed per_million) => { false };
    (@timed per_1000_s) => { true };
}

fault_kinds! {
    /// A retriable code for a partition, before the append.
    RetriableBefore, per_million 50_000;
    /// A retriable code for a partition, after the append: what brokers say who wait in vain.
    RetriableAfter, per_million 50_000;
    /// A code that is final for the batch, before the append.
    FinalBefore, per_million 10_000;
    /// A code that is final for the producer, before the append.
    FatalBefore, per_million 300;
    /// UNKNOWN_SERVER_ERROR after the append.
    ServerErrorAfter, per_million 5_000;
    /// INVALID_RECORD, with the errors of some records from version 8.
    InvalidRecord, per_million 10_000;
    /// A leader says that it is not, or that the epoch is fenced.
    WrongLeader, per_million 50_000;
    /// NOT_LEADER_OR_FOLLOWER comes without a hint although the version has hints.
    WithoutHint, per_million 500_000;
    /// The hint is an older leader and epoch.
    StaleHint, per_million 500_000;
    /// Milliseconds to seconds of throttle time.
    Throttle, per_million 30_000;
    /// Hours to weeks of throttle time.
    ThrottleHuge, per_million 1_000;
    /// A request waits in the broker before it is handled.
    SlowRequest, per_million 20_000;
    /// Requests that are in the broker when their connection closes are handled all the same.
    Zombie, per_million 500_000;
    /// The request is handled; its answer never comes.
    Withheld, per_million 5_000;
    /// The request is handled; its answer comes late.
    LateAnswer, per_million 20_000;
    /// The request is handled; then its connection is cut.
    CutAfter, per_million 20_000;
    /// Metadata of an earlier state of the cluster.
    MetadataStale, per_million 300_000;
    /// Metadata that leaves topics out.
    MetadataPartial, per_million 100_000;
    /// Metadata with a retriable error for a topic.
    MetadataTopicError, per_million 100_000;
    /// Metadata with a final error for a topic.
    MetadataDenied, per_million 10_000;
    /// Metadata with an error for a partition, which then has no leader.
    MetadataPartitionError, per_million 100_000;
    /// Metadata that knows no broker.
    MetadataEmpty, per_million 100_000;
    /// REBOOTSTRAP_REQUIRED, from version 13.
    Rebootstrap, per_million 50_000;
    /// InitProducerId fails with a retriable code.
    InitRetriable, per_million 300_000;
    /// InitProducerId fails with an authorization code.
    InitDenied, per_million 100_000;

    /// A leader moves to another in-sync replica.
    LeaderMove, per_1000_s 1_000;
    /// A broker stops at once and comes back.
    BrokerStop, per_1000_s 200;
    /// A broker gives its leaders away, then stops and comes back.
    BrokerRoll, per_1000_s 200;
    /// A broker is cut off from the others and goes on as if it led.
    DeposedLeader, per_1000_s 200;
    /// A replica that lags is elected while the in-sync ones are down.
    UncleanElection, per_1000_s 200;
    /// A replica stops to fetch, and leaves the in-sync ones.
    StuckFollower, per_1000_s 500;
    /// A topic is deleted, and created again later.
    TopicDelete, per_1000_s 100;
    /// A topic gets another partition.
    PartitionsAdded, per_1000_s 100;
    /// All replicas of a partition forget their producers (`producer.id.expiration.ms`).
    ProducerExpiry, per_1000_s 200;
    /// A log's start moves up.
    Retention, per_1000_s 500;

    /// A broker comes back without its producers' state.
    StateLoss, per_million 500_000;
    /// A broker comes back on another port.
    PortChange, per_million 500_000;
    /// Another machine comes back with a broker's node id: another address, empty disks.
    NodeReplaced, per_million 300_000;
    /// A leaderless partition does not wait for its in-sync replicas.
    UncleanChoice, per_million 500_000;
}

/// Which requests a broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    V2_1,
    V2_8,
    V3_9,
    V4_3,
}

impl Line {
    /// Key, lowest and highest version.
    pub(crate) const fn versions(self) -> [(i16, i16, i16); 4] {
        match self {
            Self::V2_1 => [(0, 0, 7), (3, 0, 7), (18, 0, 2), (22, 0, 1)],
            Self::V2_8 => [(0, 0, 9), (3, 0, 11), (18, 0, 3), (22, 0, 4)],
            Self::V3_9 => [(0, 0, 11), (3, 0, 12), (18, 0, 4), (22, 0, 5)],
            Self::V4_3 => [(0, 3, 13), (3, 0, 13), (18, 0, 4), (22, 0, 5)],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TopicPlan {
    pub(crate) name: String,
    pub(crate) partitions: usize,
    /// At most the number of brokers.
    pub(crate) replication: usize,
    pub(crate) min_isr: usize,
    /// Bytes of a batch, `max.message.bytes`.
    pub(crate) batch_bytes_limit: usize,
    /// Not there before Metadata asks for it.
    pub(crate) is_automatic: bool,
}

/// A cluster to be. Nodes are 1, 2, ...
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// One per broker.
    pub(crate) lines: Vec<Line>,
    pub(crate) topics: Vec<TopicPlan>,
    /// Whether the producers are idempotent; None when some are and others are not.
    pub(crate) is_idempotent: Option<bool>,
    /// UNKNOWN_PRODUCER_ID for batches of producers that are not known, as brokers before 2.5 said.
    pub(crate) refuses_unknown_producers: bool,
    /// Whether errors about sequences carry the log's start.
    pub(crate) tells_log_start: bool,
    /// DUPLICATE_SEQUENCE_NUMBER for what lies before the five batches.
    pub(crate) says_duplicate: bool,
    /// Moving the log's start drops producers, as brokers before 2.5 did.
    pub(crate) retention_forgets: bool,
    /// Nanoseconds until a follower has fetched, at most.
    pub(crate) fetch_lag_max: u64,
    /// Nanoseconds until a broker has heard from the controller, at most.
    pub(crate) news_lag_max: u64,
    /// Nanoseconds behind until a replica is out of sync.
    pub(crate) replica_lag_max: u64,
    /// Nanoseconds until the controller takes a silent broker for dead.
    pub(crate) session: u64,
    rates: [u32; FaultKind::COUNT],
}

impl Plan {
    /// Without faults: so many brokers of the newest line, one topic.
    pub(crate) fn calm(brokers: usize, topic: &str, partitions: usize) -> Self {
        let replication = brokers.min(3);
        let topic = TopicPlan {
            name: topic.into(),
            partitions,
            replication,
            min_isr: replication.div_ceil(2),
            batch_bytes_limit: 1 << 20,
            is_automatic: false,
        };
        Self {
            lines: vec![Line::V4_3; brokers],
            topics: vec![topic],
            is_idempotent: None,
            refuses_unknown_producers: false,
            tells_log_start: true,
            says_duplicate: false,
            retention_forgets: false,
            fetch_lag_max: 5 * MILLISECOND,
            news_lag_max: 20 * MILLISECOND,
            replica_lag_max: 3 * SECOND,
            session: 2 * SECOND,
            rates: [0; FaultKind::COUNT],
        }
    }

    /// A cluster drawn at random, with faults of some kinds.
    pub(crate) fn draw(random: &mut Random) -> Self {
        use Line::{V2_1, V2_8, V3_9, V4_3};
        let brokers = random.between(1, 5) as usize;
        // Lines that a rolling upgrade mixes. Topic ids came after 2.1: a producer that gets them
        // from one broker only could not speak to the newest.
        let upgrades: [&[Line]; 5] =
            [&[V4_3], &[V4_3, V3_9], &[V3_9, V2_8], &[V2_8, V2_1], &[V3_9]];
        let lines = *random.pick(&upgrades);
        let mut plan = Self::calm(brokers, "", 1);
        plan.lines = (0..brokers).map(|_| *random.pick(lines)).collect();
        plan.topics =
            (0..random.between(1, 4)).map(|n| TopicPlan::draw(n, brokers, random)).collect();
        plan.refuses_unknown_producers = lines.contains(&V2_1) || random.one_in(6);
        plan.tells_log_start = !random.one_in(4);
        plan.says_duplicate = random.one_in(3);
        plan.retention_forgets = random.one_in(3);
        plan.fetch_lag_max = random.magnitude(50_000, 50 * MILLISECOND);
        plan.news_lag_max = random.magnitude(MILLISECOND, SECOND);
        plan.replica_lag_max = random.magnitude(SECOND / 2, 10 * SECOND);
        plan.session = random.magnitude(SECOND / 2, 9 * SECOND);
        if !random.one_in(20) {
            let enabled = random.between(1, 100);
            for kind in FaultKind::ALL {
                if random.below(100) < enabled {
                    let rate_max = u64::from(kind.rate_max());
                    plan.set_rate(*kind, random.magnitude(rate_max / 30, rate_max) as u32);
                }
            }
        }
        plan
    }

    pub(crate) fn rate(&self, kind: FaultKind) -> u32 {
        self.rates[kind as usize]
    }

    /// Per million occasions, or per thousand seconds: see [`FaultKind::is_timed`].
    pub(crate) fn set_rate(&mut self, kind: FaultKind, rate: u32) {
        self.rates[kind as usize] = rate;
    }
}

impl TopicPlan {
    fn draw(number: u64, brokers: usize, random: &mut Random) -> Self {
        let replication = random.between(1, brokers.min(3) as u64) as usize;
        let limits = [1 << 20, 1 << 20, 16 << 10, 2 << 10, 700];
        Self {
            name: format!("topic-{number}"),
            partitions: random.magnitude(1, 12) as usize,
            replication,
            min_isr: random.between(1, replication.min(2) as u64) as usize,
            batch_bytes_limit: *random.pick(&limits),
            is_automatic: random.one_in(3),
        }
    }
}

/// Decides which faults happen. Each kind has a generator of its own: a kind that is switched off
/// does not shift what the others draw.
#[derive(Debug)]
pub(super) struct Faults {
    rates: [u32; FaultKind::COUNT],
    generators: Vec<Random>,
    pub(super) counts: [u64; FaultKind::COUNT],
}

impl Faults {
    pub(super) fn new(plan: &Plan, random: &Random) -> Self {
        let generators = (1..=FaultKind::COUNT as u64).map(|kind| random.fork(kind)).collect();
        Self { rates: plan.rates, generators, counts: [0; FaultKind::COUNT] }
    }

    /// Whether this occasion has the fault.
    pub(super) fn strikes(&mut self, kind: FaultKind) -> bool {
        let strikes = self.generators[kind as usize].chance(self.rates[kind as usize]);
        self.counts[kind as usize] += u64::from(strikes);
        strikes
    }

    /// Nanoseconds until a timed fault strikes next; None when it never does.
    pub(super) fn interval(&mut self, kind: FaultKind) -> Option<u64> {
        let rate = u64::from(self.rates[kind as usize]);
        let mean = (1_000 * SECOND).checked_div(rate)?;
        Some(self.of(kind).between(1, 2 * mean))
    }

    /// What else a fault of a kind draws.
    pub(super) fn of(&mut self, kind: FaultKind) -> &mut Random {
        &mut self.generators[kind as usize]
    }

    /// No more faults.
    pub(super) fn end(&mut self) {
        self.rates = [0; FaultKind::COUNT];
    }
}
