use std::{sync::Arc, time::Duration};

use hedwig_envelope::{
    Answer, Handover, Mail, MailId, Timestamp,
    dsn::{Action, Report, Told},
};
use hedwig_spool::{Event, Owed, Reporter};

use crate::Hostname;

/// Writes the reports to senders that a daemon of this name owes (RFC 3461 §5.2), which gives mails up
/// when they have waited for `expiry`: of failures, of delays, and of success where nobody else reports it.
#[must_use]
pub fn reporter(hostname: &Hostname, expiry: Duration) -> Arc<dyn Reporter> {
    Arc::new(StatusReporter { reporting_mta: hostname.as_str().into(), expiry })
}

struct StatusReporter {
    reporting_mta: Arc<str>,
    expiry: Duration,
}

impl Reporter for StatusReporter {
    fn is_owed(&self, mail: &Mail, recipient: usize, event: Event, answer: &Answer) -> bool {
        told(mail, event, recipient, answer).is_some_and(|told| told.is_due(mail))
    }

    fn write(
        &self,
        mail: &Mail,
        event: Event,
        recipients: &[(usize, Owed)],
        now: Timestamp,
    ) -> Option<Mail> {
        let told = recipients.iter().filter_map(|(recipient, owed)| {
            let told = told(mail, event, *recipient, &owed.answer)?;
            Some(Told { tried_at: Some(owed.at), ..told })
        });
        let told: Vec<_> = told.collect();
        let retry_until = mail.origin.received_at.checked_add(self.expiry).ok();
        let reporting_mta = &*self.reporting_mta;
        let report = Report { reporting_mta, mail, recipients: &told, retry_until };
        let written = report.to_mail(MailId::new(now, fastrand::u128(..)), now)?;
        tracing::info!(id = %mail.id, report = %written.id, ?event, "the sender is told");
        Some(written)
    }
}

/// What there is to tell of one recipient, if its sender wants to know.
fn told<'a>(mail: &Mail, event: Event, index: usize, answer: &'a Answer) -> Option<Told<'a>> {
    let action = match event {
        Event::Failed => Action::Failed,
        Event::Delayed => Action::Delayed,
        Event::Done => return told_of_success(mail, index, answer),
    };
    Some(Told::new(index, action, answer))
}

fn told_of_success<'a>(mail: &Mail, index: usize, answer: &'a Answer) -> Option<Told<'a>> {
    // RFC 2852 §4: with the trace flag every relay tells that it passed the mail on.
    let deliver_by = mail.envelope.parameters.deliver_by;
    let is_traced = deliver_by.is_some_and(|by| by.trace) && answer.handover != Handover::Internal;
    match Action::of_handover(answer.handover) {
        Some(action) => Some(Told { unasked: is_traced, ..Told::new(index, action, answer) }),
        None if is_traced => {
            Some(Told { unasked: true, ..Told::new(index, Action::Relayed, answer) })
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Content, Envelope, Origin, Outcome, Recipient, Reply};

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    /// The action that the sender of a mail is told of, one that asked for this with RCPT and MAIL.
    fn action(
        notify: Option<&str>,
        by: Option<&str>,
        event: Event,
        how: Handover,
    ) -> Option<String> {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let address: hedwig_envelope::Address = "bob@example.net".parse().unwrap();
        let notify = notify.map(|notify| notify.parse().unwrap());
        let recipient = Recipient { notify, ..Recipient::from(address.clone()) };
        let mut envelope = Envelope::new(address, [recipient]);
        envelope.parameters.deliver_by = by.map(|by| by.parse().unwrap());
        let mail = Mail {
            id: MailId::new(now, 1),
            envelope,
            content: Content::from("Subject: hi\r\n\r\nHi\r\n"),
            origin: Origin::local(now),
        };
        let outcome = Outcome::of_reply(Reply::new(250, None, "Taken"), None).handed_over(how);
        let hostname: Hostname = "mail.example.org".parse().unwrap();
        let reporter = reporter(&hostname, DAY);
        let is_owed = reporter.is_owed(&mail, 0, event, outcome.answer());
        let owed = Owed { event, answer: outcome.answer().clone(), at: now };
        let report = reporter.write(&mail, event, &[(0, owed)], now);
        assert_eq!(is_owed, report.is_some(), "what is owed is what is written");
        let report = report?;
        let text = String::from_utf8(report.content.to_bytes().to_vec()).unwrap();
        let action = text.lines().find_map(|line| line.strip_prefix("Action: "))?;
        Some(action.to_owned())
    }

    #[test]
    fn success_is_told_where_nobody_else_tells_it_and_only_to_those_who_asked() {
        for (how, told) in [
            (Handover::Internal, None),
            (Handover::TakenOver, None),
            (Handover::Relayed, Some("relayed")),
            (Handover::Delivered, Some("delivered")),
        ] {
            let action = |notify| action(notify, None, Event::Done, how);
            assert_eq!(action(Some("SUCCESS")).as_deref(), told, "{how:?}");
            assert_eq!(action(None), None, "{how:?}");
            assert_eq!(action(Some("FAILURE,DELAY")), None, "{how:?}");
        }
    }

    #[test]
    fn a_trace_tells_of_every_relay_but_not_of_the_way_between_our_halves() {
        for (how, told) in [
            (Handover::Internal, None),
            (Handover::TakenOver, Some("relayed")),
            (Handover::Relayed, Some("relayed")),
            (Handover::Delivered, Some("delivered")),
        ] {
            let action = |notify| action(notify, Some("600;RT"), Event::Done, how);
            assert_eq!(action(None).as_deref(), told, "{how:?}");
            assert_eq!(action(Some("NEVER")), None, "{how:?}");
        }
    }

    #[test]
    fn failures_and_delays_are_told_unless_they_are_not_asked_for() {
        for (event, told, other) in
            [(Event::Failed, "failed", "DELAY"), (Event::Delayed, "delayed", "FAILURE")]
        {
            let action = |notify| action(notify, None, event, Handover::Internal);
            assert_eq!(action(None).as_deref(), Some(told));
            assert_eq!(action(Some("NEVER")), None);
            assert_eq!(action(Some(other)), None);
        }
    }
}
