use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network in the notation of RFC 4632: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    /// Whether this address is in it. An IPv4 address that came over an IPv6 socket is one.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, width) = number(self.address);
        let (other, other_width) = number(address.to_canonical());
        let shift = width - self.prefix_bits;
        // Shifting a number by all its bits is no operation in Rust; nothing is left of it then.
        width == other_width && own.checked_shr(shift) == other.checked_shr(shift)
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it is one address and no more.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.prefix_bits == number(self.address).1
    }

    /// Its first host, which by custom is its router: a bridge's gateway, say. `None` when it has no room for one.
    #[must_use]
    pub fn first_host(&self) -> Option<IpAddr> {
        let (_, width) = number(self.address);
        let has_room = width - self.prefix_bits >= 2;
        has_room.then(|| match self.address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() | 1).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | 1).into(),
        })
    }

    /// Whether it is all the world, or much of it.
    #[must_use]
    pub fn is_the_world(&self) -> bool {
        let (_, width) = number(self.address);
        let whole_continents = if width == 32 { 8 } else { 7 };
        self.prefix_bits < whole_continents
    }

    /// What is dangerous about letting all of it relay, if anything is.
    #[must_use]
    pub fn danger(&self) -> Option<&'static str> {
        if self.is_the_world() {
            return Some("is all the world, or much of it: that makes an open relay");
        }
        let covers = |other: &&(IpAddr, u32)| other.1 >= self.prefix_bits && self.contains(other.0);
        PRIVATE_RANGES.iter().find(covers).map(|_| {
            "is a whole private range: name only the network your clients are in; behind a container's \
             published port or a load balancer, strangers may seem to come from a private address"
        })
    }
}

/// RFC 1918, RFC 6598, RFC 4193 and link-local addresses.
const PRIVATE_RANGES: [(IpAddr, u32); 7] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let (bits, width) = number(address);
        let prefix_bits = match prefix {
            None => width,
            Some(prefix) => prefix.parse().map_err(|_| NetworkError::Form)?,
        };
        if prefix_bits > width {
            return Err(NetworkError::Prefix(width));
        }
        let network = Self { address, prefix_bits };
        // 10.1.2.3/8 is a slip of whoever meant either one host or the whole network.
        let host_bits = width - prefix_bits;
        let has_host_bits = host_bits > 0 && bits.trailing_zeros() < host_bits;
        if has_host_bits { Err(NetworkError::HostBits) } else { Ok(network) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// A text that is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// Not an address, or not one with a prefix length.
    Form,
    /// The prefix is longer than the address, which has so many bits.
    Prefix(u32),
    /// Bits are set beyond the prefix.
    HostBits,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => {
                write!(f, "a network is an IP address, perhaps with / and a prefix length")
            }
            Self::Prefix(width) => write!(f, "the prefix length is more than {width}"),
            Self::HostBits => write!(f, "the address has bits set beyond the prefix length"),
        }
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Result<Network, NetworkError> {
        text.parse()
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text} {outside}");
        }
        assert!(network("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_slip_is_no_network() {
        assert_eq!(network("10.1.2.3/8"), Err(NetworkError::HostBits));
        assert_eq!(network("10.0.0.0/33"), Err(NetworkError::Prefix(32)));
        for text in ["", "localhost", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/-1"] {
            assert_eq!(network(text), Err(NetworkError::Form), "{text}");
        }
    }

    #[test]
    fn a_network_that_lets_in_strangers_is_dangerous() {
        for (text, danger) in [
            ("0.0.0.0/0", Some("is all the world")),
            ("128.0.0.0/1", Some("is all the world")),
            ("::/0", Some("is all the world")),
            ("10.0.0.0/8", Some("is a whole private range")),
            ("172.16.0.0/12", Some("is a whole private range")),
            ("192.0.0.0/8", Some("is a whole private range")),
            ("fd00::/8", Some("is a whole private range")),
            ("172.17.0.0/16", None),
            ("192.168.1.0/24", None),
            ("2001:db8::/32", None),
            ("203.0.113.0/24", None),
        ] {
            let found = network(text).unwrap().danger();
            assert_eq!(found.is_some(), danger.is_some(), "{text}");
            assert!(found.unwrap_or_default().starts_with(danger.unwrap_or_default()), "{text}");
        }
    }

    #[test]
    fn the_first_address_of_a_network_is_its_router() {
        for (text, first) in [
            ("172.17.0.0/16", Some("172.17.0.1")),
            ("fd00:1::/64", Some("fd00:1::1")),
            ("10.1.2.3", None),
            ("10.0.0.2/31", None),
        ] {
            let first = first.map(|first| first.parse().unwrap());
            assert_eq!(network(text).unwrap().first_host(), first, "{text}");
        }
    }
}
