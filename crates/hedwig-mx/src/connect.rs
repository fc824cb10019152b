//! From an address to a connection that is ready for mails.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use hedwig_envelope::{Outcome, Relay, Status};
use hedwig_smtp::{
    BoxStream, ClientOptions, Dialect,
    client::{Connection, ConnectionError, Transcript},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpSocket, TcpStream, UnixStream},
    time::timeout,
};
use tower::ServiceExt;

use crate::{
    MxOptions, Source, TlsFailure, TlsFailureKind, TlsPolicy, authorities::Verdict,
    destination::Scheme, word,
};

/// One place to deliver to, and under which terms. Connections to equal endpoints serve each other's mails.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// The host's name, as it was looked up.
    pub(crate) host: String,
    pub(crate) place: Place,
    pub(crate) scheme: Scheme,
    pub(crate) tls: TlsPolicy,
    /// Which of our addresses it is reached from; `None` is the system's choice.
    pub(crate) source: Option<Source>,
    /// Whether DNS led here, which must not lead to ourselves; a route may.
    pub(crate) found_in_dns: bool,
}

/// Where a socket leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Endpoint {
    /// The address of the server, if it has one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Tcp(address) => Some(address.ip()),
            Place::Unix(_) => None,
        }
    }

    /// The server, as outcomes name it.
    pub(crate) fn relay(&self) -> Relay {
        let address = match &self.place {
            Place::Tcp(address) => Some(*address),
            Place::Unix(_) => None,
        };
        let source = self.source.as_ref().map(|source| source.address);
        Relay { address, source, ..Relay::of(self.host.clone()) }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The address is our own.
    IsUs,
    /// This host has no way to such an address: it lacks IPv6, say.
    NoWay(Box<Outcome>),
    /// What to say of the recipients, if no other server takes them.
    Failed(Box<Outcome>),
    /// The same, when it is for want of TLS; with the address of ours.
    Insecure(Box<Outcome>, TlsFailure, Option<IpAddr>),
}

/// A connection that has said EHLO.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) connection: Connection,
    /// The address of ours that it comes from.
    pub(crate) source: Option<IpAddr>,
    /// What was wrong with TLS, where that is no reason not to use it.
    pub(crate) failure: Option<TlsFailure>,
}

/// A connection over which nothing was said.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Dialed(BoxStream),
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    options: Arc<MxOptions>,
    any_certificate: Arc<ClientConfig>,
}

impl Connector {
    pub(crate) fn new(options: Arc<MxOptions>) -> Self {
        Self { options, any_certificate: crate::tls::any_certificate() }
    }

