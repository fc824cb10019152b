//! Replies on the wire (RFC 5321 §4.2, RFC 2034).

use bytes::BytesMut;
use hedwig_envelope::Reply;

/// Reads a server's replies. Bounded in lines and bytes; whoever exceeds them breaks the protocol.
#[derive(Debug, Default)]
pub struct ReplyReader {
    _private: (),
}

impl ReplyReader {
    /// Takes the next whole reply from the front of `input`; `None` when more must come.
    ///
    /// # Errors
    /// When what came is no reply. Nothing after it can be trusted.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        let _ = input;
        todo!()
    }
}

/// Why what a server sent is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A line does not begin with a code from 200 to 599 and a space or a hyphen.
    #[error("the server sent {0:?}, which is no reply")]
    Malformed(String),
    /// The lines of one reply have different codes.
    #[error("the server began a reply with {first} and went on with {then}")]
    MixedCodes {
        /// The first line's code.
        first: u16,
        /// A later line's code.
        then: u16,
    },
    /// A line, or the whole reply, is longer than is borne.
    #[error("the server sent a reply that is too long")]
    TooLong,
}

/// Appends a reply with its CRLFs, the status on each line (RFC 2034 §4).
pub fn write(reply: &Reply, out: &mut BytesMut) {
    let _ = (reply, out);
    todo!()
}
