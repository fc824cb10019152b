mod allowance;
mod connection;
mod conversation;
mod failures;
mod judge;
mod listener;
mod memory;
mod proxy;
mod slots;

use std::{
    future::{Future, IntoFuture, pending},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use hedwig_envelope::MailService;
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub use self::failures::FailedAuthentications;
pub use self::judge::DecoySecret;
pub use self::listener::Listener;
use self::{
    allowance::Allowance,
    connection::{Driver, Tls},
    judge::Judge,
    slots::Slots,
};
use super::{ServerOptions, replies};
use crate::{Policy, Stream, reply, sasl::Authenticator};

/// How long to wait after a failed accept: most often there are too many open files, and trying again
/// at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves SMTP, or LMTP, to all who connect: `policy` says who may, `service` gets the mails.
///
/// Await it, with or without [options](Serve::options).
pub fn serve<L: Listener, P: Policy, S: MailService>(
    listener: L,
    policy: P,
    service: S,
) -> Serve<P, S, L> {
    Serve {
        listener,
        policy,
        service,
        options: ServerOptions::default(),
        tls: Tls::None,
        authenticator: None,
        decoys: None,
        failures: FailedAuthentications::default(),
        proxies: None,
        front_ends: None,
        shutdown: Box::pin(pending()),
    }
}

/// Serves one client, over a stream that came from anywhere: a pipe, say, or a test's memory. Neither TLS
/// nor AUTH is offered.
pub async fn serve_connection<P: Policy, S: MailService>(
    stream: impl Stream + 'static,
    client: Option<SocketAddr>,
    policy: P,
    service: S,
    options: ServerOptions,
) {
    // Nobody asks it to stop: who wants that drops the future.
    let (_stop, stopped) = watch::channel(false);
    let memory = Allowance::memory(&options);
    let driver = Driver {
        options: Arc::new(options),
        judge: None,
        failures: FailedAuthentications::default(),
        memory,
        policy,
        service,
        tls: Tls::None,
        proxies: None,
        front_ends: None,
        stopped,
    };
    driver.run(Box::new(stream), client, None).await;
}

/// At which addresses proxies are, or front ends.
type Addresses = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A server that is about to run; see [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<P, S, L = TcpListener> {
    listener: L,
    policy: P,
    service: S,
    options: ServerOptions,
    tls: Tls,
    authenticator: Option<Arc<dyn Authenticator>>,
    decoys: Option<DecoySecret>,
    failures: FailedAuthentications,
    proxies: Option<Addresses>,
    front_ends: Option<Addresses>,
    shutdown: BoxFuture<()>,
}

impl<P: Policy, S: MailService, L: Listener> Serve<P, S, L> {
    /// With these options.
    pub fn options(self, options: ServerOptions) -> Self {
        Self { options, ..self }
    }

    /// With STARTTLS (RFC 3207).
    pub fn tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Tls::OnRequest(config.into()), ..self }
    }

    /// With TLS from the first byte, as on port 465 (RFC 8314 §3.3).
    pub fn implicit_tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Tls::FromTheStart(config.into()), ..self }
    }

    /// With AUTH (RFC 4954), over TLS unless the [options](Serve::options) say otherwise. Whether an
    /// authenticated client may do more than others is for the policy to say: it finds the name in
    /// [`Peer::authenticated`](crate::Peer::authenticated).
    pub fn authenticator(self, authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator: Some(authenticator), ..self }
    }

    /// Makes the SCRAM keys of users who do not exist from this secret. Without one it is a new one each time, so that
    /// who sees the server started again, or knows another one with the same users, can tell who exists.
    pub fn decoys(self, secret: DecoySecret) -> Self {
        Self { decoys: Some(secret), ..self }
    }

    /// Counts failed authentications here, together with other servers. Whoever fails again and again is answered ever
    /// more slowly, on whichever connection.
    pub fn failed_authentications(self, failures: FailedAuthentications) -> Self {
        Self { failures, ..self }
    }

    /// With the PROXY protocol, versions 1 and 2, from these addresses: connections that come from there must
    /// begin with a header that tells the real client, and count for it. Name the proxies and nobody else,
    /// for whoever may send a header may be whom he likes.
    pub fn proxy_protocol(self, from: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { proxies: Some(Arc::new(from)), ..self }
    }

    /// With XCLIENT from these addresses: what connects from there may say for whom it speaks, its client's login
    /// included, and the session starts over with that client. Name front ends that always say it, and nobody else.
    pub fn xclient(self, from: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { front_ends: Some(Arc::new(from)), ..self }
    }

    /// Until this future is ready. Then nobody new is let in, the idle are told 421, and mails under way
    /// are finished within [`ServerOptions::shutdown_grace`].
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shutdown: Box::pin(signal), ..self }
    }

    async fn run(mut self) -> io::Result<()> {
        let judge = match self.authenticator {
            Some(authenticator) => {
                let decoys = self.decoys.map_or_else(DecoySecret::random, Ok)?;
                Some(Judge::new(authenticator, decoys))
            }
            None => None,
        };
        let mechanisms = judge.as_ref().map(Judge::mechanisms).unwrap_or_default();
        let (stop, stopped) = watch::channel(false);
        let slots =
            Slots::new(self.options.connections_max, self.options.connections_per_address_max);
        let driver = Driver {
            memory: Allowance::memory(&self.options),
            options: Arc::new(ServerOptions { mechanisms, ..self.options }),
            judge,
            policy: self.policy,
            service: self.service,
            tls: self.tls,
            failures: self.failures,
            proxies: self.proxies,
            front_ends: self.front_ends,
            stopped,
        };
        let mut connections = JoinSet::new();
        let mut shutdown = self.shutdown;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                // Finished tasks are let go of, so that the set does not grow.
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        accept::<L, P, S>(&mut connections, &slots, &driver, stream, client);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(self.listener);
        let grace = driver.options.shutdown_grace;
        drop(driver);
        stop.send_replace(true);
        let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
        // Who is still busy is cut off: what was not acknowledged will be sent again.
        connections.shutdown().await;
        Ok(())
    }
}

fn accept<L: Listener, P: Policy, S: MailService>(
    connections: &mut JoinSet<()>,
    slots: &Slots,
    driver: &Driver<P, S>,
    stream: L::Stream,
    client: Option<SocketAddr>,
) {
    // Behind a proxy are many; which of them it is will be told.
    let speaks_for_others = driver.is_proxy(client) || driver.is_front_end(client);
    let address = client.map(|client| client.ip()).filter(|_| !speaks_for_others);
    let Some(slot) = slots.take(address) else {
        tracing::info!(client = client.map(tracing::field::display), "too many connections");
        let mut goodbye = BytesMut::new();
        reply::write(&replies::too_many_connections(), &mut goodbye);
        return L::turn_away(stream, &goodbye);
    };
    let driver = driver.clone();
    connections.spawn(async move {
        driver.run(Box::new(stream), client, Some(slot)).await;
    });
}

impl<P: Policy, S: MailService, L: Listener> IntoFuture for Serve<P, S, L> {
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
