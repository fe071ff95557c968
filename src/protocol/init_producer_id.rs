//! InitProducerId: the identity that makes a producer idempotent, versions 0 to 5.
//!
//! | request | since | | response | since |
//! |---|---|---|---|---|
//! | transactional id, nullable | 0 | | throttle time | 0 |
//! | transaction timeout | 0 | | error code | 0 |
//! | producer id | 3 | | producer id | 0 |
//! | producer epoch | 3 | | producer epoch | 0 |
//!
//! Source:   KIP-98; KIP-360 (version 3: an epoch bump instead of a new id).
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader};
use super::error_code::ErrorCode;
use super::wire::WireError;
use crate::ids::ProducerIdentity;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct InitProducerId<'a> {
    /// None for a producer that is idempotent only.
    pub transactional_id: Option<&'a str>,
    /// `transaction.timeout.ms`; brokers ignore it without a transactional id.
    pub transaction_timeout_ms: i32,
    /// The identity whose epoch is to be bumped, or `NONE` for a new one; sent from version 3 on.
    pub current: ProducerIdentity,
}

/// Appends a whole request, size prefix included.
///
/// # Panics
/// When the version is not one of ours, or a string is longer than 32767 bytes.
pub fn encode_request(out: &mut Vec<u8>, header: &RequestHeader<'_>, wanted: &InitProducerId<'_>) {
    let mut request = header.begin(ApiKey::InitProducerId, out);
    request.fields.nullable_string(wanted.transactional_id);
    request.fields.i32(wanted.transaction_timeout_ms);
    if header.version >= 3 {
        request.fields.i64(wanted.current.id);
        request.fields.i16(wanted.current.epoch);
    }
    request.fields.no_tags();
    request.end(0);
}

/// What the broker gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// How long the broker wants the connection to rest.
    pub throttle_ms: i32,
    /// The verdict; the identity counts only with `None`.
    pub error: ErrorCode,
    /// The identity.
    pub producer: ProducerIdentity,
}

/// Reads the answer to a request of `version`.
///
/// # Errors
/// When the bytes are not such an answer.
pub fn decode_response(version: i16, body: &[u8]) -> Result<InitProducerIdResponse, WireError> {
    let mut reader = ApiKey::InitProducerId.body_reader(version, body)?;
    let throttle_ms = reader.i32("throttle_time_ms")?;
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    let id = reader.i64("producer_id")?;
    let epoch = reader.i16("producer_epoch")?;
    reader.skip_tags("response tags")?;
    reader.finish("init_producer_id")?;
    let producer = ProducerIdentity { id, epoch };
    Ok(InitProducerIdResponse { throttle_ms, error, producer })
}
