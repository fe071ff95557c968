//! What the integration tests share: real Kafka brokers, a log reader, Java's own tools; a fake
//! broker in the test's process, and producers with short times.
//!
//! Reading order: deadline → jars → node → place → kafka → wire → admin → batches → fetch → java;
//! fake_broker → rig, telemetry; proxy, link.
#![allow(dead_code, reason = "every test binary includes this folder and uses a part of it")]

pub(crate) mod admin;
pub(crate) mod batches;
pub(crate) mod deadline;
pub(crate) mod fake_broker;
pub(crate) mod fetch;
pub(crate) mod jars;
pub(crate) mod java;
pub(crate) mod kafka;
pub(crate) mod link;
pub(crate) mod node;
pub(crate) mod own_process;
pub(crate) mod place;
pub(crate) mod ports;
pub(crate) mod proxy;
pub(crate) mod rig;
pub(crate) mod telemetry;
pub(crate) mod wire;
