//! Answers that come before the body does.

use crate::common::{Desk, Running, app, app_with, client_options, mail, start, with_token};
use hedwig_envelope::{Content, Outcome, Status};
use hedwig_transport::{Client, ClientOptions, MessagesOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

const PATH: &str = "/v1/messages?from=&to=b@example.net";

fn small() -> MessagesOptions {
    MessagesOptions { content_bytes_max: 4096, request_bytes_max: 4096, ..with_token() }
}

/// A connection on which the head of a request with these fields has been sent.
async fn begin(server: &Running, token: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: message/rfc822\r\nConnection: close\r\n{fields}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_client_that_is_still_sending_sees_why_it_is_refused() {
    let size = 8 * 1024 * 1024;
    let options = MessagesOptions { content_bytes_max: 4096, ..with_token() };
    let server = start(app_with(&Desk::default(), options)).await;
    let mut stream = begin(&server, "s3cret", &format!("Content-Length: {size}")).await;
    // As curl does: first everything out, then look.
    stream.write_all(&vec![b'x'; size]).await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let fields = "Content-Length: 6\r\nExpect: 100-continue";
    let mut stream = begin(&server, "s3cret", fields).await;
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"x: y\r\n").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 202 "));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_need_not_send_in_vain() {
    let server = start(app_with(&Desk::default(), small())).await;
    for (token, length, status) in [("wrong", 6, 401), ("s3cret", 5000, 413)] {
        let fields = format!("Content-Length: {length}\r\nExpect: 100-continue");
        let answer = rest(begin(&server, token, &fields).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn our_client_sees_why_it_is_refused_over_either_http() {
    let server = start(app_with(&Desk::default(), small())).await;
    for http2_only in [false, true] {
        let options = ClientOptions { http2_only, ..client_options(&[&server]) };
        let mut sent = mail(1);
        sent.content = Content::new("x\r\n".repeat(3_000_000).into());
        let receipt = Client::new(options).unwrap().oneshot(sent).await.unwrap();
        let Outcome::Failed(answer) = &receipt.outcomes[0] else { panic!("{receipt:?}") };
        assert_eq!((answer.reply.code(), answer.status), (552, Status::permanent(3, 4)));
    }
    server.stop().await;
}
