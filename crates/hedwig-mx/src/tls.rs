//! What is asked of TLS, and the certificates that opportunistic TLS takes.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// What is asked of TLS on the way to a server.
///
/// DANE and MTA-STS will choose one for each domain; until then all have that of the options.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Clear text always, for a laboratory. A mail with REQUIRETLS still goes over TLS.
    Never,
    /// TLS where it is offered and works, clear text elsewhere; any certificate is taken (RFC 7435).
    #[default]
    Opportunistic,
    /// TLS with whatever certificate, or no delivery.
    Encrypted,
    /// TLS with a certificate that this configuration accepts for the host's name, or no delivery.
    Verified(Arc<ClientConfig>),
}

impl TlsPolicy {
    /// Whether a mail may go in clear text.
    pub(crate) fn allows_clear_text(&self) -> bool {
        matches!(self, Self::Never | Self::Opportunistic)
    }

    /// The policy of a mail that was sent with REQUIRETLS (RFC 8689 §4.2.1): never in clear text.
    pub(crate) fn requiring_tls(&self) -> Self {
        if self.allows_clear_text() { Self::Encrypted } else { self.clone() }
    }

    /// What tells connections apart that must not serve each other's mails.
    pub(crate) fn key(&self) -> u128 {
        match self {
            Self::Never => 0,
            Self::Opportunistic => 1,
            Self::Encrypted => 2,
            Self::Verified(config) => 16 + Arc::as_ptr(config) as usize as u128,
        }
    }
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::Opportunistic => "Opportunistic",
            Self::Encrypted => "Encrypted",
            Self::Verified(_) => "Verified",
        })
    }
}

/// A configuration that takes any certificate. Who cannot know whom to expect gains nothing from refusing:
/// the mail would go in clear text instead (RFC 7435 §3).
pub(crate) fn any_certificate() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = AnyCertificate { provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has cipher suites for the default TLS versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Servers with an address but no name are met in routes: no SNI for those is rustls' own rule.
    config.enable_sni = true;
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
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
