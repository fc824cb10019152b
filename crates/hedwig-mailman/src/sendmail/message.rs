//! A message as a local program writes it, made one as RFC 5322 §2.1 has it.

use std::io::{self, BufRead};

use bytes::Bytes;
use hedwig_envelope::header;

/// Reads a message to its end, or to a line with nothing but a dot.
///
/// # Errors
/// When it is larger than `bytes_max`, or cannot be read.
pub(crate) fn read(
    input: impl BufRead,
    dot_ends_message: bool,
    bytes_max: u64,
) -> Result<Vec<u8>, ReadError> {
    let mut message = Vec::new();
    let mut input = input.take(bytes_max.saturating_add(1));
    loop {
        let start = message.len();
        let at_line_start = message.last().is_none_or(|byte| *byte == b'\n');
        let length = input.read_until(b'\n', &mut message)?;
        if message.len() as u64 > bytes_max {
            return Err(ReadError::TooLarge { bytes_max });
        }
        let line = message[start..].trim_ascii_end();
        let is_end = dot_ends_message && at_line_start && line == b".";
        if is_end {
            message.truncate(start);
        }
        if is_end || length == 0 {
            return Ok(message);
        }
    }
}

/// Why a message was not read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the message is larger than {bytes_max} bytes; [smtp] size_max sets what is taken")]
    TooLarge { bytes_max: u64 },
    #[error("the message cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A message with CRLF line ends, split into its header and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Whole header fields, each with its CRLF.
    pub(crate) header: Bytes,
    /// The body, without the empty line above it.
    pub(crate) body: Bytes,
}

impl Message {
    /// Takes apart what a program wrote. Each CR, LF and CRLF is a line end, and the last line gets one
    /// if it has none. The `From ` line of an mbox file is left out. A text whose first line is no header
    /// field is all body.
    pub(crate) fn of(written: &[u8]) -> Self {
        let message = Bytes::from(with_line_ends(without_mbox_line(written)));
        let header = message.slice(..header::header_length(&message));
        let rest = message.slice(header.len()..);
        let body = if rest.starts_with(b"\r\n") { rest.slice(2..) } else { rest };
        Self { header, body }
    }
}

/// mbox files, and programs that copy from them, begin a message with `From sender date`.
fn without_mbox_line(written: &[u8]) -> &[u8] {
    let is_mbox_line = written.starts_with(b"From ") || written.starts_with(b">From ");
    let line_end = written.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    match line_end {
        Some(end) if is_mbox_line => {
            let rest = &written[end..];
            rest.strip_prefix(b"\r\n").unwrap_or(&rest[1..])
        }
        _ => written,
    }
}

fn with_line_ends(written: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(written.len() + written.len() / 32 + 2);
    let mut rest = written;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.extend_from_slice(&rest[..end]);
        lines.extend_from_slice(b"\r\n");
        rest = after_line_end(&rest[end..]);
    }
    if !rest.is_empty() {
        lines.extend_from_slice(rest);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// CRs just before a LF belong to one line end: CR CR LF is what becomes of CRLF when some program
/// takes it for LF.
fn after_line_end(rest: &[u8]) -> &[u8] {
    let returns = rest.iter().take_while(|byte| **byte == b'\r').count();
    match rest.get(returns) {
        Some(b'\n') => &rest[returns + 1..],
        _ => &rest[1..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str, dot_ends_message: bool) -> String {
        String::from_utf8(read(text.as_bytes(), dot_ends_message, 1000).unwrap()).unwrap()
    }

    #[test]
    fn a_lone_dot_ends_a_message_unless_it_is_told_not_to() {
        for (text, expected) in [
            ("a\n.\nb\n", "a\n"),
            ("a\r\n.\r\nb\r\n", "a\r\n"),
            ("a\n.", "a\n"),
            (".\n", ""),
            ("a\n..\n.b\nc.\n", "a\n..\n.b\nc.\n"),
            ("a .\n", "a .\n"),
            ("", ""),
        ] {
            assert_eq!(read_all(text, true), expected, "{text:?}");
            assert_eq!(read_all(text, false), text);
        }
    }

    #[test]
    fn nothing_is_read_beyond_the_dot() {
        let mut input = io::BufReader::with_capacity(1, &b"a\n.\nrest"[..]);
        read(&mut input, true, 1000).unwrap();
        assert_eq!(io::read_to_string(input).unwrap(), "rest");
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_without_reading_it_all() {
        assert!(read(&b"12345"[..], false, 5).is_ok());
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(read(endless, false, 5), Err(ReadError::TooLarge { bytes_max: 5 })));
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        for (written, expected) in [
            ("\na\nb", "a\r\nb\r\n"),
            ("\r\na\r\nb\r\n", "a\r\nb\r\n"),
            ("\r\na\rb\n\nc", "a\r\nb\r\n\r\nc\r\n"),
            ("\na\r\r\nb\n", "a\r\nb\r\n"),
            ("\na\r\rb\n", "a\r\n\r\nb\r\n"),
            ("", ""),
        ] {
            assert_eq!(Message::of(written.as_bytes()).body, expected, "{written:?}");
        }
    }

    #[test]
    fn header_and_body_are_split_even_without_an_empty_line() {
        for (written, header, body) in [
            ("A: b\n\nbody\n", "A: b\r\n", "body\r\n"),
            ("A: b\nnot a field\n", "A: b\r\n", "not a field\r\n"),
            ("hello\n", "", "hello\r\n"),
            ("\nA: b\n", "", "A: b\r\n"),
            ("From me today\nA: b\n\nbody\n", "A: b\r\n", "body\r\n"),
            (">From me today\r\nA: b\r\n\r\nbody\r\n", "A: b\r\n", "body\r\n"),
            ("A: b\n c\n\n", "A: b\r\n c\r\n", ""),
            ("A: b", "A: b\r\n", ""),
        ] {
            let message = Message::of(written.as_bytes());
            assert_eq!(
                (&message.header[..], &message.body[..]),
                (header.as_bytes(), body.as_bytes())
            );
        }
    }
}
