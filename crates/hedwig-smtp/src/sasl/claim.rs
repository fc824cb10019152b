use std::fmt;

use super::ScramKeys;

/// What a client says of itself, for somebody who knows to judge. Names have no control characters and
/// at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Is this the user's password? Judge with [`Verdict::Accepted`] or [`Verdict::Refused`].
    Password {
        /// The user, as the client wrote it.
        user: String,
        /// What it says is the password.
        password: Secret,
    },
    /// Which keys are stored for this user? Judge with [`Verdict::Keys`].
    ///
    /// For a user who does not exist give [decoys](ScramKeys::decoy): a refusal here would tell a stranger
    /// which users there are.
    Keys {
        /// The user, as the client wrote it.
        user: String,
    },
    /// Whose token is this? Judge with [`Verdict::Accepted`] or [`Verdict::Refused`].
    Token {
        /// As whom the client would like to be known, if it says so; the judge must not believe it
        /// unless the token says the same.
        user: Option<String>,
        /// The bearer token.
        token: Secret,
    },
}

impl Claim {
    /// Who the client says it is.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } | Self::Keys { user } => Some(user),
            Self::Token { user, .. } => user.as_deref(),
        }
    }
}

/// What is to be thought of a [`Claim`]. One that does not fit the claim counts as
/// [`Unavailable`](Self::Unavailable), never as a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is true, and this is the client's identity.
    Accepted(String),
    /// The keys against which the client is to prove that it knows the password.
    Keys {
        /// The user's.
        keys: ScramKeys,
        /// Printable ASCII without commas that was never used before: 18 random bytes in base64, say.
        nonce: String,
    },
    /// It is not true.
    Refused,
    /// Nobody can tell at the moment.
    Unavailable,
}

/// A password or a token. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
