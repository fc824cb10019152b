//! Stopping: what is under way is answered, and nothing waits for what is not.

use std::time::Duration;

use crate::common::{Desk, REQUEST, app, start, start_with};
use hedwig_transport::ServerOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn a_mail_under_way_is_answered_before_the_server_ends() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let mut server = start(app(&desk)).await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    held.has_come().await;
    server.signal();
    held.let_go();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn idle_and_silent_connections_are_not_waited_for() {
    let server = start(app(&Desk::default())).await;
    let silent = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(REQUEST).await.unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).await.unwrap();
    server.stop().await;
    drop(silent);
}

#[tokio::test]
async fn a_mail_that_takes_too_long_is_cut_off() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let options =
        ServerOptions { shutdown_timeout: Duration::from_millis(1), ..ServerOptions::default() };
    let server = start_with(app(&desk), options, None).await;
    let mut stream = server.connect().await;
    stream.write_all(REQUEST).await.unwrap();
    held.has_come().await;
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
