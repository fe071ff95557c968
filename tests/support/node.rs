//! One broker process: started, watched, signalled and never left behind.
//!
//! Owns:     the process group of one JVM and its watchdog, a shell. The shell's standard input is
//!           a pipe that only this process holds: when the pipe closes, on SIGKILL of the test
//!           too, the shell kills the group and removes the broker's folder. So even a cluster in
//!           a `static`, which is never dropped, is gone when the tests are.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::deadline::Deadline;

/// A running broker. Dropped: killed, with everything it started.
pub(crate) struct Node {
    watchdog: Child,
    /// Names the JVM for as long as this is open: no other process can get its signals.
    jvm: OwnedFd,
    log: PathBuf,
}

impl Node {
    /// Starts `java <arguments>`, its output appended to `folder/broker.log`.
    pub(crate) fn start(folder: &Path, arguments: &[String]) -> Self {
        let log = folder.join("broker.log");
        let output = OpenOptions::new().create(true).append(true).open(&log);
        let output = output.expect("the broker's folder can be written");
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        let mut id = String::new();
        let stdout = watchdog.stdout.take().expect("piped above");
        BufReader::new(stdout).read_line(&mut id).expect("the watchdog tells the JVM's id");
        let id = id.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        let jvm = pidfd_open(id, PidfdFlags::empty()).expect("the watchdog has not reaped it");
        Self { watchdog, jvm, log }
    }

    /// Waits until the broker's process ends; false when `limit` passed before.
    ///
    /// This is also how the tests let a moment pass between two looks at a cluster: a broker that
    /// dies meanwhile is noticed at once.
    pub(crate) fn ended_within(&self, limit: Duration) -> bool {
        ended_within(&self.jvm, limit)
    }

    /// SIGTERM, and waits until the broker has left its cluster and is gone.
    pub(crate) fn stop(mut self, deadline: Deadline) {
        self.signal(Signal::TERM);
        assert!(
            self.ended_within(deadline.left()),
            "the broker ignores SIGTERM; the end of its log:\n{}",
            self.log_tail()
        );
        self.kill_group();
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(mut self) {
        self.kill_group();
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The last lines that the broker has written.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn signal(&self, signal: Signal) {
        // An error says that the process has ended: the one who waits for it will see that.
        pidfd_send_signal(&self.jvm, signal).ok();
    }

    fn kill_group(&mut self) {
        let group = Pid::from_child(&self.watchdog);
        // Not reaped yet, so the number still means this group, if any of it is alive.
        kill_process_group(group, Signal::KILL).ok();
        self.watchdog.wait().expect("the watchdog is our child");
        // The JVM is an orphan now. Its ports and files are free only once it has ended.
        self.ended_within(Duration::from_secs(30));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Waits until the process that `process` names has ended; false when `limit` passed before.
pub(crate) fn ended_within(process: &OwnedFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).expect("tests wait minutes, not ages");
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    poll(&mut watched, Some(&limit)).is_ok_and(|ready| ready > 0)
}

/// The last lines of a file, as far as they fit in 4 KiB.
pub(crate) fn tail(path: &Path) -> String {
    let mut end = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok();
        file.read_to_end(&mut end).ok();
    }
    String::from_utf8_lossy(&end).into_owned()
}

const TAIL_BYTES: u64 = 4096;

/// `$1` is the broker's folder, the rest the JVM's arguments.
///
/// The inner shell waits for the pipe on descriptor 3 to close. Its parent reaps the JVM. Neither
/// keeps descriptor 1, so that nobody waits for it. A folder of several brokers goes with the last.
const WATCHDOG: &str = r#"
folder=$1; shift
exec 3<&0
java "$@" </dev/null >&2 3<&- &
jvm=$!
echo "$jvm"
exec >&2
(
    read -r nothing <&3
    kill -KILL "$jvm"
    while kill -0 "$jvm" 2>/dev/null; do sleep 0.1; done
    rm -rf "$folder"
    rmdir "${folder%/*}" 2>/dev/null
    kill -KILL 0
) &
exec 3<&-
wait "$jvm"
echo "watchdog: the JVM ended with status $?" >&2
read -r nothing
"#;
