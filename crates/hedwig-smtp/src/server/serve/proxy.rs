//! The PROXY protocol, versions 1 and 2: a proxy in front says who its client is.
//!
//! It is read before all else, TLS included, and not a byte beyond it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::server::framing::PROXY_SIGNATURE as SIGNATURE;

/// With its CRLF; the longest that version 1 allows.
const LINE_BYTES_MAX: usize = 107;
/// The longest body of version 2 that is read: two addresses, and what proxies tell besides.
const BODY_BYTES_MAX: usize = 2048;

/// Who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The proxy itself, which looks whether we are there.
    Proxy,
    At(SocketAddr),
}

/// Reads the header.
///
/// # Errors
/// When there is none, it is malformed, or it tells no address: whoever came that way must not be
/// taken for the proxy, which may be trusted more.
pub(super) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Client> {
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    if begin != SIGNATURE {
        let mut line = begin.to_vec();
        while !line.ends_with(b"\r\n") && line.len() < LINE_BYTES_MAX {
            line.push(stream.read_u8().await?);
        }
        return client_of_line(&line).ok_or_else(malformed);
    }
    let mut how = [0; 4];
    stream.read_exact(&mut how).await?;
    let [command, family, high, low] = how;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BODY_BYTES_MAX {
        return Err(malformed());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    client_of_body(command, family, &body).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    let text = "the proxy sent no PROXY header, or one that does not tell its client's address";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// `PROXY TCP4 source destination port port`.
fn client_of_line(line: &[u8]) -> Option<Client> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    let mut word = || words.next();
    if word()? != "PROXY" {
        return None;
    }
    let family = word()?;
    let addresses: [IpAddr; 2] = [word()?.parse().ok()?, word()?.parse().ok()?];
    let ports = [port(word()?)?, port(word()?)?];
    let fits = match family {
        "TCP4" => addresses.iter().all(IpAddr::is_ipv4),
        "TCP6" => addresses.iter().all(IpAddr::is_ipv6),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Client::At((addresses[0], ports[0]).into()))
}

fn port(digits: &str) -> Option<u16> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn client_of_body(command: u8, family: u8, body: &[u8]) -> Option<Client> {
    match (command, family) {
        (0x20, _) => Some(Client::Proxy),
        // TCP over IPv4: both addresses, then both ports.
        (0x21, 0x11) => {
            let address = Ipv4Addr::from(*body.first_chunk::<4>()?);
            let port = u16::from_be_bytes(*body.get(8..12)?.first_chunk()?);
            Some(Client::At((address, port).into()))
        }
        (0x21, 0x21) => {
            let address = Ipv6Addr::from(*body.first_chunk::<16>()?);
            let port = u16::from_be_bytes(*body.get(32..36)?.first_chunk()?);
            Some(Client::At((address, port).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of these bytes, and how many are left.
    fn read(mut bytes: &[u8]) -> (Option<Client>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let client = runtime.block_on(read_header(&mut bytes)).ok();
        (client, bytes.len())
    }

    fn at(address: &str) -> Option<Client> {
        Some(Client::At(address.parse().unwrap()))
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn both_versions_tell_the_client_and_leave_what_follows() {
        let v4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 25\r\nEHLO x\r\n";
        assert_eq!(read(v4), (at("192.0.2.1:4711"), 8));
        let v6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 25\r\n";
        assert_eq!(read(v6), (at("[2001:db8::1]:4711"), 0));

        let body = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0, 25];
        let mut header = binary(0x21, 0x11, &body);
        header.extend_from_slice(b"EHLO x\r\n");
        assert_eq!(read(&header), (at("192.0.2.1:4711"), 8));
        let with_more = [&body[..], &[4, 0, 1, 9]].concat();
        assert_eq!(read(&binary(0x21, 0x11, &with_more)), (at("192.0.2.1:4711"), 0));
        let mut body = [0; 36];
        body[..2].copy_from_slice(&[0x20, 0x01]);
        body[32..34].copy_from_slice(&[0x12, 0x67]);
        assert_eq!(read(&binary(0x21, 0x21, &body)), (at("[2001::]:4711"), 0));
        assert_eq!(read(&binary(0x20, 0, &[])), (Some(Client::Proxy), 0));
    }

    #[test]
    fn whoever_is_not_told_is_not_taken_for_the_proxy() {
        for line in [
            "EHLO client.example\r\n",
            "PROXY UNKNOWN\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 25 x\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 4711 25\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 4711 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +4711 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2  4711 25\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 25\n",
            "proxy TCP4 192.0.2.1 198.51.100.2 4711 25\r\n",
        ] {
            assert_eq!(read(line.as_bytes()).0, None, "{line}");
        }
        for header in [
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x00, &[0; 12]),
            binary(0x21, 0x31, &[0; 216]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x11, 0x11, &[0; 12]),
        ] {
            assert_eq!(read(&header).0, None, "{header:?}");
        }
    }

    #[test]
    fn no_more_is_read_than_a_header_can_be() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 10_000]].concat();
        assert_eq!(read(&endless), (None, endless.len() - LINE_BYTES_MAX));
        let large = binary(0x21, 0x11, &[0; 60_000]);
        assert_eq!(read(&large), (None, 60_000));
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
            let _ = client_of_line(&bytes);
            let _ = client_of_body(0x21, 0x11, &bytes);
            let _ = client_of_body(0x21, 0x21, &bytes);
        }
    }
}
