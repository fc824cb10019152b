//! The content after DATA (RFC 5321 §4.1.1.4, §4.5.2).

use bytes::{Buf, Bytes, BytesMut};
use hedwig_envelope::lines::Stray;
use memchr::memchr3;

use super::{LineEndings, fault::ContentFault};

/// A content up to this size is copied out of the input buffer, so that the buffer can be used again
/// and a small mail does not keep a large one in memory.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Takes the dots out of a content, and finds its end: CRLF.CRLF and nothing else.
///
/// It works in the caller's buffer: `[..written]` is content, `[written..read]` is garbage, and from
/// `read` on it has not looked. A byte is moved only behind a dot taken out, and when all was looked
/// at the garbage is gone: what stays in the buffer is content.
#[derive(Debug)]
pub(crate) struct DataReader {
    bytes_max: u64,
    line_endings: LineEndings,
    read: usize,
    written: usize,
    is_at_line_start: bool,
    keeping: Keeping,
}

/// Where the content goes.
#[derive(Debug)]
enum Keeping {
    /// It stays in the input buffer.
    InPlace,
    /// Into a buffer of its own, since mended line ends need more room.
    Apart(BytesMut),
    /// Nowhere: it is refused already.
    Nothing(ContentFault),
}

impl DataReader {
    pub(crate) fn new(bytes_max: u64, line_endings: LineEndings) -> Self {
        Self {
            bytes_max,
            line_endings,
            read: 0,
            written: 0,
            is_at_line_start: true,
            keeping: Keeping::InPlace,
        }
    }

