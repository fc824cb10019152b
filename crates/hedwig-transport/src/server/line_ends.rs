//! Line ends of what is handed in: afterwards every line ends in CRLF, and there is no other CR or LF
//! (RFC 5321 §2.3.8).

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2_iter};

/// Makes every bare LF and every bare CR a CRLF, and ends the last line. What is right already is not
/// copied.
pub(super) fn normalise(message: Bytes) -> Bytes {
    let stray = stray_line_ends(&message);
    if stray == 0 && message.ends_with(b"\r\n") {
        return message;
    }
    let mut normal = BytesMut::with_capacity(message.len() + stray + 2);
    let mut rest = 0;
    for at in memchr2_iter(b'\r', b'\n', &message) {
        if at < rest {
            // The LF of a CRLF.
            continue;
        }
        normal.extend_from_slice(&message[rest..at]);
        normal.extend_from_slice(b"\r\n");
        rest = at + if message[at..].starts_with(b"\r\n") { 2 } else { 1 };
    }
    normal.extend_from_slice(&message[rest..]);
    if rest < message.len() {
        normal.extend_from_slice(b"\r\n");
    }
    normal.freeze()
}

/// Whether there is a NUL, which only a binary mail may have (RFC 5322 §4.1, RFC 3030 §3).
pub(super) fn has_nul(message: &[u8]) -> bool {
    memchr(0, message).is_some()
}

fn stray_line_ends(message: &[u8]) -> usize {
    memchr2_iter(b'\r', b'\n', message)
        .filter(|&at| match message[at] {
            b'\r' => message.get(at + 1) != Some(&b'\n'),
            _ => at == 0 || message[at - 1] != b'\r',
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &'static str) -> Bytes {
        normalise(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        for (given, wanted) in [
            ("", ""),
            ("a", "a\r\n"),
            ("a\n", "a\r\n"),
            ("a\r", "a\r\n"),
            ("a\n\nb", "a\r\n\r\nb\r\n"),
            ("a\r\r\nb\r\n", "a\r\n\r\nb\r\n"),
            ("a\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
            ("a\r\n.\rb\n", "a\r\n.\r\nb\r\n"),
            ("\n", "\r\n"),
        ] {
            assert_eq!(normal(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn what_is_right_is_not_copied() {
        let message = Bytes::from_static(b"a\r\n\r\nb\r\n");
        assert_eq!(normalise(message.clone()).as_ptr(), message.as_ptr());
    }
}
