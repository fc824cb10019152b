//! What an explanation consists of. The field names are those of its JSON.

use hedwig_envelope::{
    Address, Attempt, Conversation, MailId, ReversePath, State, Status, Timestamp,
};
use hedwig_mx::{Explanation, dkim::SigningKey};
use hedwig_spool::{DestinationState, Suppression, Waits};
use serde::Serialize;

/// Why a mail waits, or how one would go.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) at: Timestamp,
    /// Whether the daemon answers, which alone knows how its destinations fare.
    pub(crate) daemon_runs: bool,
    /// The mail, if it is about one.
    pub(crate) mail: Option<MailPart>,
    pub(crate) signatures: Signatures,
    pub(crate) limits: Limits,
    pub(crate) ways: Vec<Way>,
    /// How many destinations of the mail are not in `ways`.
    pub(crate) ways_left_out: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct MailPart {
    pub(crate) id: MailId,
    pub(crate) sender: ReversePath,
    pub(crate) created_at: Timestamp,
    pub(crate) size: u64,
    /// REQUIRETLS (RFC 8689).
    pub(crate) require_tls: bool,
    /// MT-PRIORITY (RFC 6710).
    pub(crate) priority: i8,
}

/// Who signs.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Signatures {
    /// The domain of the author; `None` when nobody is known.
    pub(crate) domain: Option<String>,
    /// Whether the author is read from the mail's From field, and not taken from its envelope or `--from`.
    pub(crate) of_header: bool,
    pub(crate) keys: Vec<Key>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Key {
    pub(crate) domain: String,
    pub(crate) selector: String,
    pub(crate) algorithm: &'static str,
}

impl Key {
    pub(crate) fn of(key: &SigningKey) -> Self {
        let (domain, selector) = (key.domain().to_owned(), key.selector().to_owned());
        Self { domain, selector, algorithm: key.algorithm() }
    }
}

/// What is in force for every mail.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Limits {
    /// The largest mail taken, in bytes.
    pub(crate) size_max: usize,
    pub(crate) expiry_seconds: u64,
    pub(crate) concurrency: usize,
    /// How much memory the contents of what is under way take at most, in bytes.
    pub(crate) content_memory: u64,
    pub(crate) per_destination: usize,
    pub(crate) per_sender: Option<usize>,
    /// Of the mail's sender, where they are counted.
    pub(crate) sender_under_way: Option<usize>,
}

/// The recipients at one destination, and how their mail goes.
#[derive(Debug, Serialize)]
pub(crate) struct Way {
    pub(crate) recipients: Vec<RecipientPart>,
    /// Of a mail: what it waits for.
    pub(crate) waits_for: Option<Waits>,
    /// The same in a sentence.
    pub(crate) why: String,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) attempts: u32,
    /// How many of these failed because no server of the destination was reached.
    pub(crate) unreached: u32,
    pub(crate) destination: DestinationState,
    /// `None` when nothing goes there any more.
    pub(crate) road: Option<Explanation>,
    pub(crate) tries: Vec<Try>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RecipientPart {
    pub(crate) address: Address,
    pub(crate) state: Option<State>,
    pub(crate) status: Option<Status>,
    /// Why nobody is asked for this recipient, if that is so.
    pub(crate) suppression: Option<Suppression>,
}

/// An attempt, and what was said in it.
#[derive(Debug, Serialize)]
pub(crate) struct Try {
    /// What each recipient got; equal ones once.
    pub(crate) answers: Vec<Attempt>,
    pub(crate) at: Timestamp,
    /// `None` when it went well, or is not kept any more.
    pub(crate) conversation: Option<Conversation>,
}
