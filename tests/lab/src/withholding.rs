//! A wire between a client and a server, on which what the server says waits for what the client has yet to say.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::Result;

/// Passes on what a client says at once, and what the server says only when it may.
///
/// A client that waits for a reply which is withheld until it has said more waits in vain: so whoever gets
/// through did not wait. It runs until it is dropped.
#[derive(Debug)]
pub struct Withholding {
    address: SocketAddr,
    listener: JoinHandle<()>,
}

impl Withholding {
    /// Listens here for clients of the server at `server`. Nothing that it says passes while `withheld` is true of all
    /// that the client has said on this connection.
    ///
    /// # Errors
    /// When the address is in use.
    pub async fn start(
        listen: SocketAddr,
        server: SocketAddr,
        withheld: impl Fn(&[u8]) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let withheld = withheld.clone();
                tokio::spawn(async move {
                    if let Err(error) = between(client, server, withheld).await {
                        eprintln!("the wire to {server} broke: {error}");
                    }
                });
            }
        });
        Ok(Self { address, listener })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Withholding {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn between(
    client: TcpStream,
    server: SocketAddr,
    withheld: impl Fn(&[u8]) -> bool,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let (said, heard) = watch::channel(Vec::new());
    tokio::try_join!(
        pass_on(from_client, to_server, said),
        pass_back(from_server, to_client, heard, withheld),
    )?;
    Ok(())
}

async fn pass_on(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    said: watch::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = client.read(&mut bytes).await?;
        if count == 0 {
            return server.shutdown().await;
        }
        // Before the server hears of it: its reply must not find less.
        said.send_modify(|said| said.extend_from_slice(&bytes[..count]));
        server.write_all(&bytes[..count]).await?;
    }
}

async fn pass_back(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut heard: watch::Receiver<Vec<u8>>,
    withheld: impl Fn(&[u8]) -> bool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = server.read(&mut bytes).await?;
        if count == 0 {
            return client.shutdown().await;
        }
        // The client that is gone says no more: then nobody hears the rest either.
        if heard.wait_for(|said| !withheld(said)).await.is_err() {
            return Ok(());
        }
        client.write_all(&bytes[..count]).await?;
    }
}
