//! A client and a server, over every road there is between them.

use std::sync::Arc;

use crate::common::{
    Desk, Running, app, app_with, client, client_options, mail, mail_to, start, token,
};
use hedwig_envelope::{Outcome, Protocol, Refusal, Reply, Status};
use hedwig_transport::{Client, ClientOptions, Messages, MessagesOptions, RECIPIENTS_MAX, serve};
use tokio::{net::UnixListener, sync::oneshot};
use tower::ServiceExt;

#[tokio::test]
async fn a_mail_arrives_as_it_was_and_its_receipt_says_where() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let mut sent = mail_to(1, &["b@example.net", "c@example.net"]);
    sent.content.prepend(b"Received: here\r\n");
    sent.origin.traceparent =
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let receipt = client(&server).oneshot(sent.clone()).await.unwrap();

    let got = desk.only();
    assert_eq!(got.envelope, sent.envelope);
    assert_eq!(got.content.to_bytes(), sent.content.to_bytes());
    assert_eq!(got.origin.idempotency_key, Some(sent.id.into()));
    assert_eq!(got.origin.traceparent, sent.origin.traceparent);
    assert_eq!(got.origin.protocol, Protocol::Http);
    assert!(got.origin.client.unwrap().ip().is_loopback());

    assert_eq!((receipt.id, receipt.outcomes.len()), (got.id, 2));
    let Outcome::Done(answer) = &receipt.outcomes[0] else { panic!("{receipt:?}") };
    assert_eq!(answer.reply.to_string(), format!("250 2.0.0 Ok: queued as {}", got.id));
    let relay = answer.relay.clone().unwrap();
    assert_eq!((relay.host.as_str(), relay.address), ("127.0.0.1", Some(server.address)));
    assert_eq!(relay.tls, None);
    server.stop().await;
}

#[tokio::test]
async fn the_key_of_the_origin_goes_before_the_id() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let mut sent = mail(1);
    sent.origin.idempotency_key = Some("chosen".parse().unwrap());
    client(&server).oneshot(sent).await.unwrap();
    assert_eq!(desk.only().origin.idempotency_key.unwrap().as_str(), "chosen");
    server.stop().await;
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_too() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let options = ClientOptions { http2_only: true, ..client_options(&[&server]) };
    let client = Client::new(options).unwrap();
    for number in 1..=3 {
        assert!(client.clone().oneshot(mail(number)).await.unwrap().is_done());
    }
    assert_eq!(desk.count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("postoffice.sock");
    let desk = Desk::default();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = serve(UnixListener::bind(&path).unwrap(), app(&desk));
    let server =
        tokio::spawn(server.with_graceful_shutdown(async { drop(stopped.await) }).into_future());
    let options = ClientOptions {
        urls: vec![format!("unix:{}", path.display())],
        token: Some(token()),
        ..ClientOptions::default()
    };
    let client = Client::new(options).unwrap();
    let receipt = client.clone().oneshot(mail(1)).await.unwrap();
    assert_eq!(desk.only().origin.client, None);
    let relay = receipt.outcomes[0].answer().relay.clone().unwrap();
    assert_eq!((relay.host.as_str(), relay.address), (path.to_str().unwrap(), None));
    drop(stop);
    server.await.unwrap();
}

