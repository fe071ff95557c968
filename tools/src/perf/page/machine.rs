//! What a run ran on.
#![forbid(unsafe_code)]

use std::fs;

/// Rows of name and value.
pub(super) fn rows() -> Vec<(&'static str, String)> {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let allowed = rustix::thread::sched_getaffinity(None).map_or(0, |set| set.count());
    vec![
        ("kernel", format!("{} {}", text(uname.sysname()), text(uname.release()))),
        ("processor", processor(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())),
        ("CPUs allowed to this process", allowed.to_string()),
        ("memory", memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())),
        ("kuring", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}

fn processor(cpuinfo: &str) -> String {
    let named = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    named("model name").or_else(|| named("Model")).unwrap_or_else(|| std::env::consts::ARCH.into())
}

fn memory(meminfo: &str) -> String {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1} GiB", kib / 1_048_576.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_and_memory_are_read_from_what_the_kernel_says() {
        assert_eq!(processor("vendor\t: x\nmodel name\t: AMD EPYC\nflags: a"), "AMD EPYC");
        assert_eq!(processor(""), std::env::consts::ARCH);
        assert_eq!(memory("MemTotal:       25165824 kB\nMemFree: 1 kB\n"), "24.0 GiB");
        assert_eq!(memory("?"), "unknown");
    }
}
