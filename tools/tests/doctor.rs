//! `kuring doctor` as a user runs it, and in surroundings that take something away from it.
#![forbid(unsafe_code)]

mod program;

use std::process::{Command, Output, Stdio};

use kuring_tools::sink::{Sink, SinkOptions};
use program::{finish, kuring, stderr, stdout};

fn doctor(arguments: &[&str]) -> Output {
    finish(kuring().arg("doctor").args(arguments).spawn().unwrap())
}

/// The doctor at the end of another program's command line.
fn doctor_under(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(arguments).env("KURING", env!("CARGO_BIN_EXE_kuring"));
    finish(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")))
}

/// The status of the first check of this name in JSON.
fn status(output: &Output, name: &str) -> String {
    let text = stdout(output);
    let start = format!("{{\"name\": \"{name}\", \"status\": \"");
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&start));
    let line = line.unwrap_or_else(|| panic!("no {name}: {text}{}", stderr(output)));
    line.split('"').next().unwrap().to_owned()
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let named = |line: &&str| line.split_whitespace().nth(1) == Some(name);
    text.lines().find(named).unwrap_or_else(|| panic!("no {name}: {text}"))
}

#[test]
fn a_sound_cluster_ends_with_status_0_in_80_columns_without_colour() {
    let sink = Sink::start(&SinkOptions::default()).unwrap();
    let server = sink.address().to_string();
    let output = doctor(&["--bootstrap-server", &server, "--topic", "t"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(line(&text, "topic").starts_with("ok  "), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let long = |line: &&str| line.chars().count() > 80 && !line.trim_start().starts_with('$');
    assert_eq!(text.lines().find(long), None);
    assert!(text.trim_end().ends_with('.'), "{text}");
    assert_eq!(sink.totals().records, 0);
}

#[test]
fn without_a_broker_the_machine_is_still_looked_at() {
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(line(&stdout(&output), "brokers").starts_with("warning"), "{}", stdout(&output));
}

#[test]
fn a_problem_ends_with_status_1() {
    let output = doctor(&["--bootstrap-server", "a.invalid:9092", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status(&output, "bootstrap"), "problem");
}

#[test]
fn wrong_settings_are_a_problem_and_stop_no_other_check() {
    let sink = Sink::start(&SinkOptions::default()).unwrap();
    let server = sink.address().to_string();
    let arguments = ["--bootstrap-server", &server, "--json", "--command-property", "acks=2"];
    let output = doctor(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status(&output, "settings"), "problem");
    assert_eq!(status(&output, "bootstrap"), "ok");
    let arguments = ["--bootstrap-server", &server, "--json", "--command-property", "linger=5"];
    let output = doctor(&arguments);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert_eq!(status(&output, "settings"), "warning");
    let output = doctor(&["--producer.config", "/no/such/file", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status(&output, "settings"), "problem");
}

#[test]
fn arguments_that_make_no_sense_end_with_status_2() {
    assert_eq!(doctor(&["--bootstrap"]).status.code(), Some(2));
    assert_eq!(doctor(&["--command-property", "x"]).status.code(), Some(2));
    assert_eq!(doctor(&["stray"]).status.code(), Some(2));
}

/// What a parser of JSON, not ours, reads of the output.
#[test]
fn the_json_is_read_by_others() {
    let script = "import json,subprocess,os\n\
        out = subprocess.run([os.environ['KURING'], 'doctor', '--json'], stdout=-1).stdout\n\
        it = json.loads(out)\n\
        assert set(it) == {'version', 'problems', 'warnings', 'checks'}, it.keys()\n\
        assert all(set(c) == {'name', 'status', 'fact', 'remedy'} for c in it['checks'])\n\
        assert it['warnings'] == sum(c['status'] == 'warning' for c in it['checks'])\n\
        print(len(it['checks']))";
    let output = doctor_under("python3", &["-c", script]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).trim().parse::<usize>().unwrap() > 20);
}

#[test]
fn a_low_limit_on_locked_memory_is_a_warning_with_its_remedy() {
    let script = "ulimit -l 64; exec \"$KURING\" doctor --json";
    // Root keeps CAP_IPC_LOCK, which lifts the limit; without it the limit counts.
    let output = if rustix::process::geteuid().is_root() {
        let drop = ["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh", "-c", script];
        doctor_under("setpriv", &drop)
    } else {
        doctor_under("sh", &["-c", script])
    };
    assert_eq!(status(&output, "locked-memory"), "warning", "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_affinity_outside_of_the_mask_is_a_problem() {
    let mask = |cpus: &str| {
        let arguments = ["-c", cpus, env!("CARGO_BIN_EXE_kuring"), "doctor", "--json"];
        let affinity = ["--command-property", "kuring.affinity=1"];
        doctor_under("taskset", &[&arguments[..], &affinity].concat())
    };
    let output = mask("0");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(status(&output, "cpus"), "warning");
    assert_eq!(status(&output, "affinity"), "problem");
}

/// Runs the doctor under a system call filter that answers io_uring_setup with an error.
const FILTERED: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
error = int(sys.argv[1])
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | error),
        (0x06, 0, 0, 0x7fff0000)]
filter = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *it) for it in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(filter)))
assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, "PR_SET_SECCOMP"
os.execv(os.environ["KURING"], ["kuring", "doctor", "--json"] + sys.argv[2:])
"#;

#[test]
fn a_filter_that_forbids_io_uring_is_named() {
    const PERMISSION: &str = "1";
    const NO_SYSTEM_CALL: &str = "38";
    for errno in [PERMISSION, NO_SYSTEM_CALL] {
        let output = doctor_under("python3", &["-c", FILTERED, errno]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(status(&output, "io-uring"), "warning");
        assert_eq!(status(&output, "driver"), "warning");
        assert!(stdout(&output).contains("blocked by a seccomp filter"), "{}", stdout(&output));
        let explicit = ["--command-property", "kuring.driver=tokio-uring"];
        let arguments = [&["-c", FILTERED, errno][..], &explicit].concat();
        let output = doctor_under("python3", &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(status(&output, "driver"), "problem");
    }
}