    /// A connection that has said EHLO, over TLS as far as the endpoint's policy asks for it, and has logged in
    /// where a route's host has a login. `socket` is one that was opened to the endpoint already.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        socket: Option<Socket>,
        transcript: &Transcript,
    ) -> Result<Connected, ConnectError> {
        let mut connected = self.connect_as_nobody(endpoint, socket, transcript).await?;
        // DNS may lead to a host of that name too, but who wrote the record did not set the password.
        if endpoint.found_in_dns || endpoint.scheme == Scheme::Lmtp {
            return Ok(connected);
        }
        let Some(login) = self.options.logins.find(&endpoint.host) else { return Ok(connected) };
        match connected.connection.authenticate(login).await {
            Ok(()) => Ok(connected),
            Err(error) => {
                let (host, user) = (&endpoint.host, login.user());
                tracing::error!(host, user, %error, "not logged in: mail for this host waits");
                tokio::spawn(connected.connection.quit());
                Err(failed(word::of_login_error(&error, endpoint.relay())))
            }
        }
    }

    async fn connect_as_nobody(
        &self,
        endpoint: &Endpoint,
        socket: Option<Socket>,
        transcript: &Transcript,
    ) -> Result<Connected, ConnectError> {
        let mut connected = match socket {
            Some(socket) => self.greet_over(socket, endpoint, transcript).await?,
            None => self.greet(endpoint, transcript).await?,
        };
        if endpoint.tls == TlsPolicy::Never || endpoint.scheme == Scheme::Smtps {
            return Ok(connected);
        }
        if !connected.connection.capabilities().starttls {
            let reason = format!("{} offers no STARTTLS", endpoint.host);
            let failure = TlsFailure::new(TlsFailureKind::StartTlsNotSupported, reason);
            if endpoint.tls.allows_clear_text() {
                return Ok(Connected { failure: Some(failure), ..connected });
            }
            let source = connected.source;
            tokio::spawn(connected.connection.quit());
            let text =
                format!("{} offers no TLS, and this mail must not go without", endpoint.host);
            let outcome = say_of(endpoint, Status::transient(7, 4), text);
            return Err(insecure(outcome, failure, source));
        }
        let (config, name, verdict) = self.tls(endpoint, connected.source)?;
        match connected.connection.start_tls(config, name).await {
            Ok(()) => {
                let failure = verdict.get().map(TlsFailure::of_certificate);
                Ok(Connected { failure, ..connected })
            }
            Err(error) if endpoint.tls.allows_clear_text() => {
                tracing::debug!(host = endpoint.host, %error, "no TLS: going on in clear text");
                let failure = Some(TlsFailure::of_connection(&error));
                match error {
                    ConnectionError::Refused { .. } if connected.connection.is_open() => {
                        Ok(Connected { failure, ..connected })
                    }
                    _ => {
                        transcript.note("once more, in clear text");
                        Ok(Connected { failure, ..self.greet(endpoint, transcript).await? })
                    }
                }
            }
            Err(error) => {
                let outcome = word::of_starttls_error(&error, endpoint.relay());
                let failure = TlsFailure::of_connection(&error);
                if connected.connection.is_open() {
                    tokio::spawn(connected.connection.quit());
                }
                Err(insecure(outcome, failure, connected.source))
            }
        }
    }

    /// What decides on the server's certificate, the name to ask the server for, and what is heard of a
    /// certificate that is taken anyhow.
    fn tls(
        &self,
        endpoint: &Endpoint,
        source: Option<IpAddr>,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>, Verdict), ConnectError> {
        let mut verdict = Verdict::default();
        let config = match &endpoint.tls {
            TlsPolicy::Verified(authorities) => authorities.client_config(),
            TlsPolicy::Dane(dane) => dane.client_config(),
            TlsPolicy::Heard { authorities, .. } => {
                let (config, heard) = authorities.hearing();
                verdict = heard;
                config
            }
            _ => self.any_certificate.clone(),
        };
        let name = endpoint.tls.server_name(&endpoint.host).to_owned();
        let name = match (ServerName::try_from(name), &endpoint.place) {
            (Ok(name), _) => name,
            (Err(_), _) if endpoint.tls.needs_name() => {
                let text =
                    format!("No certificate can be valid for the host name {}", endpoint.host);
                let failure =
                    TlsFailure::new(TlsFailureKind::CertificateHostMismatch, text.clone());
                let outcome = say_of(endpoint, Status::transient(7, 5), text);
                return Err(insecure(outcome, failure, source));
            }
            // The name is not looked at: an underscore in it is no reason to go in clear text.
            (Err(_), Place::Tcp(address)) => ServerName::from(address.ip()),
            (Err(_), Place::Unix(_)) => ServerName::from(IpAddr::from([0, 0, 0, 0])),
        };
        Ok((config, name, verdict))
    }

    async fn greet(
        &self,
        endpoint: &Endpoint,
        transcript: &Transcript,
    ) -> Result<Connected, ConnectError> {
        let socket = self.open(endpoint).await?;
        self.greet_over(socket, endpoint, transcript).await
    }

    async fn greet_over(
        &self,
        socket: Socket,
        endpoint: &Endpoint,
        transcript: &Transcript,
    ) -> Result<Connected, ConnectError> {
        let mut source = None;
        let stream: BoxStream = match socket {
            Socket::Tcp(stream) => {
                if endpoint.found_in_dns && !self.options.allow_loopback && is_us(&stream) {
                    return Err(ConnectError::IsUs);
                }
                source = stream.local_addr().ok().map(|address| address.ip());
                Box::new(stream)
            }
            Socket::Unix(stream) => Box::new(stream),
            Socket::Dialed(stream) => stream,
        };
        let transcript = Some(transcript.clone());
        let client = ClientOptions { transcript, ..self.client_options(endpoint) };
        let (greeted, verdict) = if endpoint.scheme == Scheme::Smtps {
            let (config, name, verdict) = self.tls(endpoint, source)?;
            (Connection::greet_over_tls(stream, client, config, name).await, verdict)
        } else {
            (Connection::greet(stream, client).await, Verdict::default())
        };
        match greeted {
            Ok(connection) => {
                let failure = verdict.get().map(TlsFailure::of_certificate);
                Ok(Connected { connection, source, failure })
            }
            Err(error) => {
                let outcome = word::of_connection_error(&error, endpoint.relay());
                Err(match error {
                    ConnectionError::Tls(_) => {
                        insecure(outcome, TlsFailure::of_connection(&error), source)
                    }
                    _ => failed(outcome),
                })
            }
        }
    }

    /// A socket that is connected, and over which nothing was said.
    pub(crate) async fn open(&self, endpoint: &Endpoint) -> Result<Socket, ConnectError> {
        let opened = async {
            Ok(match (&endpoint.place, &self.options.dialer) {
                (Place::Tcp(address), Some(dialer)) => {
                    Socket::Dialed(dialer.clone().oneshot(*address).await?)
                }
                (Place::Tcp(address), None) => {
                    let source = endpoint.source.as_ref().map(|source| source.address);
                    Socket::Tcp(open_tcp(*address, source).await?)
                }
                (Place::Unix(path), _) => Socket::Unix(UnixStream::connect(path).await?),
            })
        };
        let opened = timeout(self.options.connect_time_max, opened).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        opened.map_err(|error| no_connection(endpoint, &error))
    }

    fn client_options(&self, endpoint: &Endpoint) -> ClientOptions {
        let hello_name = endpoint.source.as_ref().and_then(|source| source.hello_name.as_ref());
        ClientOptions {
            hello_name: hello_name.unwrap_or(&self.options.hello_name).clone(),
            protocol: match endpoint.scheme {
                Scheme::Lmtp => Dialect::Lmtp,
                Scheme::Smtp | Scheme::Smtps => Dialect::Smtp,
            },
            time_limits: self.options.time_limits.clone(),
            relay: Some(endpoint.relay()),
            ..ClientOptions::default()
        }
    }
}

