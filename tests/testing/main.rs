//! `kuring::testing`: its brokers behave as Kafka's do, by the judgement of producers, of another
//! implementation of the protocol, and of Kafka's own Java clients; each fault does what it says.
//!
//! Reading order: rig → faults → brokers → topics → protocol → the others.
#![forbid(unsafe_code)]

mod brokers;
mod compressed;
mod faults;
mod hostile;
mod java;
mod protocol;
mod reading;
mod rig;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod topics;
