use std::time::Duration;

use super::Dialer;
use crate::Token;

/// Where the mails go, and how.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The postoffices, the preferred one first: `http://host:port`, `https://host`, each perhaps with
    /// a path before `/v1/messages`, or `unix:/path/of/socket`.
    pub urls: Vec<String>,
    /// What to show them.
    pub token: Option<Token>,
    /// TLS; `None` trusts the web's certification authorities.
    /// [`tls::client_config`](crate::tls::client_config) makes others.
    pub tls: Option<rustls::ClientConfig>,
    /// What makes connections in the place of TCP and TLS; `None`, and they do.
    pub dialer: Option<Dialer>,
    /// Whether to speak HTTP/2 even where TLS did not offer it.
    pub http2_only: bool,
    /// How long a connection may take to come about, TLS included.
    pub connect_timeout: Duration,
    /// How long a postoffice may take to answer, besides one second for every 64 KiB sent.
    pub timeout: Duration,
    /// How many mails go into one request.
    pub batch_mails_max: usize,
    /// How many bytes go into one request; a larger mail goes alone.
    pub batch_bytes_max: usize,
    /// How many requests are under way at once.
    pub requests_max: usize,
    /// How many bytes of mails wait for a request, in steps of 1 KiB for each mail. Further calls wait until there is
    /// room: whoever does not want to wait for so long drops the call.
    pub waiting_bytes_max: usize,
    /// For how long a postoffice is left alone after it failed once; doubled each time that it fails
    /// again.
    pub down_min: Duration,
    /// For how long it is left alone at most.
    pub down_max: Duration,
    /// For how long a mail that a postoffice may have taken without our knowing is offered to that one
    /// only. A mail that goes elsewhere after that may arrive twice; one that waits longer, late.
    pub ambiguous_hold: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            token: None,
            tls: None,
            dialer: None,
            http2_only: false,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            batch_mails_max: 100,
            batch_bytes_max: 4 * 1024 * 1024,
            requests_max: 4,
            waiting_bytes_max: 256 * 1024 * 1024,
            down_min: Duration::from_millis(250),
            down_max: Duration::from_secs(30),
            ambiguous_hold: Duration::from_secs(600),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No postoffice was named.
    #[error("no postoffice was named: give at least one URL")]
    NoUrl,
    /// A URL cannot be understood.
    #[error("{url:?} is not the URL of a postoffice: {reason}")]
    Url {
        /// What was given, without its password if it had one.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}