async fn open_tcp(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // A kernel without IPv6 has no such sockets.
    let socket =
        socket.map_err(|error| io::Error::new(io::ErrorKind::NetworkUnreachable, error))?;
    // Commands are written in one piece: waiting for more only costs time.
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    socket.connect(address).await
}

/// A connection from an address to itself: the address is one of this host's.
fn is_us(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
        _ => false,
    }
}

fn no_connection(endpoint: &Endpoint, error: &io::Error) -> ConnectError {
    let place = match &endpoint.place {
        Place::Tcp(address) => address.to_string(),
        Place::Unix(path) => path.display().to_string(),
    };
    let text = format!("No connection to {} ({place}): {error}", endpoint.host);
    let outcome = Box::new(say_of(endpoint, Status::transient(4, 1), text));
    match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            ConnectError::NoWay(outcome)
        }
        _ => ConnectError::Failed(outcome),
    }
}

/// As a conversation begins: which server, and from where.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, place, scheme, source, .. } = self;
        match place {
            Place::Tcp(address) => write!(f, "{scheme} to {host} [{address}]")?,
            Place::Unix(path) => write!(f, "{scheme} to {}", path.display())?,
        }
        source.as_ref().map_or(Ok(()), |source| write!(f, " from {}", source.address))
    }
}

fn say_of(endpoint: &Endpoint, status: Status, text: String) -> Outcome {
    word::say(status, text, Some(endpoint.relay()))
}

fn failed(outcome: Outcome) -> ConnectError {
    ConnectError::Failed(Box::new(outcome))
}

fn insecure(outcome: Outcome, failure: TlsFailure, source: Option<IpAddr>) -> ConnectError {
    ConnectError::Insecure(Box::new(outcome), failure, source)
}
