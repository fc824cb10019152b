//! Fetches policies over HTTPS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::{FetchError, Fetching, MtaSts, POLICY_BYTES_MAX, PolicyFetcher};
use crate::{
    Authorities, Resolver,
    https::{HttpsClient, HttpsError},
};

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
    client: HttpsClient,
    options: HttpsOptions,
}

impl HttpsFetcher {
    /// Finds the servers of policies with `resolver`; they show certificates that `certificates` accepts.
    #[must_use]
    pub fn new(resolver: Resolver, certificates: Arc<ClientConfig>, options: HttpsOptions) -> Self {
        let allow_loopback = options.allow_loopback;
        Self { client: HttpsClient { resolver, certificates, allow_loopback }, options }
    }

    async fn get(&self, domain: &str) -> Result<String, HttpsError> {
        let host = format!("mta-sts.{domain}");
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, &host)
            .header(header::USER_AGENT, "hedwig")
            .body(Empty::<Bytes>::new())
            .map_err(|error| HttpsError::of(&error))?;
        self.client.exchange(&host, self.options.port, request, text).await
    }
}

impl PolicyFetcher for HttpsFetcher {
    fn fetch<'a>(&'a self, domain: &'a str) -> Fetching<'a> {
        Box::pin(async move {
            let limit = self.options.time_max;
            let fetched = timeout(limit, self.get(domain)).await;
            match fetched {
                Ok(fetched) => Ok(fetched?),
                Err(_) => Err(FetchError::Failed(format!("it took more than {limit:?}"))),
            }
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

impl From<HttpsError> for FetchError {
    fn from(error: HttpsError) -> Self {
        match error {
            HttpsError::Untrusted(reason) => Self::Untrusted(reason),
            HttpsError::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// RFC 8461 §3.3: nothing but 200 counts, a redirect neither.
async fn text(response: Response<Incoming>) -> Result<String, HttpsError> {
    if response.status() != StatusCode::OK {
        return Err(HttpsError::Failed(format!("the server said {}", response.status())));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(HttpsError::Failed("it is not text/plain".into()));
    }
    let body = Limited::new(response.into_body(), POLICY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| HttpsError::Failed(error.to_string()))?.to_bytes();
    String::from_utf8(body.into()).map_err(|error| HttpsError::of(&error))
}
