//! The parts of the `kuring` command: benchmark, null broker, console producer.
#![forbid(unsafe_code)]

pub mod commands;
pub mod cpu;
pub mod sink;
