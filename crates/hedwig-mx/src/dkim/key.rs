//! Private keys on disk, and what DNS has to say of them.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use crate::name;

/// A TXT record's strings hold at most so much each (RFC 1035 §3.3).
const TXT_STRING_BYTES_MAX: usize = 255;

/// The keys of all domains: `DIR/<domain>/<selector>.pem`.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    by_domain: HashMap<String, Vec<Arc<SigningKey>>>,
}

impl Keys {
    /// Reads all keys below a directory. What does not end in `.pem` is passed over.
    ///
    /// # Errors
    /// When a directory or a key cannot be read. The error names it.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for domain_directory in entries(directory.as_ref())? {
            if !domain_directory.is_dir() {
                continue;
            }
            for path in entries(&domain_directory)? {
                if path.extension().is_some_and(|extension| extension == "pem") {
                    keys.insert(SigningKey::load(&domain_directory, &path)?);
                }
            }
        }
        Ok(keys)
    }

    /// Adds a key.
    pub fn insert(&mut self, key: SigningKey) {
        self.by_domain.entry(key.domain.clone()).or_default().push(Arc::new(key));
    }

    /// The keys that sign for a domain in A-labels: its own, or else those of the nearest domain above
    /// it that has any, which DMARC's relaxed alignment takes as well (RFC 7489 §3.1.1).
    #[must_use]
    pub fn for_domain(&self, domain: &str) -> &[Arc<SigningKey>] {
        let above = domain.match_indices('.').map(|(dot, _)| &domain[dot + 1..]);
        std::iter::once(domain)
            .chain(above)
            .find_map(|domain| self.by_domain.get(domain))
            .map_or(&[], Vec::as_slice)
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.by_domain.values().flatten()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// The record that DNS must have for a key: its name and its text, [as a key tells it](SigningKey::dns_record).
    #[must_use]
    pub fn dns_record(&self, domain: &str, selector: &str) -> Option<(String, String)> {
        let keys = self.by_domain.get(domain)?;
        keys.iter().find(|key| key.selector == selector).map(|key| key.dns_record())
    }
}

/// The text of a TXT record as a zone file has it: one string or several of at most 255 bytes, each in quotes
/// (RFC 1035 §3.3, §5.1), all in one line: some programs do not read strings between parentheses.
#[must_use]
pub fn txt_strings(text: &str) -> String {
    let quoted = |part: &[u8]| {
        let escaped = part.iter().map(|byte| match byte {
            b'"' | b'\\' => format!("\\{}", char::from(*byte)),
            b' '..=b'~' => char::from(*byte).to_string(),
            other => format!("\\{other:03}"),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    let strings: Vec<String> = text.as_bytes().chunks(TXT_STRING_BYTES_MAX).map(quoted).collect();
    strings.join(" ")
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let error = |error| KeyError::new(directory, KeyErrorKind::Io(error));
    let mut paths = fs::read_dir(directory)
        .map_err(error)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error)?;
    paths.sort();
    Ok(paths)
}

/// A private key with its domain (`d=`) and selector (`s=`).
pub struct SigningKey {
    domain: String,
    selector: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// A key from PEM text: PKCS#8, or for RSA PKCS#1.
    ///
    /// # Errors
    /// When the text holds no such key, or an RSA key of fewer than 2048 bits, or when the domain or
    /// selector is no domain name.
    pub fn from_pem(domain: &str, selector: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let place = PathBuf::from(domain).join(selector);
        let error = |kind| KeyError::new(&place, kind);
        let domain = name::to_ascii(domain).ok_or_else(|| error(KeyErrorKind::Name))?;
        let selector = name::to_ascii(selector).ok_or_else(|| error(KeyErrorKind::Name))?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| error(KeyErrorKind::NotPem))?;
        let pair = Pair::from_der(&key).ok_or_else(|| error(KeyErrorKind::NotAKey))?;
        Ok(Self { domain: domain.into_owned(), selector: selector.into_owned(), pair })
    }

    fn load(domain_directory: &Path, path: &Path) -> Result<Self, KeyError> {
        let pem = fs::read(path).map_err(|e| KeyError::new(path, KeyErrorKind::Io(e)))?;
        let domain = domain_directory.file_name().unwrap_or_default().to_string_lossy();
        let selector = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::from_pem(&domain, &selector, &pem).map_err(|error| KeyError::new(path, error.kind))
    }

    /// The domain, in A-labels: `d=`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The selector: `s=`.
    #[must_use]
    pub fn selector(&self) -> &str {
        &self.selector
    }

    /// `rsa-sha256` or `ed25519-sha256`: `a=`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// The TXT record that verifiers look for: its name and its text (RFC 6376 §3.6, RFC 8463 §4).
    /// Longer than 255 bytes, the text has to be written as several strings.
    #[must_use]
    pub fn dns_record(&self) -> (String, String) {
        let name = format!("{}._domainkey.{}", self.selector, self.domain);
        let text = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key().as_der().expect("a key pair has a public key");
                format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(key.as_ref()))
            }
            Pair::Ed25519(pair) => {
                format!("v=DKIM1; k=ed25519; p={}", BASE64_STANDARD.encode(pair.public_key()))
            }
        };
        (name, text)
    }

    /// The same record as a line of a zone file (RFC 1035 §5.1), the text cut into strings of at most 255 bytes.
    #[must_use]
    pub fn zone_line(&self) -> String {
        let (name, text) = self.dns_record();
        format!("{name}. IN TXT {}", txt_strings(&text))
    }

    /// Whether a signature costs so much that it should not be made where others wait.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.pair, Pair::Rsa(_))
    }

    /// The signature of a message, or `None` when the system has no randomness to give.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            // RFC 8463 §3: what is signed is the hash.
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message);
                Some(pair.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

impl Pair {
    fn from_der(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let rsa = |pair| Self::Rsa(Box::new(pair));
        match key {
            PrivateKeyDer::Pkcs1(der) => {
                rsa::KeyPair::from_der(der.secret_pkcs1_der()).ok().map(rsa)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                    .map(|pair| Self::Ed25519(Box::new(pair)))
                    .or_else(|_| rsa::KeyPair::from_pkcs8(der).map(rsa))
                    .ok()
            }
            _ => None,
        }
    }
}

/// The private half is not shown.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} key {} of {}", self.algorithm(), self.selector, self.domain)
    }
}

/// A key that cannot be used. The message names the file, and never its content.
#[derive(Debug, thiserror::Error)]
#[error("the DKIM key {}: {kind}", .path.display())]
pub struct KeyError {
    path: PathBuf,
    kind: KeyErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum KeyErrorKind {
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
    #[error("its domain or its selector is no domain name")]
    Name,
    #[error("it is no PEM file with a private key")]
    NotPem,
    #[error("it is neither an RSA key of 2048 bits or more, nor an Ed25519 key")]
    NotAKey,
    #[error("the system has no randomness for a new one")]
    NoRandomness,
}

impl KeyError {
    fn new(path: &Path, kind: KeyErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    pub(super) fn no_randomness(domain: &str, selector: &str) -> Self {
        Self::new(&Path::new(domain).join(selector), KeyErrorKind::NoRandomness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_escaped_for_a_zone_file() {
        assert_eq!(txt_strings("v=spf1 -all"), "\"v=spf1 -all\"");
        assert_eq!(txt_strings("a\"b\\ü"), "\"a\\\"b\\\\\\195\\188\"");
        let long = txt_strings(&"x".repeat(300));
        let parts: Vec<usize> = long.split('"').map(str::len).filter(|n| *n > 2).collect();
        assert_eq!(parts, [255, 45]);
    }
}
