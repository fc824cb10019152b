use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hedwig_envelope::{
    Answer, BoxError, BoxMailService, Mail, Outcome, Receipt, Refusal, RefusalKind, Status,
    Timestamp, rescue,
};
use jiff::SignedDuration;
use tower::ServiceExt;

use crate::{CourierOptions, Event, Lease, Spool, SpoolError, schedule::later};

/// How long to wait before an outcome that could not be stored is stored again, at first and at most.
const STORE_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// One attempt at one unit, from the lease to the settled outcomes.
pub(crate) struct Errand {
    spool: Spool,
    service: BoxMailService,
    options: Arc<CourierOptions>,
}

/// What an attempt came to.
struct Ending {
    outcomes: Vec<Outcome>,
    next_due: Option<Timestamp>,
    follow_ups: Vec<Mail>,
}

impl Errand {
    pub(crate) fn new(
        spool: &Spool,
        service: &BoxMailService,
        options: &Arc<CourierOptions>,
    ) -> Self {
        Self { spool: spool.clone(), service: service.clone(), options: options.clone() }
    }

    pub(crate) async fn run(self, mut lease: Lease) {
        let (outcomes, retry_after) = self.attempt(&lease).await;
        let now = self.spool.clock().now();
        log(&lease, &outcomes, now);
        let next_due = self.next_due(&lease, retry_after, now);
        let follow_ups = self.reports(&mut lease, &outcomes, next_due, now);
        self.store(&lease, Ending { outcomes, next_due, follow_ups }).await;
    }

    /// One outcome for each recipient, and how long the service wants to be left alone.
    async fn attempt(&self, lease: &Lease) -> (Vec<Outcome>, Option<Duration>) {
        let recipients = lease.mail.envelope.recipients.len();
        if let Some(answer) = &lease.give_up {
            return (vec![Outcome::Failed(answer.clone()); recipients], None);
        }
        let error: BoxError = match self.call(lease).await {
            Ok(receipt) if receipt.outcomes.len() == recipients => return (receipt.outcomes, None),
            Ok(receipt) => {
                let given = receipt.outcomes.len();
                format!("{given} outcomes for {recipients} recipients").into()
            }
            Err(error) => error,
        };
        tracing::debug!(id = %lease.mail.id, destination = %lease.destination, %error, "no outcome");
        let refusal = rescue(&error);
        (vec![outcome_of(&refusal); recipients], refusal.retry_after)
    }

    /// Calls the service, and keeps the lease as long as that takes.
    async fn call(&self, lease: &Lease) -> Result<Receipt, BoxError> {
        let call = self.service.clone().oneshot(lease.mail.clone());
        // What a service does wrong must not leave the mail leased.
        let call = AssertUnwindSafe(call).catch_unwind();
        let mut call = std::pin::pin!(call);
        loop {
            tokio::select! {
                biased;
                result = &mut call => {
                    return result.unwrap_or_else(|_| Err("the service panicked".into()));
                }
                () = tokio::time::sleep(self.spool.lease_length() / 3) => {
                    let now = self.spool.clock().now();
                    if let Err(error) = self.spool.extend(lease, now).await {
                        tracing::warn!(id = %lease.mail.id, %error, "a lease could not be extended");
                    }
                }
            }
        }
    }

    fn next_due(
        &self,
        lease: &Lease,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let accepted_at = lease.mail.origin.received_at;
        let attempts = lease.attempts.saturating_add(1);
        let schedule = &self.options.schedule;
        let due = schedule.next_due(accepted_at, attempts, now, fastrand::f64())?;
        Some(retry_after.map_or(due, |delay| due.max(later(now, delay))))
    }

    fn reports(
        &self,
        lease: &mut Lease,
        outcomes: &[Outcome],
        next_due: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<Mail> {
        let Some(reporter) = &self.options.reporter else { return Vec::new() };
        let mut mails = Vec::new();
        for event in [Event::Done, Event::Failed, Event::Delayed] {
            let concerned: Vec<_> = outcomes
                .iter()
                .enumerate()
                .filter(|(_, outcome)| event_of(outcome, next_due) == event)
                .map(|(index, outcome)| (index, outcome.answer()))
                .collect();
            if concerned.is_empty() || event == Event::Delayed && !self.is_late(lease, now) {
                continue;
            }
            lease.delay_reported |= event == Event::Delayed;
            mails.extend(reporter(&lease.mail, event, &concerned, now));
        }
        mails
    }

    /// Whether its sender is to be told that it waits.
    fn is_late(&self, lease: &Lease, now: Timestamp) -> bool {
        let accepted_at = lease.mail.origin.received_at;
        !lease.delay_reported
            && self.options.delay_warning.is_some_and(|warning| now >= later(accepted_at, warning))
    }

    /// Stores the ending, however long the disk refuses: the mail has been tried, and forgetting it would
    /// deliver it twice.
    async fn store(&self, lease: &Lease, ending: Ending) {
        let [mut pause, longest] = STORE_AGAIN_AFTER;
        loop {
            let Ending { outcomes, next_due, follow_ups } = &ending;
            let stored = self.spool.finish(lease, outcomes.clone(), *next_due, follow_ups.clone());
            match stored.await {
                Ok(()) => return,
                Err(error @ (SpoolError::LeaseLost | SpoolError::Closed)) => {
                    tracing::warn!(id = %lease.mail.id, %error, "an outcome could not be stored");
                    return;
                }
                Err(error) => {
                    tracing::error!(id = %lease.mail.id, %error, "an outcome waits to be stored");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            // If this fails, so will the next attempt to store, and say why.
            let _ = self.spool.extend(lease, self.spool.clock().now()).await;
        }
    }
}

fn event_of(outcome: &Outcome, next_due: Option<Timestamp>) -> Event {
    match outcome {
        Outcome::Done(_) => Event::Done,
        Outcome::Failed(_) => Event::Failed,
        Outcome::Deferred(_) if next_due.is_none() => Event::Failed,
        Outcome::Deferred(_) => Event::Delayed,
    }
}

/// An error means that nothing is known to have happened, so the mail waits, whatever the refusal says
/// to the client that it was meant for: that one is long gone.
fn outcome_of(refusal: &Refusal) -> Outcome {
    if refusal.reply.is_transient() {
        return Outcome::of_reply(refusal.reply.clone(), None);
    }
    let text = refusal.reply.text().to_owned();
    let mended = Refusal::new(RefusalKind::Unavailable, text);
    let status = Status::transient(3, 0);
    Outcome::Deferred(Answer {
        status,
        reply: mended.reply,
        relay: None,
        ambiguous: false,
        unreached: false,
    })
}

fn log(lease: &Lease, outcomes: &[Outcome], now: Timestamp) {
    let delay = now.duration_since(lease.mail.origin.received_at).max(SignedDuration::ZERO);
    for (recipient, outcome) in lease.mail.envelope.recipients.iter().zip(outcomes) {
        let answer = outcome.answer();
        let relay = answer.relay.as_ref().map_or("none", |relay| relay.host.as_str());
        let status = match outcome {
            Outcome::Done(_) => "sent",
            Outcome::Deferred(_) => "deferred",
            Outcome::Failed(_) => "bounced",
        };
        tracing::debug!(
            id = %lease.mail.id,
            to = %recipient.address,
            relay = ?relay,
            delay = delay.as_secs_f64(),
            dsn = %answer.status,
            status,
            reply = %answer.reply,
            "delivery"
        );
    }
}
