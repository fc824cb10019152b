//! What senders are told of their recipients, and who writes it.

use std::sync::Arc;

use hedwig_envelope::{Answer, Mail, Timestamp};
use serde::{Deserialize, Serialize};

/// What has happened to the recipients of a mail that its sender may have to be told of (the `Action`
/// field of RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Refused for good, or given up.
    Failed,
    /// Still waiting, for longer than [`CourierOptions::delay_warning`](crate::CourierOptions::delay_warning).
    Delayed,
    /// Taken by the next server.
    Done,
}

/// What a mail's sender is to be told of a recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// What happened.
    pub event: Event,
    /// On whose word.
    pub answer: Answer,
    /// When the attempt ended that it came of.
    pub at: Timestamp,
}

/// Writes the reports to the senders of mails. A function that writes is one that owes everything.
pub trait Reporter: Send + Sync {
    /// Whether a mail's sender is to be told this of a recipient, who is named by its place in that mail's
    /// envelope. Only what is owed is kept until it is told.
    fn is_owed(&self, mail: &Mail, recipient: usize, event: Event, answer: &Answer) -> bool;

    /// Writes the report of one event: to which recipients it happened, by their places in the mail's envelope.
    /// `None` when there is nothing to tell after all.
    fn write(
        &self,
        mail: &Mail,
        event: Event,
        recipients: &[(usize, Owed)],
        now: Timestamp,
    ) -> Option<Mail>;
}

impl<F> Reporter for F
where
    F: Fn(&Mail, Event, &[(usize, Owed)], Timestamp) -> Option<Mail> + Send + Sync,
{
    fn is_owed(&self, _: &Mail, _: usize, _: Event, _: &Answer) -> bool {
        true
    }

    fn write(
        &self,
        mail: &Mail,
        event: Event,
        recipients: &[(usize, Owed)],
        now: Timestamp,
    ) -> Option<Mail> {
        self(mail, event, recipients, now)
    }
}

/// The reports of all that is owed: one for each event.
pub(crate) fn write_reports(
    reporter: Option<&Arc<dyn Reporter>>,
    mail: &Mail,
    owed: &[(usize, Owed)],
    now: Timestamp,
) -> Vec<Mail> {
    let Some(reporter) = reporter else { return Vec::new() };
    let written = [Event::Done, Event::Failed, Event::Delayed].into_iter().filter_map(|event| {
        let concerned: Vec<_> =
            owed.iter().filter(|(_, owed)| owed.event == event).cloned().collect();
        if concerned.is_empty() { None } else { reporter.write(mail, event, &concerned, now) }
    });
    written.collect()
}
