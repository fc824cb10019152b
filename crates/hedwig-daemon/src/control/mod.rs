//! Control of a spool over HTTP: what the `queue` commands ask, and what a console may.
//!
//! - `GET /v1/queue?domain=..&sender=..&state=..&older_than=..&id=..&limit=..` lists mails, a JSON object
//!   in each line; finished ones only with `all=true`, a `state` or an `id`.
//! - `GET /v1/queue/{id}` shows one, as `GET /v1/messages/{id}` does.
//! - `POST /v1/queue/{retry|hold|release|fail|drop}?..` acts on what is chosen the same way, and answers
//!   `{"recipients": n}`. Who means everything says `all=true`.
//!
//! What a daemon has to [explain](Explain) is beside it.

mod explain;
mod guard;
mod handler;
mod server;
mod socket;

pub use explain::{EXPLAIN_PATH, Explain, Question, Subject};
pub use guard::Guard;
pub use handler::{Control, QUEUE_PATH};
pub(crate) use server::Server;
pub use server::{Console, is_answered};
pub use socket::{SOCKET_NAME, serve_control};

/// What an operator can do to mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Try them now.
    Retry,
    /// Do not try them until they are released.
    Hold,
    /// Try again what was held.
    Release,
    /// Give them up and tell their senders.
    Fail,
    /// Remove them and tell nobody.
    Drop,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Retry, Self::Hold, Self::Release, Self::Fail, Self::Drop];

    /// Its name in commands and paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Fail => "fail",
            Self::Drop => "drop",
        }
    }

    /// The verb of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Retry => "Try mails now and not at their time",
            Self::Hold => "Keep mails from being tried until they are released",
            Self::Release => "Try again what was held",
            Self::Fail => "Give mails up and tell their senders",
            Self::Drop => "Remove mails and tell nobody",
        }
    }

    /// What becomes of those it was done to.
    pub(crate) fn past(self) -> &'static str {
        match self {
            Self::Retry => "to be tried now",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Fail => "to be given up",
            Self::Drop => "dropped",
        }
    }
}

#[cfg(test)]
mod tests;
