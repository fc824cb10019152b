use std::sync::Arc;

use hedwig_envelope::{
    Answer, Class, Mail, MailId, Timestamp,
    dsn::{Action, Report},
};
use hedwig_spool::{Event, Reporter};

use crate::Hostname;

/// Writes the reports to senders that a daemon of this name owes (RFC 3461 §5.2): of failures, and of
/// delays.
///
/// Of success it says nothing: the next server was told what the sender asked for, and answers for it.
#[must_use]
pub fn reporter(hostname: &Hostname) -> Reporter {
    let reporting_mta: Arc<str> = hostname.as_str().into();
    Arc::new(move |mail, event, recipients, now| {
        if event == Event::Failed {
            log_expired(mail, recipients);
        }
        let action = match event {
            Event::Failed => Action::Failed,
            Event::Delayed => Action::Delayed,
            Event::Done => return None,
        };
        report(&reporting_mta, mail, action, recipients, now)
    })
}

/// The attempt itself was logged as deferred; that it was the last one is known only now.
fn log_expired(mail: &Mail, recipients: &[(usize, &Answer)]) {
    for (index, answer) in recipients {
        if answer.status.class == Class::Transient {
            let to =
                mail.envelope.recipients.get(*index).map(|r| tracing::field::display(&r.address));
            tracing::info!(id = %mail.id, to, status = "expired", reply = %answer.reply, "given up");
        }
    }
}

fn report(
    reporting_mta: &str,
    mail: &Mail,
    action: Action,
    recipients: &[(usize, &Answer)],
    now: Timestamp,
) -> Option<Mail> {
    let report = Report { reporting_mta, mail, action, recipients, retry_until: None };
    let written = report.to_mail(MailId::new(now, fastrand::u128(..)), now)?;
    tracing::info!(id = %mail.id, report = %written.id, ?action, "the sender is told");
    Some(written)
}
