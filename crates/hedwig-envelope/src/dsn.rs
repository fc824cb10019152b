//! Delivery status notifications: the mail that tells a sender what became of a recipient
//! (RFC 3461 §6, RFC 3464, and RFC 6533 where an address or a header is UTF-8).

use std::fmt::{self, Write};

use jiff::Timestamp;

use crate::{
    Answer, Body, Content, Envelope, Mail, MailId, Notify, Origin, Recipient, Ret, ReversePath,
    Status, header,
    trace::{self, Date},
    xtext,
};

/// The largest mail that is returned whole, in bytes; of a larger one only the header is.
const RETURNED_BYTES_MAX: usize = 256 * 1024;
/// The longest text of a reply that is quoted, in characters, so that no line passes the 998 octets
/// of RFC 5322 §2.1.1 even when each character takes four.
const DIAGNOSTIC_CHARACTERS_MAX: usize = 200;

/// What happened to the recipients of a report (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Delivery was given up.
    Failed,
    /// Delivery has not been possible for some time, and is still tried.
    Delayed,
    /// The mail is in the recipient's mailbox.
    Delivered,
    /// The mail was given to a server that makes no reports.
    Relayed,
}

impl Action {
    fn is_asked_for(self, notify: Notify) -> bool {
        match self {
            Self::Failed => notify.failure,
            Self::Delayed => notify.delay,
            Self::Delivered | Self::Relayed => notify.success,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Failed => "Undelivered mail returned to sender",
            Self::Delayed => "Delayed mail, still being tried",
            Self::Delivered => "Mail delivered",
            Self::Relayed => "Mail passed on",
        }
    }

    fn explanation(self) -> &'static str {
        match self {
            Self::Failed => "Your mail could not be delivered to the recipients below.",
            Self::Delayed => {
                "Your mail has not been delivered to the recipients below yet.\r\n\
                 Nothing needs to be done: delivery is still being tried."
            }
            Self::Delivered => "Your mail was delivered to the recipients below.",
            Self::Relayed => {
                "Your mail was given to the servers of the recipients below.\r\n\
                 These servers do not say whether it reached the mailbox."
            }
        }
    }
}

/// What is to be reported, of which mail, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The name of the host that reports.
    pub reporting_mta: &'a str,
    /// The mail that is reported on.
    pub mail: &'a Mail,
    /// What happened.
    pub action: Action,
    /// To whom it happened: the recipient's place in the mail's envelope, and the word it rests on.
    pub recipients: &'a [(usize, &'a Answer)],
    /// Until when delivery is tried, for [`Action::Delayed`].
    pub retry_until: Option<Timestamp>,
}

