use std::{fmt, io, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::{Content, Envelope, Outcome, Relay, Reply};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, empty},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    Cause, ClientOptions, Event, Failure, NotReady, Phase, Session, Transcript, Unfinished,
    exchange::Wire,
};
use crate::{
    Capabilities, CommandError, ReplyError,
    sasl::{Credentials, ServerFault},
    stream::{BoxStream, Secure, channel_binding, describe_tls},
};

/// A connection to a server, greeted and ready for mails.
///
/// It is for one mail at a time and many in a row. Dropping a future of it in the middle leaves the
/// connection in the middle too, where it is of no more use.
pub struct Connection {
    session: Session,
    wire: Wire,
    handshake_time: Duration,
}

impl Connection {
    /// Reads the greeting and says EHLO, or HELO where that is not understood, or LHLO.
    ///
    /// Over TCP, set `TCP_NODELAY` on the stream before.
    ///
    /// # Errors
    /// When the server refuses, breaks off, is too slow or breaks the protocol.
    pub async fn greet<S>(stream: S, options: ClientOptions) -> Result<Self, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake_time = options.time_limits.hello;
        let session = Session::new(options, now()).map_err(ConnectionError::HelloName)?;
        let mut connection = Self { session, wire: Wire::new(Box::new(stream)), handshake_time };
        match connection.next_event().await {
            Event::Ready => Ok(connection),
            other => Err(connection.error(other)),
        }
    }

    /// The same with TLS from the first byte (RFC 8314 §3.3).
    ///
    /// # Errors
    /// The same, and when the handshake fails.
    pub async fn greet_over_tls<S>(
        stream: S,
        mut options: ClientOptions,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<Self, ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let time_max = options.time_limits.hello;
        let shaken = shake_hands(Box::new(stream), config, server_name, time_max).await;
        if let (Err(error), Some(transcript)) = (&shaken, &options.transcript) {
            transcript.note(error);
        }
        let Secure { stream, description, binding } = shaken?;
        if let Some(relay) = &mut options.relay {
            relay.tls = Some(description);
        }
        let mut connection = Self::greet(stream, options).await?;
        binding.into_iter().for_each(|binding| connection.session.bind_channel(binding));
        Ok(connection)
    }

    /// What the server offers now: after STARTTLS it may be something else.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.session.capabilities()
    }

    /// The server, as outcomes name it.
    #[must_use]
    pub fn relay(&self) -> Option<&Relay> {
        self.session.relay()
    }

    /// From now on what is said is taken down here, or nowhere.
    pub fn record(&mut self, transcript: Option<Transcript>) {
        self.session.record(transcript);
    }

    /// Whether another mail can be sent. `false` after an error, a 421, or when a future of this
    /// connection was dropped in the middle.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.is_ready()
    }

    /// Whether a connection that waited for its next mail can still be used, as far as can be told without
    /// asking the server: it has not hung up, and not said 421 unasked. Drop the connection when not.
    pub async fn is_alive(&mut self) -> bool {
        self.is_open() && self.wire.is_silent().await
    }

    /// Goes on over TLS and says EHLO again (RFC 3207).
    ///
    /// # Errors
    /// When it cannot; while [`is_open`](Self::is_open) holds after
    /// [`ConnectionError::Refused`], the connection can go on in clear text.
    pub async fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        server_name: ServerName<'static>,
    ) -> Result<(), ConnectionError> {
        self.session.start_tls(now())?;
        match self.next_event().await {
            Event::StartTls => {}
            other => return Err(self.error(other)),
        }
        let clear: BoxStream = std::mem::replace(&mut self.wire.stream, Box::new(empty()));
        let handshake = shake_hands(clear, config, server_name, self.handshake_time).await;
        let description = match handshake {
            Ok(Secure { stream, description, binding }) => {
                self.wire.stream = stream;
                binding.into_iter().for_each(|binding| self.session.bind_channel(binding));
                description
            }
            Err(error) => {
                self.session.note(&error);
                self.session.disconnected();
                return Err(error);
            }
        };
        self.session.tls_started(description, now())?;
        match self.next_event().await {
            Event::Ready => Ok(()),
            other => Err(self.error(other)),
        }
    }

    /// Says who we are (RFC 4954), by the strongest mechanism that is offered and needs a password only:
    /// SCRAM-SHA-256-PLUS over TLS 1.3, SCRAM-SHA-256, PLAIN, LOGIN. The last two show the server the password: the caller must know whom it
    /// talks to, and that nobody listens.
    ///
    /// # Errors
    /// When it cannot. While [`is_open`](Self::is_open) holds after it, the connection can go on as nobody's.
    pub async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), ConnectionError> {
        let mut nonce = [0; 18];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| ConnectionError::NoRandomness)?;
        self.session.authenticate(credentials, &STANDARD.encode(nonce), now())?;
        match self.next_event().await {
            Event::Authenticated => Ok(()),
            Event::NoMechanism => {
                let offered = self.capabilities().auth.join(" ");
                Err(ConnectionError::NoMechanism { offered })
            }
            other => Err(self.error(other)),
        }
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
        if let Err(not_ready) = self.session.send(envelope, content, now()) {
            return Err(SendError::not_sent(not_ready, envelope.recipients.len()));
        }
        match self.next_event().await {
            Event::Sent(outcomes) => Ok(outcomes),
            Event::Failed(mut failure) => {
                let unfinished = failure.unfinished.take();
                let error = self.error(Event::Failed(failure));
                Err(SendError::unfinished(error, unfinished, envelope.recipients.len()))
            }
            other => {
                let error = self.error(other);
                Err(SendError::unfinished(error, None, envelope.recipients.len()))
            }
        }
    }

    /// Says RSET: whether the connection still lives.
    ///
    /// # Errors
    /// When it does not.
    pub async fn reset(&mut self) -> Result<(), ConnectionError> {
        self.session.reset(now())?;
        match self.next_event().await {
            Event::WasReset => Ok(()),
            other => Err(self.error(other)),
        }
    }

    /// Says QUIT, waits a little for the reply, and closes, all within [`TimeLimits::quit`](super::TimeLimits::quit).
    /// A transcript ends before it.
    pub async fn quit(mut self) {
        // It belongs to no mail.
        self.record(None);
        let time_max = self.session.options.time_limits.quit;
        let goodbye = async {
            if self.session.quit(now()).is_ok() {
                // Whatever the reply, or none: this is the end.
                let _ = self.next_event().await;
            }
            self.wire.stream.shutdown().await
        };
        // A server that takes nothing any more is not waited for either.
        let _ = timeout(time_max, goodbye).await;
    }

    async fn next_event(&mut self) -> Event {
        self.wire.next_event(&mut self.session).await
    }

    /// What an event means that is not the one hoped for.
    fn error(&mut self, event: Event) -> ConnectionError {
        let Failure { phase, cause, .. } = match event {
            Event::Refused { phase, reply } => return ConnectionError::Refused { phase, reply },
            Event::Failed(failure) => failure,
            _ => return ConnectionError::NotReady(NotReady),
        };
        match (cause, self.wire.error.take()) {
            (Cause::SaidGoodbye(reply), _) => ConnectionError::Refused { phase, reply },
            (Cause::TimedOut, _) => ConnectionError::TimedOut { phase },
            (Cause::Untrusted(fault), _) => ConnectionError::Untrusted(fault),
            (Cause::Protocol(error), _) => ConnectionError::Protocol { phase, error },
            (Cause::Disconnected, Some(error)) => ConnectionError::Io { phase, error },
            (Cause::Disconnected, None) => ConnectionError::Closed { phase },
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("relay", &self.relay())
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// Puts TLS over a stream.
async fn shake_hands(
    clear: BoxStream,
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    time_max: Duration,
) -> Result<Secure, ConnectionError> {
    let handshake = TlsConnector::from(config).connect(server_name, clear);
    let secure = timeout(time_max, handshake)
        .await
        .map_err(|_| ConnectionError::TimedOut { phase: Phase::StartTls })?
        .map_err(ConnectionError::Tls)?;
    let connection = secure.get_ref().1;
    let description = describe_tls(connection);
    let binding = channel_binding(connection, |label, room| {
        connection.export_keying_material(room, label, None)
    });
    let binding = binding.map_err(|error| ConnectionError::Tls(io::Error::other(error)))?;
    Ok(Secure { stream: Box::new(secure), description, binding })
}

/// The runtime's clock, which tests may turn.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Why a connection is not what was hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The server said no, or said goodbye.
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
    /// The server offers no mechanism that a password is enough for.
    #[error("the server offers none of SCRAM-SHA-256, PLAIN and LOGIN, but {offered:?}")]
    NoMechanism {
        /// What it offers.
        offered: String,
    },
    /// The server must not be authenticated to.
    #[error("the authentication was broken off: {0}")]
    Untrusted(#[source] ServerFault),
    /// This host has no random numbers.
    #[error("this host has no random numbers to authenticate with")]
    NoRandomness,
    /// The connection failed.
    #[error("the connection failed in {phase}: {error}")]
    Io {
        /// What was being done.
        phase: Phase,
        /// What happened.
        error: io::Error,
    },
    /// [`ClientOptions::hello_name`] cannot be said: our own settings are to blame.
    #[error("the name to say hello with is malformed: {0}")]
    HelloName(CommandError),
    /// The connection was used after its end.
    #[error(transparent)]
    NotReady(#[from] NotReady),
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

impl SendError {
    fn not_sent(error: NotReady, recipients: usize) -> Self {
        Self::unfinished(error.into(), None, recipients)
    }

    fn unfinished(
        error: ConnectionError,
        unfinished: Option<Unfinished>,
        recipients: usize,
    ) -> Self {
        match unfinished {
            Some(Unfinished { ambiguous, outcomes }) => Self { error, ambiguous, outcomes },
            None => {
                let reply = Reply::new(451, None, format!("Not sent: {error}"));
                let outcomes = vec![Outcome::of_reply(reply, None); recipients];
                Self { error, ambiguous: false, outcomes }
            }
        }
    }
}
