//! Mails in one piece of `application/batch-smtp` (RFC 2442): the client's side of an ESMTP session,
//! written down. What the commands say is what they say in a session; nobody replies.
//!
//! A batch ends with QUIT, so that one that was cut off is not taken for a shorter one.

mod decode;

use bytes::{Bytes, BytesMut};
use hedwig_envelope::{Address, Content, Envelope, IdempotencyKey, Reply};

pub use decode::decode;

use crate::command::{MailLine, RecipientLine};

/// A mail in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMail {
    /// The key under which the sender may send it again. Travels as the MAIL parameter `XKEY`.
    pub key: Option<IdempotencyKey>,
    /// Who sends to whom.
    pub envelope: Envelope,
    /// Header and body. What was added to a message is part of it after decoding.
    pub content: Content,
}

/// What a batch may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most mails.
    pub mails_max: usize,
    /// The most recipients of one mail.
    pub recipients_max: usize,
    /// The largest content, in bytes.
    pub content_bytes_max: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { mails_max: 1000, recipients_max: 1000, content_bytes_max: 50 * 1024 * 1024 }
    }
}

/// The pieces of a batch, in order. Contents are not copied.
///
/// No text in an envelope can become a command of its own; a value that no parser would have let in
/// (an ENVID of control characters, say) makes the batch one that [`decode`] refuses.
#[must_use]
pub fn encode(mails: &[BatchMail]) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(mails.len() * 3 + 1);
    let mut commands = BytesMut::from("EHLO batch\r\n");
    for mail in mails {
        write_envelope(mail, &mut commands);
        pieces.push(commands.split().freeze());
        let parts = mail.content.chunks().into_iter().filter(|part| !part.is_empty());
        pieces.extend(parts.cloned());
    }
    commands.extend_from_slice(b"QUIT\r\n");
    pieces.push(commands.freeze());
    pieces
}

fn write_envelope(mail: &BatchMail, out: &mut BytesMut) {
    let BatchMail { key, envelope, content } = mail;
    let sender = envelope.sender.address().map_or("", Address::as_str);
    let line = MailLine { sender, parameters: &envelope.parameters, key: key.as_ref() };
    line.write_unchecked(out);
    for recipient in &envelope.recipients {
        RecipientLine::of(recipient).write_unchecked(out);
    }
    out.extend_from_slice(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
}

/// Why a batch cannot be read. Its sender is to blame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: {reply}")]
pub struct BatchError {
    /// Where the command at fault begins, in bytes from the start.
    pub position: usize,
    /// What a server would have said to it.
    pub reply: Reply,
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{MailParameters, Notify, OriginalRecipient, Recipient, ReversePath};

    use super::*;

    fn mail(content: &'static str) -> BatchMail {
        let mut recipient = Recipient::from("b@example.net".parse::<Address>().unwrap());
        recipient.notify = Some(Notify::NEVER);
        recipient.original =
            Some(OriginalRecipient { kind: "rfc822".into(), address: "B+x@example.net".into() });
        let parameters = MailParameters { envid: Some("a b".into()), ..Default::default() };
        let sender = ReversePath::Null;
        BatchMail {
            key: Some("key+1=?".parse().unwrap()),
            envelope: Envelope { sender, parameters, recipients: vec![recipient] },
            content: Content::from(content),
        }
    }

    fn joined(mails: &[BatchMail]) -> Bytes {
        encode(mails).concat().into()
    }

    fn refused(batch: &str) -> (usize, u16) {
        let error = decode(Bytes::from(batch.to_owned()), &BatchLimits::default()).unwrap_err();
        (error.position, error.reply.code())
    }

    #[test]
    fn mails_come_back_as_they_were() {
        let mails = [mail(".\r\nQUIT\r\n"), mail(""), mail("no line end")];
        let batch = joined(&mails);
        let decoded = decode(batch.clone(), &BatchLimits::default()).unwrap();
        assert_eq!(decoded, mails);
        let range = batch.as_ptr_range();
        assert!(range.contains(&decoded[0].content.message().as_ptr()), "not copied");
    }

    #[test]
    fn contents_are_not_copied_on_the_way_in() {
        let mail = mail("hello\r\n");
        let message = mail.content.message().as_ptr();
        let pieces = encode(std::slice::from_ref(&mail));
        assert!(pieces.iter().any(|piece| piece.as_ptr() == message));
    }

    #[test]
    fn a_session_that_uses_data_and_several_chunks_is_read_too() {
        let batch = "ehlo x\r\nmail from:<a@b.example>\r\nrcpt to:<c@d.example>\r\nDATA\r\n..x\r\n.\r\n\
            RSET\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\na\r\nBDAT 0\r\n\
            BDAT 3 LAST\r\nb\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.\r\nQUIT\r\n";
        let mails = decode(Bytes::from(batch), &BatchLimits::default()).unwrap();
        let contents: Vec<_> = mails.iter().map(|mail| mail.content.to_bytes()).collect();
        assert_eq!(contents, [".x\r\n", "a\r\nb\r\n", ""]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_where_it_stands() {
        let begin = "MAIL FROM:<>\r\n";
        let taken = "MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n";
        for (batch, position, code) in [
            ("".to_owned(), 0, 503),
            ("NOOP\r\n".to_owned(), 6, 503),
            ("NOOP".to_owned(), 0, 500),
            ("NOOP\nQUIT\r\n".to_owned(), 0, 500),
            ("QUIT\r\nNOOP\r\n".to_owned(), 6, 503),
            (format!("{begin}{begin}"), 14, 503),
            (format!("{begin}QUIT\r\n"), 14, 503),
            (format!("{begin}BDAT 1 LAST\r\nxQUIT\r\n"), 14, 554),
            (format!("{taken}BDAT 9 LAST\r\nx"), 37, 554),
            (format!("{taken}BDAT 99999999999 LAST\r\nx"), 37, 552),
            (format!("{taken}BDAT 2 LAST\r\na\nQUIT\r\n"), 37, 554),
            (format!("{taken}BDAT 1\r\nxDATA\r\nx\r\n.\r\nQUIT\r\n"), 46, 503),
            (format!("{taken}DATA\r\nx\r\n"), 37, 554),
            (format!("{taken}DATA\r\nx\n\r\n.\r\nQUIT\r\n"), 37, 554),
            ("STARTTLS\r\n".to_owned(), 0, 502),
        ] {
            assert_eq!(refused(&batch), (position, code), "{batch:?}");
        }
    }

    #[test]
    fn limits_are_kept() {
        let limits = BatchLimits { mails_max: 1, recipients_max: 1, content_bytes_max: 3 };
        let code = |mails: &[BatchMail]| decode(joined(mails), &limits).unwrap_err().reply.code();
        assert_eq!(code(&[mail("a"), mail("b")]), 554);
        assert_eq!(code(&[mail("four")]), 552);
        let mut two = mail("a");
        two.envelope.recipients.push(two.envelope.recipients[0].clone());
        assert_eq!(code(&[two]), 554);
    }

    #[test]
    fn a_text_in_an_envelope_cannot_become_a_command() {
        let mut evil = mail("x");
        evil.envelope.parameters.envid = Some("a\r\nRSET".into());
        evil.envelope.recipients[0].original =
            Some(OriginalRecipient { kind: "x\r\nRCPT TO:<e@e>".into(), address: "a\r\nb".into() });
        assert!(decode(joined(&[evil]), &BatchLimits::default()).is_err());
    }
}
