use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{Class, Conversation, MailId, Reply, Status};

/// What became of a mail: one [`Outcome`] for each recipient, in the envelope's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The name under which the mail was taken: its own, unless an earlier mail with its
    /// [idempotency key](crate::IdempotencyKey) stands for it.
    pub id: MailId,
    /// One for each recipient.
    pub outcomes: Vec<Outcome>,
}

impl Receipt {
    /// The same outcome for all of so many recipients.
    #[must_use]
    pub fn uniform(id: MailId, recipients: usize, outcome: Outcome) -> Self {
        Self { id, outcomes: vec![outcome; recipients] }
    }

    /// Whether every recipient is done with.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_)))
    }
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Taken. Whoever answered is responsible now.
    Done(Answer),
    /// Not taken; it may be, later.
    Deferred(Answer),
    /// Not taken, and it will not be.
    Failed(Answer),
}

impl Outcome {
    /// The outcome that a final reply of a server means: 2yz, 4yz or 5yz. Anything else is a server
    /// that breaks the protocol, which may be mended: deferred.
    #[must_use]
    pub fn of_reply(reply: Reply, relay: Option<Relay>) -> Self {
        let class = Class::of_reply(reply.code()).unwrap_or(Class::Transient);
        let status = reply.status().filter(|status| status.class == class);
        let status = status.unwrap_or(Status { class, subject: 0, detail: 0 });
        let answer = Answer::new(status, reply, relay);
        match class {
            Class::Success => Self::Done(answer),
            Class::Transient => Self::Deferred(answer),
            Class::Permanent => Self::Failed(answer),
        }
    }

    /// Whose word it is, and what it says.
    #[must_use]
    pub fn answer(&self) -> &Answer {
        match self {
            Self::Done(answer) | Self::Deferred(answer) | Self::Failed(answer) => answer,
        }
    }

    /// The same outcome; if it is a deferral, the destination is at fault and not the mail.
    #[must_use]
    pub fn unreached(mut self) -> Self {
        if let Self::Deferred(answer) = &mut self {
            answer.unreached = true;
        }
        self
    }

    /// The same outcome; it was said of this recipient alone.
    #[must_use]
    pub fn personal(mut self) -> Self {
        let (Self::Done(answer) | Self::Deferred(answer) | Self::Failed(answer)) = &mut self;
        answer.personal = true;
        self
    }

    /// The same outcome, with what was said in the attempt.
    #[must_use]
    pub fn recorded(mut self, conversation: Arc<Conversation>) -> Self {
        let (Self::Done(answer) | Self::Deferred(answer) | Self::Failed(answer)) = &mut self;
        answer.conversation = Some(conversation);
        self
    }

    /// The same outcome; if it is a success, the mail was handed over like this.
    #[must_use]
    pub fn handed_over(mut self, handover: Handover) -> Self {
        if let Self::Done(answer) = &mut self {
            answer.handover = handover;
        }
        self
    }
}

/// The word on which an [`Outcome`] rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The status (RFC 3463); when the server gave none, its class and `.0.0`.
    pub status: Status,
    /// What was said.
    pub reply: Reply,
    /// Which server said it; `None` when it is our own word (no such domain, no connection).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,
    /// Whether the content was sent whole and no reply came, so that the server may have taken it
    /// (RFC 1047).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
    /// Of a deferral: whether the destination is at fault, so that any other mail would fare the same. No
    /// server of it could be reached, or it would not talk with us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unreached: bool,
    /// Whether it was said of this recipient alone: in reply to its RCPT or, in LMTP, to the content for it. What is
    /// said of a mail as a whole proves nothing of one of its recipients. It does not travel with the answer: it
    /// counts where the mail was sent.
    #[serde(skip)]
    pub personal: bool,
    /// Of success: who reports it to a sender that asked for that.
    #[serde(default, skip_serializing_if = "Handover::is_internal")]
    pub handover: Handover,
    /// What was said in the attempt, if somebody recorded it. It does not travel with the answer: who keeps
    /// attempts keeps it beside them.
    #[serde(skip)]
    pub conversation: Option<Arc<Conversation>>,
}

impl Answer {
    /// A word that was said plainly, with nothing more to know of it.
    #[must_use]
    pub fn new(status: Status, reply: Reply, relay: Option<Relay>) -> Self {
        Self {
            status,
            reply,
            relay,
            ambiguous: false,
            unreached: false,
            personal: false,
            handover: Handover::default(),
            conversation: None,
        }
    }
}

/// Where a mail is that was taken, and with whom the duty to report success (RFC 3461 §5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// It has not left yet (the other half of Hedwig has it), or goes nowhere: there is nothing to report.
    #[default]
    Internal,
    /// With a server that was told what the sender asked for, and reports what becomes of the mail.
    TakenOver,
    /// With a server that makes no such reports.
    Relayed,
    /// In the recipient's mailbox.
    Delivered,
}

impl Handover {
    fn is_internal(&self) -> bool {
        *self == Self::Internal
    }
}

/// A server that a mail was given or offered to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Its name, as it was looked up.
    pub host: String,
    /// The address and port that were spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The address of ours that it was spoken to from; `None` where the system chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The TLS version and cipher suite; `None` in clear text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What was asked of TLS and by whom, in words; `None` where nobody decides on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_policy: Option<String>,
}

impl Relay {
    /// A server of which nothing but the name is known.
    #[must_use]
    pub fn of(host: impl Into<String>) -> Self {
        Self { host: host.into(), address: None, source: None, tls: None, tls_policy: None }
    }
}
