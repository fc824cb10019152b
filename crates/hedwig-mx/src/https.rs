//! One HTTPS request to a host that somebody else named.

use std::{io, net::SocketAddr, sync::Arc};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Resolver, tls_session::rustls_error};

/// Makes a connection for each request: each goes to another host, and seldom.
#[derive(Clone, Debug)]
pub(crate) struct HttpsClient {
    pub(crate) resolver: Resolver,
    pub(crate) certificates: Arc<ClientConfig>,
    /// Whether a name may lead to this host.
    pub(crate) allow_loopback: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpsError {
    /// The web server's certificate is not trusted.
    #[error("{0}")]
    Untrusted(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl HttpsClient {
    /// Sends a request to a host, and gives the answer to `read`. It has no time limit of its own.
    pub(crate) async fn exchange<B, T>(
        &self,
        host: &str,
        port: u16,
        request: Request<B>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, HttpsError>,
    ) -> Result<T, HttpsError>
    where
        B: Body<Data: Send, Error: Into<hedwig_envelope::BoxError>> + 'static,
    {
        let stream = self.connect(host, port).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| HttpsError::of(&error))?;
        let exchange = async {
            let response =
                sender.send_request(request).await.map_err(|error| HttpsError::of(&error))?;
            read(response).await
        };
        // The connection moves while the answer is awaited, and ends with it.
        tokio::select! {
            answer = exchange => answer,
            Err(error) = connection => Err(HttpsError::of(&error)),
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, HttpsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| HttpsError::of(&error))?;
        let found = self.resolver.addresses(host).await.map_err(|error| HttpsError::of(&error))?;
        let mut last = HttpsError::Failed(format!("{host} has no address"));
        for address in found.value {
            let canonical = address.to_canonical();
            if !self.allow_loopback && (canonical.is_loopback() || canonical.is_unspecified()) {
                last = HttpsError::Failed(format!("{host} leads to this host"));
                continue;
            }
            let address = SocketAddr::from((address, port));
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let connector = TlsConnector::from(self.certificates.clone());
                    return connector
                        .connect(name, stream)
                        .await
                        .map_err(|error| HttpsError::of_handshake(&error));
                }
                Err(error) => {
                    last = HttpsError::Failed(format!("no connection to {address}: {error}"));
                }
            }
        }
        Err(last)
    }
}

impl HttpsError {
    /// With what is behind it: the HTTP client's own word is often only that something failed.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Self::Failed(text)
    }

    /// What a handshake failed with.
    fn of_handshake(error: &io::Error) -> Self {
        match rustls_error(error) {
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted(error.to_string()),
            _ => Self::of(error),
        }
    }
}
