//! The gateways that this host's routes name, as Linux tells them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The gateways of all routes as they are now. Where the system does not tell, there are none.
pub(crate) fn gateways() -> Vec<IpAddr> {
    let read = |path| {
        fs::read_to_string(path).unwrap_or_else(|error| {
            tracing::debug!(path, %error, "no routes to be read");
            String::new()
        })
    };
    let v4 = read("/proc/net/route");
    let v6 = read("/proc/net/ipv6_route");
    let mut gateways: Vec<IpAddr> =
        of_v4(&v4).map(IpAddr::from).chain(of_v6(&v6).map(IpAddr::from)).collect();
    gateways.sort();
    gateways.dedup();
    gateways
}

/// Lines of `interface destination gateway ...`, the addresses in hexadecimal as they lie in memory.
fn of_v4(table: &str) -> impl Iterator<Item = Ipv4Addr> {
    let gateway = |line: &str| {
        let word = line.split_whitespace().nth(2)?;
        Some(Ipv4Addr::from(u32::from_str_radix(word, 16).ok()?.to_ne_bytes()))
    };
    table.lines().filter_map(gateway).filter(|gateway| !gateway.is_unspecified())
}

/// Lines of `destination length source length gateway ...`, the addresses in hexadecimal as they are written.
fn of_v6(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    let gateway = |line: &str| {
        let word = line.split_whitespace().nth(4)?;
        Some(Ipv6Addr::from_bits(u128::from_str_radix(word, 16).ok()?))
    };
    table.lines().filter_map(gateway).filter(|gateway| !gateway.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_read_from_the_kernels_tables() {
        let word = u32::from_ne_bytes(Ipv4Addr::new(172, 30, 25, 1).octets());
        let table = format!(
            "Iface\tDestination\tGateway \tFlags\n\
             eth0\t00000000\t{word:08X}\t0003\t0\neth0\t00191EAC\t00000000\t0001\n"
        );
        assert_eq!(of_v4(&table).collect::<Vec<_>>(), [Ipv4Addr::new(172, 30, 25, 1)]);

        let none = "0".repeat(32);
        let table = format!(
            "{none} 00 {none} 00 fd000001000000000000000000000001 00000400 00000001 eth0\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 lo\n"
        );
        let expected: Ipv6Addr = "fd00:1::1".parse().unwrap();
        assert_eq!(of_v6(&table).collect::<Vec<_>>(), [expected]);
    }
}
