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
mod park;
#[doc(hidden)]
pub mod partitioner;
#[doc(hidden)]
pub mod protocol;
mod record;
#[doc(hidden)]
pub mod sender;

pub use delivery::Delivery;
pub use error::{SendError, TrySendError};
pub use record::{Acknowledged, Header, Record, RecordMetadata};
