//! JSON, as much of it as statistics need: objects of numbers, texts and objects.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

/// A whole object.
pub(super) fn object(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::new();
    write_object(&mut out, fill);
    out
}

fn write_object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, empty: true });
    out.push('}');
}

impl Object<'_> {
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        write_text(self.out, key);
        self.out.push(':');
    }

    pub(super) fn number(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.key(key);
        // Writing to a string does not fail.
        let _ = write!(self.out, "{value}");
        self
    }

    pub(super) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        write_text(self.out, value);
        self
    }

    pub(super) fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.key(key);
        write_object(self.out, fill);
        self
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_does_not_take_in_a_text_is_escaped() {
        let made = object(|object| {
            object.text("a\"b", "c\\d\n\u{1}é").number("n", -1).object("o", |_| {});
        });
        assert_eq!(made, r#"{"a\"b":"c\\d\u000a\u0001é","n":-1,"o":{}}"#);
        let parsed: serde_json::Value = serde_json::from_str(&made).unwrap();
        assert_eq!(parsed["a\"b"], "c\\d\n\u{1}é");
    }
}
