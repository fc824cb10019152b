//! What a queue tells of a mail. The field names are those of `GET /v1/messages/{id}`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Address, Diagnosis, MailId, ReversePath, Status};

/// A mail, and how far each of its recipients has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailStatus {
    /// The mail.
    pub id: MailId,
    /// Who sent it; empty for the null sender.
    pub sender: ReversePath,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Its size in bytes.
    pub size: u64,
    /// One for each recipient, in the envelope's order.
    pub recipients: Vec<RecipientStatus>,
}

/// How far one recipient has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// The recipient.
    pub address: Address,
    /// Where it stands.
    pub state: State,
    /// The status of the last attempt.
    pub status: Option<Status>,
    /// When it is tried next; `None` when it is not going to be.
    pub next_due: Option<Timestamp>,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether the report of it to the mail's sender is yet to be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub report_due: bool,
}

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its first attempt.
    Queued,
    /// Is being tried now.
    Delivering,
    /// Was tried, and waits for the next time.
    Deferred,
    /// Waits for an operator, or for the time its sender asked for.
    Held,
    /// Was taken by the next server.
    Delivered,
    /// Was refused for good; its sender has been told, if that could be.
    Failed,
    /// Was given up after the longest time that a mail may wait.
    Expired,
    /// Was removed by an operator; nobody was told.
    Dropped,
}

impl State {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Failed | Self::Expired | Self::Dropped)
    }
}

/// One attempt at one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// The server that answered, if one was reached.
    pub host: Option<String>,
    /// Its address and port.
    pub address: Option<std::net::SocketAddr>,
    /// The address of ours that it was spoken to from; `None` where the system chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<std::net::IpAddr>,
    /// The TLS version and cipher suite; `None` in clear text.
    pub tls: Option<String>,
    /// What was asked of TLS, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_policy: Option<String>,
    /// What it said, or what we say of it.
    pub reply: String,
    /// What that meant.
    pub outcome: Verdict,
    /// What kind of failure it was; `None` of a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnosis: Option<Diagnosis>,
    /// Whether the server may have taken the mail all the same (RFC 1047).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
}

/// An [`Outcome`](crate::Outcome) in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Taken.
    Done,
    /// Not now.
    Deferred,
    /// Never.
    Failed,
}
