//! Which TLS policy a mail has on the way to one mail exchanger.

use std::net::IpAddr;

use hedwig_envelope::Outcome;

use crate::{
    Found, TlsPolicy,
    dane::{self, Said},
    deliver::Deliverer,
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
        if !self.options.dane || !way.secure || !own.yields_to_dane() {
            return Ok(own.clone());
        }
        let MxWay { domain, host, addresses, .. } = way;
        let port = self.options.mx_port;
        match dane::of_host(&self.resolver, domain, host, port, addresses).await {
            Ok(Said::Certificate(dane)) => Ok(TlsPolicy::Dane(dane)),
            Ok(Said::Encryption) => Ok(own.requiring_tls()),
            Ok(Said::Nothing) => Ok(own.clone()),
            Err(error) => Err(Box::new(word::of_tlsa_error(&error, host))),
        }
    }
}
