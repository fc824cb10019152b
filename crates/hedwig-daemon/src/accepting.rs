//! A line in the log for each mail that comes in.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, MailId, MailService, Outcome, Receipt, ReversePath, rescue};
use tower::{Layer, Service};

use crate::Metrics;

/// Logs and counts the mails that a service takes or refuses.
///
/// The fields are `id`, `from`, `size` in bytes, `recipients` (how many), `client`, `status` (accepted or
/// refused) and `reply`; `queued_as` is the id under which it was taken, when that is another: the
/// postoffice's, or that of an earlier mail with its key.
#[derive(Clone, Debug)]
pub struct AcceptingLayer {
    metrics: Metrics,
}

impl AcceptingLayer {
    /// A layer that counts here.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for AcceptingLayer {
    type Service = Accepting<S>;

    fn layer(&self, inner: S) -> Accepting<S> {
        Accepting { inner, metrics: self.metrics.clone() }
    }
}

/// What [`AcceptingLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Accepting<S> {
    inner: S,
    metrics: Metrics,
}

impl<S: MailService> Service<Mail> for Accepting<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let metrics = self.metrics.clone();
        let summary = Summary::of(&mail);
        let result = self.inner.call(mail);
        Box::pin(async move {
            let result = result.await;
            metrics.count_mail(summary.log(&result));
            result
        })
    }
}

/// What is told of a mail once it is gone.
struct Summary {
    id: MailId,
    sender: ReversePath,
    size: usize,
    recipients: usize,
    client: Option<std::net::SocketAddr>,
}

impl Summary {
    fn of(mail: &Mail) -> Self {
        Self {
            id: mail.id,
            sender: mail.envelope.sender.clone(),
            size: mail.content.len(),
            recipients: mail.envelope.recipients.len(),
            client: mail.origin.client,
        }
    }

    /// Logs what became of the mail; says whether it was accepted.
    fn log(&self, result: &Result<Receipt, BoxError>) -> bool {
        let not_done = |outcome: &&Outcome| !matches!(outcome, Outcome::Done(_));
        let (status, reply, error) = match result {
            Ok(receipt) => match receipt.outcomes.iter().find(not_done) {
                None => ("accepted", None, None),
                Some(outcome) => ("refused", Some(outcome.answer().reply.clone()), None),
            },
            Err(error) => ("refused", Some(rescue(error).reply), Some(error)),
        };
        let queued_as = result.as_ref().ok().map(|receipt| receipt.id).filter(|id| *id != self.id);
        tracing::info!(
            id = %self.id,
            from = %self.sender,
            size = self.size,
            recipients = self.recipients,
            client = self.client.map(tracing::field::display),
            queued_as = queued_as.map(tracing::field::display),
            status,
            reply = reply.map(tracing::field::display),
            error = error.map(tracing::field::display),
            "mail"
        );
        status == "accepted"
    }
}
