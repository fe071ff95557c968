//! Java's `.properties` format: text in, names and values out.
//!
//! Bounds:   1 MiB of file.
//! Source:   the format as `java.util.Properties.load` documents it. One difference: the text is
//!           UTF-8, where Java takes a stream of bytes for ISO-8859-1. ASCII is the same in both.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, PropertiesProblem};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// One property of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileProperty {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The file, as it was named.
    pub path: Arc<PathBuf>,
    /// The line that it begins on, from 1.
    pub line: usize,
}

impl FileProperty {
    /// The properties of a file in its order, without those that a later line of the same name
    /// replaces. Blocks on the file; no property is looked at.
    ///
    /// # Errors
    /// [`ConfigError::File`] and [`ConfigError::Properties`].
    pub fn read_all(path: impl AsRef<Path>) -> Result<Vec<Self>, ConfigError> {
        read_file(path.as_ref())
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<FileProperty>, ConfigError> {
    let refused = |source| ConfigError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refused)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(refused)?;
    let path = Arc::new(path.to_owned());
    match parse(&bytes) {
        Ok(lines) => Ok(lines
            .into_iter()
            .map(|Line { name, value, line }| {
                let path = Arc::clone(&path);
                FileProperty { name, value, path, line }
            })
            .collect()),
        Err((line, problem)) => {
            Err(ConfigError::Properties { path: path.as_ref().clone(), line, problem })
        }
    }
}

/// A name, a value, and the line they begin on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    value: String,
    line: usize,
}

type Refused = (usize, PropertiesProblem);

fn parse(bytes: &[u8]) -> Result<Vec<Line>, Refused> {
    let text = decode(bytes)?;
    let mut properties: Vec<Line> = Vec::new();
    let mut lines = natural_lines(text).enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while ends_in_odd_backslash(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let (name, value) = split(&logical);
        let name = unescape(name).map_err(|problem| (index + 1, problem))?;
        let value = unescape(value).map_err(|problem| (index + 1, problem))?;
        properties.push(Line { name, value, line: index + 1 });
    }
    Ok(last_of_each(properties))
}

fn decode(bytes: &[u8]) -> Result<&str, Refused> {
    let line_of = |end: usize| 1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count();
    if bytes.len() > FILE_BYTES_MAX {
        return Err((line_of(FILE_BYTES_MAX), PropertiesProblem::TooLarge));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| (line_of(error.valid_up_to()), PropertiesProblem::NotUtf8))?;
    // Editors on other systems put a byte order mark in front, which is no part of the first name.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Lines as Java splits them: after `\n`, `\r` or both together.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\x0c')
}

fn ends_in_odd_backslash(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The name ends at the first `=`, `:` or blank without a backslash before it.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, character)| {
        let ends = !escaped && (is_blank(*character) || matches!(character, '=' | ':'));
        escaped = !escaped && *character == '\\';
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str) -> Result<String, PropertiesProblem> {
    // Java's characters are UTF-16 units, and a pair may be written as two escapes.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let mut pair = [0; 2];
        let plain = match character {
            '\\' => match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits = rest.as_str().get(..4).ok_or(PropertiesProblem::BadEscape)?;
                    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                        return Err(PropertiesProblem::BadEscape);
                    }
                    let unit = u16::from_str_radix(digits, 16);
                    units.push(unit.map_err(|_| PropertiesProblem::BadEscape)?);
                    rest = rest.as_str()[4..].chars();
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut pair));
    }
    String::from_utf16(&units).map_err(|_| PropertiesProblem::LoneSurrogate)
}

fn last_of_each(properties: Vec<Line>) -> Vec<Line> {
    let mut seen = HashSet::new();
    let last = |line: &&Line| seen.insert(line.name.clone());
    let mut kept: Vec<_> = properties.iter().rev().filter(last).cloned().collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let lines = parse(text.as_bytes()).expect("valid");
        lines.into_iter().map(|line| (line.name, line.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let [property] = <[_; 1]>::try_from(read(text)).expect("one property");
        property
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn comments_and_blank_lines_are_no_properties() {
        assert_eq!(read("# a=1\n  ! b=2\n\n \t\x0c\n#c \\\nacks=all"), [pair("acks", "all")]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn names_end_at_an_equals_sign_a_colon_or_a_blank() {
        for text in ["a=b", "a:b", "a b", "  a = b", "a\t:\x0cb", "a   b"] {
            assert_eq!(one(text), pair("a", "b"), "{text:?}");
        }
        assert_eq!(one("a==b"), pair("a", "=b"));
        assert_eq!(one("a b=c"), pair("a", "b=c"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("=b"), pair("", "b"));
        assert_eq!(one(r"a\:b\=c\ d=e"), pair("a:b=c d", "e"));
        assert_eq!(one(r"a\\=b"), pair(r"a\", "b"));
    }

    #[test]
    fn every_line_ending_ends_a_line_and_trailing_blanks_stay() {
        assert_eq!(read("a=1\rb=2\r\nc=3 \n").len(), 3);
        assert_eq!(one("a=1 \r\n"), pair("a", "1 "));
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_line() {
        assert_eq!(one("bootstrap.servers=a:1,\\\n    b:2"), pair("bootstrap.servers", "a:1,b:2"));
        assert_eq!(one("a=1\\\r\n  # 2"), pair("a", "1# 2"));
        assert_eq!(one("a=1\\"), pair("a", "1"));
        assert_eq!(read("a=1\\\\\nb=2"), [pair("a", "1\\"), pair("b", "2")]);
        assert_eq!(one("a=1\\\n\n"), pair("a", "1"));
    }

    #[test]
    fn a_property_stands_on_the_line_that_it_begins_on() {
        let lines = parse(b"# c\n\na=1\r\nb=2\\\n  3\nc=4\na=5").expect("valid");
        let lines: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.line)).collect();
        assert_eq!(lines, [("b", 4), ("c", 6), ("a", 7)]);
    }

    #[test]
    fn escapes_are_java_s() {
        assert_eq!(one(r"a=\t\n\r\f\q\\"), pair("a", "\t\n\r\x0cq\\"));
        assert_eq!(one(r"a=caf\u00E9"), pair("a", "café"));
        assert_eq!(one(r"a=\uD83D\uDE00!"), pair("a", "😀!"));
        assert_eq!(one("a=😀é"), pair("a", "😀é"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let refused = |bytes: &[u8]| parse(bytes).expect_err("wrong");
        assert_eq!(refused(b"a=1\nb=\\u12"), (2, PropertiesProblem::BadEscape));
        assert_eq!(refused(b"a=\\u+123"), (1, PropertiesProblem::BadEscape));
        assert_eq!(refused("a=\\u12éé".as_bytes()), (1, PropertiesProblem::BadEscape));
        assert_eq!(refused(b"a=\\uD83D"), (1, PropertiesProblem::LoneSurrogate));
        assert_eq!(refused(b"a=1\n\nb=\xff"), (3, PropertiesProblem::NotUtf8));
        assert_eq!(refused(&vec![b' '; FILE_BYTES_MAX + 1]), (1, PropertiesProblem::TooLarge));
    }

    #[test]
    fn the_last_of_a_name_counts() {
        let text = "linger.ms=1\nacks=all\nlinger.ms=2";
        assert_eq!(read(text), [pair("acks", "all"), pair("linger.ms", "2")]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_name() {
        assert_eq!(one("\u{feff}a=1"), pair("a", "1"));
    }
}
