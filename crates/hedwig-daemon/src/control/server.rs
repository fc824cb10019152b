use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hedwig_envelope::{BoxError, MailId, MailStatus};
use hedwig_spool::Spool;
use hedwig_transport::{Body, Token, empty};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::UnixStream;

use super::{Control, QUEUE_PATH, SOCKET_NAME, Verb};
use crate::{
    queue::{AUTHORITIES_FLAG, Choice, read_token},
    spool,
};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// An operator's way to a daemon, for what the daemon answers besides its queue.
pub struct Console(Server);

impl Console {
    /// To the daemon that runs on this spool; `None` when none does.
    ///
    /// # Errors
    /// When it may not be asked.
    pub async fn of_daemon(directory: &Path) -> Result<Option<Self>, BoxError> {
        Ok(Server::of_socket(directory).await?.map(Self))
    }

    /// To the daemon at a URL, which wants to see a token of this file. What vouches for its certificate are the web's
    /// authorities and those of a PEM file.
    ///
    /// # Errors
    /// When it is no URL, or a file cannot be read.
    pub fn at_url(
        url: &str,
        token_file: Option<&Path>,
        authorities: Option<&Path>,
    ) -> Result<Self, BoxError> {
        let token = token_file.map(read_token).transpose()?;
        Ok(Self(Server::at_url(url, token, authorities)?))
    }

    /// What it answers to `GET` of a path and query.
    ///
    /// # Errors
    /// When it does not answer, or refuses, with its reason.
    pub async fn get(&self, target: &str) -> Result<Bytes, BoxError> {
        self.0.ask(Method::GET, target).await
    }
}

/// Who answers an operator: each takes the same requests.
pub(crate) enum Server {
    /// The daemon that has the spool.
    Socket(PathBuf),
    /// Nobody has the spool, so this process opened it.
    Here { control: Control, spool: Spool },
    /// A daemon on another host.
    Remote(Box<Remote>),
}

/// Whether the daemon that has the spool in this directory answers at its control socket; `false` when none listens
/// there.
///
/// # Errors
/// When one listens and does not answer as it should, or we may not ask it.
pub async fn is_answered(directory: &Path) -> Result<bool, BoxError> {
    let Some(server) = Server::of_socket(directory).await? else { return Ok(false) };
    server.list(&Choice { limit: Some(1), ..Choice::default() }).await.map(|_| true)
}

pub(crate) struct Remote {
    client: HttpsClient,
    base: String,
    token: Option<Token>,
}

type HttpsClient = Client<hyper_rustls::HttpsConnector<HttpConnector>, Body>;

impl Server {
    /// Whoever answers for the spool of these options.
    pub(crate) async fn of_spool(options: spool::Options) -> Result<Self, BoxError> {
        let directory = options.directory.clone();
        if let Some(server) = Self::of_socket(&directory).await? {
            return Ok(server);
        }
        if !directory.is_dir() {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(told(&directory, &missing, "; name the spool with --spool"));
        }
        let spool = spool::open(options).await?;
        Ok(Self::Here { control: Control::new(spool.clone()), spool })
    }

    /// The daemon whose control socket lies in this directory; `None` when none listens there.
    async fn of_socket(directory: &Path) -> Result<Option<Self>, BoxError> {
        let socket = directory.join(SOCKET_NAME);
        match UnixStream::connect(&socket).await {
            Ok(_) => Ok(Some(Self::Socket(socket))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(told(&socket, &error, "; be root or the daemon's own user"))
            }
            Err(_) => Ok(None),
        }
    }

    /// The daemon at a URL, whose certificate these authorities may have signed besides the web's.
    pub(crate) fn at_url(
        url: &str,
        token: Option<Token>,
        authorities: Option<&Path>,
    ) -> Result<Self, BoxError> {
        let base = url.trim_end_matches('/').to_owned();
        let uri: http::Uri = base.parse().map_err(|error| format!("--url {url}: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(format!("--url {url}: write it like https://mail.example.org:8025").into());
        }
        let tls = hedwig_transport::tls::client_config(authorities, None);
        let tls = tls.map_err(|error| format!("--{AUTHORITIES_FLAG}: {error}"))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self::Remote(Box::new(Remote { client, base, token })))
    }

    /// The mails of a choice.
    pub(crate) async fn list(&self, choice: &Choice) -> Result<Vec<MailStatus>, BoxError> {
        let target = format!("{QUEUE_PATH}?{}", choice.to_query());
        let lines = self.ask(Method::GET, &target).await?;
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(Into::into)).collect()
    }

    /// One mail, if it is known.
    pub(crate) async fn show(&self, id: MailId) -> Result<Option<MailStatus>, BoxError> {
        match self.ask(Method::GET, &format!("{QUEUE_PATH}/{id}")).await {
            Ok(mail) => Ok(Some(serde_json::from_slice(&mail)?)),
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) if refused.status == StatusCode::NOT_FOUND => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Does something to the recipients of a choice; returns to how many.
    pub(crate) async fn act(&self, verb: Verb, choice: &Choice) -> Result<u64, BoxError> {
        let target = format!("{QUEUE_PATH}/{}?{}", verb.name(), choice.to_query());
        let answer: serde_json::Value =
            serde_json::from_slice(&self.ask(Method::POST, &target).await?)?;
        answer["recipients"].as_u64().ok_or_else(|| "the answer tells no number".into())
    }

    /// Gives the spool back, if this process opened it.
    pub(crate) async fn close(self) {
        if let Self::Here { spool, .. } = self {
            spool.close().await;
        }
    }

    async fn ask(&self, method: Method, target: &str) -> Result<Bytes, BoxError> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match self {
            Self::Here { control, .. } => {
                let control = control.clone();
                read(control.answer(method, path.to_owned(), query.to_owned()).await).await
            }
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket).await;
                let stream = TokioIo::new(stream.map_err(|error| told(socket, &error, ""))?);
                let (mut sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                let request = Request::builder().method(method).uri(target);
                let request = request.header(header::HOST, "localhost").body(empty())?;
                read(sender.send_request(request).await?).await
            }
            Self::Remote(remote) => {
                let Remote { client, base, token } = remote.as_ref();
                let mut request = Request::builder().method(method).uri(format!("{base}{target}"));
                if let Some(token) = token {
                    request = request.header(header::AUTHORIZATION, token.authorization());
                }
                let response = client.request(request.body(empty())?).await;
                read(response.map_err(|error| with_causes(base, &error))?).await
            }
        }
    }
}

/// The bytes of an answer that says yes.
async fn read<B>(response: Response<B>) -> Result<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(Refused::new(status, &body).into()) }
}

fn told(path: &Path, error: &io::Error, way_out: &str) -> BoxError {
    format!("{}: {error}{way_out}", path.display()).into()
}

/// An error and what caused it: "client error" alone helps nobody.
fn with_causes(base: &str, error: &dyn std::error::Error) -> BoxError {
    let mut text = format!("{base}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text.into()
}

/// An answer that says no.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {detail}")]
struct Refused {
    status: StatusCode,
    detail: String,
}

impl Refused {
    fn new(status: StatusCode, body: &[u8]) -> Self {
        let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = detail.unwrap_or("no reason was given").replace(char::is_control, "?");
        Self { status, detail }
    }
}
