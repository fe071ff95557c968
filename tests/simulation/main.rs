//! The deterministic simulator: whole producers against a model cluster, all from one seed.
//!
//! This target has no test harness: `main` reads a command line of its own. Tests of the model
//! cluster live in `cluster_works.rs`, a target with the usual harness.
#![forbid(unsafe_code)]

#[expect(dead_code, reason = "used as the simulator grows")]
mod random;

fn main() {}
