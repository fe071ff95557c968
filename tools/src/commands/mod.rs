//! One file per subcommand: its flags, and what it prints.
#![forbid(unsafe_code)]

pub mod client;
pub mod completions;
pub mod config;
pub mod doctor;
pub mod e2e_latency;
pub mod perf;
pub mod produce;
pub mod sink;
pub mod sink_blast;
pub mod verifiable_producer;
pub mod verify;

use std::time::Duration;

use kuring::SendError;

/// Whether the next record may do better; after any other error of a send it would only wait
/// max.block.ms in vain.
pub(crate) fn concerns_one_record(error: &SendError) -> bool {
    matches!(error, SendError::TooLarge { .. } | SendError::InvalidField { .. })
}

/// What a shell makes hard to type: `\n`, `\t`, `\0` and `\\` in a separator.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('\\', Some(escaped @ ('n' | 't' | '0' | '\\'))) => {
                letters.next();
                plain.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    '0' => '\0',
                    other => other,
                });
            }
            _ => plain.push(letter),
        }
    }
    plain
}

/// A length of time with its unit: `5ms`, `2s`, `1m`; a bare number is milliseconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u32 =
        number.parse().map_err(|_| format!("{text:?} does not start with a whole number"))?;
    match unit {
        "" | "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(format!("{unit:?} is no unit of time: ms, s and m are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_may_be_escaped() {
        assert_eq!(unescape("\\t"), "\t");
        assert_eq!(unescape("a\\n\\\\b"), "a\n\\b");
        assert_eq!(unescape("\\x\\"), "\\x\\");
    }

    #[test]
    fn durations_have_units_and_default_to_milliseconds() {
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1m"), Ok(Duration::from_secs(60)));
        assert!(parse_duration("5us").unwrap_err().contains("no unit"));
        assert!(parse_duration("-1").is_err());
    }
}
