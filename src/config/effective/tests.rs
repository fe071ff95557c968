//! What the printed configuration says of values and origins, for every supported property.
#![forbid(unsafe_code)]

use std::fs;

use super::super::builder::tests::{EVERY, every_setter};
use super::super::{ConfigBuilder, property};
use super::*;

fn named(settings: &Settings, name: &str) -> Setting {
    settings.effective().into_iter().find(|it| it.name == name).expect("it is carried out")
}

fn line(settings: &Settings, name: &str) -> String {
    named(settings, name).to_string()
}

fn builder() -> ConfigBuilder {
    ConfigBuilder::new().bootstrap_servers("a:1").client_id("c")
}

#[test]
fn without_choices_every_value_is_the_default_of_the_table() {
    let settings = ConfigBuilder::new().bootstrap_servers("a:1").settings().expect("valid");
    for setting in settings.effective() {
        match setting.name {
            "bootstrap.servers" => assert_eq!(setting.value, "a:1"),
            "client.id" => assert!(setting.value.starts_with("producer-")),
            name => {
                assert!(setting.is_default(), "{setting}: its default or effective.rs is wrong");
                assert_eq!(setting.origin, Origin::Default, "{name}");
                assert_eq!(setting.derived, None, "{name}");
            }
        }
    }
}

#[test]
fn every_value_that_was_chosen_is_printed_whichever_road_it_came() {
    let typed = every_setter().settings().expect("valid");
    let pairs = ConfigBuilder::new().properties(EVERY.iter().copied()).expect("valid");
    let pairs = pairs.settings().expect("valid");
    for &(name, given) in EVERY {
        for (settings, origin) in [(&typed, Origin::Setter), (&pairs, Origin::Property)] {
            let setting = named(settings, name);
            let value = given.replace(", ", ",");
            assert_eq!(setting.value, value, "{name} has no line in effective.rs, or a wrong one");
            assert_eq!(setting.origin, origin, "{name}: its setter has to end in self.set(name)");
        }
    }
}

#[test]
fn what_is_printed_is_a_configuration_that_gives_the_same_settings() {
    let typed = every_setter().settings().expect("valid");
    let text = typed.to_string();
    let pairs = text.lines().map(|line| {
        let setting = line.trim_start_matches(['*', ' ']).split(" # ").next().expect("the first");
        let (name, value) = setting.split_once('=').expect("name = value");
        (name.trim().to_owned(), value.trim().to_owned())
    });
    let read = ConfigBuilder::new().properties(pairs).expect("valid").settings();
    assert_eq!(read.expect("valid"), typed);
}

#[test]
fn the_last_choice_is_named_with_file_and_line() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), "# tuned\nlinger.ms=20\nbatch.size=65536\n").expect("written");
    let read = builder().properties_file(file.path()).expect("valid");
    let at = |line: usize| format!("{}:{line}", file.path().display());
    let settings = read.clone().settings().expect("valid");
    let printed = format!("* {:<52} # {}; default 5", "linger.ms = 20", at(2));
    assert_eq!(line(&settings, "linger.ms"), printed);
    assert!(line(&settings, "batch.size").contains(&at(3)));
    let later = read.property("linger.ms", "30").expect("valid").batch_bytes(16_384);
    let settings = later.settings().expect("valid");
    assert!(line(&settings, "linger.ms").ends_with(" # property; default 5"));
    let printed = format!("  {:<52} # setter", "batch.size = 16384");
    assert_eq!(line(&settings, "batch.size"), printed);
    assert_eq!(line(&settings, "acks"), "  acks = all");
    assert_eq!(line(&settings, "kuring.shards"), "  kuring.shards =");
}

#[test]
fn a_value_that_another_property_changed_says_why() {
    let why = |properties: &[(&str, &str)], name: &str| {
        let with = builder().properties(properties.iter().copied()).expect("valid");
        line(&with.settings().expect("valid"), name)
    };
    let off = why(&[("acks", "1")], "enable.idempotence");
    let printed =
        format!("* {:<52} # off: acks is not all; default true", "enable.idempotence = false");
    assert_eq!(off, printed);
    assert!(why(&[("retries", "0")], "enable.idempotence").contains("off: retries=0"));
    assert!(!why(&[("acks", "all")], "enable.idempotence").contains('#'));
    let raised = why(&[("request.timeout.ms", "200000")], "delivery.timeout.ms");
    assert!(raised.starts_with("* delivery.timeout.ms = 200005"), "{raised}");
    assert!(raised.contains("raised to linger.ms + request.timeout.ms"), "{raised}");
    let constant = why(&[("reconnect.backoff.ms", "7")], "reconnect.backoff.max.ms");
    assert!(constant.contains("= 7") && constant.contains("set alone"), "{constant}");
    for (given, cut) in [
        (("retry.backoff.ms", "5000"), "cut to retry.backoff.max.ms"),
        (("reconnect.backoff.max.ms", "20"), "cut to reconnect.backoff.max.ms"),
        (("socket.connection.setup.timeout.max.ms", "10"), "cut to socket"),
        (("linger.ms", "9223372036854775807"), "cut to 2147483647"),
        (("batch.size", "0"), "0 turns batching off"),
    ] {
        let name = given.0.replace(".max.ms", ".ms");
        let line = why(&[given], &name);
        assert!(line.contains(cut), "{line}");
    }
    let unnamed = ConfigBuilder::new().bootstrap_servers("a:1").settings().expect("valid");
    assert!(line(&unnamed, "client.id").ends_with(" # numbered by this process"));
}

#[test]
fn origins_are_no_part_of_what_settings_are_compared_by() {
    let typed = builder().linger(Duration::from_millis(5)).settings().expect("valid");
    assert_eq!(typed, builder().settings().expect("valid"));
}

#[test]
fn times_keep_their_fractions_and_units() {
    assert_eq!(millis(Duration::from_micros(500)), "0.5");
    assert_eq!(millis(Duration::from_secs(3)), "3000");
    let spun = |nanos| with_unit(Duration::from_nanos(nanos));
    assert_eq!([spun(0), spun(200), spun(50_000)], ["0", "200ns", "50us"]);
    assert_eq!([spun(2_000_000), spun(3_000_000_000)], ["2ms", "3s"]);
}

#[test]
fn ignored_properties_are_listed_at_the_end() {
    let with = builder().property("key.serializer", "x").and_then(|it| it.property("afinity", "1"));
    let text = with.expect("accepted").settings().expect("valid").to_string();
    let end = "# key.serializer is ignored: it only means something in a JVM\n\
               # afinity is ignored: nobody knows it\n";
    assert!(text.ends_with(end), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" = ") || line.ends_with('=')).count(), {
        SUPPORTED.len() + OURS.len()
    });
}

#[test]
fn every_supported_property_is_described() {
    for name in SUPPORTED.iter().chain(OURS) {
        assert!(property(name).is_some(), "{name}");
    }
}
