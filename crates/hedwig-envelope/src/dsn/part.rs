//! A part of a report, written in lines that the server it goes to takes (RFC 2045 §6).

use bytes::Bytes;

/// The longest line that every server takes, in octets without its CRLF (RFC 5322 §2.1.1).
const LINE_OCTETS_MAX: usize = 998;
/// The longest line in quoted-printable, in octets without its CRLF (RFC 2045 §6.7).
const QUOTED_OCTETS_MAX: usize = 76;

/// A part of a multipart (RFC 2046 §5.1).
pub(super) struct Part {
    /// Its `Content-Type`.
    pub(super) content_type: &'static str,
    /// How its content is written.
    pub(super) encoding: Encoding,
    /// Its content, as it is once decoded.
    pub(super) content: Bytes,
}

impl Part {
    /// The part behind its boundary; what follows begins a line of its own.
    pub(super) fn push_to(&self, message: &mut Vec<u8>, boundary: &str) {
        let Self { content_type, encoding, content } = self;
        let encoding_word = encoding.word();
        let header = format!(
            "--{boundary}\r\nContent-Type: {content_type}\r\n\
             Content-Transfer-Encoding: {encoding_word}\r\n\r\n"
        );
        message.extend_from_slice(header.as_bytes());
        match encoding {
            Encoding::QuotedPrintable => push_quoted(message, content),
            Encoding::SevenBit | Encoding::EightBit => message.extend_from_slice(content),
        }
        message.extend_from_slice(b"\r\n");
    }
}

/// How a content is written (RFC 2045 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    EightBit,
    QuotedPrintable,
}

impl Encoding {
    /// The plainest for a content in lines; `takes_8bit` is whether they may go out as 8-bit ones.
    pub(super) fn of(content: &[u8], takes_8bit: bool) -> Self {
        let is_long =
            |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len() > LINE_OCTETS_MAX;
        if content.split(|&byte| byte == b'\n').any(is_long) {
            Self::QuotedPrintable
        } else if content.is_ascii() {
            Self::SevenBit
        } else if takes_8bit {
            Self::EightBit
        } else {
            Self::QuotedPrintable
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::EightBit => "8bit",
            Self::QuotedPrintable => "quoted-printable",
        }
    }
}

/// Writes text in lines as quoted-printable (RFC 2045 §6.7).
fn push_quoted(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut column = 0;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        if let Some(next_line) = rest.strip_prefix(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            column = 0;
            rest = next_line;
            continue;
        }
        let is_plain = match byte {
            // At the end of a line it would be lost on the way.
            b' ' | b'\t' => !after.is_empty() && !after.starts_with(b"\r\n"),
            b'=' => false,
            byte => byte.is_ascii_graphic(),
        };
        let width = if is_plain { 1 } else { 3 };
        // The last octet of a line that goes on is for the "=" that says so.
        if column + width > QUOTED_OCTETS_MAX - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_plain {
            out.push(*byte);
        } else {
            let digit = |value: u8| HEX[usize::from(value)];
            out.extend_from_slice(&[b'=', digit(byte >> 4), digit(byte & 15)]);
        }
        column += width;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_quoted(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    /// As RFC 2045 §6.7 reads it: white space at the end of a line is not there.
    fn unquoted(text: &str) -> Vec<u8> {
        let lines: Vec<&str> =
            text.split("\r\n").map(|line| line.trim_end_matches([' ', '\t'])).collect();
        let joined = lines.join("\r\n").replace("=\r\n", "");
        let mut bytes = joined.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            out.push(match byte {
                b'=' => {
                    let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        out
    }

    #[test]
    fn quoted_printable_is_as_rfc_2045_has_it() {
        for (text, expected) in [
            ("", ""),
            ("Subject: Grüße\r\n\tx\r\n", "Subject: Gr=C3=BC=C3=9Fe\r\n\tx\r\n"),
            ("1+1=2 \r\n\t", "1+1=3D2=20\r\n=09"),
            (&"a".repeat(75), &"a".repeat(75)),
            (&"a".repeat(76), &("a".repeat(75) + "=\r\na")),
            (&("a".repeat(73) + "ü"), &("a".repeat(73) + "=\r\n=C3=BC")),
            ("\r\n\r\n\u{1b}", "\r\n\r\n=1B"),
        ] {
            assert_eq!(quoted(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_line_of_998_octets_needs_no_encoding_and_a_longer_one_does() {
        for (length, encoding) in [(998, Encoding::SevenBit), (999, Encoding::QuotedPrintable)] {
            let line = "a".repeat(length);
            for text in [line.clone(), format!("{line}\r\nb\r\n"), format!("b\r\n{line}")] {
                assert_eq!(Encoding::of(text.as_bytes(), true), encoding, "{length}");
            }
        }
        assert_eq!(Encoding::of("ü".as_bytes(), true), Encoding::EightBit);
        assert_eq!(Encoding::of("ü".as_bytes(), false), Encoding::QuotedPrintable);
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back_and_its_lines_are_short(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(b"\r\n".to_vec()),
                    prop::collection::vec(any::<u8>(), 0..200),
                    "[ \t=a-z]{0,90}".prop_map(String::into_bytes),
                ],
                0..8,
            )
        ) {
            let text = pieces.concat();
            let quoted = quoted(&text);
            prop_assert_eq!(unquoted(&quoted), text);
            prop_assert!(quoted.is_ascii() && !quoted.replace("\r\n", "").contains(['\r', '\n']));
            prop_assert!(quoted.split("\r\n").all(|line| line.len() <= QUOTED_OCTETS_MAX));
        }
    }
}
