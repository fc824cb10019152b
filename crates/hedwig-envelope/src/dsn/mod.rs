//! Delivery status notifications: the mail that tells a sender what became of its recipients
//! (RFC 3461 §6, RFC 3464, and RFC 6533 where the sender's address is UTF-8).
//!
//! A report that is refused is told to nobody. So every server takes it: it is 7-bit, in lines of at most 998
//! octets, and needs no extension, but for SMTPUTF8 where its recipient's address does (RFC 6531 §3.1 has that
//! server offer 8BITMIME too). What cannot be returned so, as its lines are, is returned as its header alone.

mod fields;
mod part;
mod words;

use std::convert::Infallible;

use bytes::Bytes;
use jiff::Timestamp;
use part::{Encoding, Part};

use crate::{
    Answer, Body, Content, Envelope, Handover, Mail, MailId, Notify, Origin, Recipient, Ret,
    ReversePath, header,
    lines::{self, Stray},
    trace,
};

/// The largest mail that is returned whole, in bytes; of a larger one only the header is.
const RETURNED_BYTES_MAX: usize = 256 * 1024;
/// The longest text of a reply that is quoted, in characters, so that no field passes the 998 octets
/// of RFC 5322 §2.1.1 even when each character takes four.
const DIAGNOSTIC_CHARACTERS_MAX: usize = 200;

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Delivery was given up.
    Failed,
    /// Delivery has not been possible for some time, and is still tried.
    Delayed,
    /// The mail was given to a server that makes no reports.
    Relayed,
    /// The mail is in the recipient's mailbox.
    Delivered,
}

impl Action {
    /// What is to be reported of a success; nothing where somebody else has the duty (RFC 3461 §5.2).
    #[must_use]
    pub fn of_handover(handover: Handover) -> Option<Self> {
        match handover {
            Handover::Internal | Handover::TakenOver => None,
            Handover::Relayed => Some(Self::Relayed),
            Handover::Delivered => Some(Self::Delivered),
        }
    }

    fn is_asked_for(self, notify: Notify) -> bool {
        match self {
            Self::Failed => notify.failure,
            Self::Delayed => notify.delay,
            Self::Delivered | Self::Relayed => notify.success,
        }
    }
}

/// What is to be told of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The recipient's place in the mail's envelope.
    pub index: usize,
    /// What happened.
    pub action: Action,
    /// The word it rests on.
    pub answer: &'a Answer,
    /// Whether it is told though `NOTIFY` does not ask for it: a trace (RFC 2852 §4). `NOTIFY=NEVER` still
    /// holds.
    pub unasked: bool,
    /// When the attempt was that this came of, if that is not when the report is written (`Last-Attempt-Date`,
    /// RFC 3464 §2.3.7).
    pub tried_at: Option<Timestamp>,
}

impl<'a> Told<'a> {
    /// What happened to the recipient at this place, to be told if that was asked for.
    #[must_use]
    pub fn new(index: usize, action: Action, answer: &'a Answer) -> Self {
        Self { index, action, answer, unasked: false, tried_at: None }
    }

    /// Whether the mail's sender is to be told of it: not when that is the null sender (RFC 3461 §6.2), nor when
    /// it did not ask for it (`NOTIFY`).
    #[must_use]
    pub fn is_due(&self, mail: &Mail) -> bool {
        let recipient = mail.envelope.recipients.get(self.index);
        mail.envelope.sender.address().is_some()
            && recipient.is_some_and(|recipient| self.is_wanted(recipient.notify()))
    }

    fn is_wanted(&self, notify: Notify) -> bool {
        self.action.is_asked_for(notify) || (self.unasked && notify != Notify::NEVER)
    }
}

/// What is to be reported, of which mail, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The name of the host that reports, in ASCII.
    pub reporting_mta: &'a str,
    /// The mail that is reported on.
    pub mail: &'a Mail,
    /// What happened to whom; those who are not to be told of are left out.
    pub recipients: &'a [Told<'a>],
    /// Until when delivery is tried, for [`Action::Delayed`].
    pub retry_until: Option<Timestamp>,
}

/// A recipient, and what is told of it.
type Line<'a> = (&'a Recipient, Told<'a>);

