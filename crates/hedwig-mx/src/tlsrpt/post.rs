//! A report by HTTPS (RFC 8460 §5.4).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::{
    Resolver,
    https::{HttpsClient, HttpsError},
};

/// Brings reports to web servers, one request a connection.
#[derive(Clone, Debug)]
pub struct HttpsPoster {
    client: HttpsClient,
    time_max: Duration,
}

impl HttpsPoster {
    /// Finds servers with `resolver`; they show certificates that `certificates` accepts. A report may take `time_max` in
    /// all. A name that leads to this host is of use only with `allow_loopback`: for a laboratory.
    #[must_use]
    pub fn new(
        resolver: Resolver,
        certificates: Arc<ClientConfig>,
        time_max: Duration,
        allow_loopback: bool,
    ) -> Self {
        Self { client: HttpsClient { resolver, certificates, allow_loopback }, time_max }
    }

    /// Brings a compressed report. Any 2xx is a success; a redirect is none.
    pub(super) async fn post(&self, uri: &Uri, gzip: &[u8]) -> Result<(), HttpsError> {
        let limit = self.time_max;
        let posted = timeout(limit, self.exchange(uri, gzip)).await;
        posted.unwrap_or_else(|_| Err(HttpsError::Failed(format!("it took more than {limit:?}"))))
    }

    async fn exchange(&self, uri: &Uri, gzip: &[u8]) -> Result<(), HttpsError> {
        let host = uri.host().ok_or_else(|| HttpsError::Failed("it names no host".into()))?;
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "hedwig")
            .header(header::CONTENT_TYPE, "application/tlsrpt+gzip")
            .body(Full::new(Bytes::copy_from_slice(gzip)))
            .map_err(|error| HttpsError::of(&error))?;
        let port = uri.port_u16().unwrap_or(443);
        let status = self
            .client
            .exchange(host, port, request, async |response| Ok(response.status()))
            .await?;
        if status.is_success() {
            return Ok(());
        }
        Err(HttpsError::Failed(format!("the server said {status}")))
    }
}
