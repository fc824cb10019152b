//! Postoffices that are broken, or mean harm.

use crate::common::{Script, accepted, client, client_options, mail, mail_to};
use hedwig_envelope::{Outcome, Receipt, Refusal, Status};
use hedwig_transport::{Client, ClientOptions};
use serde_json::json;
use tower::ServiceExt;

async fn answered(status: u16, body: impl Into<bytes::Bytes>) -> Result<Receipt, Refusal> {
    let server = Script::default().answer(status, body).start().await;
    let result = client(&server).oneshot(mail(1)).await;
    server.stop().await;
    result.map_err(|error| *error.downcast::<Refusal>().unwrap())
}

#[tokio::test]
async fn an_answer_202_about_something_else_is_no_receipt() {
    let id = mail(1).id.to_string();
    let recipient = json!({"address": "b@example.net", "state": "queued"});
    for body in [
        String::new(),
        "202".into(),
        "{}".into(),
        "[".repeat(50_000),
        accepted(&[]),
        accepted(&[&mail(1), &mail(2)]),
        accepted(&[&mail_to(1, &["b@example.net", "c@example.net"])]),
        json!({"messages": [{"id": id, "recipients": []}]}).to_string(),
        json!({"messages": [{"id": "../../etc", "recipients": [recipient]}]}).to_string(),
        json!({"messages": [{"id": id, "recipients": [{"address": "b", "state": "eaten"}]}]})
            .to_string(),
    ] {
        let refusal = answered(202, body).await.unwrap_err();
        assert!(refusal.reply.is_transient());
        assert!(refusal.reply.text().contains("not about what it was sent"), "{refusal}");
    }
}

#[tokio::test]
async fn other_successes_and_redirects_are_not_believed() {
    for status in [200, 204, 302, 308] {
        let refusal = answered(status, accepted(&[&mail(1)])).await.unwrap_err();
        assert!(refusal.reply.is_transient(), "{status}");
    }
}

#[tokio::test]
async fn every_4xx_is_final_but_those_that_may_go_well_later() {
    for status in 400..=499 {
        let result = answered(status, "{}").await;
        let again = [401, 403, 408, 409, 425, 429].contains(&status);
        match result {
            Ok(receipt) => {
                assert!(matches!(receipt.outcomes[..], [Outcome::Failed(_)]));
                assert!(!again, "{status}");
            }
            Err(refusal) => assert!(again && refusal.reply.is_transient(), "{status}"),
        }
    }
}

#[tokio::test]
async fn what_no_postoffice_says_is_final_for_no_mail_but_one_that_is_too_large() {
    for status in [400, 403, 404, 405, 407, 410, 415, 421, 422, 451] {
        let script = Script::default().answer_as("text/html", status, "<h1>nginx</h1>");
        let server = script.start().await;
        let refusal = client(&server).oneshot(mail(1)).await.unwrap_err();
        assert!(refusal.downcast::<Refusal>().unwrap().reply.is_transient(), "{status}");
    }
    let server = Script::default().answer_as("text/html", 413, "<h1>nginx</h1>").start().await;
    let receipt = client(&server).oneshot(mail(1)).await.unwrap();
    assert_eq!(receipt.outcomes[0].answer().reply.code(), 552);
}

#[tokio::test]
async fn every_5xx_is_to_be_tried_again() {
    for status in 500..=511 {
        assert!(answered(status, "{}").await.unwrap_err().reply.is_transient());
    }
}

#[tokio::test]
async fn the_detail_of_a_refusal_is_told_on_one_line_and_in_bounds() {
    let detail = format!("no\r\n250 2.0.0 yes\u{1b}[2J{}", "x".repeat(10_000));
    let body = json!({"detail": detail}).to_string();
    let receipt = answered(400, body).await.unwrap();
    let answer = receipt.outcomes[0].answer();
    assert_eq!(answer.reply.code(), 554);
    assert!(answer.reply.text().starts_with("HTTP 400: no  250 2.0.0 yes [2Jxxx"), "{answer:?}");
    assert!(answer.reply.text().len() <= 512);
    assert!(!answer.reply.text().contains(char::is_control));
}

#[tokio::test]
async fn the_reply_of_a_refusal_must_be_one() {
    for (reply, code) in [
        ("550 5.1.1 No such user", 550),
        ("250 2.0.0 Ok", 554),
        ("451 4.0.0 Later", 554),
        ("999 x", 554),
        ("5\r\n50 x", 554),
    ] {
        let receipt = answered(400, json!({"reply": reply}).to_string()).await.unwrap();
        assert_eq!(receipt.outcomes[0].answer().reply.code(), code, "{reply:?}");
        assert!(matches!(receipt.outcomes[0], Outcome::Failed(_)));
    }
    let receipt = answered(413, "{}").await.unwrap();
    assert_eq!(receipt.outcomes[0].answer().status, Status::permanent(3, 4));
}

#[tokio::test]
async fn a_success_with_the_reply_of_a_failure_is_what_its_state_says() {
    let id = mail(1).id.to_string();
    let recipient = json!({"address": "b", "state": "failed", "reply": "250 2.0.0 Ok"});
    let body = json!({"messages": [{"id": id, "recipients": [recipient]}]}).to_string();
    let receipt = answered(202, body).await.unwrap();
    assert!(matches!(receipt.outcomes[..], [Outcome::Failed(_)]));
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let endless = "x".repeat(1024 * 1024);
    let refusal = answered(202, endless).await.unwrap_err();
    assert!(refusal.reply.text().contains("no whole answer"), "{refusal}");
}

#[tokio::test]
async fn a_batch_refused_without_a_word_on_each_is_sent_one_by_one() {
    let script = Script::default()
        .answer(400, "{}")
        .answer(202, accepted(&[&mail(1)]))
        .answer(422, "{}")
        .answer(409, "{}");
    let server = script.start().await;
    let options = ClientOptions { requests_max: 1, ..client_options(&[&server]) };
    let client = Client::new(options).unwrap();
    let calls = (1..=3).map(|number| client.clone().oneshot(mail(number)));
    let results = futures_util::future::join_all(calls).await;
    assert!(results[0].as_ref().unwrap().is_done());
    assert!(matches!(results[1].as_ref().unwrap().outcomes[..], [Outcome::Failed(_)]));
    assert!(results[2].is_err());
    assert_eq!(script.count(), 4);
    server.stop().await;
}

#[tokio::test]
async fn the_request_is_what_the_contract_says() {
    let script = Script::default().answer(202, accepted(&[&mail(1)]));
    let server = script.start().await;
    client(&server).oneshot(mail(1)).await.unwrap();
    let (headers, body) = script.requests.lock().unwrap()[0].clone();
    assert_eq!(headers["content-type"], "application/batch-smtp");
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(headers["content-length"], body.len().to_string().as_str());
    let limits = hedwig_smtp::batch::BatchLimits::default();
    let mails = hedwig_smtp::batch::decode(body, &limits).unwrap();
    assert_eq!((&mails[0].envelope, &mails[0].content), (&mail(1).envelope, &mail(1).content));
    assert_eq!(mails[0].key, Some(mail(1).id.into()));
    server.stop().await;
}
