//! Whether a write to a connection that the peer has reset would end this process.
//!
//! A Rust program ignores `SIGPIPE` from its first line on; a library inside a program in another
//! language may find it at its default, which is to die. `SEND` has a flag against that, `WRITE` on
//! a socket has none.
#![forbid(unsafe_code)]

/// Whether `SIGPIPE` is neither ignored, handled nor blocked in this thread. True when unknown.
pub(super) fn would_kill() -> bool {
    std::fs::read_to_string("/proc/thread-self/status").map_or(true, |text| is_deadly(&text))
}

/// `SIGPIPE` is signal 13, bit 12 of the masks.
fn is_deadly(status: &str) -> bool {
    let set = |line: &str| {
        let (name, mask) = line.split_once(':')?;
        matches!(name, "SigBlk" | "SigIgn" | "SigCgt")
            .then(|| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << 12 != 0))
    };
    !status.lines().filter_map(set).any(|set| set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigpipe_is_deadly_unless_a_mask_has_it() {
        let status = |block: u64, ignore: u64, catch: u64| {
            format!(
                "Name:\tx\nSigBlk:\t{block:016x}\nSigIgn:\t{ignore:016x}\nSigCgt:\t{catch:016x}\n"
            )
        };
        assert!(is_deadly(&status(0, 0, 0)));
        assert!(is_deadly(&status(!(1 << 12), 1 << 13, 1 << 11)));
        assert!(!is_deadly(&status(1 << 12, 0, 0)));
        assert!(!is_deadly(&status(0, 1 << 12, 0)));
        assert!(!is_deadly(&status(0, 0, 1 << 12)));
        assert!(is_deadly(""));
    }

    #[test]
    fn a_rust_program_ignores_sigpipe() {
        assert!(!would_kill());
    }
}
