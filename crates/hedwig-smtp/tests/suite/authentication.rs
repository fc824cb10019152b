//! AUTH and implicit TLS through the server's driver, over loopback.

use std::{
    future::IntoFuture,
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::{Inbox, content, envelope, listener, tls_configs};
use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_envelope::BoxError;
use hedwig_smtp::{
    ClientOptions, ServerOptions,
    client::{Connection, ConnectionError, Phase, Transcript},
    policy::allow_all,
    sasl::{Answer, Authenticator, Credentials, Mechanism, ScramKeys, Secret},
    serve,
    server::{DecoySecret, FailedAuthentications},
};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Knows alice and her password, and about bob that his record is damaged.
struct Directory;

impl Authenticator for Directory {
    fn mechanisms(&self) -> Vec<Mechanism> {
        Mechanism::ALL.to_vec()
    }

    fn check_password<'a>(&'a self, user: &'a str, password: &'a Secret) -> Answer<'a, bool> {
        Box::pin(async move {
            match user {
                "bob" => Err(BoxError::from("the record is damaged")),
                _ => Ok(user == "alice" && password.reveal() == "wonderland"),
            }
        })
    }

    fn scram_keys<'a>(&'a self, user: &'a str) -> Answer<'a, Option<ScramKeys>> {
        Box::pin(async move {
            let iterations = NonZeroU32::new(5000).unwrap();
            let made = || ScramKeys::of_password("wonderland", b"a salt", iterations).unwrap();
            Ok((user == "alice").then(made))
        })
    }
}

struct Server {
    address: SocketAddr,
    inbox: Inbox,
    client: Arc<ClientConfig>,
    failures: FailedAuthentications,
}

/// A server with TLS from the first byte.
async fn server(options: ServerOptions) -> Server {
    server_with_decoys(options, DecoySecret::random().unwrap()).await
}

async fn server_with_decoys(options: ServerOptions, decoys: DecoySecret) -> Server {
    let (config, client) = tls_configs();
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let failures = FailedAuthentications::default();
    let serve = serve(listener, allow_all(), inbox.service())
        .implicit_tls(config)
        .authenticator(Arc::new(Directory))
        .failed_authentications(failures.clone())
        .decoys(decoys)
        .options(options);
    tokio::spawn(serve.into_future());
    Server { address, inbox, client, failures }
}

impl Server {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let connector = TlsConnector::from(self.client.clone());
        connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }
}

/// Says each line, and returns the last line of the reply to it.
async fn converse(stream: TlsStream<TcpStream>, lines: &[&str]) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut replies = Vec::new();
    for line in [""].iter().chain(lines) {
        if !line.is_empty() {
            stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        }
        let mut reply = String::new();
        while reply.as_bytes().get(3) != Some(&b' ') {
            reply.clear();
            assert!(stream.read_line(&mut reply).await.unwrap() > 0, "it hung up at {line:?}");
        }
        replies.push(reply.trim_end().to_owned());
    }
    replies
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))
}

#[tokio::test]
async fn with_implicit_tls_the_first_byte_is_tls_and_starttls_is_not_offered() {
    let server = server(ServerOptions::default()).await;
    let mut connection =
        Connection::greet(server.connect().await, ClientOptions::default()).await.unwrap();
    assert!(!connection.capabilities().starttls);
    assert_eq!(
        connection.capabilities().auth,
        ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "OAUTHBEARER"]
    );
    connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();
    let origin = server.inbox.take().pop().unwrap().origin;
    assert!(origin.tls.unwrap().starts_with("TLSv1.3"));
    assert_eq!(origin.authenticated, None);
}

