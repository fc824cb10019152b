use std::fmt;

use hedwig_envelope::{Outcome, Reply};

use crate::{ReplyError, sasl::ServerFault};

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH, or a response within it.
    Authentication,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The content.
    Content,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
    /// Nothing: no command is under way.
    Idle,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Hello => "the hello",
            Self::StartTls => "STARTTLS",
            Self::Authentication => "AUTH",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the content",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
            Self::Idle => "nothing",
        })
    }
}

/// The end of a connection that should have gone on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client waited for.
    pub phase: Phase,
    /// What happened.
    pub cause: Cause,
    /// The mail that was under way, if there was one.
    pub unfinished: Option<Unfinished>,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The server closed it, or the network broke it.
    #[error("the connection was closed")]
    Disconnected,
    /// The server was too slow.
    #[error("the server took too long")]
    TimedOut,
    /// The server broke the protocol.
    #[error("{0}")]
    Protocol(ReplyError),
    /// The server must not be authenticated to.
    #[error("{0}")]
    Untrusted(ServerFault),
    /// The server said 421, that it closes the connection.
    #[error("the server closed the connection: {0}")]
    SaidGoodbye(Reply),
}

/// A mail whose connection ended before every recipient had its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Whether the content was sent whole, so that the server may have taken it (RFC 1047).
    pub ambiguous: bool,
    /// One for each recipient: what the server had said of it before, or a deferral that says what
    /// happened and whether it is ambiguous.
    pub outcomes: Vec<Outcome>,
}
