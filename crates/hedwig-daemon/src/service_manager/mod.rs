//! The service manager that started a daemon, if one did: systemd, or whatever speaks its protocol.
//!
//! It may hand over sockets that listen already (sd_listen_fds(3)), and it may want to be told when the
//! daemon is ready, when it stops, and again and again that it is alive (sd_notify(3)).

mod notices;
mod sockets;

use std::net::SocketAddr;

use hedwig_spool::Spool;
use tokio::net::TcpListener;

pub use notices::Notices;
pub use sockets::SocketError;
use sockets::Sockets;

use crate::{ListenError, Stop, listen, listen::announce};

/// Who started this process and watches over it; perhaps nobody.
#[derive(Debug, Default)]
pub struct ServiceManager {
    sockets: Sockets,
}

impl ServiceManager {
    /// Whoever the environment tells of. Call this once, and before there are threads: it takes the
    /// sockets, and unsets the variables that name them.
    ///
    /// # Errors
    /// When what was handed over is no listening TCP socket, or the names do not match.
    pub fn from_environment() -> Result<Self, SocketError> {
        Ok(Self { sockets: Sockets::from_environment()? })
    }

    /// Nobody: for a daemon that is part of another program.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The listeners for a protocol: the sockets of that name that were handed over, or else new ones
    /// at these addresses. The service manager's go before the configuration, whose addresses may be
    /// taken by them already.
    ///
    /// # Errors
    /// As [`listen`] does.
    pub async fn listeners(
        &mut self,
        protocol: &str,
        addresses: &[SocketAddr],
    ) -> Result<Vec<TcpListener>, ListenError> {
        let handed_over = self.sockets.take(protocol);
        if !handed_over.is_empty() {
            return handed_over.into_iter().map(|socket| announce(protocol, socket)).collect();
        }
        let mut listeners = Vec::with_capacity(addresses.len());
        for &address in addresses {
            listeners.push(listen(protocol, address).await?);
        }
        Ok(listeners)
    }

    /// Tells that the daemon is ready, and from then on what [`Notices`] says, until they are ended.
    ///
    /// # Errors
    /// When a socket was handed over that nobody took: clients would connect to it and wait for ever.
    pub fn ready(self, spool: &Spool, stop: &Stop) -> Result<Notices, SocketError> {
        self.sockets.nothing_left()?;
        Ok(Notices::start(spool.clone(), stop.requested()))
    }
}
