//! What a connection may cost: time without a word, time without an ear, and a place.

use std::time::Duration;

use crate::common::{Desk, REQUEST, app, start_with};
use hedwig_transport::{ServerOptions, full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_client_that_does_not_speak_is_shown_the_door() {
    let options = ServerOptions {
        header_read_timeout: Duration::from_millis(20),
        ..ServerOptions::default()
    };
    for word in ["", "PRI * HT", "PRI *", "POST /v1/mess", "GET / HTTP/1.1\r\nHost: x"] {
        let server = start_with(app(&Desk::default()), options.clone(), None).await;
        let mut stream = server.connect().await;
        stream.write_all(word.as_bytes()).await.unwrap();
        // Ends only because the server ends it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_short_first_request_may_take_its_time_to_be_answered() {
    let options = ServerOptions {
        header_read_timeout: Duration::from_millis(20),
        ..ServerOptions::default()
    };
    let slow = tower::service_fn(|_| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok::<_, std::convert::Infallible>(http::Response::new(full("done")))
    });
    let server = start_with(slow, options, None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_their_turn() {
    let options = ServerOptions { connections_max: 1, ..ServerOptions::default() };
    let desk = Desk::default();
    let server = start_with(app(&desk), options, None).await;
    let mut first = server.connect().await;
    first.write_all(REQUEST).await.unwrap();
    let mut word = [0; 12];
    first.read_exact(&mut word).await.unwrap();

    let mut second = server.connect().await;
    second.write_all(REQUEST).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    while desk.count() < 2 {
        tokio::task::yield_now().await;
    }
    drop(first);
    second.read_exact(&mut word).await.unwrap();
    assert_eq!((&word, desk.count()), (b"HTTP/1.1 202", 3));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_listen_is_shown_the_door() {
    let options =
        ServerOptions { write_timeout: Duration::from_millis(20), ..ServerOptions::default() };
    let server = start_with(app(&Desk::default()), options, None).await;
    let mut stream = server.connect().await;
    // Ends only because the server ends it: it cannot hold all the answers.
    while stream.write_all(REQUEST).await.is_ok() {}
    server.stop().await;
}

#[tokio::test]
async fn raw_angle_brackets_are_understood_as_people_type_them() {
    let desk = Desk::default();
    let server = start_with(app(&desk), ServerOptions::default(), None).await;
    let request = String::from_utf8(REQUEST.to_vec()).unwrap();
    let request =
        request.replace("from=&to=b@example.net", "from=<a@example.org>&to=<b@example.net>");
    let mut stream = server.connect().await;
    // However it is cut into pieces.
    let (first, rest) = request.split_at(20);
    stream.write_all(first.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    let envelope = desk.only().envelope;
    assert_eq!(envelope.sender.to_string(), "a@example.org");
    assert_eq!(envelope.recipients[0].address.as_str(), "b@example.net");
    server.stop().await;
}
