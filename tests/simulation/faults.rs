//! The faults of links, of the machine and of the application, and how often each comes.
#![forbid(unsafe_code)]

use crate::cluster::FaultKind;
use crate::random::Random;

/// One row per kind: the enum, the names on the command line and the largest rates come from it.
macro_rules! link_faults {
    ($($(#[$doc:meta])+ $kind:ident, $rate_max:literal;)+) => {
        /// A kind of fault beside those of brokers. Its rate is per million occasions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($(#[$doc])+ $kind,)+
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)+];
            pub(crate) const COUNT: usize = Self::ALL.len();

            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)+
                }
            }

            fn rate_max(self) -> u32 {
                match self {
                    $(Self::$kind => $rate_max,)+
                }
            }
        }
    };
}

link_faults! {
    /// Nothing answers a connect (occasion: a connect).
    ConnectHang, 200_000;
    /// A connect is reset (a connect).
    ConnectReset, 200_000;
    /// A connect is slow (a connect).
    ConnectSlow, 300_000;
    /// A socket takes a frame in pieces (a transmission).
    Pieces, 700_000;
    /// The link is cut after some byte to the broker (a transmission).
    CutUp, 20_000;
    /// The link is cut after some byte of an answer (an answer).
    CutDown, 20_000;
    /// Only one side learns that a link is cut (a cut).
    HalfOpen, 500_000;
    /// A socket takes no more bytes for a while: a window of zero (a transmission).
    Stall, 20_000;
    /// A socket takes no more bytes until it is closed (a transmission).
    StallForever, 3_000;
    /// An answer is long on its way (an answer).
    SlowAnswer, 20_000;
    /// A frame comes back long after its bytes left (a frame).
    LateReturn, 50_000;
    /// Bytes of a link that the client has given up arrive much later (a shutdown).
    Straggler, 300_000;
    /// Paths are stopped one by one, and go on in another order (a change of weather).
    SwizzleClog, 300_000;
    /// A broker is stopped for a while, and no byte is lost (a change of weather).
    BrokerPause, 100_000;
    /// The process is suspended: others go on (a change of weather).
    Suspend, 100_000;
    /// The monotonic clock jumps in the middle of a turn or of a call (a turn, a poll).
    ClockJump, 1_000;
    /// The wall clock jumps in either direction (a change of weather).
    WallJump, 200_000;
    /// A shard's thread gets no processor for a while (a turn).
    SlowTurn, 20_000;
    /// A wait reports only some of what happened (a wait).
    ShortWait, 300_000;
    /// A future of a send is dropped in the middle (a send).
    DroppedFuture, 50_000;
    /// A delivery is dropped before its verdict (a delivery).
    DroppedDelivery, 300_000;
    /// The producer is closed in the middle (a run).
    EarlyClose, 300_000;
    /// A shard ends by a panic (a run).
    ShardPanic, 60_000;
}

/// Which of the faults a run has, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Rates([u32; Fault::COUNT]);

impl Rates {
    /// Some kinds, each with a rate of its own. One run in twenty has none.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let mut rates = Self([0; Fault::COUNT]);
        let enabled = if random.one_in(20) { 0 } else { random.between(1, 100) };
        for kind in Fault::ALL {
            // Both are drawn whatever comes of them, so that kinds do not shift each other.
            let (is_on, max) = (random.below(100) < enabled, u64::from(kind.rate_max()));
            let rate = random.magnitude(max / 30 + 1, max) as u32;
            rates.0[*kind as usize] = if is_on { rate } else { 0 };
        }
        rates
    }

    pub(crate) fn of(&self, kind: Fault) -> u32 {
        self.0[kind as usize]
    }

    pub(crate) fn switch_off(&mut self, kind: Fault) {
        self.0[kind as usize] = 0;
    }
}

/// Decides which faults happen. Each kind has a generator of its own, so that switching one off
/// does not change what the others draw.
#[derive(Debug)]
pub(crate) struct Chance {
    rates: Rates,
    generators: Vec<Random>,
    pub(crate) counts: [u64; Fault::COUNT],
}

impl Chance {
    pub(crate) fn new(rates: &Rates, random: &Random) -> Self {
        let generators = (1..=Fault::COUNT as u64).map(|kind| random.fork(kind)).collect();
        Self { rates: rates.clone(), generators, counts: [0; Fault::COUNT] }
    }

    /// Whether this occasion has the fault.
    pub(crate) fn strikes(&mut self, kind: Fault) -> bool {
        let strikes = self.generators[kind as usize].chance(self.rates.of(kind));
        self.counts[kind as usize] += u64::from(strikes);
        strikes
    }

    /// What else a fault of a kind draws.
    pub(crate) fn of(&mut self, kind: Fault) -> &mut Random {
        &mut self.generators[kind as usize]
    }

    /// No more faults.
    pub(crate) fn end(&mut self) {
        self.rates = Rates([0; Fault::COUNT]);
    }
}

/// A fault of either side, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Either {
    World(Fault),
    Cluster(FaultKind),
}

impl Either {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let world = Fault::ALL.iter().map(|kind| Self::World(*kind));
        world.chain(FaultKind::ALL.iter().map(|kind| Self::Cluster(*kind)))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::World(kind) => kind.name(),
            Self::Cluster(kind) => kind.name(),
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}
