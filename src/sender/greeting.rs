//! A connection's first question: which versions its broker speaks (NET-8, NET-9).
#![forbid(unsafe_code)]

use std::time::Instant;

use super::Sender;
use super::connection::AnswerError;
use super::events::limited;
use super::node::{Link, Request, Versions};
use crate::protocol::api::{ApiKey, negotiate};
use crate::protocol::api_versions;
use crate::protocol::error_code::ErrorCode;

impl Sender {
    /// Greets with the version that the broker named, once the first greeting's frame is back.
    pub(super) fn greet_again(&mut self, index: u32, now: Instant) {
        let node = &mut self.nodes[index as usize];
        if node.link == Link::Greeting
            && !node.writing
            && let Some(version) = node.greet_with.take()
        {
            self.greet(index, version, now);
        }
    }

    pub(super) fn greet(&mut self, index: u32, version: i16, now: Instant) {
        self.request(index, ApiKey::ApiVersions, version, now, |out, header| {
            api_versions::encode_request(out, header);
            None
        });
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
        if answer.error == ErrorCode::UnsupportedVersion && request.version > 0 {
            let ours = ApiKey::ApiVersions.versions();
            let named = answer.range(ApiKey::ApiVersions);
            let version = named.and_then(|theirs| negotiate(ours, theirs)).unwrap_or(0);
            let node = &mut self.nodes[index as usize];
            node.greet_with = Some(version.min(request.version - 1));
            self.greet_again(index, now);
            return Ok(());
        }
        if answer.error != ErrorCode::None {
            return Err(AnswerError::Refused(answer.error));
        }
        let agreed = |api: ApiKey| negotiate(api.versions(), answer.range(api)?);
        let node = &mut self.nodes[index as usize];
        node.versions = Versions {
            produce: agreed(ApiKey::Produce),
            metadata: agreed(ApiKey::Metadata),
            init_producer_id: agreed(ApiKey::InitProducerId),
        };
        node.link = Link::Up;
        limited!(news, self.events, Connected, now, broker = node.id.0, host = %node.host,
            port = node.port, produce = ?node.versions.produce, "connected");
        node.failures = 0;
        node.addresses.clear();
        node.wanted = false;
        self.poll_ending(now);
        Ok(())
    }
}
