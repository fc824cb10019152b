//! One connection, from its first byte to its end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::{Instant, Sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{ServerOptions, serve::RescuedService};
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
        stream = handshake => stream,
        () = closed(&mut closing) => return,
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
    let stream = TokioIo::new(PrefaceDeadline::new(stream, options.header_read_timeout));
    let builder = http_builder(options);
    let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
    let result = tokio::select! {
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

/// A query names every recipient, so the header may be long: a thousand recipients fit.
const HEADER_BYTES_MAX: usize = 128 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes must come in time.
///
/// hyper-util reads them to tell HTTP/2 from HTTP/1.1, and sets no limit of its own while it does.
struct PrefaceDeadline<IO> {
    stream: IO,
    deadline: Option<Pin<Box<Sleep>>>,
    matched: usize,
}

impl<IO> PrefaceDeadline<IO> {
    fn new(stream: IO, limit: Duration) -> Self {
        let deadline = tokio::time::sleep_until(Instant::now() + limit);
        Self { stream, deadline: Some(Box::pin(deadline)), matched: 0 }
    }

    /// Forgets the deadline once the version can be told.
    fn saw(&mut self, bytes: &[u8]) {
        let rest = &PREFACE[self.matched..];
        let common = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
        self.matched += common;
        if common < bytes.len() || self.matched == PREFACE.len() {
            self.deadline = None;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for PrefaceDeadline<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(deadline) = self.deadline.as_mut() else { return read };
        if read.is_ready() {
            self.saw(&buffer.filled()[before..]);
            return read;
        }
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for PrefaceDeadline<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
