//! Around delivery: refuses recipients that are on the list, and puts those on it that do not exist.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hedwig_envelope::{
    Address, Answer, BoxError, Mail, MailService, Outcome, Receipt, Recipient, Reply, Status,
    Timestamp, diagnosis::is_hard_bounce,
};
use hedwig_spool::{Suppression, SuppressionOrigin, Suppressions};
use tower::{Layer, Service, ServiceExt};

/// No such mailbox (RFC 3463 §3.2).
const NO_SUCH_USER: Status = Status::permanent(1, 1);

/// Refuses recipients that are on a list with 550 5.1.1, and puts those on it of whom their server says, for good and in
/// so many words, that there is no such user.
#[derive(Clone, Debug)]
pub struct SuppressionLayer {
    list: Suppressions,
    remember: Duration,
}

impl SuppressionLayer {
    /// With this list, on which a recipient stays for so long; zero puts none on it.
    #[must_use]
    pub fn new(list: Suppressions, remember: Duration) -> Self {
        Self { list, remember }
    }
}

impl<S> Layer<S> for SuppressionLayer {
    type Service = Suppressing<S>;

    fn layer(&self, inner: S) -> Suppressing<S> {
        Suppressing { inner, layer: self.clone() }
    }
}

/// What [`SuppressionLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Suppressing<S> {
    inner: S,
    layer: SuppressionLayer,
}

impl<S: MailService> Service<Mail> for Suppressing<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    /// Always ready: what the inner service has to wait for is waited for in the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut mail: Mail) -> Self::Future {
        let Self { inner, layer } = self.clone();
        let now = Timestamp::now();
        let recipients = std::mem::take(&mut mail.envelope.recipients);
        let refused: Vec<Option<Outcome>> =
            recipients.iter().map(|recipient| layer.refusal(&recipient.address, now)).collect();
        let tried: Vec<Recipient> = recipients
            .into_iter()
            .zip(&refused)
            .filter_map(|(recipient, refusal)| refusal.is_none().then_some(recipient))
            .collect();
        Box::pin(async move {
            let mut receipt = Receipt { id: mail.id, outcomes: Vec::new() };
            if !tried.is_empty() {
                mail.envelope.recipients.clone_from(&tried);
                receipt = inner.oneshot(mail).await?;
                for (recipient, outcome) in tried.iter().zip(&receipt.outcomes) {
                    layer.learn(&recipient.address, outcome);
                }
            }
            let mut own = receipt.outcomes.into_iter();
            // A service that says too little is found out by whoever counts the outcomes.
            let outcomes = refused.into_iter().filter_map(|refusal| refusal.or_else(|| own.next()));
            Ok(Receipt { id: receipt.id, outcomes: outcomes.collect() })
        })
    }
}

impl SuppressionLayer {
    /// The outcome for a recipient that is on the list. A list that cannot be read costs an attempt, and no mail.
    fn refusal(&self, address: &Address, now: Timestamp) -> Option<Outcome> {
        let entry = self.list.find(address, now).unwrap_or_else(|error| {
            tracing::warn!(%error, %address, "tried, though it may be suppressed");
            None
        })?;
        let reply = Reply::with_status(550, NO_SUCH_USER, format!("Not tried: {entry}"));
        Some(Outcome::Failed(Answer::new(NO_SUCH_USER, reply, None)))
    }

