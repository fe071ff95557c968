//! A test in a process of its own: limits of the process are its own then, and so is its log.
#![forbid(unsafe_code)]

use std::process::Command;

/// Runs the test of this name in a fresh process; whether this is that process.
///
/// # Panics
/// When the test fails there.
pub(crate) fn in_own_process(test: &str) -> bool {
    const CHILD: &str = "KURING_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} in its own process: {text}{errors}");
    assert!(text.contains("1 passed"), "{test} did not run: {text}");
    false
}
