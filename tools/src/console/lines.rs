//! Lines of any bytes, one at a time.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Read};

/// Above every broker's usual limit; the producer's own limit says no earlier.
pub(super) const LINE_BYTES_MAX: u64 = 100 << 20;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    /// It was dropped, up to its end.
    TooLong,
    End,
}

/// Reads up to the next newline, which is not part of the line; the last line may lack it. Every
/// other byte stays as it is, a carriage return included.
pub(super) fn read_line(
    input: &mut impl BufRead,
    bytes_max: u64,
    line: &mut Vec<u8>,
) -> io::Result<Line> {
    line.clear();
    // One byte more, for the newline.
    if input.take(bytes_max + 1).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > bytes_max {
        skip_line(input)?;
        return Ok(Line::TooLong);
    }
    Ok(Line::Whole)
}

/// Drops the rest of a line that is too long.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(bytes.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Result<Vec<u8>, ()>> {
        let mut line = Vec::new();
        let mut all = Vec::new();
        loop {
            match read_line(&mut input, 5, &mut line).unwrap() {
                Line::End => return all,
                Line::Whole => all.push(Ok(line.clone())),
                Line::TooLong => all.push(Err(())),
            }
        }
    }

    #[test]
    fn lines_keep_every_byte_but_their_newline() {
        let whole = |text: &[u8]| Ok(text.to_vec());
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n"), [whole(b"")]);
        assert_eq!(
            lines(b"a\r\n\0\xff\n\nlast"),
            [whole(b"a\r"), whole(b"\0\xff"), whole(b""), whole(b"last")]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_dropped_up_to_the_next_one() {
        assert_eq!(
            lines(b"12345\n123456\n1234567890\nok\n1234567"),
            [Ok(b"12345".to_vec()), Err(()), Err(()), Ok(b"ok".to_vec()), Err(())]
        );
    }
}