impl Report<'_> {
    /// Writes the report as a mail of its own, named `id`, from the null sender.
    ///
    /// `None` when there is nobody to tell (the mail came from the null sender, so that a report
    /// never causes another: RFC 3461 §6.2) or nobody who asked to be told (`NOTIFY`).
    #[must_use]
    pub fn to_mail(&self, id: MailId, now: Timestamp) -> Option<Mail> {
        let sender = self.mail.envelope.sender.address()?;
        let told: Vec<_> = self
            .recipients
            .iter()
            .filter_map(|&(index, answer)| {
                Some((self.mail.envelope.recipients.get(index)?, answer))
            })
            .filter(|(recipient, _)| self.action.is_asked_for(recipient.notify()))
            .collect();
        if told.is_empty() {
            return None;
        }
        let returned = self.returned();
        let utf8 = self.mail.envelope.needs_utf8();
        let mut text = String::with_capacity(2048 + returned.len());
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, id, now, utf8, &told);
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

    /// Whether the whole mail goes back. Only of a failure (RFC 3461 §6.2), and not when it was
    /// binary, which no multipart in lines can hold.
    fn returns_all(&self) -> bool {
        let parameters = &self.mail.envelope.parameters;
        self.action == Action::Failed
            && parameters.ret != Some(Ret::Hdrs)
            && parameters.body != Some(Body::BinaryMime)
            && self.mail.content.len() <= RETURNED_BYTES_MAX
    }

    fn returned(&self) -> bytes::Bytes {
        let content = self.mail.content.to_bytes();
        if self.returns_all() {
            return content;
        }
        content.slice(..header::header_length(&content).min(RETURNED_BYTES_MAX))
    }

    fn write(
        &self,
        out: &mut String,
        id: MailId,
        now: Timestamp,
        utf8: bool,
        told: &[(&Recipient, &Answer)],
    ) -> fmt::Result {
        let host = self.reporting_mta;
        let boundary = boundary(id);
        let action = self.action;
        write!(out, "{}{}", trace::date(now), trace::message_id(id, host))?;
        write!(out, "From: Mail Delivery System <MAILER-DAEMON@{host}>\r\n")?;
        write!(out, "To: <{}>\r\nSubject: {}\r\n", self.mail.envelope.sender, action.subject())?;
        write!(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")?;
        write!(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n")?;
        write!(out, "\tboundary=\"{boundary}\"\r\n\r\n")?;

        write!(out, "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n")?;
        write!(out, "Content-Transfer-Encoding: 8bit\r\n\r\n")?;
        write!(out, "This is {host}, a mail server.\r\n\r\n{}\r\n", action.explanation())?;
        for (recipient, answer) in told {
            write!(out, "\r\n<{}>\r\n    {}\r\n", recipient.address, said(answer))?;
        }

        let status_type = if utf8 { "global-delivery-status" } else { "delivery-status" };
        write!(out, "\r\n--{boundary}\r\nContent-Type: message/{status_type}\r\n")?;
        write!(out, "{}\r\n", if utf8 { "Content-Transfer-Encoding: 8bit\r\n" } else { "" })?;
        self.write_mail_fields(out)?;
        for (recipient, answer) in told {
            self.write_recipient_fields(out, recipient, answer, now, utf8)?;
        }

        let returned_type = match (self.returns_all(), utf8) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        };
        write!(out, "\r\n--{boundary}\r\nContent-Type: {returned_type}\r\n")?;
        write!(out, "Content-Transfer-Encoding: 8bit\r\n\r\n")
    }

    /// The fields that speak of the whole mail (RFC 3464 §2.2).
    fn write_mail_fields(&self, out: &mut String) -> fmt::Result {
        if let Some(envid) = &self.mail.envelope.parameters.envid {
            write!(out, "Original-Envelope-Id: {envid}\r\n")?;
        }
        write!(out, "Reporting-MTA: dns; {}\r\n", self.reporting_mta)?;
        write!(out, "Arrival-Date: {}\r\n", Date(self.mail.origin.received_at))
    }

    /// The fields that speak of one recipient (RFC 3464 §2.3).
    fn write_recipient_fields(
        &self,
        out: &mut String,
        recipient: &Recipient,
        answer: &Answer,
        now: Timestamp,
        utf8: bool,
    ) -> fmt::Result {
        out.push_str("\r\n");
        if let Some(original) = &recipient.original {
            // Without RFC 6533 the field is ASCII, so a UTF-8 address stays as it came: in xtext.
            let address = match utf8 || original.address.is_ascii() {
                true => original.address.clone(),
                false => xtext::encode(&original.address),
            };
            write!(out, "Original-Recipient: {}; {address}\r\n", original.kind)?;
        }
        let kind = if recipient.address.as_str().is_ascii() { "rfc822" } else { "utf-8" };
        write!(out, "Final-Recipient: {kind}; {}\r\n", recipient.address)?;
        let status = reported_status(answer.status, self.action);
        write!(out, "Action: {}\r\nStatus: {status}\r\n", self.action.word())?;
        if let Some(relay) = &answer.relay {
            write!(out, "Remote-MTA: dns; {}\r\n", relay.host)?;
        }
        // RFC 3464 §2.3.6: "smtp" is for what an SMTP server said, so our own word needs another name.
        let source = if answer.relay.is_some() { "smtp" } else { "x-hedwig" };
        let mut diagnostic = said(answer);
        if !utf8 {
            diagnostic = diagnostic.replace(|c: char| !c.is_ascii(), "?");
        }
        write!(out, "Diagnostic-Code: {source}; {diagnostic}\r\n")?;
        write!(out, "Last-Attempt-Date: {}\r\n", Date(now))?;
        match self.retry_until {
            Some(until) => write!(out, "Will-Retry-Until: {}\r\n", Date(until)),
            None => Ok(()),
        }
    }
}

/// What was said, on one line of bounded length.
fn said(answer: &Answer) -> String {
    answer.reply.to_string().chars().take(DIAGNOSTIC_CHARACTERS_MAX).collect()
}

