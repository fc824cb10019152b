//! The certificate authorities that vouch for the names of servers.

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::{
        VerifierBuilderError, WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name,
    },
    pki_types::{CertificateDer, pem::PemObject},
    server::ParsedCertificate,
};

use crate::judged::{Shown, config_judged_by, provider};

/// Certificate authorities whose word counts. A cheap handle; clones are equal.
#[derive(Clone)]
pub struct Authorities(Arc<Inner>);

struct Inner {
    word: Arc<Word>,
    config: Arc<ClientConfig>,
}

/// What makes a certificate good.
struct Word {
    roots: Arc<RootCertStore>,
    by_roots: Arc<WebPkiServerVerifier>,
    /// Certificates that a file lists: each is good for itself too.
    listed: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Those that web browsers know, as the Mozilla project lists them (RFC 8461 §4.2).
    #[must_use]
    pub fn web() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::of(roots).expect("there are authorities in the list")
    }

    /// These, and no others.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        Self::build(roots, Vec::new())
    }

    /// Those whose certificates a PEM file lists, and no others. A server may show a certificate that stands there
    /// itself, for the names in it: a self-signed one, which is then good until it is taken out of the file.
    ///
    /// # Errors
    /// When the file cannot be read, or has none in it.
    pub fn load(path: &Path) -> Result<Self, AuthoritiesError> {
        let wrong = |reason: &dyn fmt::Display| AuthoritiesError {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let listed: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone()).map_err(|error| wrong(&error))?;
        }
        if listed.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
        Self::build(roots, listed).map_err(|error| wrong(&error))
    }

    /// These, and those as well.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let mut roots = RootCertStore::clone(&self.0.word.roots);
        roots.extend(others.0.word.roots.roots.iter().cloned());
        let listed = self.0.word.listed.iter().chain(&others.0.word.listed).cloned().collect();
        Self::build(roots, listed).expect("there are authorities on either side")
    }

    fn build(
        roots: RootCertStore,
        listed: Vec<CertificateDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        let by_roots =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build()?;
        let word = Arc::new(Word { roots, by_roots, listed });
        let judging = word.clone();
        let config = config_judged_by(move |shown| judging.judge(shown));
        Ok(Self(Arc::new(Inner { word, config })))
    }

    /// A configuration that takes the certificates that they vouch for, for the name of the server.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.0.config.clone()
    }

    /// A configuration for one connection that takes any certificate, and says afterwards what they would
    /// have said.
    pub(crate) fn hearing(&self) -> (Arc<ClientConfig>, Verdict) {
        let verdict = Verdict::default();
        let (word, heard) = (self.0.word.clone(), verdict.clone());
        let config = config_judged_by(move |shown| {
            if let Err(error) = word.judge(shown) {
                heard.get_or_init(|| error);
            }
            Ok(())
        });
        (config, verdict)
    }
}

impl Word {
    /// Takes what authorities vouch for, and the listed certificates themselves, for the names in them. Who signed
    /// those, for what and until when does not count: `openssl req -x509` makes authorities, which no authority would
    /// take for a server.
    fn judge(&self, shown: &Shown<'_>) -> Result<(), rustls::Error> {
        if self.listed.iter().any(|listed| **listed == **shown.certificate) {
            return verify_server_name(
                &ParsedCertificate::try_from(shown.certificate)?,
                shown.name,
            );
        }
        let Shown { certificate, intermediates, name, ocsp_response, now } = *shown;
        self.by_roots
            .verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            .map(|_| ())
    }
}

/// Why a file names no [`Authorities`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}; it should hold certificates in PEM", path.display())]
pub struct AuthoritiesError {
    path: PathBuf,
    reason: String,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Authorities {}

impl Hash for Authorities {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").finish_non_exhaustive()
    }
}

/// Why a certificate that was taken should not have been; empty when it was good.
pub(crate) type Verdict = Arc<OnceLock<rustls::Error>>;
