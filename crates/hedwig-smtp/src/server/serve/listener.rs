use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::Stream;

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: Stream + 'static;

    /// The next connection, and its client's address and port where there are such things. May be
    /// dropped at any time without losing a connection.
    ///
    /// A client without an address counts as one on this host.
    fn accept(
        &mut self,
    ) -> impl Future<Output = io::Result<(Self::Stream, Option<SocketAddr>)>> + Send;

    /// Writes as much of this as goes without waiting, and hangs up: whoever is turned away must cost
    /// nothing.
    fn turn_away(stream: Self::Stream, goodbye: &[u8]);
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        let (stream, client) = Self::accept(self).await?;
        // Without it a reply waits for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%client, %error, "cannot set TCP_NODELAY");
        }
        Ok((stream, Some(client)))
    }

    fn turn_away(stream: TcpStream, goodbye: &[u8]) {
        // A stream that the runtime has only just seen does not know yet that it can be written to.
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write_all(goodbye);
        }
    }
}

/// Whoever may open the socket's file may connect: its directory's permissions are the first policy.
impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Option<SocketAddr>)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, None))
    }

    fn turn_away(stream: UnixStream, goodbye: &[u8]) {
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write_all(goodbye);
        }
    }
}
