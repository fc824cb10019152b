use std::{fmt, net::IpAddr};

use hedwig_smtp::{
    Policy,
    policy::{only_this_host, policy_fn},
};

use crate::{Network, gateways::gateways};

/// The clients that may relay, besides those on this host.
///
/// A network's gateway is none of its clients: behind a container's published port, whoever connects from anywhere
/// seems to be the gateway of the bridge. It may relay only if its address is named by itself. What counts as one is the
/// first address of each network, and what [`with_gateways`](Self::with_gateways) adds.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    networks: Vec<Network>,
    gateways: Vec<IpAddr>,
}

impl Clients {
    /// The clients in these networks.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Self {
        Self { networks, gateways: Vec::new() }
    }

    /// The clients in these networks, but for the gateways that this host's routes name.
    #[must_use]
    pub fn of_this_host(networks: Vec<Network>) -> Self {
        Self::new(networks).with_gateways(gateways())
    }

    /// The same clients without these gateways.
    #[must_use]
    pub fn with_gateways(self, gateways: Vec<IpAddr>) -> Self {
        Self { gateways, ..self }
    }

    /// The networks as they were named.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Whether a client at this address may relay.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().filter(|network| network.contains(address)).any(|network| {
            network.is_single() || !self.gateways_of(network).any(|gateway| gateway == address)
        })
    }

    /// The gateways that may relay, for they were named by themselves.
    pub(crate) fn trusted_gateways(&self) -> impl Iterator<Item = IpAddr> {
        let is_first = |address| self.networks.iter().any(|n| n.first_host() == Some(address));
        let singles = self.networks.iter().filter(|network| network.is_single());
        singles
            .map(Network::address)
            .filter(move |address| self.gateways.contains(address) || is_first(*address))
    }

    fn gateways_of(&self, network: &Network) -> impl Iterator<Item = IpAddr> {
        let network = *network;
        let others =
            self.gateways.iter().copied().filter(move |gateway| network.contains(*gateway));
        let first = network.first_host();
        first.into_iter().chain(others.filter(move |other| Some(*other) != first))
    }
}

impl From<Vec<Network>> for Clients {
    fn from(networks: Vec<Network>) -> Self {
        Self::new(networks)
    }
}

impl fmt::Display for Clients {
    /// `this host, 172.17.0.0/16 but 172.17.0.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this host")?;
        for network in &self.networks {
            write!(f, ", {network}")?;
            let left_out = self.gateways_of(network).filter(|gateway| !self.contains(*gateway));
            for (index, gateway) in left_out.enumerate() {
                write!(f, " {} {gateway}", if index == 0 { "but" } else { "and" })?;
            }
        }
        Ok(())
    }
}

/// Relays for this host, for these clients, and for whoever is authenticated. To everybody else it says 550 5.7.1 at
/// each recipient, so that nobody makes an open relay by leaving out a setting.
/// It calls `refused` for each of them.
pub fn relay_policy(
    clients: impl Into<Clients>,
    refused: impl Fn() + Clone + Send + Sync + 'static,
) -> impl Policy {
    let clients: Clients = clients.into();
    policy_fn(move |question| {
        let peer = question.peer();
        let client = peer.client.map(|client| client.ip());
        if peer.authenticated.is_some() || client.is_some_and(|client| clients.contains(client)) {
            return question.yes();
        }
        let reply = only_this_host(question);
        if !reply.is_success() {
            refused();
        }
        reply
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hedwig_envelope::{Address, Recipient, ReversePath};
    use hedwig_smtp::{Peer, Question};
    use tower::Service;

    use super::*;

    fn clients(networks: &[&str], gateways: &[&str]) -> Clients {
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let gateways = gateways.iter().map(|gateway| gateway.parse().unwrap()).collect();
        Clients::new(networks).with_gateways(gateways)
    }

    async fn code(clients: &Clients, client: &str, user: Option<&str>) -> u16 {
        let recipient: Address = "a@example.org".parse().unwrap();
        let peer = Peer::new(Some(client.parse().unwrap()));
        let question = Question::Recipient {
            peer: Arc::new(Peer { authenticated: user.map(str::to_owned), ..peer }),
            sender: ReversePath::Null,
            recipient: Recipient::from(recipient),
        };
        relay_policy(clients.clone(), || {}).call(question).await.unwrap().code()
    }

    #[tokio::test]
    async fn whoever_is_authenticated_may_relay() {
        let nobody = Clients::default();
        assert_eq!(code(&nobody, "192.0.2.1:1", None).await, 550);
        assert_eq!(code(&nobody, "192.0.2.1:1", Some("alice")).await, 250);
    }

    #[tokio::test]
    async fn only_this_host_and_named_networks_may_relay() {
        let clients = clients(&["10.0.0.0/8"], &[]);
        for (client, expected) in [("127.0.0.1:1", 250), ("10.2.3.4:1", 250), ("192.0.2.1:1", 550)]
        {
            assert_eq!(code(&clients, client, None).await, expected, "{client}");
        }
    }

    #[tokio::test]
    async fn a_bridges_gateway_may_not_relay_just_for_being_on_the_bridge() {
        let bridge = clients(&["172.16.0.0/12", "fd00:1::/64"], &["172.18.0.1", "192.0.2.1"]);
        for (client, expected) in [
            ("172.16.0.1:1", 550),
            ("172.18.0.1:1", 550),
            ("[::ffff:172.18.0.1]:1", 550),
            ("[fd00:1::1]:1", 550),
            ("172.18.0.2:1", 250),
            ("[fd00:1::2]:1", 250),
        ] {
            assert_eq!(code(&bridge, client, None).await, expected, "{client}");
        }
        let expected =
            "this host, 172.16.0.0/12 but 172.16.0.1 and 172.18.0.1, fd00:1::/64 but fd00:1::1";
        assert_eq!(bridge.to_string(), expected);
        assert_eq!(bridge.trusted_gateways().count(), 0);

        let by_name = clients(&["172.17.0.0/16", "172.17.0.1", "172.18.0.1"], &["172.18.0.1"]);
        assert_eq!(code(&by_name, "172.17.0.1:1", None).await, 250);
        assert_eq!(by_name.to_string(), "this host, 172.17.0.0/16, 172.17.0.1/32, 172.18.0.1/32");
        let trusted: Vec<String> = by_name.trusted_gateways().map(|g| g.to_string()).collect();
        assert_eq!(trusted, ["172.17.0.1", "172.18.0.1"]);
    }
}
