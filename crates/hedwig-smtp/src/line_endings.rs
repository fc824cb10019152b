//! Bare CR and LF: what RFC 5321 §2.3.8 forbids, and mails are smuggled with.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Where the first CR without LF, or LF without CR, is.
pub(crate) fn first_bare(content: &[u8]) -> Option<usize> {
    let mut position = 0;
    while let Some(offset) = memchr2(b'\r', b'\n', &content[position..]) {
        let found = position + offset;
        if !content[found..].starts_with(b"\r\n") {
            return Some(found);
        }
        position = found + 2;
    }
    None
}

/// The content with CRLF in place of each bare CR and LF; not copied when there is none.
pub(crate) fn normalise(content: Bytes) -> Bytes {
    let Some(mut bare) = first_bare(&content) else { return content };
    let mut mended = BytesMut::with_capacity(content.len() + content.len() / 32 + 64);
    let mut rest = &content[..];
    loop {
        mended.extend_from_slice(&rest[..bare]);
        mended.extend_from_slice(b"\r\n");
        rest = &rest[bare + 1..];
        match first_bare(rest) {
            Some(next) => bare = next,
            None => break,
        }
    }
    mended.extend_from_slice(rest);
    mended.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_ones_are_found_and_mended() {
        for (content, bare, mended) in [
            ("", None, ""),
            ("a\r\nb\r\n", None, "a\r\nb\r\n"),
            ("a\nb\r\n", Some(1), "a\r\nb\r\n"),
            ("a\r\n\n", Some(3), "a\r\n\r\n"),
            ("a\r\r\nb\r", Some(1), "a\r\n\r\nb\r\n"),
            ("\n\r", Some(0), "\r\n\r\n"),
        ] {
            assert_eq!(first_bare(content.as_bytes()), bare, "{content:?}");
            assert_eq!(normalise(Bytes::from(content)), mended, "{content:?}");
        }
    }
}
