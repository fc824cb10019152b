//! What is looked at, and with what.

use std::sync::Arc;

use hedwig_envelope::BoxError;
use hedwig_mx::{HttpsFetcher, HttpsOptions, PolicyFetcher, Resolver, Target};

use crate::{
    Configuration,
    init::addresses::{Addresses, Told},
};

/// How long fetching a policy may take.
const POLICY_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15);

/// What the checks ask besides DNS.
pub(super) struct Probes {
    pub(super) port25_host: String,
    /// `HOST` or `HOST:PORT`.
    pub(super) time_server: String,
    pub(super) policy_port: u16,
}

/// A postoffice as it is set up.
pub(super) struct Patient {
    pub(super) configuration: Configuration,
    pub(super) probes: Probes,
    /// The daemon's own way to ask.
    pub(super) resolver: Resolver,
    /// Where its mail comes from.
    pub(super) addresses: Addresses,
    /// Where mail goes that no exact route is for, when not to its recipients' servers.
    pub(super) detour: Option<Target>,
    pub(super) policies: Arc<dyn PolicyFetcher>,
}

impl Patient {
    /// # Errors
    /// When there is no resolver.
    pub(super) fn new(configuration: Configuration, probes: Probes) -> Result<Self, BoxError> {
        let road = &configuration.road;
        let resolver = road.resolver()?;
        let addresses = Addresses::of(&Told {
            hello: &road.mx.hello_name,
            sources: &road.mx.sources,
            own: &road.mx.own_addresses,
            allow_loopback: road.mx.allow_loopback,
        });
        // A name that nobody has (RFC 6761 §6.4): only the route for every other domain is about it.
        let detour = Some(road.mx.routes.target("invalid")).filter(|target| **target != Target::Mx);
        let detour = detour.cloned();
        let certificates = road.mx.authorities.client_config();
        let https = HttpsOptions {
            port: probes.policy_port,
            allow_loopback: road.mx.allow_loopback,
            time_max: POLICY_TIME_MAX,
        };
        let policies = Arc::new(HttpsFetcher::new(resolver.clone(), certificates, https));
        Ok(Self { probes, resolver, addresses, detour, policies, configuration })
    }

    /// The domains that have keys, by name.
    pub(super) fn domains(&self) -> Vec<String> {
        let keys = self.configuration.road.keys.iter();
        let mut domains: Vec<String> = keys.map(|key| key.domain().to_owned()).collect();
        domains.sort();
        domains.dedup();
        domains
    }

    /// The name of this host.
    pub(super) fn hostname(&self) -> &str {
        self.configuration.hostname.as_str()
    }

    /// Whether others see this host's addresses at all.
    pub(super) fn is_seen(&self) -> bool {
        self.detour.is_none()
    }
}
