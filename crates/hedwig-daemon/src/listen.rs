use std::{fmt, io, net::SocketAddr, path::PathBuf, str::FromStr};

use tokio::net::{TcpListener, TcpSocket};

/// So many clients may have connected that were not let in yet, if the system allows it (listen(2)). With the 128 that
/// are usual a crowd that comes at once loses some, who try again a second later.
const BACKLOG: u32 = 4096;

/// Where a listener may be: `127.0.0.1:25`, or `unix:` and an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether only programs on this host can connect to it.
    #[must_use]
    pub fn is_for_this_host(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:").map(PathBuf::from) {
            Some(path) if path.is_absolute() => Ok(Self::Unix(path)),
            Some(_) => Err(AddressError),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is no [`ListenAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is an IP address with a port, or unix: and the absolute path of a socket")]
pub struct AddressError;

/// Binds a listener, and logs where: a port 0 becomes a real one.
///
/// The line has the fields `protocol` and `address`; programs that start a daemon wait for it.
///
/// # Errors
/// With the address, what the system says, and the way out.
pub async fn listen(protocol: &str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listener =
        bind(address).map_err(|source| ListenError::new(ListenAddress::Tcp(address), source))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(protocol, %address, "listening");
    Ok(listener)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart, connections of the process before may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Makes a listener of a socket that listens already, and logs where, as [`listen`] does.
pub(crate) fn announce(
    protocol: &str,
    socket: std::net::TcpListener,
) -> Result<TcpListener, ListenError> {
    let failed = |address, source| ListenError::new(ListenAddress::Tcp(address), source);
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = socket.local_addr().map_err(|source| failed(unknown, source))?;
    let listener = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
    let listener = listener.map_err(|source| failed(address, source))?;
    tracing::info!(protocol, %address, from = "the service manager", "listening");
    Ok(listener)
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: ListenAddress,
    source: io::Error,
}

impl ListenError {
    pub(crate) fn new(address: ListenAddress, source: io::Error) -> Self {
        Self { address, source }
    }

    /// Whether it may go well another time, though nobody mends the configuration: a predecessor still stops, or a
    /// network, such as a container engine's bridge, is yet to come up.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        let address = match &self.address {
            ListenAddress::Tcp(address) => address,
            ListenAddress::Unix(_) => return self.write_way_out_of_path(f),
        };
        let port = address.port();
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => write!(
                f,
                "; ports below 1024 are for root: start it as root or with CAP_NET_BIND_SERVICE \
                 (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or listen on another port, \
                 {} say",
                SocketAddr::new(address.ip(), if port == 25 { 2525 } else { 8025 })
            ),
            io::ErrorKind::AddrInUse => write!(
                f,
                "; another program has port {port} (see it with: ss -ltnp), stop that one or \
                 choose another port"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(
                    f,
                    "; this host does not have the address {} (see what it has with: ip address): \
                     if it is yet to come, with a bridge or a VPN, start again then, or else name \
                     one that is there",
                    address.ip()
                )
            }
            _ => Ok(()),
        }
    }
}

impl ListenError {
    fn write_way_out_of_path(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.kind() {
            io::ErrorKind::NotFound => write!(f, "; make its directory first"),
            io::ErrorKind::PermissionDenied => {
                write!(f, "; this daemon's user must be able to write in its directory")
            }
            io::ErrorKind::AddrInUse => write!(f, "; stop that one or choose another path"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_way_out() {
        let first = listen("smtp", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen("smtp", first.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("another program has port"), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_not_there_yet_is_told_with_the_way_out() {
        // 192.0.2.0/24 is for documentation, and no host's (RFC 5737).
        let error = listen("smtp", "192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert!(error.may_pass());
        let error = error.to_string();
        assert!(error.contains("192.0.2.1:0") && error.contains("yet to come"), "{error}");
    }

    #[test]
    fn what_a_person_must_mend_does_not_pass() {
        let failed = |kind: io::ErrorKind| {
            ListenError::new("127.0.0.1:25".parse().unwrap(), kind.into()).may_pass()
        };
        assert!(!failed(io::ErrorKind::PermissionDenied) && !failed(io::ErrorKind::NotFound));
        assert!(failed(io::ErrorKind::AddrInUse));
    }

    #[tokio::test]
    async fn a_crowd_that_comes_at_once_is_connected_before_anybody_is_let_in() {
        let listener = listen("smtp", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let crowd: Result<Vec<_>, _> = (0..300).map(|_| connect()).collect();
        assert_eq!(crowd.unwrap().len(), 300);
    }

    #[test]
    fn an_address_comes_back_as_it_was_written() {
        for text in ["127.0.0.1:25", "[::1]:25", "unix:/run/hedwig/smtp.sock"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "25", "127.0.0.1", "unix:", "unix:smtp.sock", "/run/smtp.sock"] {
            assert_eq!(text.parse::<ListenAddress>(), Err(AddressError), "{text}");
        }
    }

    #[test]
    fn a_privileged_port_is_told_with_the_way_out() {
        let source = io::ErrorKind::PermissionDenied.into();
        let error = ListenError::new("127.0.0.1:25".parse().unwrap(), source).to_string();
        assert!(error.contains("127.0.0.1:2525") && error.contains("CAP_NET_BIND"), "{error}");
    }
}
