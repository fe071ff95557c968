//! `kuring completions` and `kuring man`: made from the flags that the program has.
#![forbid(unsafe_code)]

mod program;

use program::{finish, kuring, stderr, stdout};

fn run(arguments: &[&str]) -> std::process::Output {
    finish(kuring().args(arguments).spawn().unwrap())
}

#[test]
fn every_shell_gets_completions_with_the_commands_and_their_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&output);
        for word in ["perf", "produce", "doctor", "record-key-range"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn a_man_page_tells_a_command_s_flags() {
    let page = stdout(&run(&["man", "perf"]));
    assert!(page.contains(".TH kuring-perf 1") && page.contains("key\\-distribution"), "{page}");
    assert!(stdout(&run(&["man"])).contains(".TH kuring 1"));
    let unknown = run(&["man", "consume"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("perf"), "{}", stderr(&unknown));
}

#[test]
fn man_pages_of_all_commands_are_written_into_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("man1");
    let output = run(&["man", "--dir", inside.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    for name in ["kuring.1", "kuring-perf.1", "kuring-sink.1", "kuring-config.1"] {
        let page = std::fs::read_to_string(inside.join(name)).unwrap();
        assert!(page.starts_with(".ie \\n(.g") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
    assert!(!inside.join("kuring-sink-blast.1").exists(), "hidden commands have none");
}
