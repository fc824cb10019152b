//! The two drivers against each other, over loopback.

use std::{future::pending, net::SocketAddr, sync::Arc};

use crate::support::{Inbox, connect, content, envelope, listener, tls_configs};
use hedwig_envelope::{
    BoxError, MailParameters, Notify, Outcome, Protocol, Receipt, Refusal, RefusalKind, Reply,
    Status,
};
use hedwig_smtp::{
    ClientOptions, Dialect, Policy, Question, ServerOptions,
    client::{Connection, ConnectionError, Phase},
    policy::{allow_all, loopback_only},
    serve,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify as Signal, oneshot},
};

/// A server that runs until the test ends.
async fn server(options: ServerOptions, policy: impl Policy) -> (SocketAddr, Inbox) {
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let serve = serve(listener, policy, inbox.service()).options(options);
    tokio::spawn(serve.into_future());
    (address, inbox)
}

fn summary(outcomes: &[Outcome]) -> Vec<String> {
    outcomes.iter().map(|outcome| outcome.answer().reply.to_string()).collect()
}

async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_mail_arrives_with_its_envelope_its_content_and_its_origin() {
    let (address, inbox) = server(ServerOptions::default(), loopback_only()).await;
    let mut connection = connect(address, ClientOptions::default()).await;
    let mut sent = envelope(&["b@example.net", "c@example.net"]);
    sent.parameters = MailParameters { envid: Some("a b".into()), ..Default::default() };
    sent.recipients[0].notify = Some(Notify::NEVER);
    let body = content("Subject: x\r\n\r\n.dot\r\n..\r\n");

    let outcomes = connection.send(&sent, &body).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))), "{outcomes:?}");

    let mail = inbox.take().pop().unwrap();
    sent.parameters.size = Some(body.len() as u64);
    assert_eq!(mail.envelope, sent);
    assert_eq!(mail.content, body);
    assert_eq!(mail.origin.protocol, Protocol::Esmtp);
    assert_eq!(mail.origin.hello.as_deref(), Some("localhost"));
    assert_eq!(mail.origin.client.unwrap().ip(), address.ip());
    let taken = format!("250 2.0.0 Ok: queued as {}", mail.id);
    assert_eq!(summary(&outcomes), [taken.clone(), taken]);
}

#[tokio::test]
async fn many_mails_go_over_one_connection_and_large_ones_too() {
    let (address, inbox) = server(ServerOptions::default(), allow_all()).await;
    let mut connection = connect(address, ClientOptions::default()).await;
    for size in [0, 1, 5_000, 100_000, 5_000_000, 3] {
        let body = content(&("x".repeat(size) + "\r\n"));
        connection.send(&envelope(&["b@example.net"]), &body).await.unwrap();
        assert_eq!(inbox.take()[0].content, body, "{size}");
    }
    connection.reset().await.unwrap();
    connection.quit().await;
}

/// RFC 2920 §3.1: whoever only writes, while the other only writes its replies, waits for ever.
#[tokio::test]
async fn a_mail_to_very_many_does_not_deadlock() {
    let options = ServerOptions { recipients_max: 50_000, ..Default::default() };
    let (address, inbox) = server(options, allow_all()).await;
    let mut connection = connect(address, ClientOptions::default()).await;
    let to: Vec<_> = (0..50_000).map(|n| format!("recipient-number-{n}@example.net")).collect();
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    let outcomes = connection.send(&envelope(&to), &content("x\r\n")).await.unwrap();
    assert_eq!(outcomes.len(), 50_000);
    assert_eq!(inbox.take()[0].envelope.recipients.len(), 50_000);
}

