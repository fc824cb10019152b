use std::{fmt, io, net::SocketAddr};

use tokio::net::TcpListener;

/// Binds a listener, and logs where: a port 0 becomes a real one.
///
/// The line has the fields `protocol` and `address`; programs that start a daemon wait for it.
///
/// # Errors
/// With the address, what the system says, and the way out.
pub async fn listen(protocol: &str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| ListenError { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(protocol, %address, "listening");
    Ok(listener)
}

/// Makes a listener of a socket that listens already, and logs where, as [`listen`] does.
pub(crate) fn announce(
    protocol: &str,
    socket: std::net::TcpListener,
) -> Result<TcpListener, ListenError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = socket.local_addr().map_err(|source| ListenError { address: unknown, source })?;
    let listener = socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket));
    let listener = listener.map_err(|source| ListenError { address, source })?;
    tracing::info!(protocol, %address, from = "the service manager", "listening");
    Ok(listener)
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.address, self.address.port());
        write!(f, "cannot listen on {address}: {}", self.source)?;
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
                write!(f, "; this host does not have the address {}", address.ip())
            }
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
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_way_out() {
        let first = listen("smtp", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen("smtp", first.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("another program has port"), "{error}");
    }

    #[test]
    fn a_privileged_port_is_told_with_the_way_out() {
        let source = io::ErrorKind::PermissionDenied.into();
        let error = ListenError { address: "127.0.0.1:25".parse().unwrap(), source }.to_string();
        assert!(error.contains("127.0.0.1:2525") && error.contains("CAP_NET_BIND"), "{error}");
    }
}
