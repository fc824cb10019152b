use hedwig_envelope::{Outcome, Reply};

use super::{Failure, Phase};

/// What the client's side has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has been greeted, and mails can be [sent](super::Session::send).
    Ready,
    /// The server said no. After [`Phase::StartTls`] the session goes on in clear text, after
    /// [`Phase::Authentication`] as nobody; otherwise it is closed.
    Refused {
        /// To what.
        phase: Phase,
        /// Its reply.
        reply: Reply,
    },
    /// Shake hands as a TLS client, and call [`Session::tls_started`](super::Session::tls_started).
    StartTls,
    /// The server knows now who we are.
    Authenticated,
    /// The server offers no mechanism of AUTH that a password is enough for; the session goes on as nobody.
    NoMechanism,
    /// The mail at hand is done with: one outcome for each recipient, in the envelope's order.
    Sent(Vec<Outcome>),
    /// RSET was answered.
    WasReset,
    /// The connection cannot be used any more.
    Failed(Failure),
    /// QUIT was answered.
    Closed,
}

/// The session has another command under way, or is closed: the caller's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session is not ready for another command")]
pub struct NotReady;
