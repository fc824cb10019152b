//! Many calls, few requests.

use crate::common::{Desk, app, app_with, client, client_options, mail, start, taken, with_token};
use hedwig_envelope::{Mail, Outcome, Receipt, Refusal, RefusalKind};
use hedwig_transport::{Body, Client, ClientOptions, MessagesOptions};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tower::ServiceExt;

/// The service, counting its requests.
fn counted(
    inner: hedwig_transport::Messages,
) -> (impl hedwig_transport::server::HttpService, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let requests = count.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        inner.clone().oneshot(request)
    });
    (service, requests)
}

async fn all(client: &Client, mails: impl IntoIterator<Item = Mail>) -> Vec<Receipt> {
    let calls = mails.into_iter().map(|mail| client.clone().oneshot(mail));
    let receipts = futures_util::future::join_all(calls).await;
    receipts.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn while_one_request_is_under_way_others_are_gathered() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let (service, requests) = counted(app(&desk));
    let server = start(service).await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let client = Client::new(options).unwrap();

    let first = tokio::spawn(client.clone().oneshot(mail(0)));
    held.has_come().await;
    let others = tokio::spawn(async move { all(&client, (1..=40).map(mail)).await });
    tokio::task::yield_now().await;
    held.let_go();
    assert!(first.await.unwrap().unwrap().is_done());
    let receipts = others.await.unwrap();
    assert_eq!((requests.load(Ordering::SeqCst), desk.count()), (2, 41));

    // Each caller has the receipt of its own mail.
    let mails = desk.mails.lock().unwrap().clone();
    for (number, receipt) in (1..=40).zip(receipts) {
        let got = mails.iter().find(|got| got.id == receipt.id).unwrap();
        assert_eq!(got.content, mail(number).content);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_bounded_in_mails_and_in_bytes() {
    for options in [
        ClientOptions { batch_mails_max: 4, ..ClientOptions::default() },
        // About 350 bytes each, as the client counts.
        ClientOptions { batch_bytes_max: 1500, ..ClientOptions::default() },
    ] {
        let (service, requests) = counted(app(&Desk::default()));
        let server = start(service).await;
        let options = ClientOptions {
            urls: vec![server.url()],
            token: Some(crate::common::token()),
            requests_max: 1,
            ..options
        };
        all(&Client::new(options).unwrap(), (0..12).map(mail)).await;
        assert_eq!(requests.load(Ordering::SeqCst), 3);
        server.stop().await;
    }
}

#[tokio::test]
async fn what_waits_is_bounded_and_more_waits_for_room() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let (service, requests) = counted(app(&desk));
    let server = start(service).await;
    let client = Client::new(ClientOptions {
        requests_max: 1,
        // Room for two mails.
        waiting_bytes_max: 2048,
        ..client_options(&[&server])
    });
    let client = client.unwrap();
    let first = tokio::spawn(client.clone().oneshot(mail(0)));
    held.has_come().await;
    let mut larger_than_all = mail(4);
    larger_than_all.content = hedwig_envelope::Content::new("x\r\n".repeat(2000).into());
    let calls = (1..=3).map(mail).chain([larger_than_all]);
    let calls: Vec<_> = calls.map(|mail| tokio::spawn(client.clone().oneshot(mail))).collect();
    tokio::task::yield_now().await;
    held.let_go();
    for taken in [first].into_iter().chain(calls) {
        assert!(taken.await.unwrap().unwrap().is_done());
    }
    let requests = requests.load(Ordering::SeqCst);
    assert_eq!(
        (requests, desk.count()),
        (4, 5),
        "two that waited, one that had no room, a large one"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_no_other_with_it() {
    let desk = Desk::default();
    let held = desk.hold_back();
    let server = start(app(&desk)).await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let client = Client::new(options).unwrap();
    let impatient = tokio::spawn(client.clone().oneshot(mail(1)));
    let patient = tokio::spawn(client.clone().oneshot(mail(2)));
    while desk.count() < 2 {
        tokio::task::yield_now().await;
    }
    // Both are in one request now; and one that still waits is dropped as well.
    let waiting = tokio::spawn(client.clone().oneshot(mail(3)));
    tokio::task::yield_now().await;
    waiting.abort();
    impatient.abort();
    let _ = (waiting.await, impatient.await);
    held.let_go();
    assert!(patient.await.unwrap().unwrap().is_done());
    assert!(client.clone().oneshot(mail(4)).await.unwrap().is_done());
    assert_eq!(desk.count(), 3, "mail 3 was not sent for nobody");
    server.stop().await;
}

#[tokio::test]
async fn one_bad_mail_does_not_condemn_the_others() {
    let desk = Desk::default();
    let options = MessagesOptions { content_bytes_max: 100, ..with_token() };
    let (service, requests) = counted(app_with(&desk, options));
    let server = start(service).await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let mut bad = mail(2);
    bad.content = hedwig_envelope::Content::new("x\r\n".repeat(50).into());
    let receipts = all(&Client::new(options).unwrap(), [mail(1), bad.clone(), mail(3)]).await;
    assert!(receipts[0].is_done() && receipts[2].is_done());
    assert!(matches!(&receipts[1].outcomes[..], [Outcome::Failed(a)] if a.reply.code() == 552));
    assert_eq!(receipts[1].id, bad.id);
    assert_eq!((requests.load(Ordering::SeqCst), desk.count()), (4, 2));
    server.stop().await;
}

#[tokio::test]
async fn a_mail_refused_by_the_service_fails_alone_in_its_batch() {
    let desk = Desk::default();
    desk.next(taken);
    desk.next(|_| Err(Refusal::new(RefusalKind::KeyReused, "other content").into()));
    desk.next(|_| Err(Refusal::new(RefusalKind::NoSpace, "full").into()));
    let (service, requests) = counted(app(&desk));
    let server = start(service).await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let receipts = all(&Client::new(options).unwrap(), (1..=3).map(mail)).await;
    assert!(matches!(receipts[0].outcomes[..], [Outcome::Done(_)]));
    assert!(
        matches!(&receipts[1].outcomes[..], [Outcome::Failed(a)] if a.reply.text() == "other content")
    );
    assert!(matches!(&receipts[2].outcomes[..], [Outcome::Deferred(a)] if a.reply.code() == 452));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_refused_with_a_word_on_each_is_not_sent_again() {
    let desk = Desk::default();
    for text in ["one", "two"] {
        desk.next(move |_| Err(Refusal::new(RefusalKind::KeyReused, text).into()));
    }
    let (service, requests) = counted(app(&desk));
    let server = start(service).await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let receipts = all(&Client::new(options).unwrap(), (1..=2).map(mail)).await;
    let texts = receipts.iter().map(|receipt| match &receipt.outcomes[..] {
        [Outcome::Failed(answer)] => answer.reply.text(),
        _ => panic!("{receipt:?}"),
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_trace_is_passed_on_unless_a_request_belongs_to_several() {
    let trace = |digit: char| format!("00-{}-{}-01", digit.to_string().repeat(32), "b".repeat(16));
    for (traces, passed) in [
        ([Some('a'), Some('a')], Some(trace('a'))),
        ([None, Some('c')], Some(trace('c'))),
        ([Some('a'), Some('c')], None),
    ] {
        let desk = Desk::default();
        let server = start(app(&desk)).await;
        let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
        let mails = traces.into_iter().zip(1..).map(|(digit, number)| {
            let mut mail = mail(number);
            mail.origin.traceparent = digit.map(trace);
            mail
        });
        all(&Client::new(options).unwrap(), mails).await;
        let got = desk.mails.lock().unwrap().clone();
        assert!(got.iter().all(|mail| mail.origin.traceparent == passed), "{got:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn the_same_mail_twice_at_once_is_made_once_at_a_time() {
    let desk = Desk::default();
    let server = start(app(&desk)).await;
    let client = client(&server);
    let receipts = all(&client, [mail(1), mail(1)]).await;
    assert!(receipts.iter().all(Receipt::is_done));
    server.stop().await;
}
