//! Both halves and a receiving server, in one process and one thread, on ports of their own.

mod dialogue;
mod fake;
mod log;

use std::{future::ready, net::SocketAddr, path::Path, time::Duration};

use hedwig_daemon::{
    Daemon, Failure, ServiceManager, Stop, configure,
    settings::{Settings, Sources},
};
use hedwig_envelope::{
    BoxError, Content, Envelope, Mail, Outcome, Receipt, Reply, ReversePath, Status,
};
use hedwig_mailman::Mailman;
use hedwig_postoffice::Postoffice;
use hedwig_smtp::{ClientOptions, Question, client::Connection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc,
    task::JoinHandle,
};
use tower::service_fn;

pub(crate) use dialogue::Dialogue;
pub(crate) use fake::FakePostoffice;
pub(crate) use log::Log;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that runs in this thread.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Stop,
    task: JoinHandle<Result<(), Failure>>,
}

impl Running {
    /// Starts a daemon with these settings, and waits until it listens.
    pub(crate) async fn start<D: Daemon>(
        log: &mut Log,
        protocol: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let environment = settings.iter().map(|(name, value)| {
            (format!("{}_{name}", D::SCOPE.variable_prefix).into(), value.into())
        });
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        let configured = configure::<D>(&Settings::gather(D::SCOPE, sources)).unwrap();
        let stop = Stop::new();
        let mut task = tokio::spawn(D::serve(
            configured.configuration,
            ServiceManager::nobody(),
            stop.clone(),
        ));
        let listening = log.next(|event| {
            let is_it = event["message"] == *"listening" && event["protocol"] == *protocol;
            is_it.then(|| event["address"].parse().unwrap())
        });
        let address = tokio::select! {
            address = listening => address,
            ended = &mut task => panic!("it ended instead: {ended:?}"),
        };
        Self { address, stop, task }
    }

    /// Stops it gracefully.
    pub(crate) async fn stop(self) {
        self.stop.ask();
        patiently(self.task).await.unwrap().unwrap();
    }
}

/// Waits for what must come.
pub(crate) async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

/// A receiving server: it defers `later@`, refuses `nobody@`, and keeps the rest.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    mails: mpsc::UnboundedReceiver<Mail>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (keep, mails) = mpsc::unbounded_channel();
        let policy = hedwig_smtp::policy::policy_fn(judge);
        let keeper = service_fn(move |mail: Mail| {
            let reply = Reply::with_status(250, Status::OK, "Kept");
            let outcome = Outcome::of_reply(reply, None);
            let receipt = Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome);
            keep.send(mail).unwrap();
            ready(Ok::<_, BoxError>(receipt))
        });
        tokio::spawn(hedwig_smtp::serve(listener, policy, keeper).into_future());
        Self { address, mails }
    }

    /// The next mail that it keeps.
    pub(crate) async fn next(&mut self) -> Mail {
        patiently(self.mails.recv()).await.unwrap()
    }

    /// Whether it has kept nothing that was not asked for.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.mails.try_recv().is_err()
    }
}

fn judge(question: &Question) -> Reply {
    let Question::Recipient { recipient, .. } = question else { return question.yes() };
    match recipient.address.local_part() {
        "later" => Reply::with_status(451, Status::transient(7, 1), "Greylisted, come again"),
        "nobody" => Reply::with_status(550, Status::permanent(1, 1), "No such user here"),
        _ => question.yes(),
    }
}

/// Both halves, the receiver, and their directories.
pub(crate) struct House {
    pub(crate) log: Log,
    pub(crate) receiver: Receiver,
    pub(crate) directory: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { log: Log::start(), receiver: Receiver::start().await, directory }
    }

    /// A postoffice that sends everything to the receiver.
    pub(crate) async fn postoffice(&mut self, listen: SocketAddr) -> Running {
        let (spool, route) =
            (self.spool("postoffice"), format!("*=smtp://{}", self.receiver.address));
        let settings = [
            ("HTTP_LISTEN", &*listen.to_string()),
            ("SPOOL_DIR", &spool),
            ("SERVER_HOSTNAME", "postoffice.example.org"),
            ("MX_ROUTE", &route),
            ("MX_ALLOW_LOOPBACK", "true"),
            ("DNS_SERVER", "127.0.0.1:9"),
        ];
        Running::start::<Postoffice>(&mut self.log, "http", &settings).await
    }

    /// A mailman that hands over there, and tries again often.
    pub(crate) async fn mailman(&mut self, postoffice: SocketAddr) -> Running {
        self.mailman_with(postoffice, &[]).await
    }

    /// A mailman with more settings.
    pub(crate) async fn mailman_with(
        &mut self,
        postoffice: SocketAddr,
        more: &[(&str, &str)],
    ) -> Running {
        let (spool, url) = (self.spool("mailman"), format!("http://{postoffice}"));
        let settings = [
            ("SMTP_LISTEN", "127.0.0.1:0"),
            ("SPOOL_DIR", &*spool),
            ("SERVER_HOSTNAME", "mailman.example.org"),
            ("POSTOFFICE_URL", &url),
            ("DELIVERY_RETRY", "20ms"),
            ("DELIVERY_RETRY_MAX", "20ms"),
        ];
        let settings = [&settings, more].concat();
        Running::start::<Mailman>(&mut self.log, "smtp", &settings).await
    }

    pub(crate) fn spool(&self, half: &str) -> String {
        self.directory.path().join(half).display().to_string()
    }

    /// The queue of a half, as its control socket tells it, when it is as a test wants it.
    pub(crate) async fn queue(
        &self,
        half: &str,
        is: impl Fn(&[serde_json::Value]) -> bool,
    ) -> Vec<serde_json::Value> {
        let socket = Path::new(&self.spool(half)).join("control.sock");
        patiently(async {
            loop {
                let answer = request(&socket, "GET", "/v1/queue?all=true").await;
                let mails = answer.lines().map(|line| serde_json::from_str(line).unwrap());
                let mails: Vec<serde_json::Value> = mails.collect();
                if is(&mails) {
                    return mails;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

/// Sends a mail over SMTP, and returns what the server said of each recipient.
pub(crate) async fn send(to: SocketAddr, recipients: &[&str]) -> Vec<Outcome> {
    send_as("alice@example.org", to, recipients).await
}

/// Sends a mail from this sender, as [`send`] does.
pub(crate) async fn send_as(sender: &str, to: SocketAddr, recipients: &[&str]) -> Vec<Outcome> {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut connection = Connection::greet(stream, ClientOptions::default()).await.unwrap();
    let text = format!("From: {sender}\r\nSubject: hello\r\n\r\nHi.\r\n");
    let content = Content::new(text.into());
    let sender: ReversePath = sender.parse().unwrap();
    let recipients = recipients.iter().map(|r| r.parse::<hedwig_envelope::Address>().unwrap());
    let outcomes = connection.send(&Envelope::new(sender, recipients), &content).await.unwrap();
    connection.quit().await;
    outcomes
}

/// Asks at a control socket; returns the body of an answer that says yes.
pub(crate) async fn request(socket: &Path, method: &str, target: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (header, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(header.starts_with("HTTP/1.1 200"), "{answer}");
    body.to_owned()
}

/// The text of a mail as it arrived.
pub(crate) fn text(mail: &Mail) -> String {
    String::from_utf8(mail.content.to_bytes().to_vec()).unwrap()
}

/// Whether all of these outcomes are done.
pub(crate) fn all_done(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_)))
}
