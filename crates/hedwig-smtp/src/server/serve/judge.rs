//! What the driver adds to an [`Authenticator`]: chance, decoys and a log.

use std::{fmt, io, sync::Arc};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::BoxError;

use crate::sasl::{Authenticator, Claim, Mechanism, ScramKeys, Verdict};

/// What the SCRAM keys of users who do not exist are made from (RFC 5802 §9).
///
/// A real user's salt is the same at every server that knows the user, today and tomorrow. So servers with the same
/// users want the same secret, and one that outlives them: or else a salt that changes says that there is nobody.
#[derive(Clone)]
pub struct DecoySecret(Arc<[u8; DecoySecret::BYTES]>);

impl DecoySecret {
    /// How long it is.
    pub const BYTES: usize = 32;

    /// A new one that nobody knows.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        random().map(Self::from)
    }

    /// Its bytes, to be kept where nobody else can read them.
    #[must_use]
    pub fn reveal(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl From<[u8; Self::BYTES]> for DecoySecret {
    fn from(bytes: [u8; Self::BYTES]) -> Self {
        Self(Arc::new(bytes))
    }
}

impl fmt::Debug for DecoySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecoySecret(..)")
    }
}

/// Judges claims for all connections of a server.
#[derive(Clone)]
pub(super) struct Judge {
    authenticator: Arc<dyn Authenticator>,
    decoys: DecoySecret,
}

impl Judge {
    pub(super) fn new(authenticator: Arc<dyn Authenticator>, decoys: DecoySecret) -> Self {
        Self { authenticator, decoys }
    }

    pub(super) fn mechanisms(&self) -> Vec<Mechanism> {
        self.authenticator.mechanisms()
    }

    pub(super) async fn judge(&self, claim: &Claim) -> Verdict {
        self.ask(claim).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a client cannot be authenticated");
            Verdict::Unavailable
        })
    }

    async fn ask(&self, claim: &Claim) -> Result<Verdict, BoxError> {
        let authenticator = &self.authenticator;
        let identity = match claim {
            Claim::Password { user, password } => {
                let is_right = authenticator.check_password(user, password).await?;
                is_right.then(|| user.clone())
            }
            Claim::Token { user, token } => {
                authenticator.check_token(user.as_deref(), token).await?
            }
            Claim::Keys { user } => {
                let keys = authenticator.scram_keys(user).await?;
                let keys = keys.unwrap_or_else(|| ScramKeys::decoy(self.decoys.reveal(), user));
                return Ok(Verdict::Keys { keys, nonce: STANDARD.encode(random::<18>()?) });
            }
        };
        Ok(identity.map_or(Verdict::Refused, Verdict::Accepted))
    }
}

fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}
