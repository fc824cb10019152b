use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hedwig_envelope::{BoxError, Mail, MailService, Outcome, Receipt};
use tower::{Service, ServiceExt};

/// Tries one service while the client waits, and falls back to another.
///
/// What the first settles within the time is told as it is: every recipient done or failed. Anything
/// else, be it an error, one recipient deferred, or no answer in time, and the whole mail goes to the
/// fallback. So the first must know a mail again that comes twice: the mail keeps its id and its
/// idempotency key.
#[derive(Clone, Debug)]
pub struct CutThrough<A, B> {
    first: A,
    fallback: B,
    within: Duration,
}

impl<A: MailService, B: MailService> CutThrough<A, B> {
    /// Tries `first` for at most `within`, then `fallback`.
    pub fn new(first: A, fallback: B, within: Duration) -> Self {
        Self { first, fallback, within }
    }
}

impl<A: MailService, B: MailService> Service<Mail> for CutThrough<A, B> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    /// Always ready: what the two have to wait for is waited for in the call, where an error of the
    /// first can still lead to the fallback.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let Self { first, fallback, within } = self.clone();
        Box::pin(async move {
            let id = mail.id;
            match tokio::time::timeout(within, first.oneshot(mail.clone())).await {
                Ok(Ok(receipt)) if is_settled(&receipt) => return Ok(receipt),
                Ok(Ok(_)) => tracing::debug!(%id, "deferred at the first; to the fallback"),
                Ok(Err(error)) => tracing::debug!(%id, %error, "the first failed; to the fallback"),
                Err(_) => tracing::debug!(%id, ?within, "no answer in time; to the fallback"),
            }
            fallback.oneshot(mail).await
        })
    }
}

fn is_settled(receipt: &Receipt) -> bool {
    !receipt.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Deferred(_)))
}
