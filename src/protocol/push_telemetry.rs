//! PushTelemetry: a client's metrics, version 0.
//!
//! | request | | response | |
//! |---|---|---|---|
//! | client instance id | uuid | throttle time | i32 |
//! | subscription id | i32 | error code | i16 |
//! | terminating: the client's last push | bool | | |
//! | compression type | i8 | | |
//! | metrics: OTLP `MetricsData`, in that codec | bytes | | |
//!
//! Source:   KIP-714.
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader};
use super::compression::Codec;
use super::error_code::ErrorCode;
use super::wire::WireError;
use crate::ids::ClientInstanceId;

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// What the first subscription has given.
    pub instance: ClientInstanceId,
    /// The subscription that this follows.
    pub subscription: i32,
    /// Whether it is the client's last one.
    pub terminating: bool,
    /// The codec of the metrics.
    pub codec: Codec,
    /// The metrics.
    pub metrics: &'a [u8],
}

/// Appends a whole request, size prefix included.
///
/// # Panics
/// When the version is not one of ours, or the client id is longer than 32767 bytes.
pub fn encode_request(out: &mut Vec<u8>, header: &RequestHeader<'_>, push: &Push<'_>) {
    let mut request = header.begin(ApiKey::PushTelemetry, out);
    request.fields.raw(&push.instance.0);
    request.fields.i32(push.subscription);
    request.fields.bool(push.terminating);
    request.fields.i8(push.codec as i8);
    request.fields.bytes_len(Some(push.metrics.len()));
    request.fields.raw(push.metrics);
    request.fields.no_tags();
    request.end(0);
}

/// What the broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushTelemetryResponse {
    /// How long the broker wants the connection to rest.
    pub throttle_ms: i32,
    /// The verdict.
    pub error: ErrorCode,
}

/// Reads the answer to a request of `version`.
///
/// # Errors
/// When the bytes are not such an answer.
pub fn decode_response(version: i16, body: &[u8]) -> Result<PushTelemetryResponse, WireError> {
    let mut reader = ApiKey::PushTelemetry.body_reader(version, body)?;
    let throttle_ms = reader.i32("throttle_time_ms")?;
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    reader.skip_tags("response tags")?;
    reader.finish("push_telemetry")?;
    Ok(PushTelemetryResponse { throttle_ms, error })
}
