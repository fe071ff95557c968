//! How much memory this process may lock: what rings and registered arenas count against.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Once;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Most bytes that this user may lock, in all processes together; None is without limit.
pub(super) fn limit() -> Option<u64> {
    if is_exempt() { None } else { getrlimit(Resource::Memlock).current }
}

/// Says once per process why an arena of `need` bytes is not registered, and what would help.
pub(super) fn warn_unregistered(need: u64, error: &io::Error) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        let limit =
            limit().map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"));
        tracing::warn!(
            "the arena is not registered with io_uring ({error}): it needs {need} bytes of locked \
             memory per shard, and RLIMIT_MEMLOCK, which counts for all of this user's processes, \
             is {limit}. Sending works without it. To register it, raise the limit (`ulimit -l {}` \
             or more, LimitMEMLOCK= of the systemd unit), grant the capability (`setcap \
             cap_ipc_lock=ep`), or lower buffer.memory; the kernel registers at most 1 GiB per \
             shard",
            need.div_ceil(1024),
        );
    });
}

/// What the kernel would answer to registering `need` bytes, if that is certain beforehand: it
/// finds out by itself, but only after it has faulted all of them in.
pub(super) fn refusal(need: u64) -> Option<io::Error> {
    limit().is_some_and(|limit| limit < need).then(|| Errno::NOMEM.into())
}

fn is_exempt() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}
