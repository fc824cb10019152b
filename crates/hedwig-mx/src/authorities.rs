//! The certificate authorities that vouch for the names of servers.

mod listed;

use std::{
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use listed::Listed;

/// Certificate authorities whose word counts. A cheap handle; clones are equal.
#[derive(Clone)]
pub struct Authorities(Arc<Inner>);

struct Inner {
    roots: Arc<RootCertStore>,
    /// Certificates that a file lists: each is good for itself too.
    listed: Vec<CertificateDer<'static>>,
    verifier: Arc<dyn ServerCertVerifier>,
    config: Arc<ClientConfig>,
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
        let mut roots = RootCertStore::clone(&self.0.roots);
        roots.extend(others.0.roots.roots.iter().cloned());
        let listed = self.0.listed.iter().chain(&others.0.listed).cloned().collect();
        Self::build(roots, listed).expect("there are authorities on either side")
    }

    fn build(
        roots: RootCertStore,
        listed: Vec<CertificateDer<'static>>,
    ) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        let by_roots =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build()?;
        let verifier: Arc<dyn ServerCertVerifier> = if listed.is_empty() {
            by_roots
        } else {
            Arc::new(Listed { certificates: listed.clone(), otherwise: by_roots })
        };
        let config = client_config(verifier.clone());
        Ok(Self(Arc::new(Inner { roots, listed, verifier, config })))
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
        let verifier = Hearing { verifier: self.0.verifier.clone(), verdict: verdict.clone() };
        (client_config(Arc::new(verifier)), verdict)
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

#[derive(Debug)]
struct Hearing {
    verifier: Arc<dyn ServerCertVerifier>,
    verdict: Verdict,
}

impl ServerCertVerifier for Hearing {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let said = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if let Err(error) = said {
            self.verdict.get_or_init(|| error);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A configuration that takes the certificates that `verifier` takes.
pub(crate) fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has cipher suites for the default TLS versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Arc::new(config)
}
