//! The paths that a source names, written out: `use a::{b, c::d}` is `a::b` and `a::c::d`.

use super::source::{Source, is_name};

/// A path, and where it stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) in_tests: bool,
}

/// Every path with `::` in it, imports written out. `super` and `self` are resolved to `crate`.
pub(crate) fn paths(source: &Source) -> Vec<Named> {
    let mut found = Vec::new();
    let mut modules = module_of(&source.path);
    let mut ends = Vec::new();
    let mut at = 0;
    while at < source.tokens.len() {
        if ends.last() == Some(&at) {
            ends.pop();
            modules.pop();
        }
        let word = source.word(at);
        if word == "mod" && source.word(at + 2) == "{" {
            modules.push(source.word(at + 1).into());
            ends.push(source.closing(at + 2));
            at += 3;
        } else if is_name(word) && source.word(at + 1) == "::" {
            at = written_out(source, at, String::new(), &modules, &mut found);
        } else if is_name(word) && at > 0 && source.word(at - 1) == "use" {
            // `use socket2;` and `use tokio as x;`
            push(source, at, word.to_owned(), &modules, &mut found);
            at += 1;
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path or import tree from `at` on; returns where it ends.
fn written_out(
    source: &Source,
    mut at: usize,
    mut path: String,
    modules: &[String],
    found: &mut Vec<Named>,
) -> usize {
    let first = at;
    loop {
        match source.word(at) {
            "{" => {
                let end = source.closing(at);
                let mut inside = at + 1;
                while inside < end {
                    inside = written_out(source, inside, path.clone(), modules, found);
                    while inside < end && source.word(inside) != "," {
                        inside += 1;
                    }
                    inside += 1;
                }
                return end + 1;
            }
            word if is_name(word) || word == "*" => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                path.push_str(word);
                at += 1;
            }
            _ => break,
        }
        if source.word(at) != "::" {
            break;
        }
        at += 1;
    }
    push(source, first, path, modules, found);
    at.max(first + 1)
}

fn push(source: &Source, at: usize, path: String, modules: &[String], found: &mut Vec<Named>) {
    let token = &source.tokens[at];
    let path = path.strip_suffix("::self").unwrap_or(&path);
    let path = absolute(path, modules);
    found.push(Named { path, line: token.line, in_tests: token.in_tests });
}

/// `super::x` and `self::x` from where they stand.
fn absolute(path: &str, modules: &[String]) -> String {
    let mut parts: Vec<_> = path.split("::").collect();
    let mut depth = modules.len();
    if !matches!(parts[0], "super" | "self") {
        return path.into();
    }
    while matches!(parts.first(), Some(&("super" | "self"))) {
        depth = depth.saturating_sub(usize::from(parts.remove(0) == "super"));
    }
    let above = modules[..depth].iter().map(|module| module.as_str());
    std::iter::once("crate").chain(above).chain(parts).collect::<Vec<_>>().join("::")
}

/// The module that a file of `src` is: `src/driver/mod.rs` is `[driver]`.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

/// Whether `path` is `whole` or lies below it.
pub(crate) fn is_below(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
