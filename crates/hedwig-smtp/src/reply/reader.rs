use bytes::BytesMut;
use hedwig_envelope::{Class, Reply, Status};
use memchr::memchr;

/// RFC 5321 §4.5.3.1.5 says 512; some servers write longer ones.
const LINE_BYTES_KEPT: usize = 4096;
/// What a reply says is kept with each recipient whom it concerns.
const TEXT_BYTES_KEPT: usize = 8 * 1024;
/// Whoever says more than this in one reply does not mean to end it.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Reads a server's replies. Of a long one the beginning is kept, for it is its code that counts: were it
/// refused, a mail that the server took would be sent again. What never ends breaks the protocol.
///
/// A line may end in a bare LF: some servers do that, and nothing can be smuggled by it that the server
/// could not just say.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// What the lines so far have said.
    begun: Option<Begun>,
    /// How many bytes of this reply were read.
    bytes: usize,
    /// The beginning of a line that is so long that its rest is passed over.
    long_line: Option<BytesMut>,
}

#[derive(Debug)]
struct Begun {
    code: u16,
    status: Option<Status>,
    text: String,
}

impl ReplyReader {
    /// Takes the next whole reply from the front of `input`; `None` when more must come.
    ///
    /// # Errors
    /// When what came is no reply. Nothing after it can be trusted.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        while let Some(line) = self.next_line(input)? {
            let line = Line::parse(&line)?;
            let is_last = line.is_last;
            self.add(line)?;
            if is_last {
                self.bytes = 0;
                let reply = self.begun.take();
                return Ok(reply.map(|begun| Reply::new(begun.code, begun.status, begun.text)));
            }
        }
        Ok(None)
    }

    fn add(&mut self, line: Line) -> Result<(), ReplyError> {
        let Some(begun) = &mut self.begun else {
            let Line { code, status, text, .. } = line;
            self.begun = Some(Begun { code, status, text });
            return Ok(());
        };
        if begun.code != line.code {
            return Err(ReplyError::MixedCodes { first: begun.code, then: line.code });
        }
        begun.status = begun.status.or(line.status);
        if begun.text.len() + line.text.len() < TEXT_BYTES_KEPT {
            begun.text.push('\n');
            begun.text.push_str(&line.text);
        }
        Ok(())
    }

    /// The next line without its end, or the beginning of one that is too long to be kept.
    fn next_line(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, ReplyError> {
        let end = memchr(b'\n', input);
        let taken = match end {
            Some(end) => end + 1,
            None if self.long_line.is_some() || input.len() >= LINE_BYTES_KEPT => input.len(),
            None => return Ok(None),
        };
        self.bytes += taken;
        if self.bytes > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        let mut piece = input.split_to(taken);
        if end.is_some() {
            piece.truncate(if piece.ends_with(b"\r\n") { taken - 2 } else { taken - 1 });
        }
        piece.truncate(LINE_BYTES_KEPT);
        match (self.long_line.take(), end) {
            (Some(line), Some(_)) => Ok(Some(line)),
            (None, Some(_)) => Ok(Some(piece)),
            (begun, None) => {
                self.long_line = Some(begun.unwrap_or(piece));
                Ok(None)
            }
        }
    }
}

struct Line {
    code: u16,
    is_last: bool,
    status: Option<Status>,
    text: String,
}

impl Line {
    fn parse(line: &[u8]) -> Result<Self, ReplyError> {
        let malformed =
            || ReplyError::Malformed(String::from_utf8_lossy(line).chars().take(128).collect());
        let (code, rest) = line.split_at_checked(3).ok_or_else(malformed)?;
        let code = match code {
            [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                [a, b, c].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
            }
            _ => return Err(malformed()),
        };
        let (is_last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(malformed()),
        };
        let text = String::from_utf8_lossy(text);
        let (status, text) = split_status(code, &text);
        Ok(Self { code, is_last, status, text: text.to_owned() })
    }
}

/// The enhanced status code in front of the text. RFC 2034 §4: it must be of the code's class, so what
/// only looks like one stays text.
fn split_status(code: u16, text: &str) -> (Option<Status>, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word.parse::<Status>() {
        Ok(status) if Class::of_reply(code) == Some(status.class) => (Some(status), rest),
        _ => (None, text),
    }
}

/// Why what a server sent is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A line does not begin with a code from 200 to 599 and a space or a hyphen.
    #[error("the server sent {0:?}, which is no reply")]
    Malformed(String),
    /// The lines of one reply have different codes.
    #[error("the server began a reply with {first} and went on with {then}")]
    MixedCodes {
        /// The first line's code.
        first: u16,
        /// A later line's code.
        then: u16,
    },
    /// The reply is longer than any is.
    #[error("the server sent a reply that is too long")]
    TooLong,
    /// A reply came that nothing had asked for, or of a kind that cannot be an answer.
    #[error("the server said \"{0}\", which is no answer to what was asked")]
    Unexpected(Reply),
    /// Bytes came behind the reply to STARTTLS, before TLS began: somebody between us and the server
    /// would have us take them for its own (RFC 3207 §6).
    #[error("the server sent clear text behind its reply to STARTTLS")]
    ClearTextBeforeTls,
}
