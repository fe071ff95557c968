//! Lines cut by a template: `-F '%k:%p\t%s'`.
//!
//! `%k` key, `%s` value, `%h` headers (`name=value,name=value`), `%p` partition, `%T` milliseconds
//! since 1970, `%%` a percent sign; everything else stands for itself. A field ends where the text
//! behind it in the template begins, the last one with the line. A field that the template lacks is
//! absent: without `%s` the value is null.
#![forbid(unsafe_code)]

use super::fields::{Fields, Headers, split};

/// A field of the record, or text between them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Key,
    Value,
    Headers,
    Partition,
    Timestamp,
    Text(Vec<u8>),
}

/// A template that was read.
#[derive(Debug)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a template; its escapes are resolved.
    ///
    /// # Errors
    /// An unknown field, one named twice, or two without text between them.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let field = match (letter, if letter == '%' { letters.next() } else { None }) {
                ('%', Some('k')) => Part::Key,
                ('%', Some('s')) => Part::Value,
                ('%', Some('h')) => Part::Headers,
                ('%', Some('p')) => Part::Partition,
                ('%', Some('T')) => Part::Timestamp,
                ('%', Some('%')) => {
                    add_text(&mut parts, '%');
                    continue;
                }
                ('%', other) => {
                    let other = other.map_or_else(String::new, String::from);
                    return Err(format!("%{other} is no field: %k, %s, %h, %p, %T and %% are"));
                }
                (letter, _) => {
                    add_text(&mut parts, letter);
                    continue;
                }
            };
            if parts.contains(&field) {
                return Err("a field is named twice".to_owned());
            }
            if parts.last().is_some_and(|last| !matches!(last, Part::Text(_))) {
                return Err("two fields need some text between them".to_owned());
            }
            parts.push(field);
        }
        Ok(Self(parts))
    }

    pub(super) fn fields<'a>(&self, line: &'a [u8]) -> Result<Fields<'a>, String> {
        let mut fields = Fields::default();
        let mut rest = line;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            let text = match part {
                Part::Text(text) => {
                    let missing =
                        || format!("there is no {:?} in it", String::from_utf8_lossy(text));
                    rest = rest.strip_prefix(&text[..]).ok_or_else(missing)?;
                    continue;
                }
                _ => match parts.peek() {
                    Some(Part::Text(end)) => {
                        let found = split(rest, end);
                        let missing =
                            || format!("there is no {:?} in it", String::from_utf8_lossy(end));
                        let (head, _) = found.ok_or_else(missing)?;
                        rest = &rest[head.len()..];
                        head
                    }
                    _ => std::mem::take(&mut rest),
                },
            };
            match part {
                Part::Key => fields.key = Some(text.into()),
                Part::Value => fields.value = Some(text.into()),
                Part::Headers => fields.headers = headers(text)?,
                Part::Partition => fields.partition = Some(number(text, "partition")?),
                Part::Timestamp => fields.timestamp = Some(number(text, "time")?),
                Part::Text(_) => {}
            }
        }
        if rest.is_empty() { Ok(fields) } else { Err("it goes on behind the format's end".into()) }
    }
}

fn add_text(parts: &mut Vec<Part>, letter: char) {
    let mut bytes = [0; 4];
    let bytes = letter.encode_utf8(&mut bytes).as_bytes();
    match parts.last_mut() {
        Some(Part::Text(text)) => text.extend_from_slice(bytes),
        _ => parts.push(Part::Text(bytes.to_vec())),
    }
}

fn number<N: std::str::FromStr>(text: &[u8], what: &str) -> Result<N, String> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse().map_err(|_| format!("{text:?} is no {what}"))
}

fn headers(text: &[u8]) -> Result<Headers<'_>, String> {
    let mut headers = Vec::new();
    for header in text.split(|byte| *byte == b',').filter(|it| !it.is_empty()) {
        let (key, value) = match split(header, b"=") {
            Some((key, value)) => (key, Some(value.into())),
            None => (header, None),
        };
        let key = std::str::from_utf8(key).map_err(|_| "the key of a header is not UTF-8")?;
        headers.push((key.into(), value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut<'a>(template: &str, line: &'a str) -> Result<Fields<'a>, String> {
        Template::new(template)?.fields(line.as_bytes())
    }

    #[test]
    fn fields_end_where_the_text_behind_them_begins() {
        let fields = cut("%p|%T|%h|%k:%s", "3|17|a=1,b|user:7:x").unwrap();
        assert_eq!((fields.partition, fields.timestamp), (Some(3), Some(17)));
        assert_eq!(fields.key.as_deref(), Some(&b"user"[..]));
        assert_eq!(fields.value.as_deref(), Some(&b"7:x"[..]));
        let names: Vec<_> =
            fields.headers.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
        assert_eq!(names, [("a", Some(&b"1"[..])), ("b", None)]);
    }

    #[test]
    fn text_stands_for_itself_and_a_missing_value_is_null() {
        let fields = cut("<%k>%%", "<a>%").unwrap();
        assert_eq!((fields.key.as_deref(), fields.value), (Some(&b"a"[..]), None));
        assert!(cut("<%k>", "a>").unwrap_err().contains("\"<\""));
        assert!(cut("<%k>", "<a>b").unwrap_err().contains("goes on"));
        assert!(cut("%k:%s", "a").unwrap_err().contains("\":\""));
        assert!(cut("%p:%s", "x:a").unwrap_err().contains("no partition"));
    }

    #[test]
    fn a_template_that_cannot_be_cut_by_is_refused() {
        for wrong in ["%k%s", "%k:%k", "%x", "%"] {
            assert!(Template::new(wrong).is_err(), "{wrong}");
        }
    }
}
