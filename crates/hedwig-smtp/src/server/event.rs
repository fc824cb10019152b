use std::sync::Arc;

use bytes::Bytes;
use hedwig_envelope::Envelope;

use crate::{Question, sasl::Claim};

/// What the server's side has to ask or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Awaits [`Session::reply`](super::Session::reply). A success lets the client go on.
    Question(Question),
    /// A whole mail. Awaits [`Session::reply`](super::Session::reply), or in LMTP [`Session::reply_each`](super::Session::reply_each); a success says that
    /// the mail is safe (RFC 5321 §6.1).
    Mail {
        /// Its envelope.
        envelope: Arc<Envelope>,
        /// Its content, without dot-stuffing.
        content: Bytes,
    },
    /// The client says who it is (RFC 4954). Awaits [`Session::judge`](super::Session::judge).
    Authenticate(Claim),
    /// Write what is to be sent, shake hands as a TLS server, and call [`Session::tls_started`](super::Session::tls_started).
    StartTls,
    /// Write what is to be sent, and close the connection.
    Closed(CloseReason),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said QUIT.
    Quit,
    /// The policy did not want the client.
    Refused,
    /// The client was silent too long, or the connection lasted too long.
    TimedOut,
    /// The client made too many errors, or wasted too many commands.
    Misbehaved,
    /// [`Session::shut_down`](super::Session::shut_down) was called.
    ShutDown,
}

/// An answer came that nobody had asked for: the caller's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no event awaits this answer")]
pub struct NothingToAnswer;
