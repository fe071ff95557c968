//! How much memory this process may lock: what rings and registered arenas count against.
#![forbid(unsafe_code)]

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// The limit that stands in the way of locking `need` bytes, if one does.
///
/// The kernel would find out by itself, but only after it has faulted the whole arena in.
pub(super) fn obstacle(need: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Memlock).current?;
    (limit < need && !is_exempt()).then_some(limit)
}

/// Whether locked memory is limited at all.
pub(super) fn is_limited() -> bool {
    getrlimit(Resource::Memlock).current.is_some() && !is_exempt()
}

fn is_exempt() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}
