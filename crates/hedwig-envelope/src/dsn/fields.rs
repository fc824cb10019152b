//! The part of a report that a program reads (RFC 3464 §2, RFC 6533 §4). Each field is one line, and in ASCII
//! where the report is.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use jiff::Timestamp;

use super::{Action, Line, Report, Told, said};
use crate::{Address, Class, OriginalRecipient, Recipient, Status, trace::Date, xtext};

/// The longest address in a field, in octets, so that the field passes no 998: one of 512 octets of UTF-8 may take
/// more in ASCII. The text has all of it.
const ADDRESS_OCTETS_MAX: usize = 900;

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
            write!(out, "Original-Envelope-Id: {}\r\n", fit(envid, utf8))?;
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
            let address = original_address(original, utf8);
            write!(out, "Original-Recipient: {}; {address}\r\n", original.kind)?;
        }
        let kind = if recipient.address.as_str().is_ascii() { "rfc822" } else { "utf-8" };
        let address = final_address(&recipient.address, utf8);
        write!(out, "Final-Recipient: {kind}; {address}\r\n")?;
        let status = reported_status(answer.status, told.action);
        write!(out, "Action: {}\r\nStatus: {status}\r\n", told.action.word())?;
        if let Some(relay) = &answer.relay {
            write!(out, "Remote-MTA: dns; {}\r\n", legible(&relay.host, utf8))?;
        }
        // RFC 3464 §2.3.6: "smtp" is for what an SMTP server said, so our own word needs another name.
        let source = if answer.relay.is_some() { "smtp" } else { "x-hedwig" };
        write!(out, "Diagnostic-Code: {source}; {}\r\n", legible(&said(answer), utf8))?;
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

/// In ASCII, what has UTF-8 stays as it came: in xtext.
fn fit(value: &str, utf8: bool) -> Cow<'_, str> {
    if utf8 || value.is_ascii() { value.into() } else { xtext::encode(value).into() }
}

/// In ASCII, each character that is not becomes a question mark (RFC 3464 §2.3.6 knows no other way).
fn legible(text: &str, utf8: bool) -> Cow<'_, str> {
    if utf8 || text.is_ascii() {
        text.into()
    } else {
        text.replace(|c: char| !c.is_ascii(), "?").into()
    }
}

fn final_address(address: &Address, utf8: bool) -> Cow<'_, str> {
    let address = address.as_str();
    if utf8 || address.is_ascii() { address.into() } else { seven_bit(address, true).into() }
}

fn original_address(original: &OriginalRecipient, utf8: bool) -> Cow<'_, str> {
    let address = original.address.as_str();
    if !utf8 && !address.is_ascii() && original.kind.eq_ignore_ascii_case("utf-8") {
        // In ORCPT a backslash already begins what stands for a character.
        return seven_bit(address, false).into();
    }
    fit(address, utf8)
}

/// The utf-8-addr-xtext of RFC 6533 §3, which has `\x{HEX}` for a character; cut where it is too long.
fn seven_bit(address: &str, escapes_backslash: bool) -> String {
    let mut out = String::with_capacity(2 * address.len());
    for character in address.chars() {
        let stands_for_itself = match character {
            '+' | '=' => false,
            '\\' => !escapes_backslash,
            character => character.is_ascii_graphic(),
        };
        let written = match stands_for_itself {
            true => character.to_string(),
            false => format!("\\x{{{:X}}}", u32::from(character)),
        };
        if out.len() + written.len() > ADDRESS_OCTETS_MAX {
            break;
        }
        out.push_str(&written);
    }
    out
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
