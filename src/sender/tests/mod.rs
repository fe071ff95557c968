//! The sender against a cluster in memory, in virtual time. Each family of behaviours has a file.
#![forbid(unsafe_code)]

mod log;
mod rig;
mod wire;
mod world;

mod availability;
#[cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
mod compressing;
mod connections;
mod draining;
mod ending;
mod events;
mod expiry;
mod greeting;
mod leaders;
mod loans;
mod metadata;
mod nodes;
mod out_of_order;
mod purging;
mod readiness;
mod rebootstrap;
mod record_errors;
mod reserving;
mod retrying;
mod sequences;
mod soak;
mod splitting;
mod telemetry;
mod topics;
mod versions;