#[tokio::test]
async fn lmtp_has_an_outcome_for_each_recipient() {
    let (listener, address) = listener().await;
    let service = tower::service_fn(|mail: hedwig_envelope::Mail| async move {
        let outcome = |code| Outcome::of_reply(Reply::new(code, None, "says the mailbox"), None);
        Ok::<_, BoxError>(Receipt { id: mail.id, outcomes: vec![outcome(452), outcome(250)] })
    });
    let options = ServerOptions { protocol: Dialect::Lmtp, ..Default::default() };
    tokio::spawn(serve(listener, allow_all(), service).options(options).into_future());

    let options = ClientOptions { protocol: Dialect::Lmtp, ..Default::default() };
    let mut connection = connect(address, options).await;
    let to = envelope(&["b@example.net", "c@example.net"]);
    let outcomes = connection.send(&to, &content("x\r\n")).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Deferred(_), Outcome::Done(_)]), "{outcomes:?}");
}

#[tokio::test]
async fn over_tls_the_origin_and_the_outcome_say_so() {
    let (server_config, client_config) = tls_configs();
    let (listener, address) = listener().await;
    let inbox = Inbox::default();
    let serve = serve(listener, allow_all(), inbox.service()).tls(server_config);
    tokio::spawn(serve.into_future());

    let relay = hedwig_envelope::Relay {
        address: Some(address),
        ..hedwig_envelope::Relay::of("localhost")
    };
    let options = ClientOptions { relay: Some(relay), ..Default::default() };
    let mut connection = connect(address, options).await;
    assert!(connection.capabilities().starttls);
    let name = "localhost".try_into().unwrap();
    connection.start_tls(client_config, name).await.unwrap();
    assert!(!connection.capabilities().starttls, "it is not offered twice");

    let body = content(&"x".repeat(300_000));
    let outcomes = connection.send(&envelope(&["b@example.net"]), &body).await.unwrap();
    let tls = outcomes[0].answer().relay.as_ref().unwrap().tls.clone().unwrap();
    assert!(tls.starts_with("TLSv1.3 TLS13_"), "{tls}");
    let mail = inbox.take().pop().unwrap();
    assert_eq!(mail.origin.tls, Some(tls));
    assert_eq!(mail.content, body);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_ends_the_connection() {
    let (server_config, _) = tls_configs();
    let (_, other_config) = tls_configs();
    let (listener, address) = listener().await;
    let serve = serve(listener, allow_all(), Inbox::default().service()).tls(server_config);
    tokio::spawn(serve.into_future());

    let mut connection = connect(address, ClientOptions::default()).await;
    let error = connection.start_tls(other_config, "localhost".try_into().unwrap()).await;
    assert!(matches!(error, Err(ConnectionError::Tls(_))), "{error:?}");
    assert!(!connection.is_open());
    let error = connection.send(&envelope(&["b@example.net"]), &content("x")).await.unwrap_err();
    assert!(!error.ambiguous);
    assert!(matches!(error.outcomes[..], [Outcome::Deferred(_)]));
}

#[tokio::test]
async fn the_policy_and_the_service_have_their_say() {
    let policy = tower::service_fn(|question: Question| async move {
        match &question {
            Question::Recipient { recipient, .. } => match recipient.address.local_part() {
                "nobody" => Ok(Reply::with_status(550, Status::permanent(1, 1), "No such user")),
                "broken" => Err(BoxError::from("the directory is down")),
                _ => Ok(question.yes()),
            },
            _ => Ok(question.yes()),
        }
    });
    let service = tower::service_fn(|_| async {
        let refusal = Refusal::new(RefusalKind::NoSpace, "The queue is full");
        Err::<Receipt, BoxError>(refusal.into())
    });
    let (listener, address) = listener().await;
    tokio::spawn(serve(listener, policy, service).into_future());

    let mut connection = connect(address, ClientOptions::default()).await;
    let to = envelope(&["nobody@example.net", "broken@example.net", "b@example.net"]);
    let outcomes = connection.send(&to, &content("x\r\n")).await.unwrap();
    let expected = [
        "550 5.1.1 No such user",
        "451 4.3.0 Local error in processing, try again later",
        "452 4.3.1 The queue is full",
    ];
    assert_eq!(summary(&outcomes), expected);
    assert!(connection.is_open());
}

#[tokio::test]
async fn who_is_one_too_many_is_told_421() {
    let options = ServerOptions { connections_per_address_max: 1, ..Default::default() };
    let (address, _inbox) = server(options, allow_all()).await;
    let first = connect(address, ClientOptions::default()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    match Connection::greet(stream, ClientOptions::default()).await {
        Err(ConnectionError::Refused { phase: Phase::Greeting, reply }) => {
            assert_eq!(reply.code(), 421);
        }
        other => panic!("{other:?}"),
    }
    first.quit().await;
}

#[tokio::test]
async fn a_stop_tells_the_idle_goodbye_and_finishes_the_mail_at_hand() {
    let (listener, address) = listener().await;
    let (begun, finish) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
    let service = {
        let (begun, finish) = (begun.clone(), finish.clone());
        tower::service_fn(move |mail: hedwig_envelope::Mail| {
            let (begun, finish) = (begun.clone(), finish.clone());
            async move {
                begun.notify_one();
                finish.notified().await;
                let taken = Outcome::of_reply(Reply::new(250, None, "Taken"), None);
                Ok::<_, BoxError>(Receipt::uniform(mail.id, 1, taken))
            }
        })
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = serve(listener, allow_all(), service)
        .with_graceful_shutdown(async { stopped.await.unwrap() });
    let server = tokio::spawn(serve.into_future());

    let mut idle = TcpStream::connect(address).await.unwrap();
    assert!(read_line(&mut idle).await.starts_with("220 "));
    let mut busy = connect(address, ClientOptions::default()).await;
    let sending = tokio::spawn(async move {
        let outcomes = busy.send(&envelope(&["b@example.net"]), &content("x\r\n")).await.unwrap();
        (outcomes, busy)
    });
    begun.notified().await;
    stop.send(()).unwrap();

    assert_eq!(read_line(&mut idle).await, "421 4.3.2 Shutting down, try again later");
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "it is closed");
    finish.notify_one();
    let (outcomes, mut busy) = sending.await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Done(_)]), "{outcomes:?}");
    assert!(busy.reset().await.is_err(), "after its mail it was told goodbye too");
    server.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody new is let in");
}

