//! Delivery status notifications: the mail that tells a sender what became of its recipients
//! (RFC 3461 §6, RFC 3464, and RFC 6533 where an address or a header is UTF-8).

mod fields;
mod words;

use std::{
    convert::Infallible,
    fmt::{self, Write},
};

use jiff::Timestamp;

use crate::{
    Answer, Body, Content, Envelope, Handover, Mail, MailId, Notify, Origin, Recipient, Ret,
    ReversePath, header,
    lines::{self, Stray},
    trace,
};

/// The largest mail that is returned whole, in bytes; of a larger one only the header is.
const RETURNED_BYTES_MAX: usize = 256 * 1024;
/// The longest text of a reply that is quoted, in characters, so that no line passes the 998 octets
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
    /// The name of the host that reports.
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
        let returns_all = worst == Action::Failed && self.may_return_all();
        let returned = self.returned(returns_all);
        let utf8 = self.mail.envelope.needs_utf8();
        let mut text = String::with_capacity(2048 + returned.len());
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, (id, now), utf8, returns_all, &told);
        let mut message = text.into_bytes();
        message.extend_from_slice(&returned);
        message.extend_from_slice(format!("\r\n--{}--\r\n", boundary(id)).as_bytes());

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

    /// Whether the whole mail may go back with a failure (RFC 3461 §6.2): not when it was binary, which no
    /// multipart in lines can hold.
    fn may_return_all(&self) -> bool {
        let parameters = &self.mail.envelope.parameters;
        parameters.ret != Some(Ret::Hdrs)
            && parameters.body != Some(Body::BinaryMime)
            && self.mail.content.len() <= RETURNED_BYTES_MAX
    }

    /// What goes back of the mail. A header that was binary, or was cut within a CRLF, is made lines, and so is a
    /// mail that was taken with a NUL in it: no server takes a report for text that it refused in the original.
    fn returned(&self, all: bool) -> bytes::Bytes {
        let content = self.mail.content.to_bytes();
        let length = match all {
            true => content.len(),
            false => header::header_length(&content).min(RETURNED_BYTES_MAX),
        };
        let Ok(returned) = lines::mend(content.slice(..length), |stray| {
            Ok::<_, Infallible>(match stray {
                Stray::LineEnd => b"\r\n",
                Stray::Nul => b"?",
            })
        });
        returned
    }

    fn write(
        &self,
        out: &mut String,
        (id, now): (MailId, Timestamp),
        utf8: bool,
        returns_all: bool,
        told: &[Line<'_>],
    ) -> fmt::Result {
        let host = self.reporting_mta;
        let boundary = boundary(id);
        write!(out, "{}{}", trace::date(now), trace::message_id(id, host))?;
        write!(out, "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n")?;
        write!(out, "To: <{}>\r\n", self.mail.envelope.sender)?;
        write!(out, "Subject: {}\r\n", words::subject(told))?;
        write!(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")?;
        write!(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n")?;
        write!(out, "\tboundary=\"{boundary}\"\r\n\r\n")?;

        write!(out, "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n")?;
        write!(out, "Content-Transfer-Encoding: 8bit\r\n\r\n")?;
        self.write_words(out, told)?;

        let status_type = if utf8 { "global-delivery-status" } else { "delivery-status" };
        write!(out, "\r\n--{boundary}\r\nContent-Type: message/{status_type}\r\n")?;
        write!(out, "{}\r\n", if utf8 { "Content-Transfer-Encoding: 8bit\r\n" } else { "" })?;
        self.write_fields(out, told, now, utf8)?;

        let returned_type = match (returns_all, utf8) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        };
        write!(out, "\r\n--{boundary}\r\nContent-Type: {returned_type}\r\n")?;
        write!(out, "Content-Transfer-Encoding: 8bit\r\n\r\n")
    }
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