    fn learn(&self, address: &Address, outcome: &Outcome) {
        if self.remember.is_zero() || !is_hard_bounce(outcome) {
            return;
        }
        let since = Timestamp::now();
        let entry = Suppression {
            address: address.clone(),
            since,
            until: since.checked_add(self.remember).ok(),
            reason: outcome.answer().reply.to_string(),
            origin: SuppressionOrigin::Reply,
        };
        if let Err(error) = self.list.insert(&entry) {
            tracing::warn!(%error, %address, "not remembered as an address that does not exist");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hedwig_envelope::{
        Content, Diagnosis, Envelope, MailId, Origin, Relay, ReversePath, Timestamp,
    };
    use tower::service_fn;

    use super::*;

    fn mail(to: &[&str]) -> Mail {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let recipients = to.iter().map(|to| to.parse::<Address>().unwrap());
        Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(ReversePath::Null, recipients),
            content: Content::from("Subject: hi\r\n\r\n"),
            origin: Origin::local(now),
        }
    }

    /// A server of the recipient's that says this of who is `nobody`, and whom it was asked for.
    fn server(reply: Reply) -> (impl MailService, Arc<Mutex<Vec<String>>>) {
        server_with(move |relay| Outcome::of_reply(reply.clone(), relay).personal())
    }

    fn server_with(
        of_nobody: impl Fn(Option<Relay>) -> Outcome + Clone + Send + Sync + 'static,
    ) -> (impl MailService, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let service = service_fn(move |mail: Mail| {
            let to = mail.envelope.recipients.iter().map(|r| r.address.to_string());
            seen.lock().unwrap().extend(to);
            let relay = Some(Relay::of("mx.example.net"));
            let outcomes = mail.envelope.recipients.iter().map(|recipient| {
                if recipient.address.local_part() == "nobody" {
                    of_nobody(relay.clone())
                } else {
                    Outcome::of_reply(Reply::new(250, None, "Ok"), relay.clone())
                }
            });
            let receipt = Receipt { id: mail.id, outcomes: outcomes.collect() };
            async move { Ok::<_, BoxError>(receipt) }
        });
        (service, asked)
    }

    #[tokio::test]
    async fn who_does_not_exist_is_asked_for_once_and_the_others_get_their_mail() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        let (server, asked) = server(Reply::with_status(550, NO_SUCH_USER, "No such user here"));
        let service = SuppressionLayer::new(list, Duration::from_secs(86_400)).layer(server);
        let to = ["a@example.net", "nobody@example.net", "b@example.net"];
        service.clone().oneshot(mail(&to)).await.unwrap();
        let receipt = service.oneshot(mail(&to)).await.unwrap();
        let names = asked.lock().unwrap().join(" ");
        assert_eq!(
            names,
            "a@example.net nobody@example.net b@example.net a@example.net b@example.net"
        );
        let codes: Vec<u16> = receipt.outcomes.iter().map(|o| o.answer().reply.code()).collect();
        assert_eq!(codes, [250, 550, 250]);
        let answer = receipt.outcomes[1].answer();
        assert_eq!((answer.status, &answer.relay), (NO_SUCH_USER, &None));
        assert_eq!(Diagnosis::of(answer), Some(Diagnosis::UnknownUser));
        let text = answer.reply.text();
        assert!(text.contains("its server said 550 5.1.1 No such user here"), "{text}");
    }

    #[tokio::test]
    async fn a_refusal_for_another_reason_is_not_remembered() {
        for reply in [
            Reply::with_status(550, Status::permanent(7, 1), "Message looks like spam"),
            Reply::with_status(552, Status::permanent(2, 2), "Mailbox full"),
            Reply::with_status(450, Status::transient(1, 1), "No such user yet"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let list = Suppressions::open(directory.path(), 10).unwrap();
            let (server, asked) = server(reply);
            let service = SuppressionLayer::new(list, Duration::from_secs(60)).layer(server);
            for _ in 0..2 {
                service.clone().oneshot(mail(&["nobody@example.net"])).await.unwrap();
            }
            assert_eq!(asked.lock().unwrap().len(), 2);
        }
    }

    #[tokio::test]
    async fn a_refusal_of_the_whole_mail_is_remembered_of_no_recipient() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        // After DATA: which of the recipients does not exist?
        let reply = Reply::with_status(550, NO_SUCH_USER, "No such user here");
        let (server, asked) = server_with(move |relay| Outcome::of_reply(reply.clone(), relay));
        let service = SuppressionLayer::new(list, Duration::from_secs(60)).layer(server);
        for _ in 0..2 {
            service.clone().oneshot(mail(&["nobody@example.net"])).await.unwrap();
        }
        assert_eq!(asked.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn zero_remembers_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        let (server, asked) = server(Reply::with_status(550, NO_SUCH_USER, "No such user here"));
        let service = SuppressionLayer::new(list, Duration::ZERO).layer(server);
        for _ in 0..2 {
            service.clone().oneshot(mail(&["nobody@example.net"])).await.unwrap();
        }
        assert_eq!(asked.lock().unwrap().len(), 2);
    }
}