#[tokio::test]
async fn a_path_may_stand_before_the_api() {
    let desk = Desk::default();
    let app: Messages = app(&desk);
    let mounted = tower::service_fn(move |mut request: http::Request<hedwig_transport::Body>| {
        let path = request.uri().path().strip_prefix("/mail").unwrap_or("/").to_owned();
        *request.uri_mut() = path.parse().unwrap();
        app.clone().oneshot(request)
    });
    let server: Running = start(mounted).await;
    let mut options = client_options(&[]);
    options.urls = vec![format!("{}/mail/", server.url())];
    assert!(Client::new(options).unwrap().oneshot(mail(1)).await.unwrap().is_done());
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_for_good_is_a_receipt_with_the_reply() {
    let desk = Desk::default();
    let no = Reply::with_status(550, Status::permanent(1, 1), "No such user");
    let said = no.clone();
    desk.next(move |mail| crate::common::said(mail, said));
    let server = start(app(&desk)).await;
    let sent = mail(1);
    let receipt = client(&server).oneshot(sent).await.unwrap();
    let Outcome::Failed(answer) = &receipt.outcomes[0] else { panic!("{receipt:?}") };
    assert_eq!((&answer.reply, answer.status), (&no, Status::permanent(1, 1)));
    assert!(answer.relay.is_some());
    server.stop().await;
}

#[tokio::test]
async fn one_recipient_may_fail_alone() {
    let desk = Desk::default();
    desk.next(|mail| {
        let mut receipt = crate::common::taken(mail)?;
        receipt.outcomes[0] = Outcome::of_reply(Reply::new(550, None, "No"), None);
        Ok(receipt)
    });
    let server = start(app(&desk)).await;
    let sent = mail_to(1, &["b@example.net", "c@example.net"]);
    let receipt = client(&server).oneshot(sent).await.unwrap();
    assert!(matches!(receipt.outcomes[..], [Outcome::Failed(_), Outcome::Done(_)]));
    server.stop().await;
}

#[tokio::test]
async fn a_mail_to_as_many_as_may_be_arrives_and_each_hears_its_own() {
    let desk = Desk::default();
    let long = "x".repeat(600);
    desk.next(move |mail| {
        let mut receipt = crate::common::taken(mail)?;
        for outcome in receipt.outcomes.iter_mut().skip(1) {
            *outcome = Outcome::of_reply(Reply::new(550, None, long.clone()), None);
        }
        Ok(receipt)
    });
    let server = start(app(&desk)).await;
    let addresses = |count: usize| (0..count).map(|n| format!("{n:0>64}@{}.net", "y".repeat(63)));
    let addressed = |number, count| {
        let addresses: Vec<String> = addresses(count).collect();
        mail_to(number, &addresses.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let receipt = client(&server).oneshot(addressed(1, RECIPIENTS_MAX)).await.unwrap();
    assert_eq!(desk.only().envelope.recipients.len(), RECIPIENTS_MAX);
    assert_eq!(receipt.outcomes.len(), RECIPIENTS_MAX);
    assert!(matches!(receipt.outcomes[0], Outcome::Done(_)));
    assert!(receipt.outcomes[1..].iter().all(|outcome| matches!(outcome, Outcome::Failed(_))));

    let receipt = client(&server).oneshot(addressed(2, RECIPIENTS_MAX + 1)).await.unwrap();
    assert!(matches!(receipt.outcomes[0], Outcome::Failed(_)), "one more is refused as a whole");
    assert_eq!(desk.count(), 1);
    server.stop().await;
}

#[test]
fn a_server_takes_as_many_mails_at_once_as_a_client_sends() {
    let (server, client) = (MessagesOptions::default(), ClientOptions::default());
    assert!(server.mails_max >= client.batch_mails_max);
    assert!(server.request_bytes_max > client.batch_bytes_max);
}

#[tokio::test]
async fn a_wrong_token_is_to_be_tried_again() {
    let server = start(app(&Desk::default())).await;
    let options =
        ClientOptions { token: Some("wrong".parse().unwrap()), ..client_options(&[&server]) };
    let error = Client::new(options).unwrap().oneshot(mail(1)).await.unwrap_err();
    let refusal = error.downcast::<Refusal>().unwrap();
    assert!(refusal.reply.is_transient());
    assert!(refusal.reply.text().contains("401"), "{refusal}");
    assert!(!refusal.to_string().contains("wrong"));
    server.stop().await;
}

#[tokio::test]
async fn a_large_mail_arrives_whole() {
    let desk = Desk::default();
    let server = start(app_with(&desk, crate::common::with_token())).await;
    let mut sent = mail(1);
    let line = format!("{}\r\n", "x".repeat(998));
    sent.content = hedwig_envelope::Content::new(line.repeat(9_000).into());
    client(&server).oneshot(sent.clone()).await.unwrap();
    assert_eq!(desk.only().content.to_bytes(), sent.content.to_bytes());
    server.stop().await;
}

#[tokio::test]
async fn clones_share_what_there_is() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let client = Arc::new(client(&server));
    let calls = (1..=50).map(|number| {
        let client = client.clone();
        async move { client.as_ref().clone().oneshot(mail(number)).await }
    });
    let receipts = futures_util::future::join_all(calls).await;
    let mut ids: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), desk.count()), (50, 50));
    server.stop().await;
}
