//! `kuring config` as a user runs it.
#![forbid(unsafe_code)]

mod program;

use std::process::Output;

use program::{finish, kuring, stderr, stdout};

const JAVA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/java-service.properties");

fn config(arguments: &[&str]) -> Output {
    finish(kuring().arg("config").args(arguments).spawn().unwrap())
}

#[test]
fn every_setting_is_listed_with_type_default_and_meaning() {
    let output = config(&[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let names = text.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(names, kuring::config::every_property().count());
    assert!(names >= 127, "Kafka's 120 and ours");
    assert!(text.lines().all(|line| line.starts_with(|c: char| c != ' ') || line.len() <= 80));
    let linger = stdout(&config(&["linger"]));
    let expected = "linger.ms                                           long      5\n    \
                    How long a batch that is not full waits for more records.";
    assert!(linger.starts_with(expected), "{linger}");
    assert!(stdout(&config(&["no-such"])).starts_with("No setting has such a name"));
}

#[test]
fn the_page_of_settings_is_current() {
    let page = include_str!("../../docs/settings.md");
    let made = stdout(&config(&["--markdown"]));
    assert!(
        page == made,
        "docs/settings.md is not current; make it: cargo run -p kuring-tools -- config --markdown \
         > docs/settings.md"
    );
}

#[test]
fn a_java_file_is_accepted_and_each_value_says_where_it_came_from() {
    let output = config(&["--file", JAVA, "--property", "linger.ms=30"]);
    let (text, said) = (stdout(&output), stderr(&output));
    assert!(output.status.success(), "{said}");
    let at = |line: usize| format!("{JAVA}:{line}");
    assert!(
        text.lines().any(|line| line
            == "  acks = all                                           # ".to_owned() + &at(14)),
        "{text}"
    );
    assert!(text.contains("* linger.ms = 30"), "{text}");
    assert!(text.contains("# property; default 5"), "{text}");
    assert!(text.contains("  kuring.driver = auto\n"), "{text}");
    let warning = format!("warning: {}: key.serializer is ignored: ", at(9));
    assert_eq!(said.lines().filter(|line| line.starts_with(&warning)).count(), 1, "{said}");
    let unknown = format!("warning: {}: schema.registry.url is ignored: neither", at(11));
    assert!(said.contains(&unknown), "{said}");
    assert!(said.lines().all(|line| line.starts_with("warning: ")), "{said}");
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_no_secret_is_shown() {
    let output = config(&[
        "--property",
        "acks=2",
        "linger.ms=soon",
        "sasl.jaas.config=hunter2",
        "--property",
        "bootstrap.servers=a:1",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 3, "{said}");
    assert!(said.contains("acks=\"2\"") && said.contains("linger.ms=\"soon\""), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(stdout(&output), "");
    let alone = config(&["--property", "acks=1"]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(stderr(&alone).contains("bootstrap.servers is not set"), "{}", stderr(&alone));
    let missing = config(&["--file", "/nowhere/producer.properties"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nowhere/producer.properties"), "{}", stderr(&missing));
    assert_eq!(config(&["--file", JAVA, "--markdown"]).status.code(), Some(2));
}

#[test]
fn programs_can_read_both_answers() {
    let listed = stdout(&config(&["--json", "kuring.spin"]));
    assert!(listed.contains("{\"name\": \"kuring.spin\", \"type\": \"time\", \"default\": \"0\""));
    assert!(listed.contains("\"verdict\": \"supported\", \"instead\": null"), "{listed}");
    let servers = "bootstrap.servers=a:1";
    let made = config(&["--json", "--property", servers, "acks=1"]);
    assert!(made.status.success());
    let made = stdout(&made);
    assert!(made.starts_with("{\n  \"valid\": true,\n  \"errors\": [],\n"), "{made}");
    let acks = "{\"name\": \"acks\", \"value\": \"1\", \"default\": \"all\", \
                \"is_default\": false, \"origin\": \"property\", \"derived\": null}";
    assert!(made.contains(acks), "{made}");
    assert!(made.contains("\"origin\": \"default\", \"derived\": \"off: acks is not all\""));
    assert!(made.contains("enable.idempotence is false: off: acks is not all"), "{made}");
    let wrong = config(&["--json", "--property", servers, "acks=2"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stdout(&wrong).contains("\"valid\": false"), "{}", stdout(&wrong));
}

#[test]
fn records_that_no_memory_has_room_for_are_warned_of_once() {
    let memory = ["--property", "bootstrap.servers=a:1", "buffer.memory=500000"];
    let output = config(&memory);
    assert!(output.status.success());
    let expected = "warning: max.request.size=1048576 is above buffer.memory=500000: records above \
                    buffer.memory will be refused\n";
    assert_eq!(stderr(&output), expected);
    let output = config(&[&memory[..], &["max.request.size=500000"]].concat());
    assert_eq!((output.status.success(), stderr(&output)), (true, String::new()));
}
