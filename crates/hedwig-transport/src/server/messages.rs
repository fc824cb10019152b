use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use hedwig_envelope::{
    BoxError, BoxMailService, Mail, MailId, MailService, MailStatus, Origin, Protocol,
};
use hedwig_smtp::batch::BatchMail;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body as _;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use super::{
    ConnectionInfo,
    access::authenticate,
    answer::{self, HandedIn},
    keys::{self, KeysUnderWay},
    receive::{self, Holding},
    router::{method_not_allowed, not_found},
    serve::rescued,
    submission::{self, Format},
};
use crate::{Body, MESSAGES_PATH, Problem, RECIPIENTS_MAX, Token, json, text::printable};

/// Something that knows how far a mail has come: an alias for every such [`tower::Service`].
pub trait TrackerService:
    Service<MailId, Response = Option<MailStatus>, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> TrackerService for S where
    S: Service<MailId, Response = Option<MailStatus>, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Who may hand in mail, and how much of it at once.
#[derive(Clone, Debug)]
pub struct MessagesOptions {
    /// The tokens of which a client must show one. Without any, only a client certificate helps.
    pub tokens: Vec<Token>,
    /// Whether anybody may hand in mail without a token or a certificate.
    pub open: bool,
    /// The largest message taken, in bytes. Somewhat more than the relay before takes, for the trace
    /// fields that it adds.
    pub content_bytes_max: usize,
    /// The largest request taken, in bytes; a batch of several mails may be larger than one message.
    pub request_bytes_max: usize,
    /// How many bytes of requests may be held at once; a request that finds no room is told to come
    /// again (503).
    pub held_bytes_max: usize,
    /// How many mails a batch may have.
    pub mails_max: usize,
    /// How many recipients a mail may have.
    pub recipients_max: usize,
    /// How long a client may be silent in the middle of a body.
    pub stall_timeout: Duration,
    /// How long a body may take as a whole.
    pub body_timeout: Duration,
    /// How long a request waits for another one with the same idempotency key before it is told 409.
    pub key_patience: Duration,
}

impl Default for MessagesOptions {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            open: false,
            content_bytes_max: 51 * 1024 * 1024,
            request_bytes_max: 64 * 1024 * 1024,
            held_bytes_max: 512 * 1024 * 1024,
            // No more than our client sends, so that the recipients of a batch stay bounded.
            mails_max: 100,
            recipients_max: RECIPIENTS_MAX,
            stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(600),
            key_patience: Duration::from_secs(10),
        }
    }
}

/// The service behind `/v1/messages`: `POST` hands mails in, `GET /v1/messages/{id}` asks for one.
///
/// `service` is called once for each mail, for those of a batch at the same time. `tracker` knows what
/// became of a mail.
pub fn messages(
    service: impl MailService,
    tracker: impl TrackerService,
    options: MessagesOptions,
) -> Messages {
    let inner = Inner {
        service: service.boxed_mail_service(),
        tracker: BoxCloneSyncService::new(tracker),
        options,
        holding: Holding::default(),
        keys: KeysUnderWay::default(),
    };
    Messages { inner: Arc::new(inner) }
}

/// See [`messages`].
#[derive(Clone)]
pub struct Messages {
    inner: Arc<Inner>,
}

struct Inner {
    service: BoxMailService,
    tracker: BoxCloneSyncService<MailId, Option<MailStatus>, BoxError>,
    options: MessagesOptions,
    holding: Holding,
    keys: KeysUnderWay,
}

impl<B> Service<Request<B>> for Messages
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let (parts, body) = request.into_parts();
        let body = Body::new(body);
        Box::pin(async move { Ok(inner.answer(parts, body).await) })
    }
}

/// What a request asks for.
enum Wish {
    HandIn(Format),
    Look(MailId),
}

impl Inner {
    async fn answer(self: Arc<Self>, parts: Parts, mut body: Body) -> Response<Body> {
        let answer = match self.admit(&parts) {
            Ok((authenticated, Wish::HandIn(format))) => {
                self.take_in(&parts, format, &mut body, authenticated).await
            }
            Ok((_, Wish::Look(id))) => self.look(id).await,
            Err(problem) => Err(problem),
        };
        match answer {
            Ok(response) => response,
            Err(problem) => self.refuse(&parts, body, problem),
        }
    }

