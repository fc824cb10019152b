//! A line in the log for each attempt at each recipient.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{
    BoxError, Diagnosis, Mail, MailId, MailService, Outcome, Receipt, Recipient, Refusal, Relay,
    Timestamp, rescue,
};
use tower::{Layer, Service, ServiceExt};

use crate::Metrics;

/// Logs and counts what a service that delivers says of each recipient.
///
/// The fields are those that readers of other servers' logs know: `id`, `to`, `relay=host[ip]:port`,
/// `delay` in seconds since the mail came, `dsn`, `status` (sent, deferred or bounced) and `reply`; besides
/// these `tls`, what was agreed on, `tls_policy`, what was asked for and by whom, and `diagnosis`, what kind of
/// failure it is.
#[derive(Clone, Debug)]
pub struct AttemptsLayer {
    metrics: Metrics,
}

impl AttemptsLayer {
    /// A layer that counts here.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for AttemptsLayer {
    type Service = Attempts<S>;

    fn layer(&self, inner: S) -> Attempts<S> {
        Attempts { inner, metrics: self.metrics.clone() }
    }
}

/// What [`AttemptsLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Attempts<S> {
    inner: S,
    metrics: Metrics,
}

impl<S: MailService> Service<Mail> for Attempts<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    /// Always ready: what the inner service has to wait for is waited for in the call, so that its
    /// error is logged like any other.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let Self { inner, metrics } = self.clone();
        let (id, came_at) = (mail.id, mail.origin.received_at);
        let recipients = mail.envelope.recipients.clone();
        Box::pin(async move {
            let result = inner.oneshot(mail).await;
            let delay = seconds_since(came_at);
            match &result {
                Ok(receipt) => {
                    for (recipient, outcome) in recipients.iter().zip(&receipt.outcomes) {
                        metrics.count_outcome(outcome);
                        log_outcome(id, recipient, delay, outcome);
                    }
                }
                Err(error) => log_error(id, recipients.len(), delay, error),
            }
            result
        })
    }
}

fn log_outcome(id: MailId, recipient: &Recipient, delay: f64, outcome: &Outcome) {
    let answer = outcome.answer();
    let relay = answer.relay.as_ref();
    let status = match outcome {
        Outcome::Done(_) => "sent",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "bounced",
    };
    tracing::info!(
        %id,
        to = %recipient.address,
        relay = relay_text(relay),
        source = relay.and_then(|relay| relay.source).map(tracing::field::display),
        tls = relay.and_then(|relay| relay.tls.as_deref()),
        tls_policy = relay.and_then(|relay| relay.tls_policy.as_deref()),
        delay,
        dsn = %answer.status,
        status,
        diagnosis = Diagnosis::of(answer).map(Diagnosis::name),
        ambiguous = answer.ambiguous.then_some(true),
        reply = %answer.reply,
        "attempt"
    );
}

fn log_error(id: MailId, recipients: usize, delay: f64, error: &BoxError) {
    let reply = rescue(error).reply;
    // A refusal says all there is; of any other error the reply hides what only the log may tell.
    let hidden = (!error.is::<Refusal>()).then(|| tracing::field::display(error));
    tracing::info!(%id, recipients, delay, status = "deferred", %reply, error = hidden, "attempt");
}

/// In hundredths: finer is noise in a log.
fn seconds_since(then: Timestamp) -> f64 {
    let seconds = Timestamp::now().duration_since(then).as_secs_f64().max(0.0);
    (seconds * 100.0).round() / 100.0
}

/// `host[ip]:port`, as far as it is known.
fn relay_text(relay: Option<&Relay>) -> String {
    match relay {
        None => "none".to_owned(),
        Some(Relay { host, address: None, .. }) => host.clone(),
        Some(Relay { host, address: Some(address), .. }) => {
            format!("{host}[{}]:{}", address.ip(), address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_shown_as_far_as_it_is_known() {
        let mut relay = Relay::of("mx.example.net");
        assert_eq!(relay_text(Some(&relay)), "mx.example.net");
        relay.address = Some("192.0.2.1:25".parse().unwrap());
        assert_eq!(relay_text(Some(&relay)), "mx.example.net[192.0.2.1]:25");
        assert_eq!(relay_text(None), "none");
    }
}
