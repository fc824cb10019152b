use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hedwig_envelope::{
    BoxError, BoxMailService, ByMode, Mail, Outcome, Receipt, Refusal, RefusalKind, Timestamp,
    rescue,
};
use jiff::SignedDuration;
use tower::ServiceExt;

use crate::{
    CourierOptions, Event, Lease, Owed, Spool, SpoolError,
    ending::{Showing, is_of_destination, late, outcome_of, returned, showing},
    pace::{Permit, Turn},
    report::write_reports,
    schedule::later,
};

/// How long to wait before an outcome that could not be stored is stored again, at first and at most.
const STORE_AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// How long a unit waits that finds its destination crowded, unless it is told.
const CROWD_WAIT: Duration = Duration::from_secs(5);
/// How long a unit waits at the least that is put off: nothing may spin.
const PUT_OFF_LEAST: Duration = Duration::from_secs(1);

/// One attempt at one unit, from the lease to the settled outcomes.
pub(crate) struct Errand {
    spool: Spool,
    service: BoxMailService,
    options: Arc<CourierOptions>,
}

/// What came of it.
enum Attempt {
    /// One outcome for each recipient.
    Made(Vec<Outcome>, Again),
    /// Nothing: it is to be tried from this time on.
    Untried(Timestamp),
}

/// When what was deferred is to be tried again.
#[derive(Clone, Copy)]
enum Again {
    /// By the mail's own schedule, but not before this time is over.
    OfMail(Option<Duration>),
    /// With all that waits for the destination.
    At(Timestamp),
}

