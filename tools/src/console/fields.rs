//! What a line says, as Kafka's console producer reads it:
//! `header:value,header:value<TAB>key<TAB>value`.
//!
//! Source:   the reader properties of `kafka-console-producer`.
#![forbid(unsafe_code)]

use std::borrow::Cow;

type Bytes<'a> = Cow<'a, [u8]>;
/// Each with its key; a value may be null.
pub(super) type Headers<'a> = Vec<(Cow<'a, str>, Option<Bytes<'a>>)>;

/// A record to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The key.
    pub key: Option<Bytes<'a>>,
    /// The value.
    pub value: Option<Bytes<'a>>,
    /// Headers, in order.
    pub headers: Headers<'a>,
    /// The partition, when the line names one.
    pub partition: Option<i32>,
    /// The time, when the line names one.
    pub timestamp: Option<i64>,
}

/// The reader's properties as they are given.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            parse_key: false,
            parse_headers: false,
            ignore_error: false,
            key_separator: "\t".to_owned(),
            headers_delimiter: "\t".to_owned(),
            headers_separator: ",".to_owned(),
            headers_key_separator: ":".to_owned(),
            null_marker: None,
        }
    }
}

impl ReaderOptions {
    /// Sets one property.
    ///
    /// # Errors
    /// Nobody knows it, or the value is none of its values.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let boolean = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("reader property {name}={value:?}: true or false")),
        };
        match name {
            "parse.key" => self.parse_key = boolean()?,
            "parse.headers" => self.parse_headers = boolean()?,
            "ignore.error" => self.ignore_error = boolean()?,
            "key.separator" => self.key_separator = value.to_owned(),
            "headers.delimiter" => self.headers_delimiter = value.to_owned(),
            "headers.separator" => self.headers_separator = value.to_owned(),
            "headers.key.separator" => self.headers_key_separator = value.to_owned(),
            "null.marker" => self.null_marker = Some(value.to_owned()),
            _ => {
                return Err(format!(
                    "reader property {name}: nobody knows it; these are: parse.key, key.separator, \
                     parse.headers, headers.delimiter, headers.separator, headers.key.separator, \
                     ignore.error, null.marker"
                ));
            }
        }
        Ok(())
    }

    /// The format, once every property is set.
    ///
    /// # Errors
    /// Separators that cannot be told from each other or from the marker of null, or are empty.
    pub fn format(self) -> Result<LineFormat, String> {
        let mut used = Vec::new();
        if self.parse_key {
            used.push(("key.separator", &self.key_separator));
        }
        if self.parse_headers {
            used.push(("headers.delimiter", &self.headers_delimiter));
            used.push(("headers.separator", &self.headers_separator));
            used.push(("headers.key.separator", &self.headers_key_separator));
        }
        for (name, text) in &used {
            if text.is_empty() {
                return Err(format!("reader property {name} is empty"));
            }
            if self.null_marker.as_ref() == Some(*text) {
                return Err(format!("reader properties null.marker and {name} are the same"));
            }
        }
        // The two that end a line's first parts may be the same, as they are unless given.
        let must_differ = used.iter().filter(|(name, _)| *name != "key.separator");
        let mut seen: Vec<(&str, &String)> = Vec::new();
        for (name, text) in must_differ {
            if let Some((other, _)) = seen.iter().find(|(_, it)| it == text) {
                return Err(format!("reader properties {other} and {name} are the same"));
            }
            seen.push((*name, *text));
        }
        for inner in ["headers.separator", "headers.key.separator"] {
            if seen.iter().any(|(name, text)| *name == inner && **text == self.key_separator)
                && self.parse_key
            {
                return Err(format!("reader properties key.separator and {inner} are the same"));
            }
        }
        Ok(LineFormat(self))
    }
}

/// How lines are cut.
#[derive(Debug)]
pub struct LineFormat(ReaderOptions);

