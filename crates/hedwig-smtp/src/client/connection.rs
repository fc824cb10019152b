use std::{io, sync::Arc};

use hedwig_envelope::{Content, Envelope, Outcome, Relay, Reply};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Capabilities, ClientOptions, ReplyError};

/// A connection to a server, greeted and ready for mails.
pub struct Connection {
    options: ClientOptions,
    capabilities: Capabilities,
}

impl Connection {
    /// Reads the greeting and says EHLO, or HELO where that is not understood, or LHLO.
    ///
    /// # Errors
    /// When the server refuses, breaks off, is too slow or breaks the protocol.
    pub async fn greet<S>(stream: S, options: ClientOptions) -> Result<Self, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let _ = (stream, options);
        todo!()
    }

    /// What the server offers now: after STARTTLS it may be something else.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The server, as outcomes name it.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        self.options.relay.as_ref()
    }

    /// Whether another mail can be sent. `false` after an error, a 421 or QUIT.
    #[must_use]
    pub fn is_open(&self) -> bool {
        todo!()
    }

    /// Goes on over TLS and says EHLO again (RFC 3207).
    ///
    /// # Errors
    /// [`ConnectionError::Refused`] leaves a connection that can go on in clear text; after any other
    /// error it is closed.
    pub async fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<(), ConnectionError> {
        let _ = (config, server_name);
        todo!()
    }

    /// Sends a mail: one outcome for each recipient, in the envelope's order. Whatever the outcomes, the
    /// connection can be used again while [`is_open`](Self::is_open).
    ///
    /// # Errors
    /// When the connection broke before every recipient had its reply.
    pub async fn send(
        &mut self,
        envelope: &Envelope,
        content: &Content,
    ) -> Result<Vec<Outcome>, SendError> {
        let _ = (envelope, content);
        todo!()
    }

    /// Says RSET: whether the connection still lives.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reset(&mut self) -> Result<(), ConnectionError> {
        todo!()
    }

    /// Says QUIT, waits a little for the reply, and closes.
    pub async fn quit(self) {
        todo!()
    }
}

/// Why a connection is not what was hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The server said no.
    #[error("the server refused {phase}: {reply}")]
    Refused {
        /// What it answered.
        phase: Phase,
        /// Its answer.
        reply: Reply,
    },
    /// The server closed the connection.
    #[error("the server closed the connection before its reply to {phase}")]
    Closed {
        /// What it should have answered.
        phase: Phase,
    },
    /// The server was too slow.
    #[error("the server took too long for {phase}")]
    TimedOut {
        /// What it should have answered or taken.
        phase: Phase,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol in {phase}: {error}")]
    Protocol {
        /// What it answered.
        phase: Phase,
        /// What is wrong with it.
        error: ReplyError,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The connection failed.
    #[error("the connection failed in {phase}: {error}")]
    Io {
        /// What was being done.
        phase: Phase,
        /// What happened.
        error: io::Error,
    },
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The greeting.
    Greeting,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The content.
    Content,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::Hello => "the hello",
            Self::StartTls => "STARTTLS",
            Self::Mail => "MAIL",
            Self::Recipient => "RCPT",
            Self::Data => "DATA",
            Self::Content => "the content",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}

/// The connection broke while a mail was being sent.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SendError {
    /// What broke.
    #[source]
    pub error: ConnectionError,
    /// Whether the content was sent whole, so that the server may have taken it (RFC 1047).
    pub ambiguous: bool,
    /// One for each recipient: what the server had said of it before, or a deferral that says what broke
    /// and whether it is ambiguous.
    pub outcomes: Vec<Outcome>,
}
