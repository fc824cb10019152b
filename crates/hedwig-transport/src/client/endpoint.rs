use std::time::Duration;

use bytes::Bytes;
use hedwig_envelope::{BoxError, Relay};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use super::{
    ClientError, ClientOptions,
    connector::{Connector, Peer, Place},
};
use crate::{Body, PROBLEM_JSON, text::printable};

/// One URL to which requests can be sent, over pooled connections.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: legacy::Client<Connector, Body>,
    place: Place,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct EndpointAnswer {
    /// The status code.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who answered.
    pub relay: Relay,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is no connection, so nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The request was sent, at least in part, and the connection ended before an answer came.
    #[error("no answer: {0}")]
    Broken(String),
    /// The answer is not whole, or larger than it may be.
    #[error("no whole answer: {0}")]
    Incomplete(String),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
}

impl Endpoint {
    /// An endpoint for `url`, with the token, the TLS configuration and the time limits of the options.
    ///
    /// # Errors
    /// When the URL cannot be understood, or TLS cannot be set up.
    pub fn new(url: &str, options: &ClientOptions) -> Result<Self, ClientError> {
        let place = Place::parse(url)?;
        let connector = Connector::new(&place, options)?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .http2_only(options.http2_only)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_INTERVAL)
            .build(connector);
        let authorization = options.token.as_ref().map(crate::Token::authorization);
        Ok(Self { client, place, authorization, timeout: options.timeout })
    }

    /// The host's name, or the path of its socket.
    #[must_use]
    pub fn host(&self) -> &str {
        self.place.host()
    }

    /// Sends a request whose URI is a path, and waits for the whole answer, of at most
    /// `answer_bytes_max` bytes.
    ///
    /// # Errors
    /// When no whole answer came. An answer that says no is an answer.
    pub async fn request(
        &self,
        mut request: Request<Body>,
        answer_bytes_max: usize,
    ) -> Result<EndpointAnswer, EndpointError> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = self.place.uri(path);
        *request.uri_mut() = uri.parse::<Uri>().map_err(|error| broken(&error.into()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        let limit = self.timeout + time_to_send(request.body().size_hint().lower());
        let answer = timeout(limit, self.exchange(request, answer_bytes_max)).await;
        answer.unwrap_or(Err(EndpointError::Timeout))
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        answer_bytes_max: usize,
    ) -> Result<EndpointAnswer, EndpointError> {
        let response = self.client.request(request).await.map_err(|error| {
            let connect = error.is_connect();
            let text = explain(&error.into());
            if connect { EndpointError::Connect(text) } else { EndpointError::Broken(text) }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, answer_bytes_max).collect().await;
        let body = body.map_err(|error| EndpointError::Incomplete(explain(&error)))?.to_bytes();
        let peer = parts.extensions.get::<Peer>().cloned().unwrap_or_default();
        let relay = Relay { address: peer.address, tls: peer.tls, ..Relay::of(self.host()) };
        Ok(EndpointAnswer { status: parts.status, headers: parts.headers, body, relay })
    }
}

impl EndpointAnswer {
    /// Whether it is a problem (RFC 9457), as all errors of a postoffice are. Those of who stands between seldom are.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(PROBLEM_JSON)
    }

    /// When to try again (RFC 9110 §10.2.3), where that is said in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        value.trim().parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// Shorter than the server's patience with an idle connection, so that it is we who close it.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const SENT_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

fn time_to_send(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SENT_BYTES_PER_SECOND_MIN)
}

fn broken(error: &BoxError) -> EndpointError {
    EndpointError::Broken(explain(error))
}

/// An error and what caused it, on one line.
fn explain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    printable(&text, 512)
}