impl LineFormat {
    pub(super) fn fields<'a>(&self, line: &'a [u8]) -> Result<Fields<'a>, String> {
        let options = &self.0;
        let cut = || -> Result<Fields<'a>, String> {
            let mut rest = line;
            let mut fields = Fields::default();
            if options.parse_headers {
                let (head, tail) =
                    self.split(rest, "headers.delimiter", &options.headers_delimiter)?;
                fields.headers = self.headers(head)?;
                rest = tail;
            }
            if options.parse_key {
                let (head, tail) = self.split(rest, "key.separator", &options.key_separator)?;
                fields.key = self.unless_null(head);
                rest = tail;
            }
            fields.value = self.unless_null(rest);
            Ok(fields)
        };
        match cut() {
            Err(_) if options.ignore_error => {
                Ok(Fields { value: self.unless_null(line), ..Fields::default() })
            }
            cut => cut,
        }
    }

    fn split<'a>(
        &self,
        text: &'a [u8],
        name: &str,
        separator: &str,
    ) -> Result<(&'a [u8], &'a [u8]), String> {
        split(text, separator.as_bytes())
            .ok_or_else(|| format!("there is no {name} ({separator:?}) in it"))
    }

    fn headers<'a>(&self, text: &'a [u8]) -> Result<Headers<'a>, String> {
        let options = &self.0;
        let is_null =
            |text: &[u8]| options.null_marker.as_ref().is_some_and(|it| it.as_bytes() == text);
        if text.is_empty() || is_null(text) {
            return Ok(Vec::new());
        }
        let mut headers = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (head, tail) = match split(text, options.headers_separator.as_bytes()) {
                Some((head, tail)) => (head, Some(tail)),
                None => (text, None),
            };
            rest = tail;
            let (key, value) =
                self.split(head, "headers.key.separator", &options.headers_key_separator)?;
            if is_null(key) {
                return Err("the key of a header is null".to_owned());
            }
            let key = std::str::from_utf8(key).map_err(|_| "the key of a header is not UTF-8")?;
            headers.push((key.into(), self.unless_null(value)));
        }
        Ok(headers)
    }

    fn unless_null<'a>(&self, text: &'a [u8]) -> Option<Bytes<'a>> {
        let marker = self.0.null_marker.as_ref();
        (marker.is_none_or(|marker| marker.as_bytes() != text)).then_some(Cow::Borrowed(text))
    }
}

/// What is in front of the first separator, and what is behind it.
pub(super) fn split<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(properties: &[(&str, &str)]) -> Result<LineFormat, String> {
        let mut options = ReaderOptions::default();
        for (name, value) in properties {
            options.set(name, value)?;
        }
        options.format()
    }

    fn bytes(text: &str) -> Option<Bytes<'_>> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn a_whole_line_is_the_value_unless_more_is_asked_for() {
        let fields = format(&[]).unwrap().fields(b"a\tb").map(|it| (it.key, it.value));
        assert_eq!(fields, Ok((None, bytes("a\tb"))));
    }

    #[test]
    fn headers_come_first_then_the_key_then_the_value() {
        let format = format(&[("parse.headers", "true"), ("parse.key", "TRUE")]).unwrap();
        let fields = format.fields(b"h1:v1,h2:v:2\tkey\tvalue\tof tabs").unwrap();
        assert_eq!(fields.headers, [("h1".into(), bytes("v1")), ("h2".into(), bytes("v:2"))]);
        assert_eq!((fields.key, fields.value), (bytes("key"), bytes("value\tof tabs")));
        assert_eq!(format.fields(b"\tkey\tvalue").unwrap().headers, []);
    }

    #[test]
    fn what_equals_the_marker_is_null_but_never_a_header_s_key() {
        let options = [("parse.headers", "true"), ("parse.key", "true"), ("null.marker", "NIL")];
        let format = format(&options).unwrap();
        let fields = format.fields(b"h:NIL\tNIL\tNIL").unwrap();
        assert_eq!(fields.headers, [("h".into(), None)]);
        assert_eq!((fields.key, fields.value), (None, None));
        assert_eq!(format.fields(b"NIL\tk\tv").unwrap().headers, []);
        assert!(format.fields(b"NIL:v\tk\tv").unwrap_err().contains("is null"));
    }

    #[test]
    fn a_line_without_its_separator_is_an_error_or_with_ignore_error_a_value() {
        let strict = format(&[("parse.key", "true"), ("key.separator", "::")]).unwrap();
        assert!(strict.fields(b"nothing").unwrap_err().contains("key.separator (\"::\")"));
        let mild = format(&[("parse.key", "true"), ("ignore.error", "true")]).unwrap();
        assert_eq!(mild.fields(b"nothing").unwrap().value, bytes("nothing"));
        assert_eq!(mild.fields(b"k\tv").unwrap().key, bytes("k"));
    }

    #[test]
    fn separators_must_differ_from_each_other_and_from_the_marker() {
        let headers = ("parse.headers", "true");
        for wrong in [
            &[headers, ("headers.separator", ":")][..],
            &[headers, ("headers.delimiter", ",")],
            &[headers, ("parse.key", "true"), ("key.separator", ",")],
            &[("parse.key", "true"), ("key.separator", "x"), ("null.marker", "x")],
            &[("parse.key", "true"), ("key.separator", "")],
            &[("parse.key", "maybe")],
            &[("key.seperator", ":")],
        ] {
            assert!(format(wrong).is_err(), "{wrong:?}");
        }
        // Not used, so it does not matter.
        assert!(format(&[("key.separator", ","), headers]).is_ok());
    }
}
