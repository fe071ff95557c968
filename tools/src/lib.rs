//! The parts of the `kuring` command: benchmark, null broker, console producer, doctor, list of
//! settings.
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
