//! The canonical forms of RFC 6376 §3.4, as far as they are fed to a hash.

use aws_lc_rs::digest::{Context, SHA256};
use memchr::memchr_iter;

/// How the body is brought into a form that survives the way (RFC 6376 §3.4.3, §3.4.4). Header fields
/// are always relaxed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyForm {
    /// White space at the ends of lines and its amount within them do not count.
    #[default]
    Relaxed,
    /// All octets count, but empty lines at the end.
    Simple,
}

impl BodyForm {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relaxed => "relaxed",
            Self::Simple => "simple",
        }
    }

    /// The SHA-256 of a body's canonical form, before it is written in base64 as `bh=` (RFC 6376 §3.7). The body
    /// is what follows the empty line that ends the header.
    #[must_use]
    pub fn hash(self, body: &[u8]) -> [u8; 32] {
        let mut hash = LineHash::new();
        for line in lines(body) {
            match self {
                Self::Relaxed => hash.relaxed_line(line),
                Self::Simple => hash.line(line),
            }
        }
        // RFC 6376 §3.4.3: simple makes a lone CRLF of no body at all, §3.4.4: relaxed does not.
        if self == Self::Simple && !hash.has_lines {
            hash.update(b"\r\n");
        }
        hash.finish()
    }
}

/// The lines without their CRLF. Only CRLF ends a line: a verifier hashes what went over the wire, and
/// a bare CR or LF is not made a line end there.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr_iter(b'\n', body).filter(|&end| end > 0 && body[end - 1] == b'\r');
    let mut start = 0;
    let whole = ends.map(move |end| {
        let line = &body[start..end - 1];
        start = end + 1;
        line
    });
    let last_end = memchr::memmem::rfind(body, b"\r\n").map_or(0, |place| place + 2);
    let rest = &body[last_end..];
    whole.chain((!rest.is_empty()).then_some(rest))
}

/// Words are gathered to so many bytes before they are hashed: a call for each word costs more than the copy.
const GATHERED_BYTES: usize = 8192;

/// Hashes lines, but holds empty ones back until another line proves that they are not at the end.
struct LineHash {
    context: Context,
    gathered: Vec<u8>,
    empty_lines: usize,
    has_lines: bool,
}

impl LineHash {
    fn new() -> Self {
        let gathered = Vec::with_capacity(GATHERED_BYTES);
        Self { context: Context::new(&SHA256), gathered, empty_lines: 0, has_lines: false }
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES {
            self.context.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > GATHERED_BYTES {
            self.context.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.context.update(&self.gathered);
        let mut sum = [0; 32];
        sum.copy_from_slice(self.context.finish().as_ref());
        sum
    }

    fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.empty_lines += 1;
            return;
        }
        self.begin_line();
        self.update(line);
        self.update(b"\r\n");
    }

    fn relaxed_line(&mut self, line: &[u8]) {
        let line = line.trim_suffix_white_space();
        if line.is_empty() {
            self.empty_lines += 1;
            return;
        }
        self.begin_line();
        // Runs of white space are rare: what lies between them is hashed in one piece.
        let mut rest = line;
        while let Some((start, end)) = next_run(rest) {
            self.update(&rest[..start]);
            self.update(b" ");
            rest = &rest[end..];
        }
        self.update(rest);
        self.update(b"\r\n");
    }

    fn begin_line(&mut self) {
        self.has_lines = true;
        for _ in 0..std::mem::take(&mut self.empty_lines) {
            self.update(b"\r\n");
        }
    }
}

/// Where the next white space is that is not a single space already.
fn next_run(line: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let start = from + memchr::memchr2(b' ', b'\t', &line[from..])?;
        let length = line[start..].iter().take_while(|&&byte| is_white_space(byte)).count();
        if length > 1 || line[start] == b'\t' {
            return Some((start, start + length));
        }
        from = start + 1;
    }
}

/// WSP of RFC 5234: what [`u8::is_ascii_whitespace`] takes besides is text here.
fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

trait TrimWhiteSpace {
    fn trim_suffix_white_space(&self) -> &Self;
}

impl TrimWhiteSpace for [u8] {
    fn trim_suffix_white_space(&self) -> &[u8] {
        let end = self.iter().rposition(|&byte| !is_white_space(byte)).map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// Writes a header field in its relaxed form (RFC 6376 §3.4.2), without a CRLF at its end.
pub(super) fn push_relaxed_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut gap = false;
    for (index, &byte) in value.iter().enumerate() {
        let folds = (byte == b'\r' && value.get(index + 1) == Some(&b'\n'))
            || (byte == b'\n' && index > 0 && value[index - 1] == b'\r');
        if folds {
            continue;
        }
        if is_white_space(byte) {
            gap = true;
            continue;
        }
        if std::mem::take(&mut gap) && out.len() > start {
            out.push(b' ');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(text: &[u8]) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, text).as_ref());
        sum
    }

    #[test]
    fn relaxed_bodies_are_those_of_the_rfc() {
        for (body, canonical) in [
            // RFC 6376 §3.4.5.
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n\r\n \r\n", ""),
            ("a\r\n \r\n\t\r\n", "a\r\n"),
            ("a\r\n \r\nb", "a\r\n\r\nb\r\n"),
            ("a\tb  c\t\r\n", "a b c\r\n"),
            ("a\nb \r\n", "a\nb\r\n"),
            ("a\r \rb\r\n", "a\r \rb\r\n"),
            ("a\r", "a\r\r\n"),
            ("\x0b \r\n", "\x0b\r\n"),
        ] {
            let hash = BodyForm::Relaxed.hash(body.as_bytes());
            assert_eq!(hash, sha256(canonical.as_bytes()), "{body:?}");
        }
    }

    #[test]
    fn simple_bodies_are_those_of_the_rfc() {
        for (body, canonical) in [
            (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"),
            ("", "\r\n"),
            ("\r\n\r\n", "\r\n"),
            ("a\r\n \r\n", "a\r\n \r\n"),
            ("a", "a\r\n"),
        ] {
            let hash = BodyForm::Simple.hash(body.as_bytes());
            assert_eq!(hash, sha256(canonical.as_bytes()), "{body:?}");
        }
    }

    #[test]
    fn relaxed_fields_are_those_of_the_rfc() {
        for (name, value, canonical) in [
            ("A", " X\r\n", "a:X"),
            ("B", " Y\t\r\n\tZ  \r\n", "b:Y Z"),
            ("Subject", "\r\n", "subject:"),
            ("Subject", " a\r\n b\tc  d\r\n", "subject:a b c d"),
        ] {
            let mut out = Vec::new();
            push_relaxed_field(&mut out, name.as_bytes(), value.as_bytes());
            assert_eq!(out, canonical.as_bytes());
        }
    }
}
