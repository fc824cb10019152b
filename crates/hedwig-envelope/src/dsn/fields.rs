//! The part of a report that a program reads (RFC 3464 §2, RFC 6533 §4).

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use jiff::Timestamp;

use super::{Action, Line, Report, Told, said};
use crate::{Class, Recipient, Status, trace::Date, xtext};

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        }
    }
}

impl Report<'_> {
    pub(super) fn write_fields(
        &self,
        out: &mut String,
        told: &[Line<'_>],
        now: Timestamp,
        utf8: bool,
    ) -> fmt::Result {
        self.write_mail_fields(out, utf8)?;
        told.iter().try_for_each(|(recipient, told)| {
            self.write_recipient_fields(out, recipient, told, now, utf8)
        })
    }

    /// The fields that speak of the whole mail (RFC 3464 §2.2).
    fn write_mail_fields(&self, out: &mut String, utf8: bool) -> fmt::Result {
        if let Some(envid) = &self.mail.envelope.parameters.envid {
            let envid = fit(envid, utf8);
            write!(out, "Original-Envelope-Id: {envid}\r\n")?;
        }
        write!(out, "Reporting-MTA: dns; {}\r\n", self.reporting_mta)?;
        if let Some(hello) = self.mail.origin.hello.as_deref().filter(|hello| is_name(hello)) {
            write!(out, "Received-From-MTA: dns; {hello}\r\n")?;
        }
        write!(out, "Arrival-Date: {}\r\n", Date(self.mail.origin.received_at))
    }

    /// The fields that speak of one recipient (RFC 3464 §2.3).
    fn write_recipient_fields(
        &self,
        out: &mut String,
        recipient: &Recipient,
        told: &Told<'_>,
        now: Timestamp,
        utf8: bool,
    ) -> fmt::Result {
        let answer = told.answer;
        out.push_str("\r\n");
        if let Some(original) = &recipient.original {
            let address = fit(&original.address, utf8);
            write!(out, "Original-Recipient: {}; {address}\r\n", original.kind)?;
        }
        let kind = if recipient.address.as_str().is_ascii() { "rfc822" } else { "utf-8" };
        write!(out, "Final-Recipient: {kind}; {}\r\n", recipient.address)?;
        let status = reported_status(answer.status, told.action);
        write!(out, "Action: {}\r\nStatus: {status}\r\n", told.action.word())?;
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
        write!(out, "Last-Attempt-Date: {}\r\n", Date(told.tried_at.unwrap_or(now)))?;
        // RFC 3464 §2.3.8: the name under which our log has it.
        write!(out, "Final-Log-ID: {}\r\n", self.mail.id)?;
        match self.retry_until {
            Some(until) if told.action == Action::Delayed => {
                write!(out, "Will-Retry-Until: {}\r\n", Date(until))
            }
            _ => Ok(()),
        }
    }
}

/// Without RFC 6533 a field is ASCII, so what has UTF-8 stays as it came: in xtext.
fn fit(value: &str, utf8: bool) -> Cow<'_, str> {
    if utf8 || value.is_ascii() { value.into() } else { xtext::encode(value).into() }
}

/// Whether what a client called itself is a domain name: it may be an address literal, or anything.
fn is_name(hello: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=255).contains(&hello.len()) && hello.bytes().all(is_fit)
}

/// RFC 3464 §2.3.4: a failure's status is 5.x.x or, when time ran out, 4.x.x; of what succeeded, 2.x.x.
fn reported_status(status: Status, action: Action) -> Status {
    let class = match action {
        Action::Failed => return status,
        Action::Delayed => Class::Transient,
        Action::Delivered | Action::Relayed => Class::Success,
    };
    Status { class, ..status }
}
