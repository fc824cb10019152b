//! DKIM signatures (RFC 6376), with RSA-SHA256 and Ed25519-SHA256 (RFC 8463).
//!
//! [`Keys`] reads the keys, [`KeyDirectory`] reads them again when they change, [`DkimLayer`] signs every mail that passes with all keys of its From domain,
//! [`sign`] does the same for whoever has no stack.

mod canonical;
mod directory;
mod generate;
mod key;
mod layer;
mod sign;

use std::sync::Arc;

use hedwig_envelope::{Content, Timestamp};

pub use canonical::BodyForm;
pub use directory::{KeyDirectory, KeyRing};
pub use generate::{KeyKind, NewKey, generate};
pub use key::{KeyError, Keys, SigningKey, txt_strings};
pub use layer::{Dkim, DkimLayer};
use sign::Prepared;
pub use sign::SignError;

/// The `DKIM-Signature` fields for a message, one for each key of its author's domain, each with its
/// CRLF: to be put above the header. Empty without such a key.
///
/// All octets of the body are signed, never a part (`l=`). Fields that show who wrote what to whom are
/// signed once more often than they are there, so that none can be added.
///
/// # Errors
/// When a key gives no signature.
pub fn sign(
    content: &Content,
    keys: &Keys,
    body_form: BodyForm,
    now: Timestamp,
) -> Result<String, SignError> {
    sign_with(keys_for(content, keys), content, body_form, now)
}

/// The domain whose keys sign a message: the one of its first author (RFC 5322 §3.6.2), in A-labels. `None` when
/// it has none.
#[must_use]
pub fn signing_domain(content: &Content) -> Option<String> {
    let domain = sign::author_domain(content)?;
    crate::name::to_ascii(&domain).map(|domain| domain.into_owned())
}

fn sign_with(
    keys: &[Arc<SigningKey>],
    content: &Content,
    body_form: BodyForm,
    now: Timestamp,
) -> Result<String, SignError> {
    if keys.is_empty() {
        return Ok(String::new());
    }
    let prepared = Prepared::new(content, body_form);
    keys.iter().map(|key| prepared.sign(key, now)).collect()
}

/// The keys that sign for a message's author.
fn keys_for<'a>(content: &Content, keys: &'a Keys) -> &'a [Arc<SigningKey>] {
    if keys.is_empty() {
        return &[];
    }
    signing_domain(content).map_or(&[], |domain| keys.for_domain(&domain))
}
