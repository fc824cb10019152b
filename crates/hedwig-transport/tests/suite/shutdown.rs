//! Stopping: what is under way is answered, and nothing waits for what is not.

use std::time::Duration;

use crate::common::{Desk, Running, app, start, start_with, taken};
use hedwig_transport::ServerOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};

const REQUEST: &[u8] = b"POST /v1/messages?from=&to=b@example.net HTTP/1.1\r\nHost: x\r\n\
    Authorization: Bearer s3cret\r\nContent-Type: message/rfc822\r\nContent-Length: 6\r\n\r\nx: y\r\n";

async fn connect(server: &Running) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

#[tokio::test]
async fn a_mail_under_way_is_answered_before_the_server_ends() {
    let desk = Desk::default();
    let (entered, has_entered) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    desk.plan(move |mail| {
        Box::pin(async move {
            let _ = entered.send(());
            let _ = may_go_on.await;
            taken(&mail)
        })
    });
    let mut server = start(app(&desk)).await;
    let mut stream = connect(&server).await;
    stream.write_all(REQUEST).await.unwrap();
    has_entered.await.unwrap();
    server.signal();
    go_on.send(()).unwrap();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn idle_and_silent_connections_are_not_waited_for() {
    let server = start(app(&Desk::default())).await;
    let silent = connect(&server).await;
    let mut idle = connect(&server).await;
    idle.write_all(REQUEST).await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    server.stop().await;
    drop(silent);
}

#[tokio::test]
async fn a_mail_that_takes_too_long_is_cut_off() {
    let desk = Desk::default();
    let (entered, has_entered) = oneshot::channel();
    desk.plan(move |_| {
        let _ = entered.send(());
        Box::pin(std::future::pending())
    });
    let options =
        ServerOptions { shutdown_timeout: Duration::from_millis(1), ..ServerOptions::default() };
    let server = start_with(app(&desk), options, None).await;
    let mut stream = connect(&server).await;
    stream.write_all(REQUEST).await.unwrap();
    has_entered.await.unwrap();
    server.stop().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn after_the_signal_nobody_is_let_in() {
    let server = start(app(&Desk::default())).await;
    let address = server.address;
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
