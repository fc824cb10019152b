use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hedwig_envelope::{BoxError, BoxMailService, MailId, MailService, MailStatus};
use http::{Request, Response};
use tower::{Service, util::BoxCloneSyncService};

use crate::{Body, Token};

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
    /// The largest message taken, in bytes.
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
}

impl Default for MessagesOptions {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            open: false,
            content_bytes_max: 50 * 1024 * 1024,
            request_bytes_max: 64 * 1024 * 1024,
            held_bytes_max: 512 * 1024 * 1024,
            mails_max: 1000,
            recipients_max: 1000,
            stall_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(600),
        }
    }
}

/// The service behind `/v1/messages`: `POST` hands mails in, `GET /v1/messages/{id}` asks for one.
pub fn messages(
    service: impl MailService,
    tracker: impl TrackerService,
    options: MessagesOptions,
) -> Messages {
    let inner = Inner {
        service: service.boxed_mail_service(),
        tracker: BoxCloneSyncService::new(tracker),
        options,
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

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        todo!()
    }
}
