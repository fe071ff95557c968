//! One broker as a sender sees it: its address, its connection, its unanswered requests.
#![forbid(unsafe_code)]

use core::net::SocketAddr;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::timers::Armed;
use crate::ids::{BrokerId, ConnectionId, TopicId};
use crate::meters::NodeCells;
use crate::protocol::api::{ApiKey, CorrelationId};
use crate::protocol::frame::FrameReader;

/// Largest answer that is accepted: metadata of a very large cluster stays far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// None.
    Down,
    /// Its host name is being resolved.
    Resolving,
    /// TCP connect, at most until then.
    Connecting(Instant),
    /// Connected; ApiVersions is out (NET-8).
    Greeting,
    /// Requests may go out.
    Up,
    /// Shut down; the driver's last event is awaited.
    Closing,
}

/// The versions both sides speak, None where there is none (NET-15).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Versions {
    pub(super) produce: Option<i16>,
    pub(super) metadata: Option<i16>,
    pub(super) init_producer_id: Option<i16>,
    /// Whether there is one of each of the two requests of telemetry.
    pub(super) telemetry: bool,
}

/// A batch's place in an unanswered request. The topic's id is the one the request was built with
/// (TID-2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) batch: u32,
    pub(super) partition: u32,
    pub(super) topic_id: TopicId,
    pub(super) answered: bool,
}

/// A request that was handed to the driver and is not answered.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) deadline: Instant,
    /// As atomics hold it: for the meters.
    pub(super) sent_at: u64,
    /// Of a produce request.
    pub(super) entries: Vec<Entry>,
    /// Of a metadata request: whether it named all topics in use, and which.
    pub(super) asked: Option<Asked>,
    /// Whether the broker answers it (not with `acks=0`).
    pub(super) answers: bool,
}

/// The topics of a metadata request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) full: bool,
    pub(super) topics: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: BrokerId,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// Addresses of the host that this round of connecting has not tried (NET-10).
    pub(super) addresses: VecDeque<SocketAddr>,
    /// The host and port that are being resolved.
    pub(super) lookup: Option<(Arc<str>, u16)>,
    pub(super) link: Link,
    pub(super) generation: u32,
    /// Failed or lost connections since the last one that was up.
    pub(super) failures: u32,
    /// Not before (RTY-8).
    pub(super) retry_at: Option<Instant>,
    pub(super) throttled_until: Option<Instant>,
    pub(super) versions: Versions,
    /// The version for another greeting, while the last one's frame is still in the driver.
    pub(super) greet_with: Option<i16>,
    /// Highest version of a greeting that this connection has not refused and has a use for.
    pub(super) greet_max: i16,
    /// Highest version of a greeting that the broker named when it last answered one.
    pub(super) greeting: Option<i16>,
    /// Whether the last greeting reached another broker than was meant (RBT-4). The waits before
    /// the next tries grow until one is answered, whatever happens to the cluster meanwhile.
    pub(super) is_misrouted: bool,
    pub(super) correlation: CorrelationId,
    pub(super) in_flight: VecDeque<Request>,
    /// Whether a frame is in the driver.
    pub(super) writing: bool,
    /// Partitions with a batch for this node, in turn (DRN-1, DRN-4).
    pub(super) ready: VecDeque<u32>,
    pub(super) reader: FrameReader,
    /// When a request or an answer passed last, or the present try to connect began.
    pub(super) used_at: Instant,
    pub(super) armed: Armed,
    /// Whether the cluster still has this node.
    pub(super) listed: bool,
    /// Whether somebody wants the connection although nothing is ready for it.
    pub(super) wanted: bool,
    /// Since when there is something for it that it does not take (AVL-1); only kept where somebody
    /// asks for it.
    pub(super) refuses_since: Option<Instant>,
    /// Whether that is too long.
    pub(super) is_blocked: bool,
    pub(super) meters: Arc<NodeCells>,
}

impl Node {
    pub(super) fn new(
        id: BrokerId,
        host: Arc<str>,
        port: u16,
        meters: Arc<NodeCells>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            host,
            port,
            addresses: VecDeque::new(),
            lookup: None,
            link: Link::Down,
            generation: 0,
            failures: 0,
            retry_at: None,
            throttled_until: None,
            versions: Versions::default(),
            greet_with: None,
            greet_max: 0,
            greeting: None,
            is_misrouted: false,
            correlation: CorrelationId::default(),
            in_flight: VecDeque::new(),
            writing: false,
            ready: VecDeque::new(),
            reader: Self::new_reader(),
            used_at: now,
            armed: Armed::default(),
            listed: true,
            wanted: false,
            refuses_since: None,
            is_blocked: false,
            meters,
        }
    }

    /// An empty reader; allocates nothing.
    pub(super) fn new_reader() -> FrameReader {
        FrameReader::new(ANSWER_BYTES_MAX)
    }

    /// The id of the current connection.
    pub(super) fn connection(&self, index: u32) -> ConnectionId {
        ConnectionId { slot: index, generation: self.generation }
    }

    /// A bootstrap address, not a known broker (MD-13).
    pub(super) fn is_bootstrap(&self) -> bool {
        self.id.0 < 0
    }

    /// Whether nothing is under way on the connection and nothing waits for it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.ready.is_empty() && !self.writing
    }

    /// Whether a request may be handed to the driver now.
    pub(super) fn can_send(&self, now: Instant) -> bool {
        let rested = self.throttled_until.is_none_or(|until| until <= now);
        self.link == Link::Up && !self.writing && rested
    }

    /// Whether a connect may be started now.
    pub(super) fn can_connect(&self, now: Instant) -> bool {
        self.link == Link::Down && self.listed && self.retry_at.is_none_or(|at| at <= now)
    }
}
