//! From a URL to a connection.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hedwig_envelope::BoxError;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower::{Service, util::BoxCloneSyncService};

use super::{ClientError, ClientOptions};
use crate::tls;

/// Where a URL points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `http://` or `https://`: the URL without a slash at its end, and its host.
    Http { base: String, host: String },
    /// `unix:`: the socket's path.
    Unix(PathBuf),
}

impl Place {
    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        let wrong = |reason| {
            // What stands before an @ is a secret.
            let shown = url.rsplit('@').next().unwrap_or(url);
            ClientError::Url { url: crate::text::printable(shown, 256), reason }
        };
        if let Some(path) = url.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(wrong("the path of the socket must begin with /"))
            };
        }
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let authority =
            uri.authority().ok_or_else(|| wrong("it should begin with http:// or https://"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it should begin with http://, https:// or unix:/"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a user's name; give a token instead"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let base = url.split('#').next().unwrap_or(url).trim_end_matches('/');
        Ok(Self::Http { base: base.to_owned(), host: authority.host().to_owned() })
    }

    pub(super) fn uri(&self, path: &str) -> String {
        match self {
            Self::Http { base, .. } => format!("{base}{path}"),
            Self::Unix(_) => format!("http://localhost{path}"),
        }
    }

    pub(super) fn host(&self) -> &str {
        match self {
            Self::Http { host, .. } => host,
            Self::Unix(path) => path.to_str().unwrap_or("a socket"),
        }
    }
}

/// Who is at the other end of a connection: an extension of every response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    pub(super) tls: Option<String>,
}

/// Connects to one place, whatever the URI says.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    road: Road,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum Road {
    Unix(PathBuf),
    Tcp(HttpsConnector<HttpConnector>),
    Dialled(Dialer),
}

/// Makes connections in the place of TCP and TLS: through a tunnel, say, or within a test's memory. It is
/// given the URL.
pub type Dialer = BoxCloneSyncService<Uri, Box<dyn DialledStream>, BoxError>;

/// What a [`Dialer`] returns. An alias.
pub trait DialledStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> DialledStream for S {}

impl Connector {
    pub(super) fn new(place: &Place, options: &ClientOptions) -> Result<Self, ClientError> {
        let road = match (place, &options.dialer) {
            (Place::Unix(path), _) => Road::Unix(path.clone()),
            (Place::Http { .. }, Some(dialer)) => Road::Dialled(dialer.clone()),
            (Place::Http { .. }, None) => Road::Tcp(https_connector(options)?),
        };
        Ok(Self { road, limit: options.connect_timeout })
    }
}

fn https_connector(options: &ClientOptions) -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let mut config = match &options.tls {
        Some(config) => config.clone(),
        None => tls::client_config(None, None)?,
    };
    // The connector sets its own.
    config.alpn_protocols.clear();
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(Duration::from_secs(60)));
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(if options.http2_only {
        builder.enable_http2().wrap_connector(http)
    } else {
        builder.enable_all_versions().wrap_connector(http)
    })
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.road {
            Road::Unix(_) => Poll::Ready(Ok(())),
            Road::Tcp(connector) => connector.poll_ready(context),
            Road::Dialled(dialer) => dialer.poll_ready(context),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        match &mut self.road {
            Road::Unix(path) => {
                let path = path.clone();
                Box::pin(async move {
                    Ok(Stream::of_unix(timeout(limit, UnixStream::connect(path)).await??))
                })
            }
            Road::Tcp(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async move { Ok(Stream::of_tcp(timeout(limit, connecting).await??)) })
            }
            Road::Dialled(dialer) => {
                let connecting = dialer.call(uri);
                Box::pin(async move { Ok(Stream::of_dialler(timeout(limit, connecting).await??)) })
            }
        }
    }
}

/// A connection.
pub(super) struct Stream {
    io: Box<dyn Io>,
    peer: Peer,
    http2: bool,
}

trait Io: Read + Write + Unpin + Send {}
impl<T: Read + Write + Unpin + Send> Io for T {}

impl Stream {
    fn of_unix(stream: UnixStream) -> Self {
        Self { io: Box::new(TokioIo::new(stream)), peer: Peer::default(), http2: false }
    }

    fn of_dialler(stream: Box<dyn DialledStream>) -> Self {
        Self { io: Box::new(TokioIo::new(stream)), peer: Peer::default(), http2: false }
    }

    fn of_tcp(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        let address = |stream: &TokioIo<TcpStream>| stream.inner().peer_addr().ok();
        match stream {
            MaybeHttpsStream::Http(stream) => {
                let peer = Peer { address: address(&stream), tls: None };
                Self { io: Box::new(stream), peer, http2: false }
            }
            MaybeHttpsStream::Https(stream) => {
                let (inner, session) = stream.inner().get_ref();
                let suite = session.negotiated_cipher_suite();
                let described = tls::describe(session.protocol_version(), suite);
                let peer = Peer { address: address(inner.inner()), tls: Some(described) };
                let http2 = session.alpn_protocol() == Some(b"h2");
                Self { io: Box::new(stream), peer, http2 }
            }
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.peer.clone());
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
