//! Certificates of an authority that only these tests know, and servers that show them.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_mx::Authorities;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::ParsedCertificate,
};
use tokio_rustls::TlsAcceptor;

use super::Tls;

/// An authority.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate, with its chain and key.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) certificate: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, good for long.
    pub(crate) fn issue(&self, name: &str) -> Shown {
        self.issue_for(name, &KeyPair::generate().unwrap())
    }

    /// The same, with a key that others may have too.
    pub(crate) fn issue_for(&self, name: &str, key: &KeyPair) -> Shown {
        self.issue_until(name, 4000, key)
    }

    /// A certificate for this name with its key behind it, in PEM, for a program that is not ours.
    pub(crate) fn issue_pem(&self, name: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, 4000).signed_by(&key, &self.issuer).unwrap();
        format!("{}{}", certificate.pem(), key.serialize_pem())
    }

    /// A certificate for this name that was good once.
    pub(crate) fn issue_expired(&self, name: &str) -> Shown {
        self.issue_expired_for(name, &KeyPair::generate().unwrap())
    }

    /// The same, with a key that others may have too.
    pub(crate) fn issue_expired_for(&self, name: &str, key: &KeyPair) -> Shown {
        self.issue_until(name, 2001, key)
    }

    fn issue_until(&self, name: &str, year: i32, key: &KeyPair) -> Shown {
        let certificate = params(name, year).signed_by(key, &self.issuer).unwrap().der().clone();
        Shown::new(vec![certificate, self.certificate.clone()], key)
    }

    /// This authority and nobody else.
    pub(crate) fn alone(&self) -> Authorities {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Authorities::of(roots).unwrap()
    }
}

fn params(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

impl Shown {
    /// The same, made as `openssl req -x509` makes it: an authority's certificate, of one who is none.
    pub(crate) fn self_signed_authority(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, 4000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self::new(vec![certificate], &key)
    }

    /// A certificate for this name that nobody but its owner vouches for.
    pub(crate) fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name, 4000).self_signed(&key).unwrap().der().clone();
        Self::new(vec![certificate], &key)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let certificate = chain[0].clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self { certificate, config: Arc::new(config) }
    }

    /// A server that shows it.
    pub(crate) fn tls(&self) -> Tls {
        Tls::Works(TlsAcceptor::from(self.config.clone()))
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

/// A file of these certificates, as an operator lists them.
pub(crate) fn pem_file<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> tempfile::NamedTempFile {
    let pem = certificates.into_iter().map(|certificate| {
        let text = STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem.collect::<String>()).unwrap();
    file
}

/// The public key of a certificate, as selector 1 means it.
pub(crate) fn public_key(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let parsed = ParsedCertificate::try_from(certificate).unwrap();
    parsed.subject_public_key_info().to_vec()
}

/// SHA-256, matching type 1.
pub(crate) fn sha256(data: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data).as_ref().to_vec()
}
