//! Command lines out of a stream of bytes (RFC 5321 §2.3.8, §4.5.3.1.4).

use bytes::{Buf, BytesMut};
use memchr::memchr;

/// Finds the ends of command lines. Only CRLF is one: a relay before us that knows no other end of a
/// line must not be made to pass on two commands as one.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    /// Whether it is known that no proxy began to speak here.
    begun: bool,
    /// How much of the input has been searched.
    searched: usize,
    /// Whether the line was refused already, and what is left of it is thrown away.
    skipping: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line, its CRLF taken off.
    Whole(BytesMut),
    /// A line that is refused before its end has come: it is too long.
    TooLong,
    /// A line that is refused before its end has come: it has a bare LF in it.
    BareLf,
}

/// What a header of the PROXY protocol, version 2, begins with. It looks like empty lines, so that whoever reads lines
/// takes nothing of it for a command.
pub(crate) const PROXY_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

impl LineReader {
    /// Whether the stream begins with the header of a proxy; `None` when more must come to tell.
    ///
    /// The header's empty lines must not be answered by themselves: whoever hears the replies is not who sent them. So
    /// a client whose first line is empty waits for the reply until it has said more.
    pub(crate) fn begins_with_proxy(&mut self, input: &[u8]) -> Option<bool> {
        if self.begun {
            return Some(false);
        }
        let heard = input.len().min(PROXY_SIGNATURE.len());
        if input[..heard] == PROXY_SIGNATURE[..heard] {
            return (heard == PROXY_SIGNATURE.len()).then_some(true);
        }
        self.begun = true;
        Some(false)
    }

    /// Takes the next line from the front of `input`; `None` when more must come.
    pub(crate) fn read(&mut self, input: &mut BytesMut, bytes_max: usize) -> Option<Line> {
        if self.skipping && !self.skip(input) {
            return None;
        }
        match memchr(b'\n', &input[self.searched..]) {
            Some(offset) if self.searched + offset < bytes_max => {
                let end = self.searched + offset;
                if end == 0 || input[end - 1] != b'\r' {
                    return Some(self.refuse(Line::BareLf));
                }
                self.searched = 0;
                let mut line = input.split_to(end + 1);
                line.truncate(end - 1);
                Some(Line::Whole(line))
            }
            None if input.len() < bytes_max => {
                self.searched = input.len();
                None
            }
            _ => Some(self.refuse(Line::TooLong)),
        }
    }

    fn refuse(&mut self, why: Line) -> Line {
        self.searched = 0;
        self.skipping = true;
        why
    }

    /// Throws away up to the next CRLF; whether there was one.
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        while let Some(end) = memchr(b'\n', &input[self.searched..]) {
            let end = self.searched + end;
            let is_crlf = end > 0 && input[end - 1] == b'\r';
            input.advance(end + 1);
            self.searched = 0;
            if is_crlf {
                self.skipping = false;
                return true;
            }
        }
        // A CR at the very end may be half of a CRLF.
        let kept = usize::from(input.last() == Some(&b'\r'));
        input.advance(input.len() - kept);
        self.searched = kept;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read when the text comes in pieces of this size.
    fn read(text: &str, piece: usize) -> Vec<String> {
        let mut reader = LineReader::default();
        let mut input = BytesMut::new();
        let mut lines = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            input.extend_from_slice(bytes);
            while let Some(line) = reader.read(&mut input, 16) {
                lines.push(match line {
                    Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                    refused => format!("{refused:?}"),
                });
            }
        }
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = "NOOP\r\n\r\nx\ny\r\nRSET\r\nfar too long for a line\nQUIT\r\nHELP\r\n\r\r\n\n\r\nQ\r\n";
        let lines = ["NOOP", "", "BareLf", "RSET", "TooLong", "HELP", "\r", "BareLf", "Q"];
        for piece in 1..text.len() {
            assert_eq!(read(text, piece), lines, "in pieces of {piece}");
        }
    }

    #[test]
    fn nothing_of_an_endless_line_is_kept() {
        let mut reader = LineReader::default();
        let mut input = BytesMut::new();
        for _ in 0..1000 {
            input.extend_from_slice(&[b'x'; 100]);
            let _ = reader.read(&mut input, 512);
        }
        let _ = reader.read(&mut input, 512);
        assert!(input.is_empty());
    }
}
