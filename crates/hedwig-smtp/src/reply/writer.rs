use std::fmt::Write;

use bytes::BytesMut;
use hedwig_envelope::Reply;

/// With code, status and CRLF a line stays within the 512 bytes of RFC 5321 §4.5.3.1.5.
const TEXT_CHARACTERS_MAX: usize = 450;

/// Appends a reply with its CRLFs, the status on each line (RFC 2034 §4).
///
/// What is not ASCII becomes `?`: only a client that asked for SMTPUTF8 could read it (RFC 6531 §3.7.4.2).
pub fn write(reply: &Reply, out: &mut BytesMut) {
    let mut lines = reply.text().split('\n').flat_map(pieces).peekable();
    while let Some(line) = lines.next() {
        let separator = if lines.peek().is_some() { '-' } else { ' ' };
        // A BytesMut grows; writing to it cannot fail.
        let _ = write!(out, "{}{separator}", reply.code());
        if let Some(status) = reply.status() {
            let _ = write!(out, "{status} ");
        }
        push_ascii(out, line);
        out.extend_from_slice(b"\r\n");
    }
}

/// The line in pieces that are not too long; an empty one is one empty piece.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = line.char_indices().nth(TEXT_CHARACTERS_MAX).map(|(index, _)| index);
        let (piece, after) = line.split_at(end.unwrap_or(line.len()));
        rest = end.map(|_| after);
        Some(piece)
    })
}

fn push_ascii(out: &mut BytesMut, text: &str) {
    if text.is_ascii() {
        out.extend_from_slice(text.as_bytes());
    } else {
        let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        out.extend_from_slice(ascii.as_bytes());
    }
}
