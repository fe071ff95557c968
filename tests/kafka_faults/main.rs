//! Real faults on real clusters: while four threads produce stamped records, one thing goes wrong;
//! then the log is read back and every verdict is held against it.
//!
//! The matrix takes minutes, so `cargo test` leaves it out. `tools/check` runs it:
//!
//! ```text
//! cargo test --test kafka_faults -- --ignored matrix
//! KURING_FAULTS=kill,hold cargo test --test kafka_faults -- --ignored matrix::v4_3_1
//! KURING_SOAK_MINUTES=60 cargo test --release --test kafka_faults -- --ignored soak
//! ```
//!
//! The link that is taken down needs root; without, that fault is skipped and says so.
//!
//! Reading order: stamp (what is sent) → traffic (who sends it) → ledger (what must be in the log)
//! → scene (where) → faults (what goes wrong) → matrix (all of them) → report (the table).
#![forbid(unsafe_code)]

mod faults;
mod ledger;
mod log;
mod matrix_of_faults;
mod report;
mod scene;
mod stamp;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

mod matrix {
    use std::time::Duration;

    use crate::matrix_of_faults::{alone, play_all};
    use crate::support::deadline::bounded;
    use crate::support::jars::Version;

    #[test]
    #[ignore = "takes minutes; tools/check runs it"]
    fn v4_3_1() {
        alone(|| bounded(HANGS_AFTER, || play_all(Version::V4_3_1)));
    }

    #[test]
    #[ignore = "takes minutes; tools/check runs it"]
    fn v3_9_2() {
        alone(|| bounded(HANGS_AFTER, || play_all(Version::V3_9_2)));
    }

    const HANGS_AFTER: Duration = Duration::from_secs(30 * 60);
}

#[test]
#[ignore = "an hour, or KURING_SOAK_MINUTES: cargo test --test kafka_faults -- --ignored soak"]
fn soak() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let minutes = number("KURING_SOAK_MINUTES").unwrap_or(60);
    let seed = number("KURING_SEED").unwrap_or_else(|| std::process::id().into());
    matrix_of_faults::alone(|| matrix_of_faults::soak(minutes, seed));
}
