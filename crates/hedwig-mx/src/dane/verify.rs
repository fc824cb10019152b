//! The certificate that TLSA records stand for.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, OtherError, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::ServerName,
    server::ParsedCertificate,
};

use super::Dane;
use crate::judged::{Shown, config_judged_by, provider};

pub(super) fn client_config(dane: Arc<Dane>) -> Arc<ClientConfig> {
    let algorithms = provider().signature_verification_algorithms;
    config_judged_by(move |shown| dane.judge(shown, &algorithms))
}

impl Dane {
    fn judge(
        &self,
        shown: &Shown<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        // DANE-EE is about the key alone: names and dates do not count (RFC 7672 §3.1.1).
        if self.records.iter().any(|record| record.is_end_entity(shown.certificate)) {
            return Ok(());
        }
        let mut anchors = RootCertStore::empty();
        for record in &self.records {
            record.add_anchors(shown.intermediates, &mut anchors);
        }
        if anchors.is_empty() {
            return Err(no_match());
        }
        let parsed = ParsedCertificate::try_from(shown.certificate)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &anchors,
            shown.intermediates,
            shown.now,
            algorithms.all,
        )?;
        self.verify_name(&parsed)
    }

    /// RFC 7672 §3.2.2: below a trust anchor, the certificate is for one of the names that led here.
    fn verify_name(&self, certificate: &ParsedCertificate<'_>) -> Result<(), rustls::Error> {
        let mut result = Err(no_match());
        for name in &self.names {
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
