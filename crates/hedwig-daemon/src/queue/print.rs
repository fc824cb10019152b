//! How the queue looks on a terminal. What came from outside was cleaned of control characters where
//! it entered: addresses, replies and host names are values that cannot hold any.

use std::io::{self, Write};

use hedwig_envelope::{MailStatus, RecipientStatus, Timestamp, Verdict};

use super::{Choice, state_name};
use crate::settings::{Size, Span};

/// One mail as a JSON object in a line of its own.
pub(super) fn json(out: &mut impl Write, mail: &MailStatus) -> io::Result<()> {
    serde_json::to_writer(&mut *out, mail)?;
    writeln!(out)
}

/// The line above a list.
pub(super) fn list_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:26} {:>6} {:>7} {:10} {:>7}  SENDER -> RECIPIENT",
        "ID", "AGE", "SIZE", "STATE", "NEXT"
    )
}

/// The recipients of a mail that the choice means, a line each, and below it why one waits.
pub(super) fn list_mail(
    out: &mut impl Write,
    mail: &MailStatus,
    choice: &Choice,
    now: Timestamp,
) -> io::Result<()> {
    for recipient in mail.recipients.iter().filter(|recipient| is_meant(recipient, choice)) {
        writeln!(
            out,
            "{} {:>6} {:>7} {:10} {:>7}  <{}> -> <{}>",
            mail.id,
            since(mail.created_at, now),
            Size(mail.size),
            state_name(recipient.state),
            until(recipient.next_due, now),
            mail.sender,
            recipient.address,
        )?;
        if let Some(attempt) = recipient.attempts.last() {
            let host = attempt.host.as_deref().map_or_else(String::new, |host| format!("{host}: "));
            writeln!(out, "{:26} ({host}{})", "", attempt.reply)?;
        }
    }
    Ok(())
}

/// Everything that is known of a mail.
pub(super) fn show(out: &mut impl Write, mail: &MailStatus, now: Timestamp) -> io::Result<()> {
    writeln!(out, "id:       {}", mail.id)?;
    writeln!(out, "sender:   <{}>", mail.sender)?;
    writeln!(out, "accepted: {:.0} ({} ago)", mail.created_at, since(mail.created_at, now))?;
    writeln!(out, "size:     {} bytes", mail.size)?;
    for recipient in &mail.recipients {
        writeln!(out, "recipient: <{}>", recipient.address)?;
        let status = recipient.status.map_or_else(String::new, |status| format!(", {status}"));
        writeln!(out, "    state:    {}{status}", state_name(recipient.state))?;
        if let Some(due) = recipient.next_due {
            writeln!(out, "    next due: {due:.0} (in {})", until(Some(due), now))?;
        }
        if recipient.report_due {
            writeln!(out, "    report:   the sender is yet to be told")?;
        }
        for attempt in &recipient.attempts {
            show_attempt(out, attempt)?;
        }
    }
    writeln!(out)
}

fn show_attempt(out: &mut impl Write, attempt: &hedwig_envelope::Attempt) -> io::Result<()> {
    let outcome = match attempt.outcome {
        Verdict::Done => "done",
        Verdict::Deferred => "deferred",
        Verdict::Failed => "failed",
    };
    let ambiguous = if attempt.ambiguous { ", perhaps taken all the same" } else { "" };
    writeln!(out, "    {:.0} {outcome}{ambiguous}", attempt.at)?;
    if let Some(host) = &attempt.host {
        let address = attempt.address.map_or_else(String::new, |address| format!(" [{address}]"));
        let tls = attempt.tls.as_deref().unwrap_or("clear text");
        let policy = attempt.tls_policy.as_deref();
        let policy = policy.map_or_else(String::new, |policy| format!(" ({policy})"));
        let source = attempt.source.map_or_else(String::new, |source| format!(", from {source}"));
        writeln!(out, "        {host}{address}{source}, {tls}{policy}")?;
    }
    writeln!(out, "        {}", attempt.reply)?;
    match attempt.diagnosis {
        None => Ok(()),
        Some(found) => {
            let (kind, what, whose) = (found.name(), found.words(), found.blame().name());
            writeln!(out, "        {kind}: {what} To be mended by: {whose}")
        }
    }
}

/// Whether a line of the list is for this recipient: a mail may have others.
fn is_meant(recipient: &RecipientStatus, choice: &Choice) -> bool {
    let domain = choice.domain.as_deref();
    let shown = choice.all || !choice.ids.is_empty() || !recipient.state.is_final();
    choice.state.map_or(shown, |state| recipient.state == state)
        && domain.is_none_or(|domain| recipient.address.domain_text() == Some(domain))
}

fn since(then: Timestamp, now: Timestamp) -> Span {
    Span(now.duration_since(then).try_into().unwrap_or_default())
}

fn until(due: Option<Timestamp>, now: Timestamp) -> String {
    match due {
        None => "-".to_owned(),
        Some(due) if due <= now => "now".to_owned(),
        Some(due) => since(now, due).to_string(),
    }
}
