//! The simulator's model cluster does what real brokers do, as far as a producer can see.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "the simulator uses more of the model than its tests do")]

mod cluster;
mod random;
#[path = "cluster/tests/mod.rs"]
mod tests;
