//! Which TLS policy a mail has on the way to one server, and who says so.

use std::{net::IpAddr, sync::Arc};

use hedwig_envelope::{Content, Envelope, Outcome, header};

use crate::{
    Found, ResolveError, ResolveErrorKind, TlsFailure, TlsFailureKind, TlsLevel, TlsPolicy,
    dane::{self, Said},
    deliver::Deliverer,
    destination::Scheme,
    observe::{Origin, Report},
    sts::{self, Mode},
    word,
};

/// What a mail's sender asks of TLS (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// REQUIRETLS: a verified server that asks the same of the next, or no delivery.
    pub(crate) required: bool,
    /// `TLS-Required: No`: delivery, whatever the recipients' domain asks for.
    pub(crate) optional: bool,
}

impl Wishes {
    pub(crate) fn of(envelope: &Envelope, content: &Content) -> Self {
        let required = envelope.parameters.require_tls;
        // RFC 8689 §3: of a mail with REQUIRETLS the field is not looked at.
        let optional = !required && has_tls_required_no(content);
        Self { required, optional }
    }
}

fn has_tls_required_no(content: &Content) -> bool {
    let fields = header::fields(content.added()).chain(header::fields(content.message()));
    let mut fields = fields.filter(|field| field.is_named("TLS-Required"));
    let first = fields.next();
    // RFC 8689 §5: it stands there once, with this one value.
    first.is_some_and(|field| field.value.trim_ascii().eq_ignore_ascii_case(b"no"))
        && fields.next().is_none()
}

/// The policy for one server.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) tls: TlsPolicy,
    /// What it is and where it comes from, for the attempt's record.
    pub(crate) told: String,
    /// What to report; `None` for nothing.
    pub(crate) report: Option<Report>,
}

/// Why a server must not be used.
#[derive(Debug)]
pub(crate) struct Forbidden {
    /// What to say of the recipients, if no other server takes them.
    pub(crate) outcome: Outcome,
    /// Which policy forbids it, for the attempt's record.
    pub(crate) told: String,
    pub(crate) report: Option<Report>,
}

/// How a domain led to a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// The recipients' domain, or the server's own name where a route leads to it.
    pub(crate) domain: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) addresses: &'a Found<Vec<IpAddr>>,
    /// Whether DNSSEC vouches for the domain's choice of the host.
    pub(crate) secure: bool,
    /// Whether the host is a mail exchanger, which the domain's MTA-STS policy is about.
    pub(crate) exchanger: bool,
}

impl Way<'_> {
    fn report(&self, origin: Origin, failure: Option<TlsFailure>) -> Option<Report> {
        self.exchanger.then(|| Report { domain: self.domain.to_owned(), origin, failure })
    }

    fn forbidden(
        &self,
        outcome: Outcome,
        told: impl Into<String>,
        origin: Origin,
        failure: TlsFailure,
    ) -> Box<Forbidden> {
        let report = self.report(origin, Some(failure));
        Box::new(Forbidden { outcome, told: told.into(), report })
    }
}

impl Deliverer {
    /// The policy for a server whose name nobody looked up: an address literal, or a route's address.
    pub(crate) fn tls_of_address(&self, name: &str, wishes: Wishes) -> Chosen {
        let (level, told) = self.own_level(name);
        if wishes.required {
            let tls = TlsPolicy::Verified(self.options.authorities.clone());
            return Chosen { tls, told: "verified: REQUIRETLS".into(), report: None };
        }
        Chosen { tls: self.own_policy(level), told, report: None }
    }

    /// The policy for a server.
    ///
    /// # Errors
    /// When it must not be used.
    pub(crate) async fn tls_of(
        &self,
        way: Way<'_>,
        wishes: Wishes,
    ) -> Result<Chosen, Box<Forbidden>> {
        let (level, told) = self.own_level(way.domain);
        let is_set_aside = wishes.optional
            && matches!(level, TlsLevel::Opportunistic | TlsLevel::Encrypted)
            || level == TlsLevel::Never && !wishes.required;
        if is_set_aside {
            let told = if wishes.optional { format!("{told}; TLS-Required: No") } else { told };
            return Ok(Chosen { tls: self.own_policy(level), told, report: None });
        }
        let mut chosen = self.tls_asked_for(way, wishes, level, told).await;
        if wishes.optional {
            // Reports themselves are such mails, and are not to be reported on.
            match &mut chosen {
                Ok(chosen) => chosen.report = None,
                Err(forbidden) => forbidden.report = None,
            }
        }
        chosen
    }

