//! What is asked of TLS, and the certificates that opportunistic TLS takes.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::{Authorities, Dane, judged::config_judged_by};

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

    /// The name to ask the server for. An address literal has brackets in mail, and none in a certificate.
    pub(crate) fn server_name<'a>(&'a self, host: &'a str) -> &'a str {
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match self {
            Self::Dane(dane) => dane.server_name(),
            _ => address.unwrap_or(host),
        }
    }

    /// Whether the certificate must be for a name.
    pub(crate) fn needs_name(&self) -> bool {
        matches!(self, Self::Verified(_) | Self::Dane(_))
    }
}

/// A configuration that takes any certificate. Who cannot know whom to expect gains nothing from refusing:
/// the mail would go in clear text instead (RFC 7435 §3).
pub(crate) fn any_certificate() -> Arc<ClientConfig> {
    config_judged_by(|_| Ok(()))
}
