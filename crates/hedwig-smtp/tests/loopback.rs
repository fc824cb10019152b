//! The two drivers against each other, over loopback.

mod support;

use hedwig_envelope::{MailParameters, Notify, Outcome, Protocol};
use hedwig_smtp::{ClientOptions, ServerOptions, policy::allow_all, serve};
use support::{Inbox, connect, content, envelope, listener};

/// A server that runs until the test ends.
async fn server(options: ServerOptions) -> (std::net::SocketAddr, Inbox) {
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let service = inbox.service();
    let serve = serve(listener, allow_all(), service).options(options);
    tokio::spawn(serve.into_future());
    (address, inbox)
}

#[tokio::test]
async fn a_mail_arrives_with_its_envelope_its_content_and_its_origin() {
    let (address, inbox) = server(ServerOptions::default()).await;
    let mut connection = connect(address, ClientOptions::default()).await;
    let mut sent = envelope(&["b@example.net", "c@example.net"]);
    sent.parameters = MailParameters { envid: Some("a b".into()), ..Default::default() };
    sent.recipients[0].notify = Some(Notify::NEVER);
    let body = content("Subject: x\r\n\r\n.dot\r\n..\r\n");

    let outcomes = connection.send(&sent, &body).await.unwrap();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))), "{outcomes:?}");

    let mail = inbox.take().pop().unwrap();
    sent.parameters.size = Some(body.len() as u64);
    assert_eq!(mail.envelope, sent);
    assert_eq!(mail.content, body);
    assert_eq!(mail.origin.protocol, Protocol::Esmtp);
    assert_eq!(mail.origin.hello.as_deref(), Some("localhost"));
    assert_eq!(mail.origin.client.unwrap().ip(), address.ip());
    let reply = outcomes[0].answer().reply.text().to_owned();
    assert_eq!(reply, format!("Ok: queued as {}", mail.id));
}
