//! The checks as text for people and as JSON for programs.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::{Check, Status};

/// Columns of the status and of the name, the blank behind them included.
const STATUS_COLUMNS: usize = 9;
const NAME_COLUMNS: usize = 16;
/// A text column narrower than this is harder to read than long lines.
const TEXT_COLUMNS_MIN: usize = 30;

/// One paragraph per check, at most `columns` wide; only commands and single words may stand out,
/// because a command that is wrapped cannot be pasted.
pub fn text(checks: &[Check], columns: usize, colour: bool) -> String {
    let indent = STATUS_COLUMNS + NAME_COLUMNS;
    let width = columns.saturating_sub(indent).max(TEXT_COLUMNS_MIN);
    let mut out = String::new();
    for check in checks {
        let (on, off) = if colour { (escape(check.status), "\x1b[0m") } else { ("", "") };
        let status = check.status.name();
        let gap = " ".repeat(STATUS_COLUMNS - status.len());
        out += &format!("{on}{status}{off}{gap}{:<NAME_COLUMNS$}", check.name);
        let fact = wrap(&printable(&check.fact), width);
        out += &fact.join(&format!("\n{:indent$}", ""));
        out.push('\n');
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            let line = printable(line);
            if line.starts_with("$ ") {
                out += &format!("{:STATUS_COLUMNS$}{line}\n", "");
                continue;
            }
            for (index, part) in wrap(&line, width - 2).iter().enumerate() {
                let mark = if index == 0 { "> " } else { "  " };
                out += &format!("{:indent$}{mark}{part}\n", "");
            }
        }
    }
    out + &format!("\n{}\n", summary(checks))
}

fn summary(checks: &[Check]) -> String {
    let plural = |count: usize, noun| super::system::counted(count, noun);
    let (problems, warnings) = (count(checks, Status::Problem), count(checks, Status::Warning));
    format!(
        "{}: {}, {}.",
        plural(checks.len(), "check"),
        plural(problems, "problem"),
        plural(warnings, "warning")
    )
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn escape(status: Status) -> &'static str {
    match status {
        Status::Ok => "\x1b[32m",
        Status::Warning => "\x1b[33m",
        Status::Problem => "\x1b[1;31m",
    }
}

/// What comes from files and brokers must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Breaks at blanks; at least one line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// One object: `version`, `problems`, `warnings`, and `checks` with name, status, fact, remedy
/// (null when there is none).
pub fn json(checks: &[Check]) -> String {
    let each = checks.iter().map(|check| {
        let remedy = check.remedy.as_deref().map_or_else(|| "null".to_owned(), quoted);
        format!(
            "    {{\"name\": {}, \"status\": {}, \"fact\": {}, \"remedy\": {remedy}}}",
            quoted(check.name),
            quoted(check.status.name()),
            quoted(&check.fact)
        )
    });
    format!(
        "{{\n  \"version\": {},\n  \"problems\": {},\n  \"warnings\": {},\n  \"checks\": [\n{}\n  \
         ]\n}}\n",
        quoted(env!("CARGO_PKG_VERSION")),
        count(checks, Status::Problem),
        count(checks, Status::Warning),
        each.collect::<Vec<_>>().join(",\n")
    )
}

pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out += "\\n",
            letter if letter.is_control() => {
                let mut pair = [0; 2];
                for unit in letter.encode_utf16(&mut pair) {
                    write!(out, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_commands_stay_whole() {
        let command = format!("$ sysctl -w {}", "x".repeat(90));
        let checks = [
            Check::ok("kernel", "a fact that is longer than one line, so that it is wrapped here"),
            Check::warning("slow-start", "short", format!("do this\n{command}")),
        ];
        let expected = format!(
            "ok       kernel          a fact that is longer than one line, so that it is
                         wrapped here
warning  slow-start      short
                         > do this
         {command}

2 checks: 0 problems, 1 warning.
"
        );
        assert_eq!(text(&checks, 80, false), expected);
    }

    #[test]
    fn colour_is_only_where_it_is_asked_for() {
        let checks = [Check::problem("x", "y", "z")];
        assert!(!text(&checks, 80, false).contains('\x1b'));
        assert!(text(&checks, 80, true).starts_with("\x1b[1;31mproblem\x1b[0m  x "));
    }

    #[test]
    fn what_a_broker_says_does_not_steer_the_terminal() {
        let checks = [Check::ok("cluster", "\x1b[2J\x07id")];
        assert!(!text(&checks, 80, false).contains(['\x1b', '\x07']));
        assert!(!text(&checks, 1, false).is_empty());
    }

    #[test]
    fn json_escapes_what_has_to_be_escaped() {
        assert_eq!(quoted("a\"b\\c\nd\x01é\u{85}"), "\"a\\\"b\\\\c\\nd\\u0001é\\u0085\"");
        let checks = [Check::ok("a", "b"), Check::warning("c", "d", "$ e\nf")];
        let text = json(&checks);
        assert!(
            text.contains("\"name\": \"a\", \"status\": \"ok\", \"fact\": \"b\", \"remedy\": null")
        );
        assert!(text.contains("\"remedy\": \"$ e\\nf\""));
        assert!(text.contains("\"problems\": 0,\n  \"warnings\": 1,"));
    }
}
