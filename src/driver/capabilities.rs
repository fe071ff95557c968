//! What io_uring can do here, found out by asking the kernel: for people, not for a driver.
//!
//! A ring is set up and asked, and set up again with each flag that a driver may want. What a
//! distribution has carried back into an old kernel is seen, and what a filter takes away too.
//!
//! Never:    submits an operation; keeps a ring.
//! Source:   io_uring_setup(2), io_uring_register(2) (`IORING_REGISTER_PROBE`). Operations go by
//!           number, since the kernel's numbers are older and newer than any crate's names.
#![forbid(unsafe_code)]

use std::io;

use io_uring::{Builder, IoUring, Parameters, Probe};
use rustix::io::Errno;

/// Entries of the rings that are tried: the fewer, the less memory is locked.
const ENTRIES: u32 = 8;

/// Something that a kernel has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The kernel's name for it.
    pub name: &'static str,
    /// The release of Linux that brought it.
    pub since: (u32, u32),
    /// Whether it was found.
    pub present: bool,
}

/// Asks the kernel.
///
/// # Errors
/// What the kernel or a filter in front of it answers to the set-up of a plain ring, or to the
/// question which operations there are.
pub fn probe() -> io::Result<Vec<Capability>> {
    let ring: IoUring = IoUring::builder().dontfork().build(ENTRIES)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known)?;
    let mut found = Vec::new();
    for (name, since, has) in FEATURES {
        found.push(Capability { name, since: *since, present: has(ring.params()) });
    }
    for (name, since, code) in OPERATIONS {
        found.push(Capability { name, since: *since, present: known.is_supported(*code) });
    }
    drop(ring);
    for (name, since, choose) in SETUPS {
        let mut builder = IoUring::builder();
        choose(builder.dontfork());
        let refused = builder.build(ENTRIES).err().and_then(|error| Errno::from_io_error(&error));
        // Flags are checked before anything is allocated. Any other refusal, mostly of locked
        // memory that the ring before has not given back yet, is none of the flag.
        found.push(Capability { name, since: *since, present: refused != Some(Errno::INVAL) });
    }
    found.sort_by_key(|capability| capability.since);
    Ok(found)
}

/// A name, the release that brought it, and how it is found.
type Sought<How> = (&'static str, (u32, u32), How);
type Asked = fn(&Parameters) -> bool;

/// What the ring says of itself.
const FEATURES: &[Sought<Asked>] = &[
    ("NODROP", (5, 5), Parameters::is_feature_nodrop),
    ("FAST_POLL", (5, 7), Parameters::is_feature_fast_poll),
    ("EXT_ARG", (5, 11), Parameters::is_feature_ext_arg),
];

/// Operations by number. Receiving many times with one entry is a flag that no ring tells of; it
/// came with `SEND_ZC`.
const OPERATIONS: &[Sought<u8>] = &[
    ("WRITE_FIXED", (5, 1), 5),
    ("POLL_ADD", (5, 1), 6),
    ("SENDMSG", (5, 3), 9),
    ("SEND", (5, 6), 26),
    ("RECV", (5, 6), 27),
    ("MSG_RING", (5, 18), 40),
    ("SEND_ZC", (6, 0), 47),
    ("SENDMSG_ZC", (6, 1), 48),
];

/// Flags that a ring is set up with. `SINGLE_ISSUER` comes before `DEFER_TASKRUN`, which needs it.
const SETUPS: &[Sought<fn(&mut Builder)>] = &[
    ("COOP_TASKRUN", (5, 19), |ring| {
        ring.setup_coop_taskrun();
    }),
    ("SINGLE_ISSUER", (6, 0), |ring| {
        ring.setup_single_issuer();
    }),
    ("DEFER_TASKRUN", (6, 1), |ring| {
        ring.setup_single_issuer().setup_defer_taskrun();
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_or_says_why_not() {
        match probe() {
            Ok(found) => {
                assert_eq!(found.len(), FEATURES.len() + OPERATIONS.len() + SETUPS.len());
                assert!(found.is_sorted_by_key(|capability| capability.since));
                let named = |name| found.iter().find(|it| it.name == name).expect("in the tables");
                assert!(named("POLL_ADD").present, "older than the question itself");
                assert!(named("NODROP").present, "older than the question itself");
                if named("DEFER_TASKRUN").present {
                    assert!(named("SINGLE_ISSUER").present);
                }
            }
            // Filters, kernels without io_uring, and rings that may not be locked.
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }
}
