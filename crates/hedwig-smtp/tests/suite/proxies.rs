//! Clients that come through a proxy, or through a Unix socket.

use std::{
    future::IntoFuture,
    net::{IpAddr, SocketAddr},
};

use crate::support::{Inbox, content, envelope, listener};
use hedwig_envelope::{BoxError, Mail, Outcome, Receipt, Reply};
use hedwig_smtp::{
    ClientOptions, Dialect, ServerOptions,
    client::Connection,
    policy::{allow_all, loopback_only},
    serve,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixListener, UnixStream},
};

/// A server for whom loopback is where proxies are, with room for one connection of each client.
async fn server() -> (SocketAddr, Inbox) {
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let options = ServerOptions { connections_per_address_max: 1, ..Default::default() };
    let serve = serve(listener, loopback_only(), inbox.service())
        .options(options)
        .proxy_protocol(|address: IpAddr| address.is_loopback());
    tokio::spawn(serve.into_future());
    (address, inbox)
}

async fn through_a_proxy(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// A connection whose greeting has been read.
async fn front_end(address: SocketAddr) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    assert_eq!(say(&mut stream, "").await, "220");
    stream
}

/// Says it, and returns the code of the reply.
async fn say(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    stream.get_mut().write_all(line.as_bytes()).await.unwrap();
    loop {
        let mut reply = String::new();
        stream.read_line(&mut reply).await.unwrap();
        if reply.as_bytes().get(3) != Some(&b'-') {
            return reply[..3].to_owned();
        }
    }
}

async fn first_bytes(mut stream: TcpStream) -> String {
    let mut bytes = [0; 4];
    let length = stream.read(&mut bytes).await.unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test]
async fn the_policy_and_the_limits_see_the_client_and_not_the_proxy() {
    let (address, inbox) = server().await;
    let stranger = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 25\r\n";
    let stream = through_a_proxy(address, stranger).await;
    let mut connection = Connection::greet(stream, ClientOptions::default()).await.unwrap();
    let refused = connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();
    assert!(matches!(refused[..], [Outcome::Failed(_)]), "{refused:?}");

    let same_client = through_a_proxy(address, stranger).await;
    assert_eq!(first_bytes(same_client).await, "421 ", "it has one connection already");
    let other = through_a_proxy(address, b"PROXY TCP4 192.0.2.9 198.51.100.2 4711 25\r\n").await;
    assert_eq!(first_bytes(other).await, "220 ");

    let local = b"PROXY TCP6 ::1 ::1 4711 25\r\n";
    let stream = through_a_proxy(address, local).await;
    let mut connection = Connection::greet(stream, ClientOptions::default()).await.unwrap();
    connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();
    let origin = inbox.take().pop().unwrap().origin;
    assert_eq!(origin.client, Some("[::1]:4711".parse().unwrap()));
}

#[tokio::test]
async fn a_proxy_that_does_not_say_for_whom_it_comes_is_hung_up_on() {
    let (address, _inbox) = server().await;
    for header in ["EHLO client.example\r\n", "PROXY UNKNOWN\r\n", "QUIT\r\nQUIT\r\nQUIT\r\n"] {
        let stream = through_a_proxy(address, header.as_bytes()).await;
        assert_eq!(first_bytes(stream).await, "", "{header}");
    }
}

#[tokio::test]
async fn whoever_is_no_proxy_is_hung_up_on_for_a_header() {
    let (listener, address) = listener().await;
    let serve = serve(listener, allow_all(), Inbox::default().service())
        .proxy_protocol(|address| address == IpAddr::from([192, 0, 2, 1]));
    tokio::spawn(serve.into_future());
    let version_2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x02\x12\x67\0\x19";
    for header in [&b"PROXY TCP6 ::1 ::1 4711 25\r\n"[..], version_2] {
        let mut stream = through_a_proxy(address, header).await;
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        let lines: Vec<_> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("220 "), "{said}");
        assert!(lines[1].starts_with("421 4.7.0 No PROXY header is taken"), "{said}");
    }
}

#[tokio::test]
async fn a_front_end_counts_for_the_client_that_it_names() {
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let options = ServerOptions { connections_per_address_max: 1, ..Default::default() };
    let serve = serve(listener, loopback_only(), inbox.service())
        .options(options)
        .xclient(|address: IpAddr| address.is_loopback());
    tokio::spawn(serve.into_future());

    let stranger = "XCLIENT ADDR=192.0.2.1 LOGIN=alice\r\n";
    let [mut first, mut second] = [front_end(address).await, front_end(address).await];
    assert_eq!(say(&mut first, stranger).await, "220");
    assert_eq!(say(&mut second, stranger).await, "421", "it has one connection already");
    assert_eq!(say(&mut first, "EHLO client.example\r\n").await, "250");
    assert_eq!(say(&mut first, "MAIL FROM:<a@example.org>\r\n").await, "250");
    assert_eq!(say(&mut first, "RCPT TO:<b@example.net>\r\n").await, "550");

    let mut local = front_end(address).await;
    assert_eq!(say(&mut local, "XCLIENT ADDR=IPV6:::1 PORT=4711 LOGIN=bob\r\n").await, "220");
    for (line, code) in [
        ("EHLO client.example\r\n", "250"),
        ("MAIL FROM:<a@example.org>\r\n", "250"),
        ("RCPT TO:<b@example.net>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("x\r\n.\r\n", "250"),
    ] {
        assert_eq!(say(&mut local, line).await, code, "{line}");
    }
    let origin = inbox.take().pop().unwrap().origin;
    assert_eq!(origin.client, Some("[::1]:4711".parse().unwrap()));
    assert_eq!(origin.authenticated.as_deref(), Some("bob"));
}

#[tokio::test]
async fn lmtp_over_a_unix_socket_has_a_reply_for_each_recipient() {
    let directory = std::env::temp_dir().join(format!("hedwig-lmtp-{}", fastrand::u64(..)));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("lmtp");
    let listener = UnixListener::bind(&path).unwrap();
    let service = tower::service_fn(|mail: Mail| async move {
        assert_eq!(mail.origin.client, None);
        let outcome = |code| Outcome::of_reply(Reply::new(code, None, "says the mailbox"), None);
        Ok::<_, BoxError>(Receipt { id: mail.id, outcomes: vec![outcome(250), outcome(550)] })
    });
    let options = ServerOptions { protocol: Dialect::Lmtp, ..Default::default() };
    tokio::spawn(serve(listener, loopback_only(), service).options(options).into_future());

    let stream = UnixStream::connect(&path).await.unwrap();
    let options = ClientOptions { protocol: Dialect::Lmtp, ..Default::default() };
    let mut connection = Connection::greet(stream, options).await.unwrap();
    let to = envelope(&["b@example.net", "c@example.net"]);
    let outcomes = connection.send(&to, &content("x\r\n")).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Done(_), Outcome::Failed(_)]), "{outcomes:?}");
    connection.quit().await;
    std::fs::remove_dir_all(&directory).unwrap();
}
