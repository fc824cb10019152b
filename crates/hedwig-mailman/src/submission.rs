//! What a submission server mends in the mail of local programs (RFC 6409 §8): a missing Date,
//! Message-ID or From.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{Mail, MailId, Protocol, Timestamp, header::HeaderScan, trace};
use tower::{Layer, Service};

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

/// Completes the mail of programs on this host, and of users who are authenticated.
///
/// Any other mail from another host stays as it is: its author's server is to complete it, and a DKIM
/// signature may cover what is not there.
#[derive(Clone, Debug)]
pub struct SubmissionLayer {
    domain: Arc<str>,
}

impl SubmissionLayer {
    /// A layer that writes this domain into the Message-IDs it makes.
    pub fn new(domain: impl Into<Arc<str>>) -> Self {
        Self { domain: domain.into() }
    }
}

impl<S> Layer<S> for SubmissionLayer {
    type Service = Submission<S>;

    fn layer(&self, inner: S) -> Submission<S> {
        Submission { inner, domain: self.domain.clone() }
    }
}

/// What [`SubmissionLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Submission<S> {
    inner: S,
    domain: Arc<str>,
}

impl<S> Submission<S> {
    fn complete(&self, mail: &mut Mail) {
        let scan = HeaderScan::of(mail.content.message());
        let sender = mail.envelope.sender.address();
        let from = sender.map(|address| move || format!("From: {address}\r\n"));
        let from = from.as_ref().map(|from| from as &dyn Fn() -> String);
        let origin = (mail.id, mail.origin.received_at);
        let mut fields = missing_fields(&scan, origin, &self.domain, from);
        if fields.is_empty() {
            return;
        }
        let message = mail.content.message();
        if !message.starts_with(b"\r\n") && hedwig_envelope::header::header_length(message) == 0 {
            // All body: the empty line that ends a header is missing too.
            fields += "\r\n";
        }
        mail.content.prepend(fields.as_bytes());
    }
}

impl<S: Service<Mail>> Service<Mail> for Submission<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> S::Future {
        if is_submitted(&mail) {
            self.complete(&mut mail);
        }
        self.inner.call(mail)
    }
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
    use hedwig_envelope::{BoxError, Content, Envelope, Origin, Receipt, ReversePath};
    use tower::ServiceExt;

    use super::*;

    async fn through(
        client: &str,
        sender: &str,
        message: &'static str,
    ) -> Result<String, BoxError> {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let sender: ReversePath = sender.parse().unwrap();
        let recipient: hedwig_envelope::Address = "b@example.net".parse().unwrap();
        let mail = Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(sender, [recipient]),
            content: Content::from(message),
            origin: Origin {
                protocol: Protocol::Esmtp,
                client: Some(client.parse().unwrap()),
                ..Origin::local(now)
            },
        };
        let seen = Arc::new(std::sync::Mutex::new(String::new()));
        let inner = tower::service_fn({
            let seen = seen.clone();
            move |mail: Mail| {
                *seen.lock().unwrap() = String::from_utf8(mail.content.to_bytes().into()).unwrap();
                async move { Ok::<_, BoxError>(Receipt { id: mail.id, outcomes: Vec::new() }) }
            }
        });
        SubmissionLayer::new("example.org").layer(inner).oneshot(mail).await?;
        let seen = seen.lock().unwrap().clone();
        Ok(seen)
    }

    const HERE: &str = "127.0.0.1:1025";

    #[tokio::test]
    async fn a_local_programs_mail_is_completed() {
        let completed = through(HERE, "a@example.org", "Subject: x\r\n\r\ny\r\n").await.unwrap();
        assert!(completed.starts_with("Date: Wed, 18 Nov 2026 11:06:40 +0000\r\nMessage-ID: <"));
        assert!(completed.ends_with("From: a@example.org\r\nSubject: x\r\n\r\ny\r\n"));
    }

    #[tokio::test]
    async fn what_is_complete_and_what_comes_from_elsewhere_stays_as_it_is() {
        let complete = "Date: x\r\nMessage-ID: <a@b>\r\nFrom: a@b\r\n\r\n";
        assert_eq!(through(HERE, "a@example.org", complete).await.unwrap(), complete);
        let bare = "Subject: x\r\n\r\n";
        assert_eq!(through("192.0.2.1:25", "a@example.org", bare).await.unwrap(), bare);
    }

    #[tokio::test]
    async fn a_body_without_a_header_stays_a_body() {
        let completed = through(HERE, "", "hello there\r\n").await.unwrap();
        assert!(completed.ends_with("@example.org>\r\n\r\nhello there\r\n"), "{completed}");
        assert!(!completed.contains("From:"), "nobody is the author of the null sender's mail");
        let empty_header = through(HERE, "", "\r\nhello\r\n").await.unwrap();
        assert!(empty_header.ends_with("@example.org>\r\n\r\nhello\r\n"), "{empty_header}");
    }
}
