//! What the tests of the drivers share.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailService, Outcome, Receipt, Reply, Status,
};
use hedwig_smtp::{ClientOptions, client::Connection, server::Listener};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Keeps what it is given.
#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Vec<Mail>>>);

impl Inbox {
    /// The service that fills it.
    pub(crate) fn service(&self) -> impl MailService {
        let inbox = self.clone();
        tower::service_fn(move |mail: Mail| {
            let reply = Reply::with_status(250, Status::OK, "Kept");
            let recipients = mail.envelope.recipients.len();
            let receipt = Receipt::uniform(mail.id, recipients, Outcome::of_reply(reply, None));
            inbox.0.lock().unwrap().push(mail);
            std::future::ready(Ok(receipt))
        })
    }

    /// What has come since the last time.
    pub(crate) fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn connect(address: SocketAddr, options: ClientOptions) -> Connection {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Connection::greet(stream, options).await.unwrap()
}

pub(crate) fn envelope(recipients: &[&str]) -> Envelope {
    let sender: Address = "a@example.org".parse().unwrap();
    Envelope::new(sender, recipients.iter().map(|to| to.parse::<Address>().unwrap()))
}

pub(crate) fn content(text: &str) -> Content {
    Content::new(Bytes::from(text.to_owned()))
}

/// A server's and a client's configuration that trust each other, for `localhost`.
pub(crate) fn tls_configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Connections in memory, so that time can be turned.
pub(crate) struct Pipes(mpsc::UnboundedSender<DuplexStream>);

/// The server's end of [`Pipes`].
pub(crate) struct PipeListener(mpsc::UnboundedReceiver<DuplexStream>);

impl Pipes {
    pub(crate) fn new() -> (Self, PipeListener) {
        let (ours, theirs) = mpsc::unbounded_channel();
        (Self(ours), PipeListener(theirs))
    }

    pub(crate) fn connect_silently(&self) -> DuplexStream {
        let (ours, theirs) = duplex(64 * 1024);
        self.0.send(theirs).unwrap();
        ours
    }

    /// A client that was greeted.
    pub(crate) async fn connect(&self) -> Dialogue {
        let mut dialogue = Dialogue(BufReader::new(self.connect_silently()));
        assert!(dialogue.read_reply().await.starts_with("220 "));
        dialogue
    }
}

impl Listener for PipeListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Option<SocketAddr>)> {
        match self.0.recv().await {
            Some(stream) => Ok((stream, None)),
            None => std::future::pending().await,
        }
    }

    fn turn_away(_: DuplexStream, _: &[u8]) {}
}

/// A client that does as it is told.
pub(crate) struct Dialogue(BufReader<DuplexStream>);

impl Dialogue {
    pub(crate) async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Says a line, and returns the last line of the reply.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        // Whoever has hung up may have said why.
        let _ = self.0.write_all(format!("{line}\r\n").as_bytes()).await;
        self.read_reply().await
    }

    pub(crate) async fn read_reply(&mut self) -> String {
        let mut reply = String::new();
        while reply.as_bytes().get(3) != Some(&b' ') {
            reply.clear();
            assert!(self.0.read_line(&mut reply).await.unwrap() > 0, "it hung up");
        }
        reply.trim_end().to_owned()
    }
}
