//! The addresses that mail comes from, as others see them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hedwig_mx::Source;

/// Addresses that nobody has (RFC 5737 §3, RFC 3849 §2): the way to them is the way to the Internet.
const FAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// An address that mail comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outward {
    /// As others see it.
    pub(crate) address: IpAddr,
    /// The name we say hello with there.
    pub(crate) hello: String,
    /// What our socket is bound to, where the settings say so: behind address translation, another address.
    pub(crate) bound: Option<IpAddr>,
}

/// What is known of the addresses that mail comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Those that are known.
    pub(crate) known: Vec<Outward>,
    /// Those of this host behind which others see another one, which nothing tells.
    pub(crate) hidden: Vec<IpAddr>,
}

/// What the settings say of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Told<'a> {
    /// The name of sources without one.
    pub(crate) hello: &'a str,
    pub(crate) sources: &'a [Source],
    /// Ours, as others see them.
    pub(crate) own: &'a [IpAddr],
    /// Whether this is a laboratory, where loopback is the Internet.
    pub(crate) allow_loopback: bool,
}

impl Addresses {
    /// Those of the settings; of a family without any, the one that the system would choose.
    pub(crate) fn of(told: &Told<'_>) -> Self {
        Self::with_routes(told, chosen_by_system)
    }

    fn with_routes(told: &Told<'_>, route: impl Fn(IpAddr) -> Option<IpAddr>) -> Self {
        let mut found = Self::default();
        for far in FAR {
            let is_kin = |address: &IpAddr| address.is_ipv4() == far.is_ipv4();
            let sources: Vec<_> = told.sources.iter().filter(|s| is_kin(&s.address)).collect();
            for source in &sources {
                let hello = source.hello_name.as_deref().unwrap_or(told.hello);
                found.add(source.address, hello, Some(source.address), told);
            }
            // In a laboratory, nothing leaves this host but by what the settings name.
            let is_confined = told.allow_loopback && !told.sources.is_empty();
            if sources.is_empty()
                && !is_confined
                && let Some(address) = route(far)
            {
                found.add(address, told.hello, None, told);
            }
        }
        found
    }

    fn add(&mut self, address: IpAddr, hello: &str, bound: Option<IpAddr>, told: &Told<'_>) {
        let mut seen = vec![address];
        if !is_public(address) {
            seen = told.own.iter().copied().filter(|o| o.is_ipv4() == address.is_ipv4()).collect();
            if seen.is_empty() && told.allow_loopback && address.is_loopback() {
                seen.push(address);
            }
        }
        if seen.is_empty() {
            self.hidden.push(address);
        }
        for address in seen {
            let outward = Outward { address, hello: hello.to_owned(), bound };
            if !self.known.iter().any(|known| known.address == address && known.hello == hello) {
                self.known.push(outward);
            }
        }
    }

    /// The names that are said hello with, each once.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for outward in &self.known {
            if !names.contains(&outward.hello.as_str()) {
                names.push(&outward.hello);
            }
        }
        names
    }
}

/// The address that connections to another would come from. Nothing is sent.
fn chosen_by_system(far: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(SocketAddr::new(far, 25)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// Whether others can have this address to talk with: not one of a private network (RFC 1918, RFC 4193, RFC 6598),
/// a link or a host.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && b & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || is_shared)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn of(sources: &[&str], own: &[&str], route: &str) -> (Vec<String>, Vec<IpAddr>) {
        let sources: Vec<Source> = sources.iter().map(|text| text.parse().unwrap()).collect();
        let own: Vec<IpAddr> = own.iter().map(|text| ip(text)).collect();
        let told =
            Told { hello: "mail.example.org", sources: &sources, own: &own, allow_loopback: false };
        let route = ip(route);
        let found = Addresses::with_routes(&told, |far| {
            (far.is_ipv4() == route.is_ipv4()).then_some(route)
        });
        let known = found.known.iter().map(|o| format!("{} {}", o.address, o.hello)).collect();
        (known, found.hidden)
    }

    #[test]
    fn without_sources_the_system_chooses() {
        assert_eq!(of(&[], &[], "192.0.2.9").0, ["192.0.2.9 mail.example.org"]);
        assert_eq!(of(&[], &["203.0.113.1"], "192.0.2.9").0, ["192.0.2.9 mail.example.org"]);
    }

    #[test]
    fn each_source_has_its_name_and_its_family_is_not_chosen_by_the_system() {
        let sources = ["198.51.100.1 hello=a.example.org", "198.51.100.2", "198.51.100.2 weight=2"];
        let (known, hidden) = of(&sources, &[], "192.0.2.9");
        assert_eq!(known, ["198.51.100.1 a.example.org", "198.51.100.2 mail.example.org"]);
        assert!(hidden.is_empty());
        let (known, _) = of(&sources[..1], &[], "2001:db8:5::1");
        assert_eq!(known, ["198.51.100.1 a.example.org", "2001:db8:5::1 mail.example.org"]);
    }

    #[test]
    fn behind_address_translation_only_the_settings_know() {
        for private in ["10.0.0.5", "192.168.1.1", "100.64.0.1", "127.0.0.1", "169.254.1.1"] {
            assert_eq!(of(&[], &[], private), (vec![], vec![ip(private)]));
            let (known, hidden) = of(&[], &["203.0.113.1", "2001:db8::1"], private);
            assert_eq!((known.len(), hidden.len()), (1, 0));
            assert_eq!(known, ["203.0.113.1 mail.example.org"]);
        }
        for private in ["fd00::1", "fe80::1", "::1"] {
            assert_eq!(of(&[], &[], private).1, [ip(private)]);
        }
    }
}
