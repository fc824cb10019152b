//! What the driver adds to an [`Authenticator`]: chance, decoys and a log.

use std::{io, sync::Arc};

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::BoxError;

use crate::sasl::{Authenticator, Claim, Mechanism, ScramKeys, Verdict};

/// Judges claims for all connections of a server.
#[derive(Clone)]
pub(super) struct Judge {
    authenticator: Arc<dyn Authenticator>,
    /// What the keys of users who do not exist are made from; for as long as the server runs they are
    /// the same each time.
    decoys: Arc<[u8; 32]>,
}

impl Judge {
    pub(super) fn new(authenticator: Arc<dyn Authenticator>) -> io::Result<Self> {
        Ok(Self { authenticator, decoys: Arc::new(random()?) })
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
                let keys = keys.unwrap_or_else(|| ScramKeys::decoy(&self.decoys[..], user));
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
