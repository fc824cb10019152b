//! The body of an answer 202, and what of it stands in problems.

use hedwig_envelope::{Class, MailId, Outcome, Reply, State, Status};
use serde::{Deserialize, Serialize};

use crate::text::printable;

/// The body of an answer 202: `{"messages":[..]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedMails {
    /// One for each mail of the request, in its order.
    pub messages: Vec<AcceptedMail>,
}

/// What became of one mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedMail {
    /// The name under which it is kept, and under which its state can be asked for.
    pub id: MailId,
    /// One for each recipient, in the envelope's order.
    pub recipients: Vec<AcceptedRecipient>,
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRecipient {
    /// The mailbox, without angle brackets.
    pub address: String,
    /// `queued` when it was taken; `failed` or `deferred` when it was not.
    pub state: State,
    /// The status (RFC 3463) of one that was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// The SMTP reply to one that was not taken: code, status and text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

impl AcceptedRecipient {
    /// What is told of a recipient with this outcome.
    #[must_use]
    pub fn new(address: &hedwig_envelope::Address, outcome: &Outcome) -> Self {
        let (state, told) = match outcome {
            Outcome::Done(_) => (State::Queued, None),
            Outcome::Deferred(answer) => (State::Deferred, Some(answer)),
            Outcome::Failed(answer) => (State::Failed, Some(answer)),
        };
        Self {
            address: address.as_str().to_owned(),
            state,
            status: told.map(|answer| answer.status),
            reply: told.map(|answer| printable(&answer.reply.to_string(), REPLY_BYTES_MAX)),
        }
    }
}

/// The longest reply sent and taken, in bytes. RFC 5321 §4.5.3.1.5 allows 512 in a line.
pub(crate) const REPLY_BYTES_MAX: usize = 512;

/// Reads a reply as [`Reply`]'s `Display` writes it; `None` unless it is one of this class.
pub(crate) fn read_reply(text: &str, class: Class) -> Option<Reply> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let code = code.parse().ok().filter(|_| code.len() == 3)?;
    if Class::of_reply(code) != Some(class) {
        return None;
    }
    let first = rest.split(' ').next().unwrap_or(rest);
    let status = first.parse::<Status>().ok();
    let words = if status.is_some() { rest[first.len()..].trim_start() } else { rest };
    let status = status.filter(|status| status.class == class);
    Some(Reply::new(code, status, printable(words, REPLY_BYTES_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_survives_the_hop() {
        for reply in [
            Reply::with_status(550, Status::permanent(1, 1), "No such user"),
            Reply::new(554, None, "Go away"),
            Reply::new(554, None, ""),
        ] {
            assert_eq!(read_reply(&reply.to_string(), Class::Permanent), Some(reply));
        }
    }

    #[test]
    fn what_is_no_reply_of_the_class_is_not_taken() {
        for text in
            ["", "250 2.0.0 Ok", "5500 x", "+55 x", "999", "abc", "-50 x", "55", "\u{661}50"]
        {
            assert_eq!(read_reply(text, Class::Permanent), None, "{text}");
        }
    }
}
