//! A server took the mail, and its reply was lost on the way (RFC 1047): the one case in which a mail may
//! come twice, and the record says so.

use std::net::SocketAddr;

use hedwig_lab::{Client, Program, Result, SENDER, Submission, World, loopback_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes everything on between its clients and a server, but for the reply to the first mail that
/// the server takes: in its place the connection ends.
async fn forgetful(listener: TcpListener, server: SocketAddr, taken: watch::Receiver<usize>) {
    let mut forgotten = false;
    while let Ok((client, _)) = listener.accept().await {
        let Ok(upstream) = TcpStream::connect(server).await else { continue };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = upstream.into_split();
        let ahead = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if *taken.borrow() > 0 && !forgotten {
                forgotten = true;
                break;
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
        ahead.abort();
    }
}

#[tokio::test]
async fn a_mail_whose_reply_was_lost_is_sent_again_and_its_record_says_why() -> Result<()> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &[], |options| options).await?;
    let server = world.receiver.address();
    let listener = TcpListener::bind((loopback_address(), server.port())).await?;
    world.dns.mail_domain("lossy.example", listener.local_addr()?.ip()).await;
    tokio::spawn(forgetful(listener, server, world.receiver.count()));

    let mail = Submission::new(SENDER, &["bob@lossy.example"], "Hello\r\n");
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim();
    let status = world.house.postoffice.message_done(id).await?;
    let recipient = &status["recipients"][0];
    assert_eq!(recipient["state"], "delivered", "{status:#}");
    let attempts = recipient["attempts"].as_array().expect("attempts");
    let said: Vec<_> =
        attempts.iter().map(|a| (a["outcome"].as_str(), a["ambiguous"] == true)).collect();
    assert_eq!(said, [(Some("deferred"), true), (Some("done"), false)], "{status:#}");
    assert_eq!(world.close().await?, 2, "the server took it both times");
    Ok(())
}
