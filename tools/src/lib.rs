//! The parts of the `kuring` command: benchmark and its report, null broker, console producer, what
//! checks a cluster (`verify`) and the tools of Kafka's system tests, doctor, list of settings.
#![deny(unsafe_code)]

pub mod allocations;
pub mod clock;
pub mod commands;
pub mod console;
pub mod consume;
pub mod cpu;
pub mod doctor;
pub mod perf;
pub mod settings;
pub mod sink;
pub mod verify;
