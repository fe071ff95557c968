//! A connection's first question: which versions its broker speaks, and whether it is the one that
//! is meant.
//!
//! From version 5 on the question says which broker of which cluster the connection is for, and a
//! broker that is another one sends the client back to the bootstrap servers (RBT-4). Brokers
//! before Kafka 4.4 refuse that version, which would cost a round trip with every connect. So a
//! connection starts with the version that its broker took last time, or else the last broker that
//! was asked; with the one before 5 as long as none was. A broker that names version 5 in its
//! answer, because it was upgraded meanwhile, is greeted once more before it gets anything else:
//! whoever can tell that it is not meant is always asked.
//!
//! Bounds:   versions refused on a connection only go down: three greetings, one more if the broker
//!           does not speak what it names.
//! Source:   NET-8, NET-9, RBT-4 of the Java producer; KIP-511, KIP-1242.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::Sender;
use super::connection::AnswerError;
use super::events::limited;
use super::node::{Link, Request, Versions};
use crate::ids::BrokerId;
use crate::protocol::api::{ApiKey, negotiate};
use crate::protocol::api_versions::{self, ApiVersionsResponse, Intended, NAMES_BROKER_FROM};
use crate::protocol::error_code::ErrorCode;

/// The first version of all, as long as no broker was asked: Kafka 3.9 and everything since takes
/// it.
pub(super) const FIRST_GREETING: i16 = NAMES_BROKER_FROM - 1;

/// The longest string that a request can carry.
const CLUSTER_ID_BYTES_MAX: usize = i16::MAX as usize;

impl Sender {
    /// Greets on a new connection.
    pub(super) fn greet_first(&mut self, index: u32, now: Instant) {
        let names_broker = self.intended(index).is_some();
        let max = if names_broker { NAMES_BROKER_FROM } else { NAMES_BROKER_FROM - 1 };
        let node = &mut self.nodes[index as usize];
        node.greet_with = None;
        node.greet_max = max;
        let version = node.greeting.unwrap_or(self.greeting).min(max);
        self.greet(index, version, now);
    }

    /// Greets once more, once the last greeting's frame is back.
    pub(super) fn greet_again(&mut self, index: u32, now: Instant) {
        let node = &mut self.nodes[index as usize];
        if node.link == Link::Greeting
            && !node.writing
            && let Some(version) = node.greet_with.take()
        {
            self.greet(index, version, now);
        }
    }

    fn greet(&mut self, index: u32, version: i16, now: Instant) {
        let intended = self.intended(index);
        self.request(index, ApiKey::ApiVersions, version, now, |out, header| {
            let intended =
                intended.as_ref().map(|(cluster_id, node)| Intended { cluster_id, node: *node });
            api_versions::encode_request(out, header, intended);
            None
        });
    }

    /// Whom a connection is for, if that can be said to its broker (KIP-1242): a broker that is
    /// known by its id, in a cluster that has one.
    fn intended(&self, index: u32) -> Option<(Arc<str>, BrokerId)> {
        let node = &self.nodes[index as usize];
        if !self.settings.cluster_check || !self.may_rebootstrap() || node.is_bootstrap() {
            return None;
        }
        let cluster_id = self.snapshot.cluster_id.as_ref();
        let cluster_id = cluster_id.filter(|id| id.len() <= CLUSTER_ID_BYTES_MAX);
        cluster_id.map(|cluster_id| (Arc::clone(cluster_id), node.id))
    }

    /// NET-9: which versions the broker speaks.
    pub(super) fn handle_versions(
        &mut self,
        index: u32,
        request: &Request,
        body: &[u8],
        now: Instant,
    ) -> Result<(), AnswerError> {
        let answer = api_versions::decode_response(request.version, body)?;
        let named = answer.range(ApiKey::ApiVersions);
        let named = named.and_then(|theirs| negotiate(ApiKey::ApiVersions.versions(), theirs));
        let node = &mut self.nodes[index as usize];
        if answer.error == ErrorCode::UnsupportedVersion && request.version > 0 {
            node.greet_max = request.version - 1;
            node.greet_with = Some(named.unwrap_or(0).min(node.greet_max));
            self.greet_again(index, now);
            return Ok(());
        }
        // Only where rebootstrapping is allowed was anybody named.
        let named_broker = request.version >= NAMES_BROKER_FROM;
        if answer.error == ErrorCode::RebootstrapRequired && named_broker {
            self.misrouted(index, now);
            return Ok(());
        }
        if answer.error != ErrorCode::None {
            return Err(AnswerError::Refused(answer.error));
        }
        self.greeting = named.unwrap_or(request.version);
        node.greeting = Some(self.greeting);
        if !named_broker && self.greeting.min(node.greet_max) >= NAMES_BROKER_FROM {
            node.greet_with = Some(NAMES_BROKER_FROM);
            self.greet_again(index, now);
            return Ok(());
        }
        self.greeted(index, &answer, now);
        Ok(())
    }

    /// The connection may be used.
    fn greeted(&mut self, index: u32, answer: &ApiVersionsResponse, now: Instant) {
        let agreed = |api: ApiKey| negotiate(api.versions(), answer.range(api)?);
        let node = &mut self.nodes[index as usize];
        node.versions = Versions {
            produce: agreed(ApiKey::Produce),
            metadata: agreed(ApiKey::Metadata),
            init_producer_id: agreed(ApiKey::InitProducerId),
            telemetry: agreed(ApiKey::GetTelemetrySubscriptions).is_some()
                && agreed(ApiKey::PushTelemetry).is_some(),
        };
        node.link = Link::Up;
        limited!(news, self.events, Connected, now, broker = node.id.0, host = %node.host,
            port = node.port, produce = ?node.versions.produce, "connected");
        node.failures = 0;
        node.is_misrouted = false;
        node.addresses.clear();
        node.wanted = false;
        if node.versions.telemetry {
            self.telemetry_met(now);
        }
        self.poll_ending(now);
    }
}
