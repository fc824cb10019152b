use std::{
    convert::Infallible,
    future::{Future, IntoFuture},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use hedwig_envelope::BoxError;
use http::{Request, Response};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt, service_fn, util::BoxCloneService};

use super::{Listener, connection};
use crate::{Body, Problem, text::printable};

/// Something that answers HTTP requests: an alias for every such [`tower::Service`].
pub trait HttpService:
    Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error: Into<BoxError>,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The limits of a [`serve`]d listener.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How many connections may be open at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a request's header may take to come, and how long an HTTP/1.1 connection may idle.
    pub header_read_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may take nothing of its answers.
    pub write_timeout: Duration,
    /// How often an HTTP/2 client is asked for a sign of life, and how long it has to give one.
    pub ping_interval: Duration,
    /// How many requests an HTTP/2 connection may have under way.
    pub streams_max: u32,
    /// How long what is under way may take to finish after the signal to stop.
    pub shutdown_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            header_read_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            streams_max: 128,
            shutdown_timeout: Duration::from_secs(30),
        }
    }
}

/// Answers with `service` what comes in at `listener`, over HTTP/1.1 and HTTP/2 alike. Await it to run
/// it; without a [shutdown signal](Serve::with_graceful_shutdown) it never ends.
pub fn serve<L: Listener, S: HttpService>(listener: L, service: S) -> Serve<L, S> {
    Serve { listener, service, options: ServerOptions::default(), tls: None, shutdown: None }
}

/// A server to be awaited: see [`serve`].
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve<L, S> {
    listener: L,
    service: S,
    options: ServerOptions,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: Option<Shutdown>,
}

type Shutdown = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<L: Listener, S: HttpService> Serve<L, S> {
    /// Sets limits other than the default ones.
    pub fn options(self, options: ServerOptions) -> Self {
        Self { options, ..self }
    }

    /// Speaks TLS only. [`tls::server_config`](crate::tls::server_config) makes a configuration.
    pub fn tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        Self { tls: Some(config), ..self }
    }

    /// Stops taking connections and requests when `signal` completes, and ends when what was under way
    /// has been answered, or [`shutdown_timeout`](ServerOptions::shutdown_timeout) has passed.
    pub fn with_graceful_shutdown(self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { shutdown: Some(Box::pin(signal)), ..self }
    }

    async fn run(mut self) {
        let service = infallible(self.service);
        let mut shutdown = self.shutdown.take().unwrap_or_else(|| Box::pin(std::future::pending()));
        let places = Arc::new(Semaphore::new(self.options.connections_max));
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (stream, client, place) = accept(&mut self.listener, &places) => {
                    let service = service.clone();
                    let tls = self.tls.clone().map(TlsAcceptor::from);
                    let (options, closing) = (self.options.clone(), closing.clone());
                    connections.spawn(async move {
                        connection::drive(stream, client, service, tls, options, closing).await;
                        drop(place);
                    });
                }
            }
        }
        drop(self.listener);
        close.send_replace(true);
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(self.options.shutdown_timeout, finished).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off at shutdown");
            connections.shutdown().await;
        }
    }
}

impl<L: Listener, S: HttpService> IntoFuture for Serve<L, S> {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The next connection for which there is a place.
async fn accept<L: Listener>(
    listener: &mut L,
    places: &Arc<Semaphore>,
) -> (L::Stream, Option<std::net::SocketAddr>, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore, so there always is a permit in the end.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client, place),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Most likely too many open files: others have to end first.
                tracing::error!(%error, "cannot accept connections; trying again in a second");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | InvalidInput | NotConnected)
}

/// A service whose errors have been made into answers.
pub(super) type RescuedService = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

pub(super) fn infallible<S: HttpService>(service: S) -> RescuedService {
    BoxCloneService::new(service_fn(move |request: Request<Body>| {
        let answer = service.clone().oneshot(request);
        answer.map(|answer| Ok(answer.unwrap_or_else(|error| rescued(&error.into()))))
    }))
}

/// The answer to a request whose service failed.
pub(super) fn rescued(error: &BoxError) -> Response<Body> {
    tracing::error!(error = printable(&error.to_string(), 1024), "request failed");
    Problem::of_refusal(&hedwig_envelope::rescue(error)).into_response()
}
