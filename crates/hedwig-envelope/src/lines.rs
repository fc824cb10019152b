//! What a content in lines must not have: a CR or LF that is not part of CRLF (RFC 5321 §2.3.8), with which mails
//! are smuggled, and NUL (RFC 5322 §4.1). A binary content may have them (RFC 3030 §3).

use bytes::{Bytes, BytesMut};
use memchr::memchr3;

use crate::Status;

/// An octet that has no place in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A CR without LF, or a LF without CR.
    LineEnd,
    /// A NUL.
    Nul,
}

impl Stray {
    /// The status of a content that is refused for it (RFC 3463 §3.7).
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::LineEnd => Status::permanent(6, 11),
            Self::Nul => Status::permanent(6, 0),
        }
    }

    /// What is said of such a content.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::LineEnd => "The message has a CR or LF that is not part of CRLF",
            Self::Nul => "The message has a NUL in it, which only a binary one may have",
        }
    }
}

/// The first octet of a content that has no place in lines.
#[must_use]
pub fn first_stray(content: &[u8]) -> Option<Stray> {
    find(content).map(|(_, stray)| stray)
}

/// The content with something else in the place of each such octet; not copied when there is none.
///
/// # Errors
/// The one that `in_place_of` has for the first octet in whose place nothing may stand.
pub fn mend<E>(
    content: Bytes,
    mut in_place_of: impl FnMut(Stray) -> Result<&'static [u8], E>,
) -> Result<Bytes, E> {
    let Some(mut found) = find(&content) else { return Ok(content) };
    let mut mended = BytesMut::with_capacity(content.len() + content.len() / 32 + 64);
    let mut rest = &content[..];
    loop {
        let (position, stray) = found;
        let in_place = in_place_of(stray)?;
        mended.extend_from_slice(&rest[..position]);
        mended.extend_from_slice(in_place);
        rest = &rest[position + 1..];
        match find(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    mended.extend_from_slice(rest);
    Ok(mended.freeze())
}

fn find(content: &[u8]) -> Option<(usize, Stray)> {
    let mut position = 0;
    while let Some(offset) = memchr3(b'\r', b'\n', 0, &content[position..]) {
        let found = position + offset;
        match content[found..] {
            [b'\r', b'\n', ..] => position = found + 2,
            [0, ..] => return Some((found, Stray::Nul)),
            _ => return Some((found, Stray::LineEnd)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strays_are_found_and_mended() {
        let mended = |content| {
            mend(Bytes::from_static(content), |stray| match stray {
                Stray::LineEnd => Ok(&b"\r\n"[..]),
                Stray::Nul => Ok::<_, ()>(b"?"),
            })
        };
        for (content, stray, expected) in [
            (&b""[..], None, &b""[..]),
            (b"a\r\nb\r\n", None, b"a\r\nb\r\n"),
            (b"a\nb\r\n", Some(Stray::LineEnd), b"a\r\nb\r\n"),
            (b"a\r\n\n", Some(Stray::LineEnd), b"a\r\n\r\n"),
            (b"a\r\r\nb\r", Some(Stray::LineEnd), b"a\r\n\r\nb\r\n"),
            (b"\n\r", Some(Stray::LineEnd), b"\r\n\r\n"),
            (b"\0a\r\n\0", Some(Stray::Nul), b"?a\r\n?"),
            (b"a\r\0\nb", Some(Stray::LineEnd), b"a\r\n?\r\nb"),
        ] {
            assert_eq!(first_stray(content), stray, "{content:?}");
            assert_eq!(mended(content), Ok(Bytes::from_static(expected)), "{content:?}");
        }
    }

    #[test]
    fn what_may_not_be_mended_is_an_error() {
        let refuse_nul = |stray| if stray == Stray::Nul { Err(stray) } else { Ok(&b"\r\n"[..]) };
        assert_eq!(mend(Bytes::from("a\nb"), refuse_nul).unwrap(), "a\r\nb");
        assert_eq!(mend(Bytes::from("a\nb\0"), refuse_nul), Err(Stray::Nul));
    }

    #[test]
    fn what_is_right_is_not_copied() {
        let content = Bytes::from_static(b"a\r\n\r\nb\r\n");
        assert_eq!(mend(content.clone(), Err).unwrap().as_ptr(), content.as_ptr());
    }
}