/// RFC 3464 §2.3.4: a failure's status is 5.x.x or, when time ran out, 4.x.x; of what succeeded, 2.x.x.
fn reported_status(status: Status, action: Action) -> Status {
    let class = match action {
        Action::Failed => return status,
        Action::Delayed => crate::Class::Transient,
        Action::Delivered | Action::Relayed => crate::Class::Success,
    };
    Status { class, ..status }
}

/// A boundary that no mail can hold that was written before this report: it has the id's 80 random
/// bits (RFC 2046 §5.1.1).
fn boundary(id: MailId) -> String {
    format!("=_{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Outcome, Relay, Reply};

    fn mail(sender: &str, recipients: &[&str]) -> Mail {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let recipients = recipients.iter().map(|r| r.parse::<Address>().unwrap());
        Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(sender.parse::<ReversePath>().unwrap(), recipients),
            content: Content::from("Subject: hi\r\nFrom: a@b\r\n\r\nThe body\r\n"),
            origin: Origin::local(now),
        }
    }

    fn refusal() -> Outcome {
        let relay = Relay::of("mx.example.net");
        let reply = Reply::with_status(550, Status::permanent(1, 1), "No such user");
        Outcome::of_reply(reply, Some(relay))
    }

    fn report(mail: &Mail, action: Action) -> Option<String> {
        let outcome = refusal();
        let report = Report {
            reporting_mta: "mail.example.org",
            mail,
            action,
            recipients: &[(0, outcome.answer())],
            retry_until: None,
        };
        let id = MailId::new(mail.origin.received_at, 8);
        let told = report.to_mail(id, mail.origin.received_at)?;
        assert_eq!(told.envelope.sender, ReversePath::Null);
        assert_eq!(told.envelope.recipients[0].address.as_str(), "sender@example.org");
        Some(String::from_utf8(told.content.to_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_failure_names_the_recipient_the_server_and_its_words() {
        let mut mail = mail("sender@example.org", &["b@example.net", "c@example.net"]);
        mail.envelope.parameters.envid = Some("QQ314".into());
        mail.envelope.recipients[0].original = "rfc822;B+40example.net".parse().ok();
        let text = report(&mail, Action::Failed).unwrap();
        for line in [
            "Original-Envelope-Id: QQ314",
            "Reporting-MTA: dns; mail.example.org",
            "Original-Recipient: rfc822; B@example.net",
            "Final-Recipient: rfc822; b@example.net",
            "Action: failed",
            "Status: 5.1.1",
            "Remote-MTA: dns; mx.example.net",
            "Diagnostic-Code: smtp; 550 5.1.1 No such user",
            "The body",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("c@example.net"));
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn nobody_is_told_of_a_mail_from_the_null_sender() {
        assert_eq!(report(&mail("", &["b@example.net"]), Action::Failed), None);
    }

    #[test]
    fn only_those_are_told_who_asked() {
        let mut mail = mail("sender@example.org", &["b@example.net"]);
        assert_eq!(report(&mail, Action::Relayed), None);
        mail.envelope.recipients[0].notify = "SUCCESS".parse().ok();
        assert!(report(&mail, Action::Relayed).is_some());
        assert_eq!(report(&mail, Action::Failed), None);
    }

    #[test]
    fn only_the_header_goes_back_when_that_was_asked() {
        let mut mail = mail("sender@example.org", &["b@example.net"]);
        mail.envelope.parameters.ret = Some(Ret::Hdrs);
        let text = report(&mail, Action::Failed).unwrap();
        assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
        assert!(text.contains("Subject: hi") && !text.contains("The body"));
    }

    #[test]
    fn utf8_addresses_make_an_internationalised_report() {
        let mail = mail("sender@example.org", &["用户@example.net"]);
        let text = report(&mail, Action::Failed).unwrap();
        assert!(text.contains("Content-Type: message/global-delivery-status\r\n"));
        assert!(text.contains("Final-Recipient: utf-8; 用户@example.net\r\n"));
    }

    #[test]
    fn a_success_report_never_carries_a_failures_status() {
        let mut mail = mail("sender@example.org", &["b@example.net"]);
        mail.envelope.recipients[0].notify = "SUCCESS".parse().ok();
        let text = report(&mail, Action::Delivered).unwrap();
        assert!(text.contains("\r\nStatus: 2.1.1\r\n"));
    }
}