    async fn tls_asked_for(
        &self,
        way: Way<'_>,
        wishes: Wishes,
        level: TlsLevel,
        told: String,
    ) -> Result<Chosen, Box<Forbidden>> {
        let mut chosen = self.with_dane(way, level, told).await?;
        if wishes.optional {
            // What is left is the operator's word, which takes TLSA records for its own.
            chosen.told = format!("{}; TLS-Required: No", chosen.told);
        } else if !matches!(chosen.tls, TlsPolicy::Dane(_)) {
            chosen = self.with_sts(way, wishes, chosen).await?;
        }
        if wishes.required {
            chosen.told = format!("{}; REQUIRETLS", chosen.told);
        }
        Ok(chosen)
    }

    /// The same for a server that a route names: TLS is part of `smtps`, a password goes to nobody but the
    /// host that it is for, and it is the operator who says which authorities vouch for it.
    pub(crate) fn on_route(&self, host: &str, scheme: Scheme, chosen: Chosen) -> Chosen {
        let mut chosen = self.asked_on_route(host, scheme, chosen);
        if let TlsPolicy::Verified(authorities) = &mut chosen.tls {
            *authorities = self.options.route_authorities.clone();
        }
        chosen
    }

    fn asked_on_route(&self, host: &str, scheme: Scheme, chosen: Chosen) -> Chosen {
        let has_login = scheme != Scheme::Lmtp && self.options.logins.find(host).is_some();
        if has_login && !chosen.tls.needs_name() && !is_this_host(host) {
            let told = format!("verified: a password is set for {host}");
            return self.verified(Chosen { told, ..chosen });
        }
        if scheme == Scheme::Smtps && chosen.tls.allows_clear_text() {
            let told = format!("encrypted: smtps is set for {host}");
            return Chosen { tls: TlsPolicy::Encrypted, told, ..chosen };
        }
        chosen
    }

    /// What the operator asks for, and in which words to tell it.
    fn own_level(&self, name: &str) -> (TlsLevel, String) {
        match self.options.tls.find(name) {
            (level, Some(pattern)) => (level, format!("{level}: set for {pattern}")),
            (level, None) => (level, level.to_string()),
        }
    }

    fn own_policy(&self, level: TlsLevel) -> TlsPolicy {
        match level {
            TlsLevel::Never => TlsPolicy::Never,
            TlsLevel::Opportunistic => TlsPolicy::Opportunistic,
            TlsLevel::Encrypted => TlsPolicy::Encrypted,
            // DANE was asked for, and is not to be had here: then less is not enough.
            TlsLevel::Verified | TlsLevel::Dane => {
                TlsPolicy::Verified(self.options.authorities.clone())
            }
        }
    }

    /// The policy that the host's zone and the operator's word make together (RFC 7672).
    async fn with_dane(
        &self,
        way: Way<'_>,
        level: TlsLevel,
        told: String,
    ) -> Result<Chosen, Box<Forbidden>> {
        let said = self.said_by_host(way).await.map_err(|error| {
            let kind = match error.kind {
                ResolveErrorKind::Bogus => TlsFailureKind::DnssecInvalid,
                _ => TlsFailureKind::ValidationFailure,
            };
            let failure = TlsFailure::new(kind, error.to_string());
            let outcome = word::of_tlsa_error(&error, way.host);
            way.forbidden(outcome, "dane: no answer", Origin::Dane(None), failure)
        })?;
        let mut tls = self.own_policy(level);
        let mut report = way.report(Origin::Own, None);
        match said {
            Said::Certificate(dane) => {
                let told = format!("dane: TLSA records of {}", dane.server_name());
                let report = way.report(Origin::Dane(Some(dane.clone())), None);
                return Ok(Chosen { tls: TlsPolicy::Dane(dane), told, report });
            }
            Said::Encryption => {
                if tls.allows_clear_text() {
                    tls = TlsPolicy::Encrypted;
                }
                let reason = "none of the host's TLSA records can be followed";
                let failure = TlsFailure::new(TlsFailureKind::TlsaInvalid, reason);
                report = way.report(Origin::Dane(None), Some(failure));
            }
            Said::Nothing => {}
        }
        if level == TlsLevel::Dane {
            let reason = "DNSSEC vouches for no TLSA record of the host";
            let failure = TlsFailure::new(TlsFailureKind::DaneRequired, reason);
            let outcome = word::dane_required(way.host);
            return Err(way.forbidden(outcome, told, Origin::Own, failure));
        }
        Ok(Chosen { tls, told, report })
    }

