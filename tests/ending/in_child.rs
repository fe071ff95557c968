//! A body of a test in the child of a fork.
//!
//! The child runs between fork and exec, where a test can have it without help from C; it may do
//! anything there that a child without exec may do.
#![expect(unsafe_code, reason = "a fork is unsafe: it copies one thread and all locks")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

type Body<'a> = Box<dyn FnMut() + Send + Sync + 'a>;

/// Runs `body` in the child of a fork; fails with its panic, if it has one. It finds there a copy
/// of everything that it borrows.
pub(crate) fn in_child<'a>(body: impl FnMut() + Send + Sync + 'a) {
    let body: Body<'a> = Box::new(body);
    // SAFETY: obligation: nobody has the body when `'a` is over. The command owns it, and is gone
    // at the end of this function, however that ends.
    let body = unsafe { std::mem::transmute::<Body<'a>, Body<'static>>(body) };
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut command = Command::new("true");
    let (mut body, path) = (AssertUnwindSafe(body), report.clone());
    // SAFETY: obligation: nothing in the child relies on a thread or a lock that was not copied.
    // The producers do not, which is what is tested; the allocator is safe across forks.
    let command = unsafe {
        command.pre_exec(move || {
            let told = match catch_unwind(AssertUnwindSafe(|| (*body)())) {
                Ok(()) => "as it should be".to_owned(),
                Err(panic) => match panic.downcast::<String>() {
                    Ok(text) => *text,
                    Err(_) => "a panic".to_owned(),
                },
            };
            fs::write(&path, told)
        })
    };
    assert!(command.status().unwrap().success());
    assert_eq!(fs::read_to_string(&report).unwrap(), "as it should be", "what the child told");
}
