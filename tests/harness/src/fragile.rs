//! Connections that break off in the middle of whatever is said.

use tokio::{
    io::{AsyncReadExt, DuplexStream, copy, duplex, split},
    net::TcpStream,
    select,
};

const WINDOW_BYTES: usize = 4096;

/// The connection, which breaks off when so many octets have gone over it in one of its directions.
pub(crate) fn fragile(mut stream: TcpStream, octets_max: u64) -> DuplexStream {
    let (near, far) = duplex(WINDOW_BYTES);
    tokio::spawn(async move {
        let (incoming, mut outgoing) = stream.split();
        let (from_near, mut to_near) = split(far);
        let mut incoming = incoming.take(octets_max);
        let mut from_near = from_near.take(octets_max);
        // Whichever ends first ends the connection. There is nobody to be told how.
        select! {
            _ = copy(&mut incoming, &mut to_near) => {}
            _ = copy(&mut from_near, &mut outgoing) => {}
        }
    });
    near
}
