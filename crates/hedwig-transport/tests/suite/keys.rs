//! Idempotency keys, as the server reads and guards them.

use crate::common::{Desk, a_post, app, ask};

fn with_key(key: &str) -> http::Request<hedwig_transport::Body> {
    let mut request = a_post();
    request.headers_mut().append("idempotency-key", key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_bad_key_is_400() {
    let long = "k".repeat(256);
    for key in ["", "a b", "\"\"", long.as_str()] {
        let desk = Desk::default();
        ask(&app(&desk), with_key(key)).await.problem(400, "Malformed idempotency key");
        assert_eq!(desk.count(), 0);
    }
    let mut twice = with_key("a");
    twice.headers_mut().append("idempotency-key", "b".parse().unwrap());
    ask(&app(&Desk::default()), twice).await.problem(400, "Malformed idempotency key");
}

#[tokio::test]
async fn the_quotes_of_a_structured_field_do_not_belong_to_the_key() {
    let desk = Desk::default();
    assert_eq!(ask(&app(&desk), with_key("\"8e03978e\"")).await.status, 202);
    assert_eq!(desk.only().origin.idempotency_key.unwrap().as_str(), "8e03978e");
}

#[tokio::test]
async fn a_request_that_comes_twice_at_once_waits_for_itself() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let app = app(&desk);
    let both = [app.clone(), app]
        .map(|app| tokio::spawn(async move { ask(&app, with_key("k")).await.status }));
    held.has_come().await;
    assert_eq!(desk.count(), 1, "the second is not worked on beside the first");
    held.let_go();
    for request in both {
        assert_eq!(request.await.unwrap(), 202);
    }
    assert_eq!(desk.count(), 2, "what makes them one mail is the service's to say");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_while_the_first_runs_on_and_on_is_409() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let app = app(&desk);
    let first = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, with_key("k")).await }
    });
    held.has_come().await;

    let second = ask(&app, with_key("k")).await;
    second.problem(409, "Idempotency key in use");
    assert_eq!(second.header("retry-after"), "1");
    assert_eq!(ask(&app, with_key("other")).await.status, 202);

    held.let_go();
    assert_eq!(first.await.unwrap().status, 202);
    assert_eq!(desk.count(), 2);
    assert_eq!(ask(&app, with_key("k")).await.status, 202, "the key is free again");
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_key() {
    let desk = Desk::default();
    let mut held = desk.hold_back();
    let app = app(&desk);
    let first = tokio::spawn({
        let app = app.clone();
        async move { ask(&app, with_key("k")).await }
    });
    held.has_come().await;
    first.abort();
    let _ = first.await;
    assert_eq!(ask(&app, with_key("k")).await.status, 202);
}
