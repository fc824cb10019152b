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

use crate::{Resolver, race::race, tls_session::rustls_error};

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

    /// To the address where TLS comes about first: one that swallows packets, or never gets as far as a certificate,
    /// holds nothing up. A certificate that is not trusted is an answer, and others are not asked for a better one.
    async fn connect(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, HttpsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| HttpsError::of(&error))?;
        let found = self.resolver.addresses(host).await.map_err(|error| HttpsError::of(&error))?;
        let none = if found.value.is_empty() { "has no address" } else { "leads to this host" };
        let addresses = found.value.into_iter().filter(|address| {
            let address = address.to_canonical();
            self.allow_loopback || !(address.is_loopback() || address.is_unspecified())
        });
        let raced = race(addresses, |address| {
            let name = name.clone();
            async move {
                match self.connect_to((address, port).into(), name).await {
                    Err(HttpsError::Failed(reason)) => Err(HttpsError::Failed(reason)),
                    answered => Ok(answered),
                }
            }
        })
        .await;
        match (raced.winner, raced.fallen.into_iter().next_back()) {
            (Some((_, answered)), _) => answered,
            (None, Some((_, last))) => Err(last),
            (None, None) => Err(HttpsError::Failed(format!("{host} {none}"))),
        }
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, HttpsError> {
        let no_connection =
            |error| HttpsError::Failed(format!("no connection to {address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(no_connection)?;
        let connector = TlsConnector::from(self.certificates.clone());
        connector.connect(name, stream).await.map_err(|error| HttpsError::of_handshake(&error))
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
