//! Runs the built program, and never longer than a deadline.
#![forbid(unsafe_code)]

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Far beyond what any run here takes; only a hang ends here.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn kuring() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kuring"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the program's end; kills it and fails when it does not come.
pub(crate) fn finish(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = channel();
    let waiting = std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(DEADLINE) else {
        kill_process(pid, Signal::KILL).unwrap();
        waiting.join().unwrap().unwrap();
        panic!("the program did not end within {DEADLINE:?}");
    };
    output.unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
