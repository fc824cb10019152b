//! The header fields that a relay writes: `Received`, `Date`, `Message-ID`, `Return-Path`.

use std::fmt::{self, Write};

use jiff::{Timestamp, fmt::rfc2822};

use crate::{Mail, MailId, Origin, Protocol, ReversePath};

/// The `Received` field of a mail taken by `hostname` (RFC 5321 §4.4), with its CRLF.
///
/// The recipient is named only when there is just one: naming one of many would tell the others
/// (RFC 5321 §7.6). It is ASCII unless the mail has SMTPUTF8 (RFC 6531 §3.7.3): else servers without 8BITMIME would have to
/// refuse a mail that was ASCII before.
#[must_use]
pub fn received(mail: &Mail, hostname: &str) -> String {
    let mut field = String::with_capacity(256);
    field.push_str("Received: ");
    // Writing to a String cannot fail.
    let _ = write_received(&mut field, mail, hostname);
    field
}

fn write_received(field: &mut String, mail: &Mail, hostname: &str) -> fmt::Result {
    let origin = &mail.origin;
    let utf8 = mail.envelope.parameters.smtputf8;
    let printable = |text: &str| printable(text, utf8);
    match (&origin.hello, origin.client) {
        (Some(hello), Some(client)) => {
            write!(field, "from {} ({})\r\n\t", printable(hello), literal(client.ip()))?;
        }
        (None, Some(client)) => write!(field, "from {}\r\n\t", literal(client.ip()))?,
        _ => {}
    }
    write!(field, "by {} (Hedwig)", printable(hostname))?;
    if let Some(with) = with_clause(origin) {
        write!(field, " with {with}")?;
    }
    write!(field, " id {}", mail.id)?;
    if let Some(tls) = &origin.tls {
        write!(field, "\r\n\t({})", printable(tls))?;
    }
    if let [recipient] = mail.envelope.recipients.as_slice()
        && (utf8 || recipient.address.as_str().is_ascii())
    {
        write!(field, "\r\n\tfor <{}>", recipient.address)?;
    }
    write!(field, ";\r\n\t{}\r\n", Date(origin.received_at))
}

/// An address as RFC 5321 §4.1.3 writes it.
fn literal(address: std::net::IpAddr) -> String {
    match address.to_canonical() {
        std::net::IpAddr::V4(address) => format!("[{address}]"),
        std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

/// The `with` clause: a protocol of RFC 3848, or one that says what it was.
fn with_clause(origin: &Origin) -> Option<&'static str> {
    Some(match (origin.protocol, origin.tls.is_some(), origin.authenticated.is_some()) {
        (Protocol::Smtp, ..) => "SMTP",
        (Protocol::Esmtp, false, false) => "ESMTP",
        (Protocol::Esmtp, true, false) => "ESMTPS",
        (Protocol::Esmtp, false, true) => "ESMTPA",
        (Protocol::Esmtp, true, true) => "ESMTPSA",
        (Protocol::Lmtp, false, false) => "LMTP",
        (Protocol::Lmtp, true, false) => "LMTPS",
        (Protocol::Lmtp, false, true) => "LMTPA",
        (Protocol::Lmtp, true, true) => "LMTPSA",
        (Protocol::Http, false, _) => "HTTP",
        (Protocol::Http, true, _) => "HTTPS",
        (Protocol::Local, ..) => return None,
    })
}

/// What a stranger said of itself, fit for a header: no comment, no control character, and only in `utf8` more than ASCII.
fn printable(text: &str, utf8: bool) -> String {
    let is_fit =
        |c: char| !c.is_control() && !matches!(c, '(' | ')' | '\\' | ';') && (utf8 || c.is_ascii());
    text.chars().take(255).map(|c| if is_fit(c) { c } else { '?' }).collect()
}

/// A `Message-ID` field for a mail that has none (RFC 5322 §3.6.4), with its CRLF.
#[must_use]
pub fn message_id(id: MailId, hostname: &str) -> String {
    format!("Message-ID: <{id}@{hostname}>\r\n")
}

/// A `Date` field (RFC 5322 §3.6.1), with its CRLF.
#[must_use]
pub fn date(now: Timestamp) -> String {
    format!("Date: {}\r\n", Date(now))
}

/// The `Return-Path` field that a final delivery writes (RFC 5321 §4.4), with its CRLF.
#[must_use]
pub fn return_path(sender: &ReversePath) -> String {
    format!("Return-Path: <{sender}>\r\n")
}

/// A time as RFC 5322 §3.3 writes it, in UTC.
pub(crate) struct Date(pub(crate) Timestamp);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = rfc2822::to_string(&self.0.to_zoned(jiff::tz::TimeZone::UTC));
        f.write_str(&date.map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Envelope};

    fn mail(recipients: &[&str]) -> Mail {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let recipients = recipients.iter().map(|r| r.parse::<crate::Address>().unwrap());
        Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(ReversePath::Null, recipients),
            content: Content::default(),
            origin: Origin {
                protocol: Protocol::Esmtp,
                client: Some("192.0.2.1:1025".parse().unwrap()),
                hello: Some("client.example".into()),
                tls: Some("TLSv1.3 TLS13_AES_256_GCM_SHA384".into()),
                ..Origin::local(now)
            },
        }
    }

    #[test]
    fn received_says_from_whom_by_whom_how_for_whom_and_when() {
        let mail = mail(&["b@example.net"]);
        assert_eq!(
            received(&mail, "mx.example.org"),
            format!(
                "Received: from client.example ([192.0.2.1])\r\n\
                 \tby mx.example.org (Hedwig) with ESMTPS id {}\r\n\
                 \t(TLSv1.3 TLS13_AES_256_GCM_SHA384)\r\n\
                 \tfor <b@example.net>;\r\n\
                 \tWed, 18 Nov 2026 11:06:40 +0000\r\n",
                mail.id
            )
        );
    }

    #[test]
    fn received_names_none_of_several_recipients() {
        assert!(!received(&mail(&["b@example.net", "c@example.net"]), "h").contains("for <"));
    }

    #[test]
    fn a_client_cannot_write_header_fields_with_its_name() {
        let mut mail = mail(&["b@example.net"]);
        mail.origin.hello = Some("x\r\nBcc: everyone (\n".into());
        let field = received(&mail, "h");
        assert!(field.lines().skip(1).all(|line| line.starts_with('\t')), "{field}");
    }

    #[test]
    fn an_ascii_mail_stays_ascii_whatever_its_client_and_its_recipient_are_called() {
        let mut mail = mail(&["user@例子.example"]);
        mail.origin.hello = Some("büro-pc".into());
        let field = received(&mail, "h");
        assert!(field.is_ascii() && !field.contains("for <"), "{field}");
        assert!(field.starts_with("Received: from b?ro-pc ([192.0.2.1])\r\n"), "{field}");
        mail.envelope.parameters.smtputf8 = true;
        let field = received(&mail, "h");
        assert!(field.starts_with("Received: from büro-pc ([192.0.2.1])\r\n"), "{field}");
        assert!(field.contains("for <user@例子.example>;"), "{field}");
    }
}