#[tokio::test]
async fn the_origin_of_a_mail_says_who_sent_it() {
    let server = server(ServerOptions::default()).await;
    let replies = converse(
        server.connect().await,
        &[
            "EHLO client.example",
            &plain("alice", "wonderland"),
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<b@example.net>",
            "DATA",
            ".",
        ],
    )
    .await;
    assert_eq!(replies[2], "235 2.7.0 Authenticated");
    assert!(replies.last().unwrap().starts_with("250 "), "{replies:?}");
    let origin = server.inbox.take().pop().unwrap().origin;
    assert_eq!(origin.authenticated.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_refusal_waits_longer_each_time_and_the_third_is_the_last() {
    let delay = Duration::from_millis(20);
    let options = ServerOptions { authentication_failure_delay: delay, ..ServerOptions::default() };
    let server = server(options).await;
    let begin = Instant::now();
    let wrong = plain("alice", "looking glass");
    let lines = ["EHLO client.example", &wrong, &wrong, &wrong, "NOOP"];
    let replies = converse(server.connect().await, &lines).await;
    assert!(begin.elapsed() >= delay * 6, "one, two and three times the delay");
    assert!(replies[2..5].iter().all(|reply| reply.starts_with("535 5.7.8")), "{replies:?}");
    assert!(replies[5].starts_with("421 4.7.0"), "{replies:?}");
}

#[tokio::test]
async fn whoever_connects_anew_waits_for_what_went_wrong_before() {
    let delay = Duration::from_millis(20);
    let options = ServerOptions { authentication_failure_delay: delay, ..ServerOptions::default() };
    let server = server(options).await;
    let (wrong, right) = (plain("alice", "looking glass"), plain("alice", "wonderland"));
    for _ in 0..3 {
        converse(server.connect().await, &["EHLO client.example", &wrong]).await;
    }
    assert_eq!((server.failures.total(), server.failures.of_late(server.address.ip())), (3, 3));
    let begin = Instant::now();
    let replies = converse(server.connect().await, &["EHLO client.example", &right]).await;
    assert!(begin.elapsed() >= delay * 3, "the fourth is heard after three times the delay");
    assert!(replies[2].starts_with("235 "), "{replies:?}");
    assert_eq!(server.failures.total(), 3);
}

#[tokio::test]
async fn what_nobody_can_tell_is_no_failure_of_the_clients() {
    let server = server(ServerOptions::default()).await;
    let bob = plain("bob", "x");
    let lines = ["EHLO client.example", &bob, &bob, &bob, &bob];
    let replies = converse(server.connect().await, &lines).await;
    assert!(replies[2..].iter().all(|reply| reply.starts_with("454 4.7.0")), "{replies:?}");
}

/// The nonce, and the rest, of what a server says to somebody of this name who begins with SCRAM-SHA-256.
async fn challenge(server: &Server, user: &str) -> (String, String) {
    let first = STANDARD.encode(format!("n,,n={user},r=client"));
    let lines = ["EHLO client.example", &format!("AUTH SCRAM-SHA-256 {first}")];
    let replies = converse(server.connect().await, &lines).await;
    let message = STANDARD.decode(replies[2].strip_prefix("334 ").unwrap()).unwrap();
    let message = String::from_utf8(message).unwrap();
    let (nonce, rest) = message.split_once(',').unwrap();
    (nonce.to_owned(), rest.to_owned())
}

#[tokio::test]
async fn a_challenge_to_nobody_looks_like_one_to_somebody_and_every_nonce_is_new() {
    let server = server(ServerOptions::default()).await;
    let (nonce, eve) = challenge(&server, "eve").await;
    let (other_nonce, eve_again) = challenge(&server, "eve").await;
    assert_eq!(eve, eve_again);
    assert_ne!(nonce, other_nonce);
    assert_ne!(eve, challenge(&server, "mallory").await.1);
    assert_eq!(challenge(&server, "alice").await.1, "s=YSBzYWx0,i=5000");
}

#[tokio::test]
async fn servers_with_one_secret_give_nobody_away_by_another_salt() {
    let decoys = DecoySecret::random().unwrap();
    let kept = DecoySecret::from(*decoys.reveal());
    let one = server_with_decoys(ServerOptions::default(), decoys).await;
    let other = server_with_decoys(ServerOptions::default(), kept).await;
    let stranger = server(ServerOptions::default()).await;
    let (_, here) = challenge(&one, "eve").await;
    assert_eq!(here, challenge(&other, "eve").await.1);
    assert_ne!(here, challenge(&stranger, "eve").await.1);
}

#[tokio::test]
async fn whoever_breaks_off_at_a_challenge_has_failed() {
    let options =
        ServerOptions { authentication_failure_delay: Duration::ZERO, ..ServerOptions::default() };
    let server = server(options).await;
    let first = format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode("n,,n=eve,r=client"));
    let replies = converse(server.connect().await, &["EHLO client.example", &first, "*"]).await;
    assert_eq!(replies[3], "501 5.7.0 Cancelled");
    assert_eq!((server.failures.total(), server.failures.of_late(server.address.ip())), (1, 1));
}

#[tokio::test]
async fn our_client_logs_in_from_the_first_byte_and_after_starttls() {
    let name = || "localhost".try_into().unwrap();
    let alice = Credentials::new("alice", "wonderland").unwrap();
    let implicit = server(ServerOptions::default()).await;
    let stream = TcpStream::connect(implicit.address).await.unwrap();
    let options = ClientOptions::default();
    let mut connection =
        Connection::greet_over_tls(stream, options, implicit.client.clone(), name()).await.unwrap();
    connection.authenticate(&alice).await.unwrap();
    connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();

    let (config, client) = tls_configs();
    let (listener, address) = listener().await;
    let explicit = Inbox::default();
    let serve = serve(listener, allow_all(), explicit.service())
        .tls(config)
        .authenticator(Arc::new(Directory));
    tokio::spawn(serve.into_future());
    let mut connection = crate::support::connect(address, ClientOptions::default()).await;
    let error = connection.authenticate(&alice).await.unwrap_err();
    assert!(matches!(error, ConnectionError::NoMechanism { .. }), "not in clear text: {error}");
    connection.start_tls(client, name()).await.unwrap();
    connection.authenticate(&alice).await.unwrap();
    connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();
    for inbox in [implicit.inbox, explicit] {
        let origin = inbox.take().pop().unwrap().origin;
        assert_eq!(origin.authenticated.as_deref(), Some("alice"));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_connection_goes_on() {
    let options =
        ServerOptions { authentication_failure_delay: Duration::ZERO, ..ServerOptions::default() };
    let server = server(options).await;
    let mut connection =
        Connection::greet(server.connect().await, ClientOptions::default()).await.unwrap();
    let wrong = Credentials::new("alice", "looking glass").unwrap();
    let error = connection.authenticate(&wrong).await.unwrap_err();
    let ConnectionError::Refused { phase: Phase::Authentication, reply } = &error else {
        panic!("{error}")
    };
    assert_eq!(reply.code(), 535);
    assert!(connection.is_open() && !error.to_string().contains("looking"));
    connection.reset().await.unwrap();
}

#[tokio::test]
async fn what_is_said_is_taken_down_from_the_first_byte_and_no_password_is() {
    let options =
        ServerOptions { authentication_failure_delay: Duration::ZERO, ..ServerOptions::default() };
    let server = server(options).await;
    let transcript = Transcript::new();
    let options =
        ClientOptions { transcript: Some(transcript.clone()), ..ClientOptions::default() };
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let mut connection =
        Connection::greet_over_tls(stream, options, server.client.clone(), name).await.unwrap();
    let wrong = Credentials::new("alice", "looking glass").unwrap();
    connection.authenticate(&wrong).await.unwrap_err();
    let alice = Credentials::new("alice", "wonderland").unwrap();
    connection.authenticate(&alice).await.unwrap();
    connection.send(&envelope(&["b@example.net"]), &content("secret\r\n")).await.unwrap();
    connection.record(None);
    connection.reset().await.unwrap();

    let said = transcript.conversation().lines;
    let found = |wanted: &[&str]| {
        let mut lines = said.iter();
        let missing = wanted.iter().find(|want| !lines.any(|line| line.starts_with(**want)));
        assert_eq!(missing, None, "in this order in {said:#?}");
    };
    found(&[
        "< 220 ",
        "> EHLO localhost",
        "< 250-",
        "> AUTH SCRAM-SHA-256-PLUS ****",
        "< 334 ****",
        "> ****",
        "< 535 5.7.8 ",
        "> AUTH SCRAM-SHA-256-PLUS ****",
        "< 235 ****",
        "> MAIL FROM:<a@example.org>",
        "> RCPT TO:<b@example.net>",
        "> [the content, 8 bytes]",
        "< 250 ",
    ]);
    let all = said.join("\n");
    for hidden in ["glass", "wonderland", "secret", "RSET", "r=", &STANDARD.encode("n,,n=alice")] {
        assert!(!all.contains(hidden), "{hidden} in {said:#?}");
    }
}