    fn refuse(self: Arc<Self>, parts: &Parts, body: Body, problem: Problem) -> Response<Body> {
        let mut response = problem.into_response();
        if parts.version > Version::HTTP_11 {
            // The stream alone is closed, and there is no such field (RFC 9113 §8.2.2).
            response.headers_mut().remove(header::CONNECTION);
            return response;
        }
        // With Expect the client has not begun to send; one that is too slow is not waited for.
        let sending = !body.is_end_stream()
            && !parts.headers.contains_key(header::EXPECT)
            && response.status() != StatusCode::REQUEST_TIMEOUT;
        if sending {
            tokio::spawn(async move { receive::discard(body, &self.options).await });
        }
        response
    }

    /// What can be told before the body is read.
    fn admit(&self, parts: &Parts) -> Result<(Option<String>, Wish), Problem> {
        let authenticated = authenticate(parts, &self.options)?;
        let path = parts.uri.path();
        let wish = match path.strip_prefix(MESSAGES_PATH) {
            Some("" | "/") if parts.method == Method::POST => {
                Wish::HandIn(Format::of(&parts.headers)?)
            }
            Some("" | "/") => return Err(method_not_allowed(&parts.method, "POST")),
            Some(rest) if rest.starts_with('/') => {
                let id = rest[1..].parse().map_err(|_| no_such_mail(path))?;
                if !matches!(parts.method, Method::GET | Method::HEAD) {
                    return Err(method_not_allowed(&parts.method, "GET, HEAD"));
                }
                Wish::Look(id)
            }
            _ => return Err(not_found(path)),
        };
        Ok((authenticated, wish))
    }

    async fn take_in(
        &self,
        parts: &Parts,
        format: Format,
        body: &mut Body,
        authenticated: Option<String>,
    ) -> Result<Response<Body>, Problem> {
        let bytes_max = format.body_bytes_max(&self.options);
        let received = receive::receive(body, bytes_max, &self.holding, &self.options).await?;
        let mut mails =
            submission::read(format, &parts.uri, received.bytes.clone(), &self.options)?;
        keys::assign(&parts.headers, &mut mails)?;
        let under_way = self.keys.enter(&mails, self.options.key_patience).await?;
        tracing::debug!(mails = mails.len(), bytes = received.len(), "handed in");
        let origin = origin(parts, authenticated);
        let handed_in = join_all(mails.into_iter().map(|mail| self.hand_in(mail, &origin))).await;
        drop((under_way, received));
        Ok(answer::answer(&handed_in))
    }

    fn hand_in(
        &self,
        mail: BatchMail,
        origin: &Origin,
    ) -> impl Future<Output = HandedIn> + Send + use<> {
        let id = MailId::new(origin.received_at, fastrand::u128(..));
        let recipients = mail.envelope.recipients.iter().map(|r| r.address.clone()).collect();
        let origin = Origin { idempotency_key: mail.key, ..origin.clone() };
        let mail = Mail { id, envelope: mail.envelope, content: mail.content, origin };
        let receipt = self.service.clone().oneshot(mail);
        receipt.map(move |result| HandedIn::new(id, recipients, result))
    }

    async fn look(&self, id: MailId) -> Result<Response<Body>, Problem> {
        let status = match self.tracker.clone().oneshot(id).await {
            Ok(status) => status,
            Err(error) => return Ok(rescued(&error)),
        };
        let status = status.ok_or_else(|| no_such_mail(&format!("{MESSAGES_PATH}/{id}")))?;
        Ok(json(StatusCode::OK, &status))
    }
}

fn no_such_mail(path: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "No such mail", "There is no mail of this id, or no more.")
        .instance(printable(path, 256))
}

/// Where the mails of a request come from.
fn origin(parts: &Parts, authenticated: Option<String>) -> Origin {
    let info = parts.extensions.get::<ConnectionInfo>().cloned().unwrap_or_default();
    Origin {
        protocol: Protocol::Http,
        client: info.client,
        tls: info.tls.map(|tls| tls.to_string()),
        authenticated,
        traceparent: traceparent(&parts.headers),
        ..Origin::local(jiff::Timestamp::now())
    }
}

/// The W3C trace context, if it is well-formed: others are to be ignored.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let valid = (55..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    valid.then(|| text.to_owned())
}
