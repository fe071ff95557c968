//! The rules. Each takes sources and returns what is wrong, one line each: `path:line: what`.

use std::collections::HashSet;

use super::paths::{is_below, module_of, paths};
use super::source::{Source, is_name};
use super::tables::{
    BANNED_FIRST_WORDS, BANNED_WORDS, CLOCK_READS, COLUMNS_MAX, FOREIGN_NAMES, HOMES, LAYERS, PURE,
    RATCHET_LINES,
};

/// A module uses its own layer and what the table allows below it.
pub(crate) fn layers(source: &Source) -> Vec<String> {
    let module = module_of(&source.path);
    let Some(module) = module.first() else { return Vec::new() };
    let Some(layer) = LAYERS.iter().find(|layer| layer.modules.contains(&module.as_str())) else {
        return vec![format!("{}: module {module} has no layer in LAYERS", source.path)];
    };
    let mut wrong = Vec::new();
    for named in paths(source).iter().filter(|named| !named.in_tests) {
        let Some(used) = named.path.strip_prefix("crate::") else { continue };
        let own = layer.modules.iter().any(|module| is_below(used, module));
        if own || layer.uses.iter().any(|allowed| is_below(used, allowed)) {
            continue;
        }
        let (path, line, uses) = (&source.path, named.line, layer.uses.join(", "));
        wrong.push(format!("{path}:{line}: {module} may not use {used}; it may use: {uses}"));
    }
    wrong
}

/// The table points down only: each layer uses what stands below it.
pub(crate) fn table_order() -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, layer) in LAYERS.iter().enumerate() {
        for used in layer.uses {
            let below = |lower: &super::tables::Layer| {
                lower.modules.iter().any(|module| is_below(used, module))
            };
            if !LAYERS[at + 1..].iter().any(below) {
                wrong.push(format!("{:?} uses {used}, which is not below it", layer.modules));
            }
        }
    }
    wrong
}

/// `unsafe` only where the census has it, as often as it says; every other file forbids it.
pub(crate) fn census(sources: &[&Source], census: &[(&str, usize)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let path = source.path.as_str();
        let count = source.tokens.iter().filter(|token| token.text == "unsafe").count();
        let recorded = census.iter().find(|(file, _)| *file == path).map(|(_, count)| *count);
        match recorded {
            Some(recorded) if recorded != count => wrong.push(format!(
                "{path}: {count} times unsafe, the census says {recorded}: update UNSAFE_CENSUS"
            )),
            None if count > 0 => {
                wrong.push(format!("{path}: unsafe, in a file that is not in UNSAFE_CENSUS"));
            }
            _ => {}
        }
        let folder = path.strip_suffix("mod.rs").or_else(|| path.strip_suffix("lib.rs"));
        let has_unsafe_child =
            |folder: &str| census.iter().any(|(file, _)| file.starts_with(folder));
        let level = match (recorded, folder) {
            (Some(_), _) => continue,
            (None, Some(folder)) if has_unsafe_child(folder) => "deny",
            _ => "forbid",
        };
        let attribute = ["#", "!", "[", level, "(", "unsafe_code", ")", "]"];
        let windows = source.tokens.windows(attribute.len());
        let has = |window: &[_]| is_text(window, &attribute);
        if !{ windows }.any(has) && !source.tokens.is_empty() {
            wrong.push(format!("{path}: write #![{level}(unsafe_code)] below the module's head"));
        }
    }
    let read: HashSet<_> = sources.iter().map(|source| source.path.as_str()).collect();
    let gone = census.iter().filter(|(file, _)| !read.contains(file));
    wrong.extend(gone.map(|(file, _)| format!("{file}: in UNSAFE_CENSUS, and not there")));
    wrong
}

fn is_text(tokens: &[super::source::Token], text: &[&str]) -> bool {
    tokens.iter().map(|token| &*token.text).eq(text.iter().copied())
}

/// One home per import.
pub(crate) fn homes(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for named in paths(source).iter().filter(|named| !named.in_tests) {
        for home in HOMES {
            // `Instant::now` counts wherever it stands in a path.
            let is_meant = is_below(&named.path, home.path)
                || home.path.ends_with("::now") && named.path.ends_with(home.path);
            let at_home = lives_in(&source.path, home.files);
            let excepted = home
                .except
                .iter()
                .any(|(path, files)| is_below(&named.path, path) && lives_in(&source.path, files));
            if is_meant && !at_home && !excepted {
                let (path, line, named) = (&source.path, named.line, &named.path);
                wrong.push(format!("{path}:{line}: {named} has another home: {}", home.instead));
            }
        }
        let reads_clock = CLOCK_READS
            .iter()
            .any(|read| named.path == *read || named.path.strip_prefix("crate::") == Some(read));
        if reads_clock && lives_in(&source.path, PURE) {
            let (path, line, named) = (&source.path, named.line, &named.path);
            wrong.push(format!("{path}:{line}: {named}: here, time is an argument"));
        }
    }
    wrong
}

