//! Fetches policies over HTTPS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{FetchError, Fetching, MtaSts, POLICY_BYTES_MAX, PolicyFetcher};
use crate::{Authorities, Resolver, tls_session::rustls_error};

/// How policies are fetched.
#[derive(Clone, Debug)]
pub struct HttpsOptions {
    /// The port: 443, but in a laboratory.
    pub port: u16,
    /// Whether a name may lead to this host.
    pub allow_loopback: bool,
    /// How long it may take in all (RFC 8461 §3.3 suggests a minute).
    pub time_max: Duration,
}

impl Default for HttpsOptions {
    fn default() -> Self {
        Self { port: 443, allow_loopback: false, time_max: Duration::from_secs(30) }
    }
}

/// Fetches policies, one request a connection: each comes from another host, and seldom.
#[derive(Clone, Debug)]
pub struct HttpsFetcher {
    resolver: Resolver,
    certificates: Arc<ClientConfig>,
    options: HttpsOptions,
}

impl HttpsFetcher {
    /// Finds the servers of policies with `resolver`; they show certificates that `certificates` accepts.
    #[must_use]
    pub fn new(resolver: Resolver, certificates: Arc<ClientConfig>, options: HttpsOptions) -> Self {
        Self { resolver, certificates, options }
    }

    async fn get(&self, domain: &str) -> Result<String, FetchError> {
        let host = format!("mta-sts.{domain}");
        let stream = self.connect(&host).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, &host)
            .header(header::USER_AGENT, "hedwig")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
            text(response).await
        };
        // The connection moves while the answer is awaited, and ends with it.
        tokio::select! {
            text = exchange => text,
            Err(error) = connection => Err(failed(&error)),
        }
    }

    async fn connect(&self, host: &str) -> Result<TlsStream<TcpStream>, FetchError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let found = self.resolver.addresses(host).await.map_err(|error| failed(&error))?;
        let mut last = FetchError::Failed(format!("{host} has no address"));
        for address in found.value {
            let canonical = address.to_canonical();
            if !self.options.allow_loopback
                && (canonical.is_loopback() || canonical.is_unspecified())
            {
                last = FetchError::Failed(format!("{host} leads to this host"));
                continue;
            }
            let address = SocketAddr::from((address, self.options.port));
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let connector = TlsConnector::from(self.certificates.clone());
                    return connector
                        .connect(name, stream)
                        .await
                        .map_err(|error| untrusted(&error));
                }
                Err(error) => {
                    last = FetchError::Failed(format!("no connection to {address}: {error}"));
                }
            }
        }
        Err(last)
    }
}

impl PolicyFetcher for HttpsFetcher {
    fn fetch<'a>(&'a self, domain: &'a str) -> Fetching<'a> {
        Box::pin(async move {
            let limit = self.options.time_max;
            let fetched = timeout(limit, self.get(domain)).await;
            fetched
                .unwrap_or_else(|_| Err(FetchError::Failed(format!("it took more than {limit:?}"))))
        })
    }
}

impl MtaSts {
    /// Follows the policies that are fetched from the web, for the certificate authorities that web browsers
    /// know.
    #[must_use]
    pub fn from_web(resolver: Resolver, options: HttpsOptions) -> Self {
        let certificates = Authorities::web().client_config();
        Self::new(HttpsFetcher::new(resolver, certificates, options))
    }
}

/// RFC 8461 §3.3: nothing but 200 counts, a redirect neither.
async fn text(response: Response<Incoming>) -> Result<String, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Failed(format!("the server said {}", response.status())));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(FetchError::Failed("it is not text/plain".into()));
    }
    let body = Limited::new(response.into_body(), POLICY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| FetchError::Failed(error.to_string()))?.to_bytes();
    String::from_utf8(body.into()).map_err(|error| failed(&error))
}

/// With what is behind it: the HTTP client's own word is often only that something failed.
fn failed(error: &dyn std::error::Error) -> FetchError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    FetchError::Failed(text)
}

/// What a handshake failed with.
fn untrusted(error: &io::Error) -> FetchError {
    match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(_)) => FetchError::Untrusted(error.to_string()),
        _ => failed(error),
    }
}
