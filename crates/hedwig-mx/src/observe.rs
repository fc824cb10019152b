//! What is told of a connection's TLS to whoever counts it.

use std::{net::IpAddr, sync::Arc};

use crate::{Dane, SessionPolicy, StsPolicy, TlsFailure, TlsSession, deliver::Deliverer};

/// What is reported of a connection (RFC 8460).
#[derive(Debug)]
pub(crate) struct Report {
    /// The recipients' domain.
    pub(crate) domain: String,
    pub(crate) origin: Origin,
    /// What is not as it should be already before the connection.
    pub(crate) failure: Option<TlsFailure>,
}

/// Whose policy it is.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Nobody's but ours.
    Own,
    /// The domain's; `None` when it could not be had.
    Sts(Option<Arc<StsPolicy>>),
    /// The host's zone's; `None` when nothing of it could be followed.
    Dane(Option<Arc<Dane>>),
}

impl Deliverer {
    /// Tells the observer how TLS went.
    pub(crate) fn observe(
        &self,
        host: &str,
        address: Option<IpAddr>,
        source: Option<IpAddr>,
        report: &Report,
        failure: Option<&TlsFailure>,
    ) {
        let Some(observer) = &self.options.tls_observer else { return };
        let (mut lines, mut hosts) = (Vec::new(), Vec::new());
        let policy = match &report.origin {
            Origin::Own => SessionPolicy::Absent,
            Origin::Sts(policy) => {
                if let Some(policy) = policy {
                    (lines, hosts) = (policy.lines(), policy.patterns().to_vec());
                }
                SessionPolicy::Sts { lines: &lines, hosts: &hosts }
            }
            Origin::Dane(dane) => {
                lines = dane.as_ref().map(|dane| dane.lines()).unwrap_or_default();
                SessionPolicy::Tlsa(&lines)
            }
        };
        let failure = failure.or(report.failure.as_ref());
        let domain = &report.domain;
        observer.observe(&TlsSession { domain, policy, host, address, source, failure });
    }
}
