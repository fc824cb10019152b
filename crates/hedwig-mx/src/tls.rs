//! What is asked of TLS, and the certificates that opportunistic TLS takes.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{Authorities, Dane, authorities::client_config};

/// What is asked of TLS on one connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Clear text always.
    Never,
    /// TLS where it is offered and works, clear text elsewhere; any certificate is taken (RFC 7435).
    Opportunistic,
    /// TLS with whatever certificate, or no delivery.
    Encrypted,
    /// Whatever the certificate, it is heard what these authorities say of it (RFC 8461 §5.1, testing).
    Heard {
        /// Whose word it is.
        authorities: Authorities,
        /// Whether without TLS there is no delivery.
        encrypted: bool,
    },
    /// TLS with a certificate that these authorities vouch for, for the host's name, or no delivery.
    Verified(Authorities),
    /// TLS with a certificate that the host's TLSA records stand for, or no delivery (RFC 7672).
    Dane(Arc<Dane>),
}

impl TlsPolicy {
    /// Whether a mail may go in clear text.
    pub(crate) fn allows_clear_text(&self) -> bool {
        matches!(self, Self::Never | Self::Opportunistic | Self::Heard { encrypted: false, .. })
    }

    /// The name to ask the server for.
    pub(crate) fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        match self {
            Self::Dane(dane) => dane.server_name(),
            _ => host,
        }
    }

    /// Whether the certificate must be for a name.
    pub(crate) fn needs_name(&self) -> bool {
        matches!(self, Self::Verified(_) | Self::Dane(_))
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
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    client_config(Arc::new(Judged { judge, algorithms }))
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