/// What is stored of an attempt.
#[derive(Clone)]
struct Ending {
    outcomes: Vec<Outcome>,
    next_due: Option<Timestamp>,
    follow_ups: Vec<Mail>,
    owed: Vec<(usize, Owed)>,
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
        let attempt = self.attempt(&lease).await;
        // The destination is free for the next: that this one is recorded is nothing to it.
        lease.permit = None;
        let now = self.spool.clock().now();
        match attempt {
            Attempt::Untried(until) => {
                let until = until.min(self.at_latest(&lease)).max(later(now, PUT_OFF_LEAST));
                if let Err(error) = self.spool.put_off(&lease, until).await {
                    tracing::debug!(id = %lease.mail.id, %error, "a unit could not be put off");
                }
            }
            Attempt::Made(outcomes, again) => {
                let next_due = self.next_due(&lease, again, now);
                log(&lease, &outcomes, next_due, now);
                let owed = self.owed(&mut lease, &outcomes, next_due, now);
                let mut ending = Ending { outcomes, next_due, follow_ups: Vec::new(), owed };
                // What other destinations come to may be told with it.
                if lease.is_whole {
                    let owed = std::mem::take(&mut ending.owed);
                    let reporter = self.options.reporter.as_ref();
                    ending.follow_ups = write_reports(reporter, &lease.mail, &owed, now);
                }
                self.store(&lease, ending).await;
            }
        }
    }

    async fn attempt(&self, lease: &Lease) -> Attempt {
        let recipients = lease.mail.envelope.recipients.len();
        let for_all = |outcome: Outcome, again| Attempt::Made(vec![outcome; recipients], again);
        let now = self.spool.clock().now();
        if let Some(answer) = &lease.give_up {
            return for_all(Outcome::Failed(answer.clone()), Again::OfMail(None));
        }
        if is_overdue(lease, ByMode::Return, now) {
            return for_all(returned(), Again::OfMail(None));
        }
        let turn = match &lease.permit {
            Some(Permit::TooLate(answer)) => {
                let rest = self.spool.rests_until(&lease.destination, now);
                let until = rest.unwrap_or_else(|| later(now, self.options.schedule.first));
                if now < self.at_latest(lease) {
                    return Attempt::Untried(until);
                }
                return for_all(Outcome::Deferred((**answer).clone()), Again::At(until));
            }
            Some(Permit::Try(turn)) => Some(turn),
            None => None,
        };
        let error: BoxError = match self.call(lease).await {
            Ok(receipt) if receipt.outcomes.len() == recipients => {
                let again = self.judge(turn, &receipt.outcomes);
                return Attempt::Made(receipt.outcomes, again);
            }
            Ok(receipt) => {
                let given = receipt.outcomes.len();
                format!("{given} outcomes for {recipients} recipients").into()
            }
            Err(error) => error,
        };
        tracing::debug!(id = %lease.mail.id, destination = %lease.destination, %error, "no outcome");
        self.refused(lease, turn, &error)
    }

    /// Tells the destination's pace how it went, and when to try again what is deferred.
    fn judge(&self, turn: Option<&Arc<Turn>>, outcomes: &[Outcome]) -> Again {
        let now = self.spool.clock().now();
        match (showing(outcomes), turn) {
            (Showing::AtFault(answer), Some(turn)) => Again::At(turn.failed(answer, None, now)),
            (Showing::CutShort, Some(turn)) => {
                turn.was_cut_short(now);
                Again::OfMail(None)
            }
            (Showing::Well, Some(turn)) => {
                turn.went_well(now);
                Again::OfMail(None)
            }
            (_, None) => Again::OfMail(None),
        }
    }

    /// The service gave no outcomes.
    fn refused(&self, lease: &Lease, turn: Option<&Arc<Turn>>, error: &BoxError) -> Attempt {
        let now = self.spool.clock().now();
        let refusal = rescue(error);
        let after = refusal.retry_after;
        let recipients = lease.mail.envelope.recipients.len();
        let for_all = |outcome: Outcome, again| Attempt::Made(vec![outcome; recipients], again);
        let outcome = outcome_of(&refusal);
        match (Refusal::of(error).map(|refusal| refusal.kind), turn) {
            (Some(RefusalKind::TooMany), Some(turn)) => {
                let until = later(now, after.unwrap_or(CROWD_WAIT));
                turn.met_a_crowd(until, now);
                if now < self.at_latest(lease) {
                    return Attempt::Untried(until);
                }
                for_all(outcome, Again::At(until))
            }
            (Some(_), Some(turn)) if is_of_destination(&refusal) => {
                let outcome = outcome.unreached();
                let at_least_until = after.map(|after| later(now, after));
                let again = Again::At(turn.failed(outcome.answer(), at_least_until, now));
                for_all(outcome, again)
            }
            _ => for_all(outcome, Again::OfMail(after)),
        }
    }

    /// When something must become of the mail, tried or not.
    fn at_latest(&self, lease: &Lease) -> Timestamp {
        let expires_at = later(lease.mail.origin.received_at, self.options.schedule.expiry);
        lease.deadline.map_or(expires_at, |deadline| deadline.min(expires_at))
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

    fn next_due(&self, lease: &Lease, again: Again, now: Timestamp) -> Option<Timestamp> {
        let accepted_at = lease.mail.origin.received_at;
        let schedule = &self.options.schedule;
        // What was the destination's fault is not held against the mail.
        let attempts = lease.attempts.saturating_sub(lease.unreached).saturating_add(1);
        let due = schedule.next_due(accepted_at, attempts, now, fastrand::f64())?;
        Some(match again {
            Again::OfMail(retry_after) => {
                retry_after.map_or(due, |delay| due.max(later(now, delay)))
            }
            Again::At(until) => until.min(later(accepted_at, schedule.expiry)),
        })
    }

    /// What the mail's sender is to be told, and of whom.
    fn owed(
        &self,
        lease: &mut Lease,
        outcomes: &[Outcome],
        next_due: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<(usize, Owed)> {
        let is_overdue = is_overdue(lease, ByMode::Notify, now);
        lease.deadline_over |= is_overdue;
        let Some(reporter) = &self.options.reporter else { return Vec::new() };
        let is_late = is_overdue || self.is_late(lease, now);
        let mut all = Vec::new();
        for (index, outcome) in outcomes.iter().enumerate() {
            let event = event_of(outcome, next_due);
            if event == Event::Delayed && !is_late {
                continue;
            }
            lease.delay_reported |= event == Event::Delayed;
            let answer = match event {
                Event::Delayed if is_overdue => Cow::Owned(late(outcome.answer())),
                _ => Cow::Borrowed(outcome.answer()),
            };
            if reporter.is_owed(&lease.mail, index, event, &answer) {
                all.push((index, Owed { event, answer: answer.into_owned(), at: now }));
            }
        }
        all
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
            let Ending { outcomes, next_due, follow_ups, owed } = ending.clone();
            let stored = self.spool.settle(lease, outcomes, next_due, follow_ups, owed);
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

/// Whether the time is over that the sender gave the mail, and nothing was done about it yet.
fn is_overdue(lease: &Lease, mode: ByMode, now: Timestamp) -> bool {
    let by = lease.mail.envelope.parameters.deliver_by;
    let over = lease.deadline.is_some_and(|deadline| deadline <= now);
    over && by.is_some_and(|by| by.mode == mode)
}

fn log(lease: &Lease, outcomes: &[Outcome], next_due: Option<Timestamp>, now: Timestamp) {
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
        if matches!(outcome, Outcome::Deferred(_)) && next_due.is_none() {
            let (id, to) = (&lease.mail.id, &recipient.address);
            tracing::info!(%id, %to, status = "expired", reply = %answer.reply, "given up");
        }
    }
}
