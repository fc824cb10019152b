//! What the tests of this crate share: services that are told what to answer, and ways to ask.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]

mod desk;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
pub use desk::Desk;
use hedwig_envelope::{
    Address, BoxError, Content, Envelope, Mail, MailId, MailStatus, Origin, Outcome, Receipt,
    Reply, Status, Timestamp,
};
use hedwig_transport::{
    Body, Client, ClientOptions, Messages, MessagesOptions, PROBLEM_JSON, ServerOptions, Token,
    full, messages, serve,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tower::{ServiceExt, service_fn};

pub const TOKEN: &str = "s3cret";

pub fn taken(mail: &Mail) -> Result<Receipt, BoxError> {
    said(mail, Reply::with_status(250, Status::OK, "Ok"))
}

pub fn said(mail: &Mail, reply: Reply) -> Result<Receipt, BoxError> {
    let recipients = mail.envelope.recipients.len();
    Ok(Receipt::uniform(mail.id, recipients, Outcome::of_reply(reply, None)))
}

/// A tracker that knows no mail.
pub fn knows_nothing() -> impl hedwig_transport::server::TrackerService {
    service_fn(|_: MailId| async { Ok::<Option<MailStatus>, BoxError>(None) })
}

pub fn token() -> Token {
    TOKEN.parse().unwrap()
}

pub fn with_token() -> MessagesOptions {
    MessagesOptions { tokens: vec![token()], ..MessagesOptions::default() }
}

pub fn app(desk: &Desk) -> Messages {
    app_with(desk, with_token())
}

pub fn app_with(desk: &Desk, options: MessagesOptions) -> Messages {
    messages(desk.clone(), knows_nothing(), options)
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks what every problem has (RFC 9457 §3.1), and gives its detail.
    pub fn problem(&self, status: u16, title: &str) -> &str {
        assert_eq!((self.status, self.body["title"].as_str()), (status, Some(title)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        let kind = self.body["type"].as_str().unwrap();
        assert!(kind == "about:blank" || kind.starts_with("urn:hedwig:problem:"), "{kind}");
        self.body["detail"].as_str().unwrap()
    }
}

pub async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub async fn ask(app: &Messages, request: Request<Body>) -> Answer {
    read(app.clone().oneshot(request).await.unwrap()).await
}

/// A request with the token, to be changed as a test likes.
pub fn post(path_and_query: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::post(path_and_query)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "message/rfc822")
        .body(full(body))
        .unwrap()
}

pub fn a_post() -> Request<Body> {
    post("/v1/messages?from=a@example.org&to=b@example.net", "Subject: x\r\n\r\nHello\r\n")
}

/// A mail with the token, as it is on the wire.
pub const REQUEST: &[u8] = b"POST /v1/messages?from=&to=b@example.net HTTP/1.1\r\nHost: x\r\n\
    Authorization: Bearer s3cret\r\nContent-Type: message/rfc822\r\nContent-Length: 6\r\n\r\nx: y\r\n";

/// A server on a port of its own.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Gives the signal to stop.
    pub fn signal(&mut self) {
        drop(self.stop.take());
    }

    /// Gives the signal to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.signal();
        self.task.await.unwrap();
    }
}

pub async fn start<S: hedwig_transport::server::HttpService>(service: S) -> Running {
    start_with(service, ServerOptions::default(), None).await
}

pub async fn start_with<S: hedwig_transport::server::HttpService>(
    service: S,
    options: ServerOptions,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let mut server = serve(listener, service).options(options).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    if let Some(tls) = tls {
        server = server.tls(tls);
    }
    Running { address, stop: Some(stop), task: tokio::spawn(server.into_future()) }
}

pub fn client_options(urls: &[&Running]) -> ClientOptions {
    ClientOptions {
        urls: urls.iter().map(|server| server.url()).collect(),
        token: Some(token()),
        ..ClientOptions::default()
    }
}

pub fn client(server: &Running) -> Client {
    Client::new(client_options(&[server])).unwrap()
}

/// A mail of this number.
pub fn mail(number: u128) -> Mail {
    mail_to(number, &["b@example.net"])
}

pub fn mail_to(number: u128, recipients: &[&str]) -> Mail {
    let now = Timestamp::from_second(1_795_000_000).unwrap();
    let sender: Address = "a@example.org".parse().unwrap();
    let recipients = recipients.iter().map(|r| r.parse::<Address>().unwrap());
    Mail {
        id: MailId::new(now, number),
        envelope: Envelope::new(sender, recipients),
        content: Content::new(format!("Subject: {number}\r\n\r\nHello\r\n").into()),
        origin: Origin::local(now),
    }
}

/// A postoffice that answers as a test tells it, and keeps the requests it got.
#[derive(Clone, Default)]
pub struct Script {
    pub requests: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<VecDeque<Response<Body>>>>,
}

impl Script {
    /// Answers like this; errors as problems, like every postoffice.
    pub fn answer(self, status: u16, body: impl Into<Bytes>) -> Self {
        let kind = if status < 400 { "application/json" } else { PROBLEM_JSON };
        self.answer_as(kind, status, body)
    }

    pub fn answer_as(self, kind: &str, status: u16, body: impl Into<Bytes>) -> Self {
        let response = Response::builder().status(status).header("content-type", kind);
        self.answer_with(response.body(full(body)).unwrap())
    }

    pub fn answer_with(self, response: Response<Body>) -> Self {
        self.answers.lock().unwrap().push_back(response);
        self
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    pub async fn start(&self) -> Running {
        let script = self.clone();
        start(service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                script.requests.lock().unwrap().push((parts.headers, body));
                let answer = script.answers.lock().unwrap().pop_front();
                Ok::<_, BoxError>(answer.unwrap_or_else(|| {
                    let mut response = Response::new(full("no answer was planned"));
                    *response.status_mut() = StatusCode::IM_A_TEAPOT;
                    response
                }))
            }
        }))
        .await
    }
}

pub fn accepted(mails: &[&Mail]) -> String {
    let messages: Vec<Value> = mails
        .iter()
        .map(|mail| {
            let recipients: Vec<Value> = (mail.envelope.recipients.iter())
                .map(|r| serde_json::json!({"address": r.address.as_str(), "state": "queued"}))
                .collect();
            serde_json::json!({"id": mail.id.to_string(), "recipients": recipients})
        })
        .collect();
    serde_json::json!({ "messages": messages }).to_string()
}
