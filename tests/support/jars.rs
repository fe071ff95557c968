//! Apache Kafka's jars, fetched from Maven Central once per version and kept under `target/kafka`.
//!
//! Owns:     `target/kafka/<version>`, complete or absent: a download happens in a folder beside
//!           it, gets a list of its files and sizes, and is renamed. A folder whose list does not
//!           match its files is thrown away and fetched again.
//! Thread:   any; a file lock lets one process of many fetch.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

/// The Apache Kafka lines that are tested: the newest, and the last before 4.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4_3_1,
    V3_9_2,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V4_3_1, Self::V3_9_2];

    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::V4_3_1 => "4.3.1",
            Self::V3_9_2 => "3.9.2",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

/// The Java class path of `version`: every jar of its folder, fetched first where needed.
///
/// # Panics
/// Without Java or Maven, saying what to install, and when Maven Central cannot be reached.
pub(crate) fn class_path(version: Version) -> &'static str {
    static PATHS: [OnceLock<String>; Version::ALL.len()] =
        [const { OnceLock::new() }; Version::ALL.len()];
    let index = Version::ALL.iter().position(|&v| v == version).expect("ALL lists every version");
    PATHS[index].get_or_init(|| {
        require("java", "-version");
        format!("{}/*", fetched(version).display())
    })
}

/// Where the build puts its results: `cargo` names only the folder `tmp` in it.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent")
}

fn fetched(version: Version) -> PathBuf {
    let root = target().join("kafka");
    fs::create_dir_all(&root).expect("the target folder can be written");
    let lock = File::create(root.join(format!("{version}.lock"))).expect("a lock file");
    flock(&lock, FlockOperation::LockExclusive).expect("a file lock; closing the file ends it");
    let folder = root.join(version.number());
    if complete(&folder) {
        return folder;
    }
    remove(&folder);
    let partial = root.join(format!("{version}.partial"));
    remove(&partial);
    download(version, &partial);
    fs::write(partial.join(LIST), listing(&partial)).expect("the list of jars");
    fs::rename(&partial, &folder).expect("the lock is held, nobody else creates the folder");
    folder
}

fn complete(folder: &Path) -> bool {
    fs::read_to_string(folder.join(LIST)).is_ok_and(|list| list == listing(folder))
}

/// Every jar's name and size, in the order of the names.
fn listing(folder: &Path) -> String {
    let mut jars: Vec<(String, u64)> = fs::read_dir(folder)
        .expect("a folder of jars")
        .map(|entry| entry.expect("a folder of jars can be listed"))
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jar"))
        .map(|entry| {
            let size = entry.metadata().expect("a jar's size").len();
            (entry.file_name().to_string_lossy().into_owned(), size)
        })
        .collect();
    jars.sort();
    jars.iter().fold(String::new(), |mut list, (name, size)| {
        writeln!(list, "{name} {size}").expect("a String takes every write");
        list
    })
}

fn download(version: Version, into: &Path) {
    require("mvn", "-version");
    fs::create_dir_all(into).expect("a folder for the jars");
    let pom = into.join("pom.xml");
    fs::write(&pom, pom_xml(version)).expect("a pom.xml");
    eprintln!("fetching Apache Kafka {version} into {}", into.display());
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]);
    maven.arg(&pom).arg(format!("-DoutputDirectory={}", into.display()));
    let output = maven.output().expect("mvn was found a moment ago");
    assert!(output.status.success(), "Maven could not fetch Kafka {version}:\n{}", text(&output));
    for artifact in ["kafka_2.13", "kafka-tools"] {
        let jar = into.join(format!("{artifact}-{version}.jar"));
        assert!(jar.is_file(), "Maven reported success without {}", jar.display());
    }
}

/// `slf4j-simple` writes the broker's log to its standard error; the binding that 3.9 brings along
/// would win over it and write nothing.
fn pom_xml(version: Version) -> String {
    let artifact = |group: &str, name: &str, version: &str, excluded: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
             <version>{version}</version>{excluded}</dependency>"
        )
    };
    let excluded = "<exclusions><exclusion><groupId>org.slf4j</groupId>\
                    <artifactId>slf4j-reload4j</artifactId></exclusion></exclusions>";
    let kafka = "org.apache.kafka";
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>kuring</groupId><artifactId>test-brokers</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}{}{}</dependencies></project>",
        artifact(kafka, "kafka_2.13", version.number(), excluded),
        artifact(kafka, "kafka-tools", version.number(), excluded),
        artifact("org.slf4j", "slf4j-simple", "1.7.36", ""),
    )
}

pub(crate) fn require(program: &str, argument: &str) {
    let found = Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success());
    assert!(
        found,
        "the tests run real Kafka brokers and `{program}` does not work here. Install a Java 17 \
         development kit and Maven (Debian: apt-get install default-jdk-headless maven), or run \
         tools/check, which installs them"
    );
}

fn remove(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).expect("an unusable folder can be removed");
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Written last, so a folder without it, or with another content, is no use.
const LIST: &str = "jars.list";