    /// What the host's zone says of its certificate (RFC 7672).
    async fn said_by_host(&self, way: Way<'_>) -> Result<Said, ResolveError> {
        if !self.options.dane || !way.secure {
            return Ok(Said::Nothing);
        }
        dane::of_host(&self.resolver, way.domain, way.host, way.port, way.addresses).await
    }

    /// The policy that comes of this one by what the domain says of its exchangers (RFC 8461 §5), and by what the
    /// sender asks for (RFC 8689 §4.2.1).
    async fn with_sts(
        &self,
        way: Way<'_>,
        wishes: Wishes,
        own: Chosen,
    ) -> Result<Chosen, Box<Forbidden>> {
        let said = match &self.policies {
            Some(policies) if way.exchanger => policies.of_domain(&self.resolver, way.domain).await,
            _ => sts::Said::Nothing,
        };
        let named = matches!(&said, sts::Said::Policy { policy, .. }
            if policy.mode != Mode::None && policy.names(way.host));
        let chosen = self.as_domain_says(way, &said, own)?;
        if !wishes.required {
            return Ok(chosen);
        }
        if named || way.secure {
            return Ok(self.verified(chosen));
        }
        let outcome = match said {
            sts::Said::NotHad(_) | sts::Said::Unknown => word::may_be_vouched_for(way),
            _ => word::not_vouched_for(way),
        };
        Err(Box::new(Forbidden { outcome, told: "REQUIRETLS".into(), report: None }))
    }

    fn as_domain_says(
        &self,
        way: Way<'_>,
        said: &sts::Said,
        own: Chosen,
    ) -> Result<Chosen, Box<Forbidden>> {
        let (id, policy) = match said {
            sts::Said::Policy { id, policy } if policy.mode != Mode::None => (id, policy),
            sts::Said::NotHad(failure) => {
                let report = way.report(Origin::Sts(None), Some(failure.clone()));
                return Ok(Chosen { report, ..own });
            }
            _ => return Ok(own),
        };
        let origin = Origin::Sts(Some(Arc::clone(policy)));
        let failure = (!policy.names(way.host)).then(|| {
            let reason = format!("the policy does not name {}", way.host);
            TlsFailure::new(TlsFailureKind::ValidationFailure, reason)
        });
        if policy.mode == Mode::Enforce {
            let told = format!("mta-sts: policy {id} of {}", way.domain);
            return match failure {
                Some(failure) => {
                    let outcome = word::not_named_by_policy(way.host, way.domain);
                    Err(way.forbidden(outcome, told, origin, failure))
                }
                None => {
                    let report = way.report(origin, None);
                    Ok(self.verified(Chosen { told, report, ..own }))
                }
            };
        }
        if failure.is_some() {
            let (domain, host) = (way.domain, way.host);
            tracing::info!(domain, host, "not a host that the domain's MTA-STS policy names");
        }
        let tls = match own.tls {
            tls @ (TlsPolicy::Opportunistic | TlsPolicy::Encrypted) => TlsPolicy::Heard {
                authorities: self.options.authorities.clone(),
                encrypted: !tls.allows_clear_text(),
            },
            other => other,
        };
        let told = format!("{}; mta-sts testing: policy {id} of {}", own.told, way.domain);
        Ok(Chosen { tls, told, report: way.report(origin, failure) })
    }

    /// The same, with a certificate for the host's name.
    fn verified(&self, chosen: Chosen) -> Chosen {
        Chosen { tls: TlsPolicy::Verified(self.options.authorities.clone()), ..chosen }
    }
}

/// Whether nobody can listen on the way to a host, or stand in its place, without being on this one.
fn is_this_host(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hedwig_envelope::{Address, ReversePath};

    #[test]
    fn tls_required_no_counts_alone_and_without_requiretls() {
        let wishes = |header: &'static str, required| {
            let recipient: Address = "bob@example.com".parse().unwrap();
            let mut envelope = Envelope::new(ReversePath::Null, [recipient]);
            envelope.parameters.require_tls = required;
            Wishes::of(&envelope, &Content::from(header))
        };
        for header in ["TLS-Required: No\r\n\r\n", "From: a@b\r\ntls-required:NO \r\n\r\n"] {
            assert!(wishes(header, false).optional, "{header}");
            assert_eq!(wishes(header, true), Wishes { required: true, optional: false });
        }
        for header in [
            "",
            "From: a@b\r\n\r\nTLS-Required: No\r\n",
            "TLS-Required: Yes\r\n\r\n",
            "TLS-Required: No; x=y\r\n\r\n",
            "TLS-Required: No\r\nTLS-Required: No\r\n\r\n",
        ] {
            assert_eq!(wishes(header, false), Wishes::default(), "{header}");
        }
    }
}