#[tokio::test]
async fn a_service_that_never_ends_does_not_hold_up_a_stop_for_ever() {
    let (listener, address) = listener().await;
    let begun = Arc::new(Signal::new());
    let service = {
        let begun = begun.clone();
        tower::service_fn(move |_| {
            begun.notify_one();
            pending::<Result<Receipt, BoxError>>()
        })
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServerOptions { shutdown_grace: std::time::Duration::ZERO, ..Default::default() };
    let serve = serve(listener, allow_all(), service)
        .options(options)
        .with_graceful_shutdown(async { stopped.await.unwrap() });
    let server = tokio::spawn(serve.into_future());

    let mut connection = connect(address, ClientOptions::default()).await;
    let sending = tokio::spawn(async move {
        connection.send(&envelope(&["b@example.net"]), &content("x\r\n")).await
    });
    begun.notified().await;
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    let error = sending.await.unwrap().unwrap_err();
    assert!(error.ambiguous, "the content was sent whole, and nobody said what became of it");
    assert!(error.outcomes[0].answer().ambiguous);
}

#[tokio::test]
async fn replies_to_pipelined_commands_come_in_one_piece() {
    let (address, _inbox) = server(ServerOptions::default(), allow_all()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    assert!(read_line(&mut stream).await.starts_with("220 "));
    stream.write_all(b"NOOP\r\nNOOP\r\nRSET\r\n").await.unwrap();
    let mut replies = [0; 1024];
    let length = stream.read(&mut replies).await.unwrap();
    assert_eq!(&replies[..length], b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
}