    /// Takes from the front of `input`; `None` when more must come.
    pub(crate) fn receive(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, ContentFault>> {
        if self.read_lines(input) {
            return Some(self.finish(input));
        }
        if matches!(self.keeping, Keeping::InPlace) {
            let unread = input.len() - self.read;
            input.copy_within(self.read.., self.written);
            input.truncate(self.written + unread);
            self.read = self.written;
        } else {
            let_go(input, self.read);
            self.read = 0;
        }
        None
    }

    /// Keeps nothing of the content, what has come of it included.
    pub(crate) fn refuse(&mut self, fault: ContentFault) {
        self.keeping = Keeping::Nothing(fault);
    }

    /// How many bytes of the content are kept when so many are in the buffer; `None` when it is refused.
    pub(crate) fn held(&self, buffered: usize) -> Option<usize> {
        match &self.keeping {
            Keeping::InPlace => Some(buffered),
            Keeping::Apart(content) => Some(content.len() + buffered),
            Keeping::Nothing(_) => None,
        }
    }

    /// Whether the end was reached; `read` then stands before its dot.
    fn read_lines(&mut self, input: &mut BytesMut) -> bool {
        loop {
            let rest = &input[self.read..];
            if self.is_at_line_start {
                match rest {
                    [b'.', b'\r', b'\n', ..] => return true,
                    [] | [b'.'] | [b'.', b'\r'] => return false,
                    [b'.', ..] => self.read += 1,
                    _ => {}
                }
                self.is_at_line_start = false;
                continue;
            }
            // What ends a line is looked for anyway; a NUL is found on the way.
            let Some(offset) = memchr3(b'\r', b'\n', 0, rest) else {
                self.keep(input, rest.len());
                return false;
            };
            match rest[offset..] {
                [b'\r'] => {
                    self.keep(input, offset);
                    return false;
                }
                [b'\r', b'\n', ..] => {
                    self.keep(input, offset + 2);
                    self.is_at_line_start = true;
                }
                [0, ..] => self.mend(input, offset, Stray::Nul),
                _ => self.mend(input, offset, Stray::LineEnd),
            }
        }
    }

    /// Moves the next so many bytes to the content.
    fn keep(&mut self, input: &mut BytesMut, length: usize) {
        let range = self.read..self.read + length;
        self.read = range.end;
        let kept = match &mut self.keeping {
            Keeping::InPlace => {
                if self.written != range.start {
                    input.copy_within(range, self.written);
                }
                self.written += length;
                self.written
            }
            Keeping::Apart(content) => {
                content.extend_from_slice(&input[range]);
                content.len()
            }
            Keeping::Nothing(_) => return,
        };
        if kept as u64 > self.bytes_max {
            self.keeping = Keeping::Nothing(ContentFault::TooLarge);
        }
    }

    /// Behind so many bytes of content stands an octet that has no place in lines.
    fn mend(&mut self, input: &mut BytesMut, offset: usize, stray: Stray) {
        self.keep(input, offset);
        self.read += 1;
        if matches!(self.keeping, Keeping::Nothing(_)) {
            return;
        }
        match (self.line_endings.in_place_of(stray), &mut self.keeping) {
            (Err(fault), _) => self.keeping = Keeping::Nothing(fault),
            (Ok(in_place), Keeping::Apart(content)) => content.extend_from_slice(in_place),
            (Ok(in_place), _) => {
                let mut content = BytesMut::with_capacity(input.len() + 1024);
                content.extend_from_slice(&input[..self.written]);
                content.extend_from_slice(in_place);
                self.keeping = Keeping::Apart(content);
            }
        }
    }

    fn finish(&mut self, input: &mut BytesMut) -> Result<Bytes, ContentFault> {
        let end = self.read + 3;
        match std::mem::replace(&mut self.keeping, Keeping::InPlace) {
            Keeping::InPlace => {
                let mut content = take(input, end);
                content.truncate(self.written);
                Ok(content)
            }
            Keeping::Apart(content) => {
                let_go(input, end);
                Ok(content.freeze())
            }
            Keeping::Nothing(fault) => {
                let_go(input, end);
                Err(fault)
            }
        }
    }
}

/// The first so many bytes of the input: a small piece is copied; for a large one the input gives its
/// memory away, and what follows is copied instead.
pub(crate) fn take(input: &mut BytesMut, length: usize) -> Bytes {
    if length > COPIED_BYTES_MAX {
        let rest = BytesMut::from(&input[length..]);
        let mut taken = std::mem::replace(input, rest);
        taken.truncate(length);
        return taken.freeze();
    }
    let bytes = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    bytes
}

/// Throws the first so many bytes away, and their memory with them when it is much.
pub(crate) fn let_go(input: &mut BytesMut, length: usize) {
    if length > COPIED_BYTES_MAX {
        *input = BytesMut::from(&input[length..]);
    } else {
        input.advance(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_pieces(
        text: &str,
        piece: usize,
        line_endings: LineEndings,
    ) -> (Option<Result<Bytes, ContentFault>>, String) {
        let mut reader = DataReader::new(100, line_endings);
        let mut input = BytesMut::new();
        let mut result = None;
        for bytes in text.as_bytes().chunks(piece) {
            input.extend_from_slice(bytes);
            if result.is_none() {
                result = reader.receive(&mut input);
            }
        }
        (result, String::from_utf8(input.to_vec()).unwrap())
    }

    fn assert_refusing(text: &str, expected: Option<Result<&str, ContentFault>>, rest: &str) {
        for piece in 1..=text.len() {
            let (result, left) = read_in_pieces(text, piece, LineEndings::Refuse);
            let expected = expected.map(|result| result.map(|text| Bytes::from(text.to_owned())));
            assert_eq!(result, expected, "{text:?} in pieces of {piece}");
            if expected.is_some() {
                assert_eq!(left, rest, "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn dots_are_taken_out_and_the_end_is_found() {
        for (text, content) in [
            (".\r\n", ""),
            ("\r\n.\r\n", "\r\n"),
            ("a\r\n.\r\n", "a\r\n"),
            ("..a\r\n...\r\n..\r\n.\r\n", ".a\r\n..\r\n.\r\n"),
            (".a\r\nb.c\r\n.\r\n", "a\r\nb.c\r\n"),
        ] {
            assert_refusing(&format!("{text}QUIT\r\n"), Some(Ok(content)), "QUIT\r\n");
        }
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_it() {
        let shapes = [
            "\r\n.\r\r\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\n.\n",
            "\r\n.\r",
            "\r\r\n.\r",
            "\n\n.\n\n",
            "\r.\r\n",
            "\r\n.\n\r",
        ];
        for shape in shapes {
            for piece in 1..=shape.len() {
                let text = format!("a{shape}MAIL FROM:<x@y>");
                let (result, _) = read_in_pieces(&text, piece, LineEndings::Refuse);
                assert_eq!(result, None, "{shape:?}");
            }
            let text = format!("a{shape}x\r\n.\r\nRSET");
            assert_refusing(&text, Some(Err(ContentFault::Stray(Stray::LineEnd))), "RSET");
        }
    }

    #[test]
    fn what_is_normalised_has_only_crlf_and_keeps_its_lines() {
        for (text, content) in [
            ("a\nb\rc\r\n.\r\n", "a\r\nb\r\nc\r\n"),
            ("a\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n"),
            ("a\r\r\n.\r\n", "a\r\n\r\n"),
            ("..a\n\n.\r\r\n.\r\n", ".a\r\n\r\n.\r\n\r\n"),
        ] {
            for piece in 1..=text.len() {
                let (result, left) = read_in_pieces(text, piece, LineEndings::Normalise);
                assert_eq!(result, Some(Ok(Bytes::from(content))), "{text:?} by {piece}");
                assert_eq!(left, "");
            }
        }
    }

    #[test]
    fn a_nul_ends_nothing_and_is_not_mended() {
        let fault = Some(Err(ContentFault::Stray(Stray::Nul)));
        for text in ["\0", "a\0b\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\n.\r\0\n", "a\0\n\n.\r\n"]
        {
            let text = format!("{text}x\r\n.\r\n");
            for piece in 1..=text.len() {
                let (result, left) = read_in_pieces(&text, piece, LineEndings::Normalise);
                assert_eq!((result, &left[..]), (fault.clone(), ""), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn of_what_is_too_large_nothing_is_kept() {
        let mut reader = DataReader::new(100, LineEndings::Refuse);
        let mut input = BytesMut::new();
        for _ in 0..1000 {
            input.extend_from_slice(b"0123456789\r\n");
            assert_eq!(reader.receive(&mut input), None);
            assert!(input.len() <= 120);
        }
        input.extend_from_slice(b".\r\n");
        assert_eq!(reader.receive(&mut input), Some(Err(ContentFault::TooLarge)));
        assert!(input.is_empty());
    }

    #[test]
    fn a_content_of_just_the_limit_is_taken() {
        let line = "x".repeat(98) + "\r\n";
        assert_refusing(&format!("{line}.\r\n"), Some(Ok(&line)), "");
        let fault = Some(Err(ContentFault::TooLarge));
        assert_refusing(&format!("x{line}.\r\n"), fault, "");
    }

    #[test]
    fn what_is_kept_in_the_buffer_is_content_and_nothing_else() {
        let mut reader = DataReader::new(1_000_000, LineEndings::Refuse);
        let mut input = BytesMut::new();
        for lines in 1..100 {
            input.extend_from_slice(b"..\r\n\r\n");
            assert_eq!(reader.receive(&mut input), None);
            assert_eq!(reader.held(input.len()), Some(lines * 5));
        }
        reader.refuse(ContentFault::NoMemory);
        input.extend_from_slice(b"..\r");
        assert_eq!(reader.receive(&mut input), None);
        assert_eq!((reader.held(input.len()), &input[..]), (None, &b"\r"[..]));
        input.extend_from_slice(b"\n.\r\n");
        assert_eq!(reader.receive(&mut input), Some(Err(ContentFault::NoMemory)));
    }

    #[test]
    fn a_large_content_is_not_copied() {
        let mut input = BytesMut::from(&b"x".repeat(100_000)[..]);
        input.extend_from_slice(b"\r\n.\r\n");
        let address = input.as_ptr();
        let mut reader = DataReader::new(1_000_000, LineEndings::Refuse);
        let content = reader.receive(&mut input).unwrap().unwrap();
        assert_eq!(content.as_ptr(), address);
    }
}