impl Report<'_> {
    /// Writes the report as a mail of its own, named `id`, from the null sender.
    ///
    /// `None` when there is nobody to tell (the mail came from the null sender, so that a report
    /// never causes another: RFC 3461 §5.2) or nobody who asked to be told (`NOTIFY`).
    #[must_use]
    pub fn to_mail(&self, id: MailId, now: Timestamp) -> Option<Mail> {
        let sender = self.mail.envelope.sender.address()?;
        let mut told: Vec<Line<'_>> = self
            .recipients
            .iter()
            .filter(|told| told.is_due(self.mail))
            .filter_map(|told| Some((self.mail.envelope.recipients.get(told.index)?, *told)))
            .collect();
        // What is worst comes first; the others keep the envelope's order.
        told.sort_by_key(|(_, told)| told.action);
        let worst = told.first()?.1.action;
        let ascii_sender = sender.to_ascii();
        let utf8 = ascii_sender.is_none();
        let to = ascii_sender.as_deref().unwrap_or(sender.as_str());
        let boundary = boundary(id);
        let mut message = self.header((id, now), to, words::subject(&told)).into_bytes();
        let parts =
            [self.text(&told, utf8), self.status(&told, now, utf8), self.returned(worst, utf8)];
        parts.iter().for_each(|part| part.push_to(&mut message, &boundary));
        message.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());

        let recipient =
            Recipient { notify: Some(Notify::NEVER), ..Recipient::from(sender.clone()) };
        let mut envelope = Envelope::new(ReversePath::Null, [recipient]);
        envelope.parameters.smtputf8 = utf8;
        envelope.parameters.body = (!message.is_ascii()).then_some(Body::EightBitMime);
        Some(Mail {
            id,
            envelope,
            content: Content::new(message.into()),
            origin: Origin::local(now),
        })
    }

    fn header(&self, (id, now): (MailId, Timestamp), to: &str, subject: &str) -> String {
        let host = self.reporting_mta;
        let boundary = boundary(id);
        [
            trace::date(now),
            trace::message_id(id, host),
            format!("From: Mail Delivery System <MAILER-DAEMON@{host}>\r\nTo: <{to}>\r\n"),
            format!("Subject: {subject}\r\nAuto-Submitted: auto-replied\r\n"),
            "MIME-Version: 1.0\r\n".to_owned(),
            "Content-Type: multipart/report; report-type=delivery-status;\r\n".to_owned(),
            format!("\tboundary=\"{boundary}\"\r\n\r\n"),
        ]
        .concat()
    }

    fn text(&self, told: &[Line<'_>], utf8: bool) -> Part {
        let mut text = String::with_capacity(1024);
        // Writing to a String cannot fail.
        let _ = self.write_words(&mut text, told);
        let encoding = Encoding::of(text.as_bytes(), utf8);
        Part { content_type: "text/plain; charset=utf-8", encoding, content: text.into() }
    }

    /// The fields. In ASCII they may have no encoding (RFC 3464 §2.1.1), and need none.
    fn status(&self, told: &[Line<'_>], now: Timestamp, utf8: bool) -> Part {
        let mut fields = String::with_capacity(1024);
        // Writing to a String cannot fail.
        let _ = self.write_fields(&mut fields, told, now, utf8);
        let content_type =
            if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
        let encoding = Encoding::of(fields.as_bytes(), utf8);
        Part { content_type, encoding, content: fields.into() }
    }

    /// What goes back of the mail: all of it or, where it may not be all or its lines do not go as they are, its
    /// header. A message within a message has no encoding of its own (RFC 2046 §5.2.1); a header may
    /// (RFC 6522 §4).
    fn returned(&self, worst: Action, utf8: bool) -> Part {
        let content = self.mail.content.to_bytes();
        if worst == Action::Failed && self.may_return_all() {
            let all = mended(content.clone());
            let encoding = Encoding::of(&all, utf8);
            if encoding != Encoding::QuotedPrintable {
                let content_type = if utf8 { "message/global" } else { "message/rfc822" };
                return Part { content_type, encoding, content: all };
            }
        }
        let length = header::header_length(&content).min(RETURNED_BYTES_MAX);
        let content = mended(content.slice(..length));
        let content_type = match std::str::from_utf8(&content) {
            _ if utf8 => "message/global-headers",
            Ok(header) if !header.is_ascii() => "text/rfc822-headers; charset=utf-8",
            _ => "text/rfc822-headers",
        };
        Part { content_type, encoding: Encoding::of(&content, utf8), content }
    }

    /// Whether the whole mail may go back with a failure (RFC 3461 §6.2): not when it was binary, which no
    /// multipart in lines can hold.
    fn may_return_all(&self) -> bool {
        let parameters = &self.mail.envelope.parameters;
        parameters.ret != Some(Ret::Hdrs)
            && parameters.body != Some(Body::BinaryMime)
            && self.mail.content.len() <= RETURNED_BYTES_MAX
    }
}

/// A header that was binary, or was cut within a CRLF, is made lines, and so is a mail that was taken with a NUL in
/// it: no server takes a report for text that it refused in the original.
fn mended(content: Bytes) -> Bytes {
    let Ok(mended) = lines::mend(content, |stray| {
        Ok::<_, Infallible>(match stray {
            Stray::LineEnd => b"\r\n",
            Stray::Nul => b"?",
        })
    });
    mended
}

/// What was said, on one line of bounded length.
fn said(answer: &Answer) -> String {
    answer.reply.to_string().chars().take(DIAGNOSTIC_CHARACTERS_MAX).collect()
}

/// A boundary that no mail can hold that was written before this report: it has the id's 80 random
/// bits (RFC 2046 §5.1.1).
fn boundary(id: MailId) -> String {
    format!("=_{id}")
}

#[cfg(test)]
mod tests;
