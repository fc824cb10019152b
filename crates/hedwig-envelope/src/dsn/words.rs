//! The part of a report that a person reads.

use std::fmt::{self, Write};

use super::{Action, Line, Report, Told, said};
use crate::{Answer, Diagnosis, trace::Date};

/// What stands in the `Subject` field: of several, what is worst.
pub(super) fn subject(told: &[Line<'_>]) -> &'static str {
    match told.first().map(|(_, told)| told.action) {
        Some(Action::Failed) | None => "Undelivered mail returned to sender",
        Some(Action::Delayed) => "Delayed mail, still being tried",
        Some(Action::Relayed) => "Mail passed on",
        Some(Action::Delivered) => "Mail delivered",
    }
}

impl Report<'_> {
    pub(super) fn write_words(&self, out: &mut String, told: &[Line<'_>]) -> fmt::Result {
        write!(out, "This is {}, a mail server.\r\n", self.reporting_mta)?;
        for group in told.chunk_by(|(_, a), (_, b)| a.action == b.action) {
            let Some((_, Told { action, .. })) = group.first() else { continue };
            out.push_str("\r\n");
            self.write_explanation(out, *action)?;
            for (recipient, told) in group {
                write!(out, "\r\n<{}>\r\n", recipient.address)?;
                write_reason(out, told.answer)?;
            }
        }
        Ok(())
    }

    fn write_explanation(&self, out: &mut String, action: Action) -> fmt::Result {
        out.push_str(match action {
            Action::Failed => {
                "Your mail could not be delivered to the recipients below, and will not be tried \
                 again.\r\n"
            }
            Action::Delayed => {
                "Your mail has not been delivered to the recipients below yet.\r\n\
                 Nothing needs to be done: delivery is still being tried.\r\n"
            }
            Action::Delivered => "Your mail was delivered to the recipients below.\r\n",
            Action::Relayed => {
                "Your mail was given to the servers of the recipients below.\r\n\
                 These servers do not say whether it reached the mailbox.\r\n"
            }
        });
        match (action, self.retry_until) {
            (Action::Delayed, Some(until)) => {
                write!(out, "It is given up if that has not helped by {}.\r\n", Date(until))
            }
            _ => Ok(()),
        }
    }
}

/// What happened, who can mend it and how, and the word that this rests on.
fn write_reason(out: &mut String, answer: &Answer) -> fmt::Result {
    if let Some(diagnosis) = Diagnosis::of(answer) {
        write!(out, "    {}\r\n", diagnosis.words())?;
        write!(out, "    Who can mend it: {}.\r\n", diagnosis.blame().words())?;
        write!(out, "    What to do: {}\r\n", diagnosis.advice())?;
    }
    match &answer.relay {
        Some(relay) => {
            let host = relay.host.as_str();
            let address = relay.address.map(|a| format!(" [{}]", a.ip())).unwrap_or_default();
            write!(out, "    The word of {host}{address}: {}\r\n", said(answer))
        }
        None => write!(out, "    In this server's words: {}\r\n", said(answer)),
    }
}
