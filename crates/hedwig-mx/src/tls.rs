//! What is asked of TLS, and the certificates that opportunistic TLS takes.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::Dane;

/// What is asked of TLS on the way to a server.
///
/// The options have one for all; a host's TLSA records or a domain's MTA-STS policy choose a
/// stricter one.
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
    /// TLS with a certificate that the host's TLSA records stand for, or no delivery (RFC 7672).
    Dane(Arc<Dane>),
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

    /// Whether what a domain or a host says of its certificates may take the place of this.
    pub(crate) fn yields_to_domain(&self) -> bool {
        matches!(self, Self::Opportunistic | Self::Encrypted)
    }

    fn dane(&self) -> Option<&Dane> {
        match self {
            Self::Dane(dane) => Some(dane),
            _ => None,
        }
    }

    /// The configuration that was given.
    fn config(&self) -> Option<&Arc<ClientConfig>> {
        match self {
            Self::Verified(config) => Some(config),
            _ => None,
        }
    }
}

/// Two policies are equal when a connection made under one may serve the other.
impl PartialEq for TlsPolicy {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.config().map(Arc::as_ptr) == other.config().map(Arc::as_ptr)
            && self.dane() == other.dane()
    }
}

impl Eq for TlsPolicy {}

impl Hash for TlsPolicy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        self.config().map(Arc::as_ptr).hash(state);
        self.dane().hash(state);
    }
}

impl fmt::Debug for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "Never",
            Self::Opportunistic => "Opportunistic",
            Self::Encrypted => "Encrypted",
            Self::Verified(_) => "Verified",
            Self::Dane(_) => "Dane",
        })
    }
}

/// Says which certificates are taken.
pub(crate) trait Judge: fmt::Debug + Send + Sync + 'static {
    /// Whether this certificate, which came with these, may be taken at this time.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error>;
}

/// A configuration that takes any certificate. Who cannot know whom to expect gains nothing from refusing:
/// the mail would go in clear text instead (RFC 7435 §3).
pub(crate) fn any_certificate() -> Arc<ClientConfig> {
    config_judged_by(AnyCertificate)
}

/// A configuration that takes the certificates that `judge` takes.
pub(crate) fn config_judged_by(judge: impl Judge) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has cipher suites for the default TLS versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judged { judge, algorithms }))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate;

impl Judge for AnyCertificate {
    fn judge(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
        _algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        Ok(())
    }
}

/// Takes the certificates that its judge takes. That the server has the certificate's key is verified
/// whatever the judge says.
#[derive(Debug)]
struct Judged<J> {
    judge: J,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<J: Judge> ServerCertVerifier for Judged<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge.judge(end_entity, intermediates, now, &self.algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
