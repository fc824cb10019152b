use std::{
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    sync::Arc,
};

use hedwig_envelope::MailService;
use tokio::net::TcpListener;

use super::ServerOptions;
use crate::Policy;

/// Serves SMTP, or LMTP, to all who connect: `policy` says who may, `service` gets the mails.
///
/// Await it, with or without [options](Serve::options).
pub fn serve<P: Policy, S: MailService>(
    listener: TcpListener,
    policy: P,
    service: S,
) -> Serve<P, S> {
    Serve {
        listener,
        policy,
        service,
        options: ServerOptions::default(),
        tls: None,
        shutdown: None,
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A server that is about to run; see [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<P, S> {
    listener: TcpListener,
    policy: P,
    service: S,
    options: ServerOptions,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: Option<BoxFuture<()>>,
}

impl<P: Policy, S: MailService> Serve<P, S> {
    /// With these options.
    pub fn options(self, options: ServerOptions) -> Self {
        Self { options, ..self }
    }

    /// With STARTTLS (RFC 3207).
    pub fn tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Until this future is ready. Then nobody new is let in, the idle are told 421, and mails under way
    /// are finished within [`ServerOptions::shutdown_grace`].
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shutdown: Some(Box::pin(signal)), ..self }
    }
}

impl<P: Policy, S: MailService> IntoFuture for Serve<P, S> {
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        let _ = (self.listener, self.policy, self.service, self.options, self.tls, self.shutdown);
        todo!()
    }
}
