use bytes::BytesMut;
use hedwig_envelope::{Class, Reply, Status};
use memchr::memchr;

/// RFC 5321 §4.5.3.1.5 says 512; some servers write longer ones.
const LINE_BYTES_MAX: usize = 4096;
const REPLY_BYTES_MAX: usize = 64 * 1024;
const REPLY_LINES_MAX: usize = 500;

/// Reads a server's replies. Bounded in lines and bytes; whoever exceeds them breaks the protocol.
///
/// A line may end in a bare LF: some servers do that, and nothing can be smuggled by it that the server
/// could not just say.
#[derive(Debug, Default)]
pub struct ReplyReader {
    /// What the lines so far have said.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    code: u16,
    status: Option<Status>,
    text: String,
    lines: usize,
}

impl ReplyReader {
    /// Takes the next whole reply from the front of `input`; `None` when more must come.
    ///
    /// # Errors
    /// When what came is no reply. Nothing after it can be trusted.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        while let Some(line) = next_line(input)? {
            let line = Line::parse(&line)?;
            let is_last = line.is_last;
            self.add(line)?;
            if is_last {
                let reply = self.begun.take();
                return Ok(reply.map(|begun| Reply::new(begun.code, begun.status, begun.text)));
            }
        }
        Ok(None)
    }

    fn add(&mut self, line: Line) -> Result<(), ReplyError> {
        let Some(begun) = &mut self.begun else {
            let Line { code, status, text, .. } = line;
            self.begun = Some(Begun { code, status, text, lines: 1 });
            return Ok(());
        };
        if begun.code != line.code {
            return Err(ReplyError::MixedCodes { first: begun.code, then: line.code });
        }
        begun.lines += 1;
        if begun.lines > REPLY_LINES_MAX || begun.text.len() + line.text.len() > REPLY_BYTES_MAX {
            return Err(ReplyError::TooLong);
        }
        begun.status = begun.status.or(line.status);
        begun.text.push('\n');
        begun.text.push_str(&line.text);
        Ok(())
    }
}

/// The next line without its end.
fn next_line(input: &mut BytesMut) -> Result<Option<BytesMut>, ReplyError> {
    let window = &input[..input.len().min(LINE_BYTES_MAX)];
    match memchr(b'\n', window) {
        Some(end) => {
            let mut line = input.split_to(end + 1);
            line.truncate(if line[..end].ends_with(b"\r") { end - 1 } else { end });
            Ok(Some(line))
        }
        None if window.len() == LINE_BYTES_MAX => Err(ReplyError::TooLong),
        None => Ok(None),
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
    /// A line, or the whole reply, is longer than is borne.
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
