//! TLS for both sides, from PEM files: what a daemon needs, and no more.

mod identity;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use self::identity::Renewable;

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, the certificate itself first.
    pub certificates: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// TLS for a server that offers HTTP/2 and HTTP/1.1. With `client_authorities`, a PEM file, clients
/// may show a certificate that one of them signed (mutual TLS); one that does not is served all the
/// same, and has to show a token.
///
/// The certificate and its key are read again when their files change.
///
/// # Errors
/// When a file cannot be read, or holds no certificate or key that belong together.
pub fn server_config(
    identity: &Identity,
    client_authorities: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rejected)?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            add_authorities(&mut roots, path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Authorities(path.to_owned(), error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Renewable::load(identity)?));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for a client that trusts the web's certification authorities and those in `extra_authorities`,
/// a PEM file, and shows `identity` when asked.
///
/// # Errors
/// When a file cannot be read, or holds no certificate or key that belong together.
pub fn client_config(
    extra_authorities: Option<&Path>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(path) = extra_authorities {
        add_authorities(&mut roots, path)?;
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rejected)?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let (certificates, key) = read_identity(identity)?;
            builder.with_client_auth_cert(certificates, key).map_err(TlsError::Rejected)
        }
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable or no PEM file.
    #[error("cannot read {path}: {reason}", path = .0.display(), reason = .1)]
    File(PathBuf, String),
    /// A file holds nothing of what it should hold.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// A file's certificates cannot be trusted as authorities.
    #[error("the certificates in {path} cannot be authorities: {reason}", path = .0.display(), reason = .1)]
    Authorities(PathBuf, String),
    /// The certificate and the key do not go together, or are of a kind that is not understood.
    #[error("the certificate or its key cannot be used: {0}")]
    Rejected(#[source] rustls::Error),
}

/// The TLS version and cipher suite, as a trace field names them.
pub(crate) fn describe(
    version: Option<ProtocolVersion>,
    suite: Option<SupportedCipherSuite>,
) -> String {
    let version = match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    match suite {
        Some(suite) => format!("{version} {:?}", suite.suite()),
        None => version.to_owned(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read_identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let certificates = read_certificates(&identity.certificates)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| TlsError::File(identity.key.clone(), error.to_string()))?;
    Ok((certificates, key))
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authorities(path.to_owned(), error.to_string()))?;
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong =
        |error: rustls::pki_types::pem::Error| TlsError::File(path.to_owned(), error.to_string());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(wrong)?
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    if certificates.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    Ok(certificates)
}
