//! How much memory this process may lock: what registering an arena with io_uring needs.
#![forbid(unsafe_code)]

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// The limit that stands in the way of locking `need` bytes, if one does.
///
/// The kernel would find out by itself, but only after it has faulted the whole arena in.
pub(super) fn obstacle(need: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Memlock).current?;
    let exempt =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    (!exempt && limit < need).then_some(limit)
}
