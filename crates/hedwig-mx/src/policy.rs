//! Which TLS policy a mail has on the way to one mail exchanger.

use std::net::IpAddr;

use hedwig_envelope::Outcome;

use crate::{
    Found, ResolveError, TlsPolicy,
    dane::{self, Said},
    deliver::Deliverer,
    sts::Mode,
    word,
};

/// How a domain led to one of its mail exchangers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MxWay<'a> {
    /// The recipients' domain.
    pub(crate) domain: &'a str,
    pub(crate) host: &'a str,
    pub(crate) addresses: &'a Found<Vec<IpAddr>>,
    /// Whether DNSSEC vouches for the domain's MX records.
    pub(crate) secure: bool,
}

impl Deliverer {
    /// The policy for one exchanger, of a mail that has `own` without more knowledge.
    ///
    /// # Errors
    /// With what to say of the recipients, if no other server takes them, when this one must not be used.
    pub(crate) async fn tls_of(
        &self,
        way: MxWay<'_>,
        own: &TlsPolicy,
    ) -> Result<TlsPolicy, Box<Outcome>> {
        if !own.yields_to_domain() {
            return Ok(own.clone());
        }
        let own = match self.said_by_host(way).await {
            // RFC 8461 §2: what DANE says, no MTA-STS policy takes back.
            Ok(Said::Certificate(dane)) => return Ok(TlsPolicy::Dane(dane)),
            Ok(Said::Encryption) => own.requiring_tls(),
            Ok(Said::Nothing) => own.clone(),
            Err(error) => return Err(Box::new(word::of_tlsa_error(&error, way.host))),
        };
        self.said_by_domain(way, own).await
    }

    /// What the host's zone says of its certificate (RFC 7672).
    async fn said_by_host(&self, way: MxWay<'_>) -> Result<Said, ResolveError> {
        if !self.options.dane || !way.secure {
            return Ok(Said::Nothing);
        }
        let MxWay { domain, host, addresses, .. } = way;
        dane::of_host(&self.resolver, domain, host, self.options.mx_port, addresses).await
    }

    /// What the domain says of its exchangers (RFC 8461 §5).
    async fn said_by_domain(
        &self,
        MxWay { domain, host, .. }: MxWay<'_>,
        own: TlsPolicy,
    ) -> Result<TlsPolicy, Box<Outcome>> {
        let Some(policies) = &self.policies else { return Ok(own) };
        match policies.of_domain(&self.resolver, domain).await {
            Some(policy) if policy.mode == Mode::Enforce && policy.names(host) => {
                Ok(TlsPolicy::Verified(policies.sts().certificates.clone()))
            }
            Some(policy) if policy.mode == Mode::Enforce => {
                Err(Box::new(word::not_named_by_policy(host, domain)))
            }
            Some(policy) if policy.mode == Mode::Testing && !policy.names(host) => {
                tracing::info!(domain, host, "not a host that the domain's MTA-STS policy names");
                Ok(own)
            }
            _ => Ok(own),
        }
    }
}
