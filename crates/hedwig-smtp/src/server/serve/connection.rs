//! How a connection begins: with a proxy's word for its client, a slot, and TLS if the listener has it at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use hedwig_envelope::{MailService, Timestamp};
use tokio::{io::AsyncWriteExt, sync::watch, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    super::{ServerOptions, Session, replies},
    Addresses,
    conversation::{Conversation, now},
    failures::FailedAuthentications,
    judge::Judge,
    memory::ContentMemory,
    proxy::{Client, read_header},
    slots::Slot,
};
use crate::{
    Policy, reply,
    stream::{BoxStream, Secure, channel_binding, describe_tls},
};

/// How long a proxy may take to say who its client is.
const PROXY_HEADER_WITHIN: Duration = Duration::from_secs(10);

/// What every connection of a server shares.
#[derive(Clone)]
pub(super) struct Driver<P, S> {
    pub(super) options: Arc<ServerOptions>,
    pub(super) policy: P,
    pub(super) service: S,
    pub(super) tls: Tls,
    pub(super) proxies: Option<Addresses>,
    pub(super) front_ends: Option<Addresses>,
    pub(super) judge: Option<Judge>,
    pub(super) memory: ContentMemory,
    pub(super) failures: FailedAuthentications,
    pub(super) stopped: watch::Receiver<bool>,
}

/// When a connection gets its TLS.
#[derive(Clone)]
pub(super) enum Tls {
    None,
    /// After STARTTLS.
    OnRequest(TlsAcceptor),
    FromTheStart(TlsAcceptor),
}

impl<P: Policy, S: MailService> Driver<P, S> {
    /// Whether this is the address of a proxy, which must say for whom it comes.
    pub(super) fn is_proxy(&self, client: Option<SocketAddr>) -> bool {
        is_among(self.proxies.as_ref(), client)
    }

    /// Whether this is the address of a front end, which may say for whom it speaks.
    pub(super) fn is_front_end(&self, client: Option<SocketAddr>) -> bool {
        is_among(self.front_ends.as_ref(), client)
    }

    /// Talks with one client; its slot is free again afterwards.
    pub(super) async fn run(
        self,
        stream: BoxStream,
        client: Option<SocketAddr>,
        slot: Option<Slot>,
    ) {
        if let Err(error) = self.converse(stream, client, slot).await {
            tracing::debug!(client = client.map(tracing::field::display), %error, "connection lost");
        }
    }

    async fn converse(
        self,
        mut stream: BoxStream,
        mut client: Option<SocketAddr>,
        mut slot: Option<Slot>,
    ) -> io::Result<()> {
        if self.is_proxy(client) {
            match timeout(PROXY_HEADER_WITHIN, read_header(&mut stream)).await?? {
                Client::Proxy => {}
                Client::At(address) => client = Some(address),
            }
            if let Some((slot, address)) = slot.as_mut().zip(client)
                && !slot.pass_on(address.ip())
            {
                tracing::info!(client = %address, "too many connections");
                return self.turn_away(stream).await;
            }
        }
        let starttls = matches!(self.tls, Tls::OnRequest(_));
        let session = Session::new(self.options.clone(), client, starttls, now());
        let mut session = session.at_time(Timestamp::now());
        if self.is_front_end(client) {
            session = session.trusting_xclient();
        }
        if let Tls::FromTheStart(acceptor) = &self.tls {
            let secure = shake_hands(acceptor, stream, self.options.silence_max).await?;
            stream = secure.stream;
            session = session.within_tls(secure.description);
            secure.binding.into_iter().for_each(|binding| session.bind_channel(binding));
        }
        Conversation::new(self, session, stream, client, slot).run().await
    }

    /// Says that there are too many, where that can be said: not to who awaits a TLS handshake.
    async fn turn_away(&self, mut stream: BoxStream) -> io::Result<()> {
        if !matches!(self.tls, Tls::FromTheStart(_)) {
            let mut goodbye = BytesMut::new();
            reply::write(&replies::too_many_connections(), &mut goodbye);
            timeout(PROXY_HEADER_WITHIN, stream.write_all(&goodbye)).await??;
        }
        Ok(())
    }
}

fn is_among(addresses: Option<&Addresses>, client: Option<SocketAddr>) -> bool {
    let client = client.map(|client| client.ip().to_canonical());
    addresses.zip(client).is_some_and(|(contain, client)| contain(client))
}

/// Begins TLS on a connection that has none.
pub(super) async fn shake_hands(
    acceptor: &TlsAcceptor,
    clear: BoxStream,
    within: Duration,
) -> io::Result<Secure> {
    let secure = timeout(within, acceptor.accept(clear)).await??;
    let connection = secure.get_ref().1;
    let description = describe_tls(connection);
    let binding = channel_binding(connection, |label, room| {
        connection.export_keying_material(room, label, None)
    });
    let binding = binding.map_err(io::Error::other)?;
    Ok(Secure { stream: Box::new(secure), description, binding })
}
