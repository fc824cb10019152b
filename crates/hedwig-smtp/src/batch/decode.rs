use bytes::{Buf, Bytes, BytesMut};
use hedwig_envelope::{Body, Content, Envelope, IdempotencyKey, Recipient, Reply, Status, lines};
use memchr::memmem;

use super::{BatchError, BatchLimits, BatchMail};
use crate::{
    Command, LineEndings,
    command::parse_mail_in_batch,
    server::{Assembly, ContentFault, DataReader},
};

/// What came in one command line may need three times the room as xtext.
const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// Reads a batch. Contents are slices of it, unless they come in several chunks or by DATA.
///
/// # Errors
/// Where and why it cannot be read; none of its mails should be taken then.
pub fn decode(batch: Bytes, limits: &BatchLimits) -> Result<Vec<BatchMail>, BatchError> {
    let length = batch.len();
    let mut decoder =
        Decoder { rest: batch, limits, mails: Vec::new(), begun: None, has_quit: false };
    loop {
        let position = length - decoder.rest.len();
        match decoder.rest.is_empty() {
            true if decoder.has_quit => return Ok(decoder.mails),
            _ => decoder.step().map_err(|reply| BatchError { position, reply })?,
        }
    }
}

struct Decoder<'a> {
    rest: Bytes,
    limits: &'a BatchLimits,
    mails: Vec<BatchMail>,
    begun: Option<Begun>,
    has_quit: bool,
}

/// A mail whose content has not ended.
struct Begun {
    key: Option<IdempotencyKey>,
    envelope: Envelope,
    chunks: Option<Assembly>,
}

impl Decoder<'_> {
    /// Takes the next command, and the content behind it.
    fn step(&mut self) -> Result<(), Reply> {
        if self.has_quit {
            return Err(bad_sequence("Something follows QUIT"));
        }
        if self.rest.is_empty() {
            return Err(bad_sequence("The batch ends before QUIT"));
        }
        let line = self.take_line()?;
        if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL")) {
            return self.mail(&line);
        }
        match Command::parse(&line).map_err(|error| error.reply().clone())? {
            Command::Helo(_) | Command::Ehlo(_) | Command::Rset => self.begun = None,
            Command::Noop => {}
            Command::Rcpt(recipient) => self.recipient(recipient)?,
            Command::Data => self.data()?,
            Command::Bdat { size, last } => self.chunk(size, last)?,
            Command::Quit if self.begun.is_some() => {
                return Err(bad_sequence("A mail has no content"));
            }
            Command::Quit => self.has_quit = true,
            _ => {
                let text = "This command makes no sense in a batch";
                return Err(Reply::with_status(502, Status::permanent(5, 1), text));
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> Result<Bytes, Reply> {
        let window = &self.rest[..self.rest.len().min(COMMAND_BYTES_MAX)];
        let end = memmem::find(window, b"\r\n").ok_or_else(|| {
            let text = "A command has no CRLF at its end, or is too long";
            Reply::with_status(500, Status::permanent(5, 2), text)
        })?;
        let line = self.rest.split_to(end);
        self.rest.advance(2);
        Ok(line)
    }

    fn mail(&mut self, line: &[u8]) -> Result<(), Reply> {
        if self.begun.is_some() {
            return Err(bad_sequence("A mail has no content"));
        }
        if self.mails.len() >= self.limits.mails_max {
            return Err(too_many(format!("more than {} mails", self.limits.mails_max)));
        }
        let (sender, parameters, key) =
            parse_mail_in_batch(line).map_err(|error| error.reply().clone())?;
        let envelope = Envelope { sender, parameters, recipients: Vec::new() };
        self.begun = Some(Begun { key, envelope, chunks: None });
        Ok(())
    }

    fn recipient(&mut self, recipient: Recipient) -> Result<(), Reply> {
        let max = self.limits.recipients_max;
        match &mut self.begun {
            Some(Begun { envelope, chunks: None, .. }) if envelope.recipients.len() < max => {
                envelope.recipients.push(recipient);
                Ok(())
            }
            Some(Begun { chunks: None, .. }) => {
                Err(too_many(format!("a mail with more than {max} recipients")))
            }
            _ => Err(bad_sequence("RCPT must follow MAIL")),
        }
    }

    /// The mail whose content begins or goes on here.
    fn take_begun(&mut self) -> Result<Begun, Reply> {
        let begun = self.begun.take().ok_or_else(|| bad_sequence("A content must follow RCPT"))?;
        if begun.envelope.recipients.is_empty() {
            return Err(malformed("A mail has no recipient"));
        }
        Ok(begun)
    }

    fn chunk(&mut self, size: u64, last: bool) -> Result<(), Reply> {
        let mut begun = self.take_begun()?;
        let mut chunks = begun.chunks.take().unwrap_or_default();
        if size.saturating_add(chunks.len() as u64) > self.limits.content_bytes_max {
            return Err(ContentFault::TooLarge.reply());
        }
        if size > self.rest.len() as u64 {
            return Err(malformed("The batch ends within a content"));
        }
        chunks.add(self.rest.split_to(size as usize));
        if last {
            return self.finish(begun, chunks.finish());
        }
        self.begun = Some(Begun { chunks: Some(chunks), ..begun });
        Ok(())
    }

    fn data(&mut self) -> Result<(), Reply> {
        let begun = self.take_begun()?;
        if begun.chunks.is_some() {
            return Err(bad_sequence("The content goes on with BDAT"));
        }
        let end = match memmem::find(&self.rest, b"\r\n.\r\n") {
            _ if self.rest.starts_with(b".\r\n") => 3,
            Some(position) => position + 5,
            None => return Err(malformed("The batch ends within a content")),
        };
        let mut stuffed = BytesMut::from(self.rest.split_to(end));
        let mut reader = DataReader::new(self.limits.content_bytes_max, LineEndings::Refuse);
        match reader.receive(&mut stuffed) {
            Some(Ok(content)) => self.finish(begun, content),
            Some(Err(fault)) => Err(fault.reply()),
            None => Err(malformed("The batch ends within a content")),
        }
    }

    fn finish(&mut self, begun: Begun, content: Bytes) -> Result<(), Reply> {
        let Begun { key, envelope, .. } = begun;
        let is_binary = envelope.parameters.body == Some(Body::BinaryMime);
        if !is_binary && let Some(stray) = lines::first_stray(&content) {
            return Err(ContentFault::Stray(stray).reply());
        }
        self.mails.push(BatchMail { key, envelope, content: Content::new(content) });
        Ok(())
    }
}

fn bad_sequence(text: &'static str) -> Reply {
    Reply::with_status(503, Status::permanent(5, 1), text)
}

fn malformed(text: &'static str) -> Reply {
    Reply::with_status(554, Status::permanent(6, 0), text)
}

/// Permanent: the same batch will never be taken.
fn too_many(what: String) -> Reply {
    Reply::with_status(554, Status::permanent(5, 3), format!("The batch has {what}"))
}
