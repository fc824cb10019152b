//! How TLS went on a connection, for whoever counts it (RFC 8460).

use std::{fmt, io, net::IpAddr};

use hedwig_smtp::client::{ConnectionError, Phase};
use rustls::CertificateError;

/// Is told how TLS went on each connection to a mail exchanger that was made for a domain.
///
/// It is told in the middle of a delivery, and must not wait. Connections that serve another mail later, and
/// those of mails whose senders set the policy aside, are not told.
pub trait TlsObserver: fmt::Debug + Send + Sync + 'static {
    /// This is how it went.
    fn observe(&self, session: &TlsSession<'_>);
}

/// A connection to a mail exchanger, as far as TLS is concerned.
#[derive(Clone, Debug)]
pub struct TlsSession<'a> {
    /// The domain whose policy counted: the recipients'.
    pub domain: &'a str,
    /// What the policy was.
    pub policy: SessionPolicy<'a>,
    /// The mail exchanger.
    pub host: &'a str,
    /// Its address; `None` when the policy forbade to go there.
    pub address: Option<IpAddr>,
    /// The address of ours that the connection came from.
    pub source: Option<IpAddr>,
    /// What was not as the policy asks; `None` when all was well.
    pub failure: Option<&'a TlsFailure>,
}

/// A policy as its domain wrote it (RFC 8460 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPolicy<'a> {
    /// There is none: whatever the server offered was right.
    Absent,
    /// MTA-STS (RFC 8461): the lines of the policy, and the hosts that it names. Both are empty when it could not be had.
    Sts {
        /// `version: STSv1` and so on.
        lines: &'a [String],
        /// Names and patterns.
        hosts: &'a [String],
    },
    /// DANE (RFC 7672): the TLSA records in the notation of zone files.
    Tlsa(&'a [String]),
}

/// What was not as a policy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// What kind of failure it is.
    pub kind: TlsFailureKind,
    /// What happened.
    pub reason: String,
}

/// The kinds of failures that RFC 8460 §4.3 tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsFailureKind {
    /// The server offers no STARTTLS.
    StartTlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate is too old.
    CertificateExpired,
    /// The certificate is nobody's that is trusted.
    CertificateNotTrusted,
    /// Anything else.
    ValidationFailure,
    /// There are TLSA records, and none that can be followed.
    TlsaInvalid,
    /// DNSSEC says that records are forged, or cannot be had.
    DnssecInvalid,
    /// We ask for DANE, and there are no TLSA records.
    DaneRequired,
    /// The MTA-STS policy cannot be had.
    StsPolicyFetchError,
    /// The MTA-STS policy is none.
    StsPolicyInvalid,
    /// The MTA-STS policy is of a server whose certificate is not trusted.
    StsWebpkiInvalid,
}

impl TlsFailure {
    pub(crate) fn new(kind: TlsFailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// What STARTTLS failed with.
    pub(crate) fn of_connection(error: &ConnectionError) -> Self {
        let kind = match error {
            ConnectionError::Tls(error) => rustls_error(error).map(TlsFailureKind::of),
            // For now (4yz) is another matter: RFC 3207 §4 says 454 of TLS that is not to be had for a while.
            ConnectionError::Refused { phase: Phase::StartTls, reply } if reply.is_permanent() => {
                Some(TlsFailureKind::StartTlsNotSupported)
            }
            _ => None,
        };
        Self::new(kind.unwrap_or(TlsFailureKind::ValidationFailure), error.to_string())
    }

    /// What a certificate that was taken all the same is not.
    pub(crate) fn of_certificate(error: &rustls::Error) -> Self {
        Self::new(TlsFailureKind::of(error), error.to_string())
    }

    /// Whether the server is not fit for what is asked, as it is: unlike a handshake that broke.
    pub(crate) fn is_unfit(&self) -> bool {
        self.kind != TlsFailureKind::ValidationFailure
    }
}

impl TlsFailureKind {
    pub(crate) fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else {
            return Self::ValidationFailure;
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::CertificateExpired
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::CertificateHostMismatch
            }
            _ => Self::CertificateNotTrusted,
        }
    }
}

/// What rustls said, if it is its word.
pub(crate) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_apart() {
        for (error, kind) in [
            (CertificateError::Expired, TlsFailureKind::CertificateExpired),
            (CertificateError::NotValidForName, TlsFailureKind::CertificateHostMismatch),
            (CertificateError::UnknownIssuer, TlsFailureKind::CertificateNotTrusted),
            (CertificateError::BadEncoding, TlsFailureKind::CertificateNotTrusted),
        ] {
            let error = rustls::Error::InvalidCertificate(error);
            assert_eq!(TlsFailureKind::of(&error), kind);
            let error = ConnectionError::Tls(io::Error::new(io::ErrorKind::InvalidData, error));
            let failure = TlsFailure::of_connection(&error);
            assert!(failure.kind == kind && failure.is_unfit(), "{failure:?}");
        }
        let broken = ConnectionError::Tls(io::ErrorKind::ConnectionReset.into());
        assert!(!TlsFailure::of_connection(&broken).is_unfit());
    }
}
