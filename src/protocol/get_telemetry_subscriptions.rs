//! GetTelemetrySubscriptions: which metrics a cluster wants of a client, version 0.
//!
//! | request | | response | |
//! |---|---|---|---|
//! | client instance id, zero at first | uuid | throttle time | i32 |
//! | | | error code | i16 |
//! | | | client instance id, what to use from now on | uuid |
//! | | | subscription id | i32 |
//! | | | accepted compression types, preferred first | array of i8 |
//! | | | push interval, milliseconds | i32 |
//! | | | telemetry max bytes | i32 |
//! | | | delta temporality | bool |
//! | | | requested metrics: prefixes of names | array of string |
//!
//! Source:   KIP-714.
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader};
use super::error_code::ErrorCode;
use super::wire::WireError;
use crate::ids::{ClientInstanceId, TopicId};

/// Appends a whole request, size prefix included.
///
/// # Panics
/// When the version is not one of ours, or the client id is longer than 32767 bytes.
pub fn encode_request(out: &mut Vec<u8>, header: &RequestHeader<'_>, instance: ClientInstanceId) {
    let mut request = header.begin(ApiKey::GetTelemetrySubscriptions, out);
    request.fields.raw(&instance.0);
    request.fields.no_tags();
    request.end(0);
}

/// What the broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySubscriptions {
    /// How long the broker wants the connection to rest.
    pub throttle_ms: i32,
    /// The verdict; everything below counts only with `None`.
    pub error: ErrorCode,
    /// The client's id from now on.
    pub instance: ClientInstanceId,
    /// What is wanted.
    pub subscription: Subscription,
}

/// What a cluster wants of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Tells subscriptions apart.
    pub id: i32,
    /// Codecs by their numbers in a batch's attributes, preferred ones first; none is always
    /// accepted.
    pub compression_types: Vec<i8>,
    /// How often.
    pub push_interval_ms: i32,
    /// The largest payload.
    pub bytes_max: i32,
    /// Whether counters are wanted as what was added since the last push.
    pub delta: bool,
    /// What the wanted metrics' names begin with; none where nothing is wanted.
    pub requested: Vec<String>,
}

/// Reads the answer to a request of `version`.
///
/// # Errors
/// When the bytes are not such an answer.
pub fn decode_response(version: i16, body: &[u8]) -> Result<TelemetrySubscriptions, WireError> {
    let mut reader = ApiKey::GetTelemetrySubscriptions.body_reader(version, body)?;
    let throttle_ms = reader.i32("throttle_time_ms")?;
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    let TopicId(instance) = reader.uuid("client_instance_id")?;
    let id = reader.i32("subscription_id")?;
    let count = reader.array_len(1, "accepted_compression_types")?;
    let mut compression_types = Vec::with_capacity(count);
    for _ in 0..count {
        compression_types.push(reader.i8("accepted_compression_types")?);
    }
    let push_interval_ms = reader.i32("push_interval_ms")?;
    let bytes_max = reader.i32("telemetry_max_bytes")?;
    let delta = reader.bool("delta_temporality")?;
    let count = reader.array_len(1, "requested_metrics")?;
    let mut requested = Vec::with_capacity(count);
    for _ in 0..count {
        requested.push(reader.string("requested_metrics")?.to_owned());
    }
    reader.skip_tags("response tags")?;
    reader.finish("get_telemetry_subscriptions")?;
    let subscription =
        Subscription { id, compression_types, push_interval_ms, bytes_max, delta, requested };
    let instance = ClientInstanceId(instance);
    Ok(TelemetrySubscriptions { throttle_ms, error, instance, subscription })
}
