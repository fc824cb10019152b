//! The first line of a connection, read before hyper sees it.
//!
//! hyper refuses a URI with a raw `<` or `>` in it, with a 400 that explains nothing. But that is what a
//! person types: `curl 'http://.../v1/messages?from=<a@x>&to=<b@y>'`. So they are percent-encoded here.

use memchr::memchr;

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// hyper takes no URI of more than 64 KiB.
const LINE_BYTES_MAX: usize = 65 * 1024;

/// Whether enough is there: a whole HTTP/1 request line, or the whole preface of HTTP/2.
pub(super) fn is_complete(start: &[u8]) -> bool {
    if PREFACE.starts_with(start) {
        return start.len() == PREFACE.len();
    }
    start.starts_with(PREFACE) || memchr(b'\n', start).is_some() || start.len() > LINE_BYTES_MAX
}

/// Percent-encodes angle brackets in the request line. A connection on which that was needed ends with the
/// answer: only its first line is ever looked at, and so its client is always treated alike.
pub(super) fn mend(start: Vec<u8>) -> Vec<u8> {
    let line_end = memchr(b'\n', &start).map_or(start.len(), |end| end + 1);
    let (line, rest) = start.split_at(line_end);
    if start.starts_with(PREFACE) || !line.ends_with(b"\n") || !line.iter().any(is_bracket) {
        return start;
    }
    let mut mended = Vec::with_capacity(start.len() + 64);
    for byte in line {
        match byte {
            b'<' => mended.extend_from_slice(b"%3C"),
            b'>' => mended.extend_from_slice(b"%3E"),
            other => mended.push(*other),
        }
    }
    mended.extend_from_slice(b"Connection: close\r\n");
    mended.extend_from_slice(rest);
    mended
}

fn is_bracket(byte: &u8) -> bool {
    matches!(byte, b'<' | b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angle_brackets_in_the_request_line_are_encoded_and_those_below_it_are_not() {
        let mended = mend(b"POST /?from=<a@x> HTTP/1.1\r\nX: <y>\r\n".to_vec());
        let wanted = b"POST /?from=%3Ca@x%3E HTTP/1.1\r\nConnection: close\r\nX: <y>\r\n";
        assert_eq!(mended, wanted);
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for start in [&b"GET / HTTP/1.1\r\nX: <y>\r\n"[..], PREFACE, b"", b"<<<", b"\x16\x03\x01<"]
        {
            assert_eq!(mend(start.to_vec()), start);
        }
    }

    #[test]
    fn a_line_or_a_preface_is_waited_for() {
        for part in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"POST /", b"PRI * HTTP/2.0 "] {
            assert!(!is_complete(part), "{part:?}");
        }
        for whole in [PREFACE, b"GET / HTTP/1.1\r\n", b"PRI\n", &[b'x'; 66 * 1024]] {
            assert!(is_complete(whole));
        }
    }
}
