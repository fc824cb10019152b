//! Mails in one piece of `application/batch-smtp` (RFC 2442): the client's side of an ESMTP session.

use bytes::Bytes;
use hedwig_envelope::{Content, Envelope, IdempotencyKey, Reply};

/// A mail in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMail {
    /// The key under which the sender may send it again. Travels as the MAIL parameter `XKEY`.
    pub key: Option<IdempotencyKey>,
    /// Who sends to whom.
    pub envelope: Envelope,
    /// Header and body.
    pub content: Content,
}

/// What a batch may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most mails.
    pub mails_max: usize,
    /// The most recipients of one mail.
    pub recipients_max: usize,
    /// The largest content, in bytes.
    pub content_bytes_max: u64,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { mails_max: 1000, recipients_max: 1000, content_bytes_max: 50 * 1024 * 1024 }
    }
}

/// The pieces of a batch, in order. Contents are not copied.
#[must_use]
pub fn encode(mails: &[BatchMail]) -> Vec<Bytes> {
    let _ = mails;
    todo!()
}

/// Reads a batch. Contents are slices of it.
///
/// # Errors
/// Where and why it cannot be read; none of its mails should be taken then.
pub fn decode(batch: Bytes, limits: &BatchLimits) -> Result<Vec<BatchMail>, BatchError> {
    let _ = (batch, limits);
    todo!()
}

/// Why a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {position}: {reply}")]
pub struct BatchError {
    /// Where the command at fault begins, in bytes from the start.
    pub position: usize,
    /// What a server would have said to it.
    pub reply: Reply,
}
