//! What the tests of the drivers share.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailService, Outcome, Receipt, Reply, Status,
};
use hedwig_smtp::{ClientOptions, client::Connection};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::{TcpListener, TcpStream};

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
