//! The house rules as tests: the sources are read once, and must look as the tables say.
//!
//! Each rule is a function from sources to complaints, and has a test that shows it complain.
#![forbid(unsafe_code)]

mod complaints;
mod paths;
mod rules;
mod source;
mod tables;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use source::Source;

/// Everything we write in Rust; the rules on the architecture look at `src` only.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "tools/src", "tools/compare/src"];

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    FOLDERS.iter().for_each(|folder| read_folder(root, &root.join(folder), &mut sources));
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
});

/// Folders that are not there are passed over: a packaged crate has no tools.
fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            read_folder(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the source can be read");
            let relative = path.strip_prefix(root).expect("it was found below the root");
            let relative = relative.to_str().expect("our file names are ASCII");
            sources.push(Source::new(relative, &text));
        }
    }
}

/// The sources of the library.
fn library() -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().filter(|source| source.path.starts_with("src/"))
}

#[track_caller]
fn nothing(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn the_sources_were_found() {
    assert!(library().count() > 40, "the rules would hold of nothing");
}

#[test]
fn imports_point_down() {
    nothing(rules::table_order());
    nothing(library().flat_map(rules::layers).collect());
}

#[test]
fn unsafe_stands_where_the_census_says() {
    let sources: Vec<_> = library().collect();
    nothing(rules::census(&sources, tables::UNSAFE_CENSUS));
}

#[test]
fn every_import_has_one_home() {
    nothing(library().flat_map(rules::homes).collect());
}

#[test]
fn every_file_is_reached_from_lib_rs() {
    let sources: Vec<_> = library().collect();
    nothing(rules::unreached(&sources));
}

#[test]
fn nothing_is_left_behind() {
    nothing(SOURCES.iter().flat_map(rules::leftovers).collect());
}

#[test]
fn names_say_something() {
    // Tests and the comparison speak of other clients' names too.
    let ours =
        |source: &&Source| ["src/", "tools/src/"].iter().any(|it| source.path.starts_with(it));
    nothing(SOURCES.iter().filter(ours).flat_map(rules::names).collect());
}

#[test]
fn no_function_grows_past_the_fence() {
    let long: Vec<_> = SOURCES.iter().flat_map(rules::long_functions).collect();
    println!("longer than the fence:\n{}", long.join("\n"));
    nothing(SOURCES.iter().flat_map(rules::ratchet).collect());
}

/// `tools/plants` takes an hour; that its patches are still about these sources is seen at once.
#[test]
fn every_planted_defect_can_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut plants: Vec<_> = fs::read_dir(root.join("tests/plants")).unwrap().collect();
    assert!(plants.len() >= 30);
    plants.retain(|plant| {
        let path = plant.as_ref().unwrap().path();
        let mut git = std::process::Command::new("git");
        !git.current_dir(root).args(["apply", "--check"]).arg(path).status().unwrap().success()
    });
    assert!(plants.is_empty(), "these do not apply any more: {plants:?}");
}
