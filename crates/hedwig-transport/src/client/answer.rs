//! From a postoffice's answer to receipts. Whatever it says, it is checked first.

use std::{borrow::Cow, fmt::Display, time::Duration};

use hedwig_envelope::{
    BoxError, Class, MailId, Outcome, Receipt, Refusal, RefusalKind, Relay, Reply, State, Status,
};
use hedwig_smtp::batch::BatchMail;
use http::StatusCode;
use serde_json::Value;

use super::endpoint::EndpointAnswer;
use crate::{
    AcceptedMail, AcceptedMails, AcceptedRecipient,
    text::printable,
    wire::{REPLY_BYTES_MAX, read_reply},
};

/// Why no mail of a request was taken, as far as is known.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The request was refused for good.
    Refused(Box<Outcome>),
    /// Nothing was sent: its mails must go to different postoffices.
    Separate,
    /// Another request with one of its keys is still under way there.
    KeyInUse(Refusal),
    /// Not now, a postoffice says.
    Unavailable(Refusal),
    /// No postoffice says anything.
    Unreachable(Refusal),
}

impl Failure {
    pub(super) fn unavailable(host: &str, what: impl Display) -> Self {
        Self::Unavailable(refusal(host, what))
    }

    pub(super) fn unreachable(host: &str, what: impl Display) -> Self {
        Self::Unreachable(refusal(host, what))
    }

    pub(super) fn key_in_use(host: &str, what: impl Display) -> Self {
        Self::KeyInUse(refusal(host, what))
    }

    pub(super) fn retry_after(mut self, delay: Option<Duration>) -> Self {
        if let Self::Unavailable(refusal) | Self::Unreachable(refusal) | Self::KeyInUse(refusal) =
            &mut self
        {
            refusal.retry_after = delay;
        }
        self
    }

    /// Whether the others of a batch may fare better without one of them.
    pub(super) fn may_be_of_one_mail(&self) -> bool {
        !matches!(self, Self::Unavailable(_) | Self::Unreachable(_))
    }

    /// What it means to the caller with a mail of this id and so many recipients.
    pub(super) fn result(&self, id: MailId, recipients: usize) -> Result<Receipt, BoxError> {
        match self {
            Self::Refused(outcome) => {
                Ok(Receipt::uniform(id, recipients, outcome.as_ref().clone()))
            }
            // One mail alone is never to be separated.
            Self::Separate => Err("a mail that must go to different postoffices".into()),
            Self::KeyInUse(refusal) | Self::Unavailable(refusal) | Self::Unreachable(refusal) => {
                Err(refusal.clone().into())
            }
        }
    }
}

fn refusal(host: &str, what: impl Display) -> Refusal {
    let text = printable(&format!("postoffice {host}: {what}"), REPLY_BYTES_MAX);
    Refusal::new(RefusalKind::Unavailable, text)
}

/// The receipts in an answer 202; `None` unless it speaks of these mails and their recipients.
pub(super) fn receipts(answer: &EndpointAnswer, mails: &[BatchMail]) -> Option<Vec<Receipt>> {
    let accepted: AcceptedMails = serde_json::from_slice(&answer.body).ok()?;
    read_messages(accepted.messages, mails, &answer.relay)
}

fn read_messages(
    messages: Vec<AcceptedMail>,
    mails: &[BatchMail],
    relay: &Relay,
) -> Option<Vec<Receipt>> {
    if messages.len() != mails.len() {
        return None;
    }
    let read = |(told, mail): (AcceptedMail, &BatchMail)| {
        let complete = told.recipients.len() == mail.envelope.recipients.len();
        complete.then(|| read_receipt(&told, relay))
    };
    messages.into_iter().zip(mails).map(read).collect()
}

fn read_receipt(told: &AcceptedMail, relay: &Relay) -> Receipt {
    let outcome = |recipient: &AcceptedRecipient| {
        let class = match recipient.state {
            State::Queued | State::Delivering | State::Held | State::Delivered => Class::Success,
            State::Deferred => Class::Transient,
            State::Failed | State::Expired | State::Dropped => Class::Permanent,
        };
        let reply = recipient.reply.as_deref().and_then(|reply| read_reply(reply, class));
        let reply = reply.unwrap_or_else(|| reply_of(class, told.id));
        Outcome::of_reply(reply, Some(relay.clone()))
    };
    Receipt { id: told.id, outcomes: told.recipients.iter().map(outcome).collect() }
}

fn reply_of(class: Class, id: MailId) -> Reply {
    match class {
        Class::Success => Reply::with_status(250, Status::OK, format!("Ok: queued as {id}")),
        Class::Transient => {
            Reply::with_status(451, Status::transient(0, 0), "Deferred by the postoffice")
        }
        Class::Permanent => {
            Reply::with_status(554, Status::permanent(0, 0), "Refused by the postoffice")
        }
    }
}

/// What an answer 4xx that is final means: an outcome for each recipient where it has them, else one for
/// all.
pub(super) fn refused(
    answer: &EndpointAnswer,
    mails: &[BatchMail],
) -> Result<Vec<Receipt>, Failure> {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let messages = problem.get("messages").cloned();
    let messages = messages.and_then(|m| serde_json::from_value::<Vec<AcceptedMail>>(m).ok());
    if let Some(receipts) = messages.and_then(|m| read_messages(m, mails, &answer.relay)) {
        return Ok(receipts);
    }
    let reply = problem.get("reply").and_then(Value::as_str);
    let reply = reply.and_then(|reply| read_reply(reply, Class::Permanent));
    let reply = reply.unwrap_or_else(|| {
        let (code, status) = match answer.status {
            StatusCode::PAYLOAD_TOO_LARGE => (552, Status::permanent(3, 4)),
            _ => (554, Status::permanent(0, 0)),
        };
        Reply::with_status(code, status, describe(answer))
    });
    let outcome = Outcome::of_reply(reply, Some(answer.relay.clone()));
    Err(Failure::Refused(Box::new(outcome)))
}

/// What an answer says of itself, on one line.
pub(super) fn describe(answer: &EndpointAnswer) -> String {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let member = |name| problem.get(name).and_then(Value::as_str).map(Cow::from);
    let detail = member("detail").or_else(|| member("title")).unwrap_or("no reason given".into());
    printable(&format!("HTTP {}: {detail}", answer.status.as_u16()), REPLY_BYTES_MAX)
}
