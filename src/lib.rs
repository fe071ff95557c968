//! Kuring: a Kafka producer for Linux services that care about microseconds.

pub mod clock;
pub mod ids;

#[doc(hidden)]
pub mod accumulator;
#[doc(hidden)]
pub mod driver;
#[doc(hidden)]
pub mod protocol;
