//! One connection, from its first byte to its end.

use std::{net::SocketAddr, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{ServerOptions, impatient::Impatient, serve::RescuedService};
use crate::{Body, tls};

/// What is known of the connection by which a request came: an extension of every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address and port; `None` over a Unix socket.
    pub client: Option<SocketAddr>,
    /// The TLS version and cipher suite; `None` in clear text.
    pub tls: Option<Arc<str>>,
    /// Whether the client showed a certificate that the server's TLS configuration trusts.
    pub client_certificate: bool,
}

/// Answers all requests of one connection, until it ends or `closing` turns true and what is under
/// way has been answered.
pub(super) async fn drive<IO>(
    stream: IO,
    client: Option<SocketAddr>,
    service: RescuedService,
    tls: Option<TlsAcceptor>,
    options: ServerOptions,
    mut closing: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut info = ConnectionInfo { client, ..ConnectionInfo::default() };
    let Some(acceptor) = tls else {
        return answer(stream, info, service, &options, closing).await;
    };
    let handshake = timeout(options.handshake_timeout, acceptor.accept(stream));
    let stream = tokio::select! {
        biased;
        () = closed(&mut closing) => return,
        stream = handshake => stream,
    };
    match stream {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let suite = session.negotiated_cipher_suite();
            info.tls = Some(tls::describe(session.protocol_version(), suite).into());
            info.client_certificate =
                session.peer_certificates().is_some_and(|chain| !chain.is_empty());
            answer(stream, info, service, &options, closing).await;
        }
        Ok(Err(error)) => tracing::debug!(?client, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(?client, "TLS handshake took too long"),
    }
}

async fn answer<IO>(
    stream: IO,
    info: ConnectionInfo,
    service: RescuedService,
    options: &ServerOptions,
    mut closing: watch::Receiver<bool>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = info.client;
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(info.clone());
        service.clone().oneshot(request)
    });
    let stream = Impatient::new(stream, options.header_read_timeout, options.write_timeout);
    let stream = TokioIo::new(stream);
    let builder = http_builder(options);
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(?client, error, "connection ended early");
    }
}

/// Waits for the signal to close.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a signal as well.
    let _ = closing.wait_for(|closing| *closing).await;
}

fn http_builder(options: &ServerOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_interval)
        .max_concurrent_streams(options.streams_max)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

/// A query names every recipient, and a URI may have 64 KiB.
const HEADER_BYTES_MAX: usize = 128 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
