//! What a submission server mends in the mail of local programs (RFC 6409 §8): a missing Date,
//! Message-ID or From.

use std::sync::Arc;

use hedwig_envelope::{
    Mail, MailId, Protocol, Timestamp,
    header::{HeaderScan, header_length},
    trace,
};

/// The fields among Date, Message-ID and From that a header lacks, each with its CRLF.
///
/// `from` makes a From field; without it a missing one stays so.
pub(crate) fn missing_fields(
    scan: &HeaderScan,
    (id, now): (MailId, Timestamp),
    domain: &str,
    from: Option<&dyn Fn() -> String>,
) -> String {
    let mut fields = String::new();
    if !scan.has_date {
        fields += &trace::date(now);
    }
    if scan.message_id.is_none() {
        fields += &trace::message_id(id, domain);
    }
    if let (false, Some(from)) = (scan.has_from, from) {
        fields += &from();
    }
    fields
}

/// The change that completes the mail of programs on this host, and of users who are authenticated; the
/// Message-IDs it makes have this domain.
///
/// Any other mail from another host stays as it is: its author's server is to complete it, and a DKIM
/// signature may cover what is not there.
pub fn completing(domain: &str) -> impl Fn(&mut Mail) + Clone + use<> {
    let domain: Arc<str> = domain.into();
    move |mail| {
        if is_submitted(mail) {
            complete(mail, &domain);
        }
    }
}

fn complete(mail: &mut Mail, domain: &str) {
    let scan = HeaderScan::of(mail.content.message());
    let sender = mail.envelope.sender.address();
    let from = sender.map(|address| move || format!("From: {address}\r\n"));
    let from = from.as_ref().map(|from| from as &dyn Fn() -> String);
    let origin = (mail.id, mail.origin.received_at);
    let mut fields = missing_fields(&scan, origin, domain, from);
    if fields.is_empty() {
        return;
    }
    let message = mail.content.message();
    if !message.starts_with(b"\r\n") && header_length(message) == 0 {
        // All body: the empty line that ends a header is missing too.
        fields += "\r\n";
    }
    mail.content.prepend(fields.as_bytes());
}

fn is_submitted(mail: &Mail) -> bool {
    match mail.origin.client {
        Some(_) if mail.origin.authenticated.is_some() => true,
        Some(client) => client.ip().to_canonical().is_loopback(),
        None => mail.origin.protocol != Protocol::Http,
    }
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Content, Envelope, Origin, ReversePath};

    use super::*;

    fn completed(client: &str, sender: &str, message: &'static str) -> String {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let sender: ReversePath = sender.parse().unwrap();
        let recipient: hedwig_envelope::Address = "b@example.net".parse().unwrap();
        let mut mail = Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(sender, [recipient]),
            content: Content::from(message),
            origin: Origin {
                protocol: Protocol::Esmtp,
                client: Some(client.parse().unwrap()),
                ..Origin::local(now)
            },
        };
        completing("example.org")(&mut mail);
        String::from_utf8(mail.content.to_bytes().into()).unwrap()
    }

    const HERE: &str = "127.0.0.1:1025";

    #[test]
    fn a_local_programs_mail_is_completed() {
        let completed = completed(HERE, "a@example.org", "Subject: x\r\n\r\ny\r\n");
        assert!(completed.starts_with("Date: Wed, 18 Nov 2026 11:06:40 +0000\r\nMessage-ID: <"));
        assert!(completed.ends_with("From: a@example.org\r\nSubject: x\r\n\r\ny\r\n"));
    }

    #[test]
    fn what_is_complete_and_what_comes_from_elsewhere_stays_as_it_is() {
        let complete = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n\r\n";
        assert_eq!(completed(HERE, "a@example.org", complete), complete);
        let bare = "Subject: x\r\n\r\n";
        assert_eq!(completed("192.0.2.1:25", "a@example.org", bare), bare);
    }

    #[test]
    fn a_body_without_a_header_stays_a_body() {
        let completed_body = completed(HERE, "", "hello there\r\n");
        assert!(
            completed_body.ends_with("@example.org>\r\n\r\nhello there\r\n"),
            "{completed_body}"
        );
        assert!(
            !completed_body.contains("From:"),
            "nobody is the author of the null sender's mail"
        );
        let empty_header = completed(HERE, "", "\r\nhello\r\n");
        assert!(empty_header.ends_with("@example.org>\r\n\r\nhello\r\n"), "{empty_header}");
    }
}
