//! Kafka's wire protocol as far as a producer speaks it: bytes in, values out, and back.
//!
//! Bounds:   every count is checked against the bytes that remain before memory is taken for it.
//! Never:    touches a socket, a clock or a thread; trusts a length; copies a batch.
//! Source:   the Kafka protocol guide; KIP-482 (flexible versions), KIP-98 (record batch v2).
//!
//! Reading order: [`varint`], [`wire`], [`api`], [`frame`], one file per API, [`record_batch`],
//! [`plain_record`], [`split`], [`holes`], [`compression`].
#![forbid(unsafe_code)]

pub mod api;
pub mod api_versions;
pub mod compression;
pub mod error_code;
pub mod frame;
pub mod get_telemetry_subscriptions;
pub mod holes;
pub mod init_producer_id;
pub mod metadata;
pub mod plain_record;
pub mod produce;
pub mod push_telemetry;
pub mod record_batch;
pub mod split;
pub mod varint;
pub mod wire;

pub use api::{ApiKey, CorrelationId, RequestHeader, VersionRange};
pub use error_code::ErrorCode;
pub use frame::{FrameError, FrameReader};
pub use wire::{Reader, WireError, Writer};
