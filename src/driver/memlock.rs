//! How much memory this process may lock: what rings and registered arenas count against.
#![forbid(unsafe_code)]

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Most bytes that this user may lock, in all processes together; None is without limit.
pub(super) fn limit() -> Option<u64> {
    if is_exempt() { None } else { getrlimit(Resource::Memlock).current }
}

fn is_exempt() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}
