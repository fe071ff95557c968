//! Kuring: a Kafka producer for Linux services that care about microseconds.

#[doc(hidden)]
pub mod accumulator;
#[doc(hidden)]
pub mod clock;
pub mod config;
#[doc(hidden)]
pub mod delivery;
#[doc(hidden)]
pub mod driver;
mod error;
#[doc(hidden)]
pub mod ids;
#[doc(hidden)]
pub mod metadata;
mod metrics;
mod park;
#[doc(hidden)]
pub mod partitioner;
mod producer;
#[doc(hidden)]
pub mod protocol;
mod record;
#[doc(hidden)]
pub mod sender;
mod shard;
mod topic;

pub use config::{Acks, Affinity, ConfigBuilder, ConfigError, DriverChoice, Settings};
pub use delivery::Delivery;
pub use driver::probe::OpenError;
pub use error::{SendError, TrySendError};
pub use ids::BrokerId;
pub use metadata::PartitionDescription;
pub use metrics::Metrics;
pub use producer::{Producer, StartError, Summary};
pub use protocol::error_code::ErrorCode;
pub use record::{Acknowledged, Header, Record, RecordMetadata};
pub use topic::{Sending, Topic};
