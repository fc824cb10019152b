//! Who a client is: SASL (RFC 4422) without I/O.
//!
//! An [`Exchange`] is the server's side of one mechanism, a [`Responder`] the client's. The server's stores no password and reads no random source: what it has to
//! know comes as the [`Verdict`] on a [`Claim`].
//!
//! | Mechanism | A claim asks | The password travels |
//! |---|---|---|
//! | PLAIN (RFC 4616), LOGIN | is this the user's password? | yes |
//! | SCRAM-SHA-256 (RFC 5802, RFC 7677) | which keys are stored for the user? | no |
//! | SCRAM-SHA-256-PLUS, over a [bound channel](ChannelBinding) | the same | no |
//! | OAUTHBEARER (RFC 7628) | whose token is this? | there is none |
//!
//! ```
//! use hedwig_smtp::sasl::{Claim, Exchange, Mechanism, Next, Verdict};
//!
//! let mut exchange = Exchange::new(Mechanism::Plain);
//! let Next::Ask(Claim::Password { user, password }) = exchange.respond(b"\0alice\0wonderland") else {
//!     panic!("PLAIN is one message");
//! };
//! assert_eq!((user.as_str(), password.reveal()), ("alice", "wonderland"));
//! assert_eq!(exchange.judge(Verdict::Accepted(user)), Next::Accepted("alice".into()));
//! ```

mod authenticator;
mod binding;
mod claim;
mod exchange;
mod messages;
mod responder;
mod scram;
mod scram_client;

pub use authenticator::{Answer, Authenticator};
pub use binding::ChannelBinding;
pub use claim::{Claim, Secret, Verdict};
pub use exchange::{Exchange, Fault, Next};
pub use responder::{Credentials, CredentialsError, Responder, ServerFault};
pub use scram::{KeysError, ScramKeys};

use std::{fmt, str::FromStr};

/// A mechanism that a server can offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The same bound to the TLS connection, so that nobody can sit in between (RFC 5802 §6, RFC 9266). A server
    /// that has SCRAM-SHA-256 offers it of itself where it can.
    ScramSha256Plus,
    /// Salted challenge and response; the password stays with the client (RFC 7677).
    ScramSha256,
    /// User and password in one message (RFC 4616).
    Plain,
    /// User and password, one after the other. No RFC has it, and many clients know nothing else.
    Login,
    /// A bearer token of OAuth 2.0 (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Self; 5] =
        [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login, Self::OAuthBearer];

    /// Its registered name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// What the server says when the client has said nothing yet: most wait for its first message.
    #[must_use]
    pub(crate) fn first_challenge(self) -> &'static [u8] {
        match self {
            Self::Login => b"Username:",
            Self::ScramSha256Plus | Self::ScramSha256 | Self::Plain | Self::OAuthBearer => b"",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not among [`Mechanism::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mechanisms are SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN and OAUTHBEARER")]
pub struct MechanismError;

impl FromStr for Mechanism {
    type Err = MechanismError;

    fn from_str(name: &str) -> Result<Self, MechanismError> {
        let is_it = |mechanism: &Self| mechanism.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it).ok_or(MechanismError)
    }
}
