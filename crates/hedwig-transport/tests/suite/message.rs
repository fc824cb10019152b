//! How `message/rfc822` and its query are read.

use crate::common::{Desk, app, ask, post};
use hedwig_envelope::{Body, Notify, Protocol, Ret, ReversePath};

async fn taken(query: &str, body: &'static [u8]) -> hedwig_envelope::Mail {
    let desk = Desk::default();
    let answer = ask(&app(&desk), post(&format!("/v1/messages?{query}"), body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    desk.only()
}

#[tokio::test]
async fn the_envelope_stands_in_the_query_with_or_without_angle_brackets() {
    let mail =
        taken("from=%3Ca@example.org%3E&to=b%2Bx@example.net&to=c+y@example.net", b"x: y\r\n")
            .await;
    assert_eq!(mail.envelope.sender.to_string(), "a@example.org");
    let recipients: Vec<_> = mail.envelope.recipients.iter().map(|r| r.address.as_str()).collect();
    assert_eq!(recipients, ["b+x@example.net", "c+y@example.net"]);
}

#[tokio::test]
async fn nobody_can_be_the_sender() {
    for from in ["from=", "from=%3C%3E", "from"] {
        let mail = taken(&format!("{from}&to=b@example.net"), b"x: y\r\n").await;
        assert_eq!(mail.envelope.sender, ReversePath::Null);
    }
}

#[tokio::test]
async fn delivery_reports_can_be_asked_for() {
    let query =
        "from=&to=b@example.net&to=c@example.net&envid=QQ%2031&ret=hdrs&notify=SUCCESS,DELAY";
    let mail = taken(query, b"x: y\r\n").await;
    assert_eq!(mail.envelope.parameters.envid.as_deref(), Some("QQ 31"));
    assert_eq!(mail.envelope.parameters.ret, Some(Ret::Hdrs));
    let wanted = Notify { success: true, failure: false, delay: true };
    assert!(mail.envelope.recipients.iter().all(|r| r.notify == Some(wanted)));
}

#[tokio::test]
async fn line_ends_become_crlf_and_the_last_line_is_ended() {
    let mail = taken("from=&to=b@example.net", b"Subject: x\n\nbare\rand\n.\r\nend").await;
    assert_eq!(mail.content.to_bytes(), "Subject: x\r\n\r\nbare\r\nand\r\n.\r\nend\r\n");
}

#[tokio::test]
async fn a_nul_is_400() {
    let desk = Desk::default();
    let answer = ask(&app(&desk), post("/v1/messages?from=&to=b@example.net", "a\0b\r\n")).await;
    answer.problem(400, "Malformed mail");
    assert!(answer.body["reply"].as_str().unwrap().starts_with("554 5.6.0 "));
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn a_message_beyond_ascii_is_marked_8bitmime_and_an_address_smtputf8() {
    let mail = taken("from=&to=b@example.net", "x: y\r\n\r\ngrüße\r\n".as_bytes()).await;
    assert_eq!(mail.envelope.parameters.body, Some(Body::EightBitMime));
    assert!(!mail.envelope.parameters.smtputf8);
    let mail = taken("from=&to=gr%C3%BC%C3%9Fe@example.net", b"x: y\r\n").await;
    assert!(mail.envelope.parameters.smtputf8);
}

#[tokio::test]
async fn the_origin_says_how_it_came() {
    let desk = Desk::default();
    let mut request = post("/v1/messages?from=&to=b@example.net", "x: y\r\n");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    request.headers_mut().insert("idempotency-key", "key-1".parse().unwrap());
    assert_eq!(ask(&app(&desk), request).await.status, 202);
    let origin = desk.only().origin;
    assert_eq!(origin.protocol, Protocol::Http);
    assert_eq!(origin.authenticated.as_deref(), Some("token"));
    assert_eq!(origin.traceparent.as_deref(), Some(trace));
    assert_eq!(origin.idempotency_key.unwrap().as_str(), "key-1");
}

#[tokio::test]
async fn a_malformed_traceparent_is_ignored() {
    let desk = Desk::default();
    let mut request = post("/v1/messages?from=&to=b@example.net", "x: y\r\n");
    request.headers_mut().insert("traceparent", "00-x\t y".parse().unwrap());
    assert_eq!(ask(&app(&desk), request).await.status, 202);
    assert_eq!(desk.only().origin.traceparent, None);
}
