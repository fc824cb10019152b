//! New keys.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{self, KeySize},
    signature::Ed25519KeyPair,
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::{KeyError, SigningKey};

/// A kind of key to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2048 bits: what every verifier understands (RFC 8301 §3.2).
    Rsa2048,
    /// Ed25519: short and quick, and not understood everywhere yet (RFC 8463). It stands beside an RSA key.
    Ed25519,
}

/// A key that was just made. Write [`pem`](Self::pem) to `DIR/<domain>/<selector>.pem`, for the daemon's eyes
/// only.
pub struct NewKey {
    /// The key, ready to sign; it tells its [DNS record](SigningKey::dns_record).
    pub key: SigningKey,
    pem: String,
}

impl NewKey {
    /// The private key: PKCS#8 in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// The private half is not shown.
impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

/// Makes a key for a domain and a selector. An RSA key takes a moment of computing: a tenth of a second, or
/// several.
///
/// # Errors
/// When the domain or the selector is no domain name, or the system has no randomness to give.
pub fn generate(kind: KeyKind, domain: &str, selector: &str) -> Result<NewKey, KeyError> {
    let der = pkcs8(kind).ok_or_else(|| KeyError::no_randomness(domain, selector))?;
    let pem = pem(&der);
    let key = SigningKey::from_pem(domain, selector, pem.as_bytes())?;
    Ok(NewKey { key, pem })
}

fn pkcs8(kind: KeyKind) -> Option<Vec<u8>> {
    match kind {
        KeyKind::Rsa2048 => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).ok()?;
            let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
            Some(der.as_ref().to_vec())
        }
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::generate().ok()?;
            Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
        }
    }
}

/// RFC 7468 §2: lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_again_and_tells_the_same_record() {
        for (kind, algorithm) in
            [(KeyKind::Rsa2048, "rsa-sha256"), (KeyKind::Ed25519, "ed25519-sha256")]
        {
            let new = generate(kind, "Bücher.example", "s2026").unwrap();
            assert_eq!(
                (new.key.algorithm(), new.key.domain()),
                (algorithm, "xn--bcher-kva.example")
            );
            let read =
                SigningKey::from_pem("bücher.example", "s2026", new.pem().as_bytes()).unwrap();
            assert_eq!(read.dns_record(), new.key.dns_record());
            assert!(new.pem().lines().all(|line| line.len() <= 64));
            assert!(!format!("{new:?}").contains(new.pem().lines().nth(1).unwrap()));
        }
    }

    #[test]
    fn no_two_keys_are_alike() {
        let new = || generate(KeyKind::Ed25519, "example.org", "s").unwrap();
        assert_ne!(new().pem(), new().pem());
    }

    #[test]
    fn a_name_that_dns_cannot_hold_gets_no_key() {
        for (domain, selector) in [("", "s"), ("a..b", "s"), ("example.org", "a b")] {
            let error = generate(KeyKind::Ed25519, domain, selector).unwrap_err().to_string();
            assert!(error.contains("no domain name"), "{error}");
        }
    }
}