fn lives_in(path: &str, files: &[&str]) -> bool {
    files.iter().any(|file| path == *file || file.ends_with('/') && path.starts_with(file))
}

/// Files that no `mod` line reaches from `src/lib.rs`.
pub(crate) fn unreached(sources: &[&Source]) -> Vec<String> {
    let mut reached = HashSet::from(["src/lib.rs".to_owned()]);
    let mut open = vec!["src/lib.rs".to_owned()];
    while let Some(path) = open.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        let folder = format!("src/{}", module_of(&path).join("/"));
        let folder = folder.trim_end_matches('/');
        for at in 0..source.tokens.len() {
            if source.word(at) == "mod" && source.word(at + 2) == ";" {
                let name = source.word(at + 1);
                for file in [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")] {
                    if reached.insert(file.clone()) {
                        open.push(file);
                    }
                }
            }
        }
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| format!("{}: no `mod` line reaches it from src/lib.rs", source.path))
        .collect()
}

/// Files without code, long lines, and what was left behind.
pub(crate) fn leftovers(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut wrong = Vec::new();
    if source.tokens.is_empty() {
        wrong.push(format!("{path}: there is no code in it"));
    }
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            wrong.push(format!("{path}:{}: {columns} columns, {COLUMNS_MAX} at most", index + 1));
        }
    }
    for at in 0..source.tokens.len() {
        let left = matches!(source.word(at), "dbg" | "todo" | "unimplemented");
        if left && source.word(at + 1) == "!" {
            let (line, word) = (source.tokens[at].line, source.word(at));
            wrong.push(format!("{path}:{line}: {word}! was left behind"));
        }
    }
    for (line, comment) in &source.comments {
        let words = || comment.split(|c: char| !c.is_alphanumeric());
        if words().any(|word| word == "FIXME") {
            wrong.push(format!("{path}:{line}: FIXME: fix it, or say what is so and why"));
        }
        let reason = comment.split_once("TODO").map(|(_, rest)| rest.strip_prefix(':'));
        let unreasoned = reason.is_some_and(|rest| rest.is_none_or(|rest| rest.trim().is_empty()));
        if words().any(|word| word == "TODO") && unreasoned {
            wrong.push(format!("{path}:{line}: write `TODO: what, and why not now`"));
        }
    }
    wrong
}

/// Words that say nothing, in names.
pub(crate) fn names(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        let name = token.text.as_str();
        let is_macro = source.word(at + 1) == "!";
        if !is_name(name) || is_macro || FOREIGN_NAMES.contains(&name) {
            continue;
        }
        // What stands behind a dot was named elsewhere: by us, and found there, or by others.
        if at > 0 && source.word(at - 1) == "." {
            continue;
        }
        let words = words_of(name);
        let banned = BANNED_WORDS.iter().find(|(word, _)| words.iter().any(|part| part == word));
        let first =
            BANNED_FIRST_WORDS.iter().find(|(word, _)| words.len() > 1 && words[0] == *word);
        if let Some((word, instead)) = banned.or(first) {
            let (path, line) = (&source.path, token.line);
            wrong.push(format!("{path}:{line}: {name}: not {word}: {instead}"));
        }
    }
    wrong
}

/// `read_frame`, `ReadFrame` and `READ_FRAME` are `read`, `frame`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for letter in name.chars() {
        let starts = letter == '_' || (letter.is_uppercase() && before.is_lowercase());
        if starts && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if letter != '_' {
            words
                .last_mut()
                .expect("there is one word from the start")
                .extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A function, where it stands and how many lines it has, signature and braces included.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) place: String,
    pub(crate) name: String,
    pub(crate) lines: usize,
}

pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        if source.word(at) != "fn" || !is_name(source.word(at + 1)) {
            continue;
        }
        let mut body = at + 2;
        while !matches!(source.word(body), "{" | ";" | "") {
            body = if matches!(source.word(body), "(" | "[") {
                source.closing(body) + 1
            } else {
                body + 1
            };
        }
        if source.word(body) != "{" {
            continue;
        }
        let (first, last) = (source.tokens[at].line, source.tokens[source.closing(body)].line);
        found.push(Function {
            place: format!("{}:{first}", source.path),
            name: source.word(at + 1).into(),
            lines: last - first + 1,
        });
    }
    found
}

/// Functions that have just grown too long. Much longer ones are somebody's decision: see
/// [`long_functions`].
pub(crate) fn ratchet(source: &Source) -> Vec<String> {
    let grown = functions(source).into_iter().filter(|it| RATCHET_LINES.contains(&it.lines));
    grown
        .map(|it| {
            format!(
                "{}: fn {} has {} lines: split where one part decides",
                it.place, it.name, it.lines
            )
        })
        .collect()
}

/// Functions above the fence, to be looked at.
pub(crate) fn long_functions(source: &Source) -> Vec<String> {
    let long = functions(source).into_iter().filter(|it| it.lines > *RATCHET_LINES.end());
    long.map(|it| format!("{}: fn {} has {} lines", it.place, it.name, it.lines)).collect()
}
