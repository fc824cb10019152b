use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hedwig_envelope::{Origin, Protocol, Timestamp};

/// What a server knows of the client it talks with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address and port; `None` over a Unix socket or in memory.
    pub client: Option<SocketAddr>,
    /// What it called itself with HELO, EHLO or LHLO.
    pub hello: Option<String>,
    /// The protocol that its greeting chose.
    pub protocol: Protocol,
    /// The TLS version and cipher suite; `None` in clear text.
    pub tls: Option<String>,
    /// As whom it was authenticated.
    pub authenticated: Option<String>,
}

impl Peer {
    /// A client that has said nothing yet.
    #[must_use]
    pub fn new(client: Option<SocketAddr>) -> Self {
        Self { client, hello: None, protocol: Protocol::Smtp, tls: None, authenticated: None }
    }

    /// The origin of a mail that this client sent, whose last byte came at `received_at`.
    #[must_use]
    pub fn origin(&self, received_at: Timestamp) -> Origin {
        Origin {
            protocol: self.protocol,
            client: self.client,
            hello: self.hello.clone(),
            authenticated: self.authenticated.clone(),
            tls: self.tls.clone(),
            ..Origin::local(received_at)
        }
    }
}

/// What counts as one client when clients are counted: an IPv4 address, or of an IPv6 address its /64, for a host has
/// all of that to itself.
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}
