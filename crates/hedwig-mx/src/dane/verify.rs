//! The certificate that TLSA records stand for.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::Dane;

pub(super) fn client_config(dane: Arc<Dane>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = DaneVerifier { dane, provider: provider.clone() };
    crate::tls::config_with_verifier(provider, Arc::new(verifier))
}

#[derive(Debug)]
struct DaneVerifier {
    dane: Arc<Dane>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for DaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // DANE-EE is about the key alone: names and dates do not count (RFC 7672 §3.1.1).
        if self.dane.records.iter().any(|record| record.is_end_entity(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        let mut anchors = RootCertStore::empty();
        for record in &self.dane.records {
            record.add_anchors(intermediates, &mut anchors);
        }
        if anchors.is_empty() {
            return Err(no_match());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &anchors,
            intermediates,
            now,
            algorithms,
        )?;
        self.verify_name(&parsed)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl DaneVerifier {
    /// RFC 7672 §3.2.2: below a trust anchor, the certificate is for one of the names that led here.
    fn verify_name(&self, certificate: &ParsedCertificate<'_>) -> Result<(), rustls::Error> {
        let mut result = Err(no_match());
        for name in &self.dane.names {
            let Ok(name) = ServerName::try_from(name.as_str()) else { continue };
            result = verify_server_name(certificate, &name);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

fn no_match() -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(NoMatch))).into()
}

struct NoMatch;

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no TLSA record of the host stands for it")
    }
}

/// What rustls shows of it.
impl fmt::Debug for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NoMatch {}
