//! How `application/batch-smtp` is taken.

use crate::common::{Answer, Desk, app, app_with, ask, mail, mail_to, post, with_token};
use bytes::Bytes;
use hedwig_envelope::{Body, Content, Mail};
use hedwig_smtp::batch::{self, BatchMail};
use hedwig_transport::{BATCH_SMTP, MessagesOptions};
use http::{HeaderValue, Request};

fn encode(mails: &[BatchMail]) -> Bytes {
    batch::encode(mails).concat().into()
}

fn keyless(mail: Mail) -> BatchMail {
    BatchMail { key: None, envelope: mail.envelope, content: mail.content }
}

fn request(body: Bytes) -> Request<hedwig_transport::Body> {
    let mut request = post("/v1/messages", body);
    request.headers_mut().insert("content-type", HeaderValue::from_static(BATCH_SMTP));
    request
}

async fn ask_with(options: MessagesOptions, mails: &[BatchMail]) -> (Answer, Desk) {
    let desk = Desk::default();
    let answer = ask(&app_with(&desk, options), request(encode(mails))).await;
    (answer, desk)
}

#[tokio::test]
async fn each_mail_of_a_batch_has_its_entry_in_order() {
    let mails = [keyless(mail(1)), keyless(mail_to(2, &["c@example.net", "d@example.net"]))];
    let (answer, desk) = ask_with(with_token(), &mails).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), "");
    let taken = desk.mails.lock().unwrap().clone();
    for (index, (mail, sent)) in taken.iter().zip(&mails).enumerate() {
        assert_eq!((&mail.envelope, &mail.content), (&sent.envelope, &sent.content));
        let entry = &answer.body["messages"][index];
        assert_eq!(entry["id"], mail.id.to_string());
        let addresses: Vec<_> = entry["recipients"].as_array().unwrap().iter().collect();
        assert_eq!(addresses.len(), sent.envelope.recipients.len());
        assert_eq!(addresses[0]["address"], sent.envelope.recipients[0].address.as_str());
    }
}

#[tokio::test]
async fn keys_of_the_batch_go_before_the_numbered_key_of_the_header() {
    let own = BatchMail { key: "own".parse().ok(), ..keyless(mail(1)) };
    let desk = Desk::default();
    let mut request = request(encode(&[own, keyless(mail(2))]));
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("k"));
    assert_eq!(ask(&app(&desk), request).await.status, 202);
    let mails = desk.mails.lock().unwrap().clone();
    let keys: Vec<_> =
        mails.iter().map(|mail| mail.origin.idempotency_key.as_ref().unwrap().as_str()).collect();
    assert_eq!(keys, ["own", "k/2"]);
}

#[tokio::test]
async fn the_same_key_twice_in_a_batch_is_409() {
    let one = BatchMail { key: "k".parse().ok(), ..keyless(mail(1)) };
    let (answer, desk) = ask_with(with_token(), &[one.clone(), one]).await;
    answer.problem(409, "Idempotency key in use");
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn what_is_no_batch_is_400_with_the_place() {
    for body in ["x", "EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b\r\n", "EHLO a\nQUIT\n"] {
        let answer = ask(&app(&Desk::default()), request(Bytes::from(body))).await;
        let detail = answer.problem(400, "Malformed batch");
        assert!(detail.starts_with("at byte "), "{detail}");
    }
}

#[tokio::test]
async fn a_batch_without_a_mail_is_400() {
    let answer = ask(&app(&Desk::default()), request(Bytes::from("EHLO a\r\nQUIT\r\n"))).await;
    answer.problem(400, "Empty batch");
    ask(&app(&Desk::default()), request(Bytes::new())).await.problem(400, "Empty body");
}

#[tokio::test]
async fn too_many_mails_or_recipients_are_400_and_nothing_is_taken() {
    for options in [
        MessagesOptions { mails_max: 1, ..with_token() },
        MessagesOptions { recipients_max: 1, ..with_token() },
    ] {
        let two = keyless(mail_to(2, &["c@example.net", "d@example.net"]));
        let (answer, desk) = ask_with(options, &[keyless(mail(1)), two]).await;
        answer.problem(400, "Malformed batch");
        assert_eq!(desk.count(), 0);
    }
}

#[tokio::test]
async fn a_mail_too_large_in_a_batch_is_413() {
    let options = MessagesOptions { content_bytes_max: 10, ..with_token() };
    let (answer, desk) = ask_with(options, &[keyless(mail(1))]).await;
    answer.problem(413, "Mail too large");
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn bare_line_ends_are_for_binary_mails_only_and_the_last_line_is_ended() {
    let content = Content::from("x: y\n\na\rb\r\n");
    let plain = BatchMail { content: content.clone(), ..keyless(mail(1)) };
    let mut binary = plain.clone();
    binary.envelope.parameters.body = Some(Body::BinaryMime);
    let (answer, _) = ask_with(with_token(), &[plain]).await;
    answer.problem(400, "Malformed batch");
    assert!(answer.body["reply"].as_str().unwrap().starts_with("554 5.6.11 "));

    let unended = BatchMail { content: Content::from("x: y"), ..keyless(mail(2)) };
    let (answer, desk) = ask_with(with_token(), &[binary, unended]).await;
    assert_eq!(answer.status, 202);
    let mails = desk.mails.lock().unwrap().clone();
    assert_eq!(mails[0].content, content);
    assert_eq!(mails[1].content.to_bytes(), "x: y\r\n");
}

#[tokio::test]
async fn a_nul_is_for_binary_mails_only() {
    let content = Content::from("x: y\r\n\r\na\0b\r\n");
    let plain = BatchMail { content, ..keyless(mail(1)) };
    let mut binary = plain.clone();
    binary.envelope.parameters.body = Some(Body::BinaryMime);
    let (answer, _) = ask_with(with_token(), &[binary]).await;
    assert_eq!(answer.status, 202);
    let (answer, _) = ask_with(with_token(), &[plain]).await;
    answer.problem(400, "Malformed batch");
    assert!(answer.body["reply"].as_str().unwrap().starts_with("554 5.6.0 "));
}

#[tokio::test]
async fn a_query_beside_a_batch_is_400() {
    let mut request = request(encode(&[keyless(mail(1))]));
    *request.uri_mut() = "/v1/messages?from=&to=b@example.net".parse().unwrap();
    ask(&app(&Desk::default()), request).await.problem(400, "Unknown parameter");
}
