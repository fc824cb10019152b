//! Every status that `/v1/messages` answers with, and what stands in its body.

use std::time::Duration;

use crate::common::{Desk, TOKEN, a_post, app, app_with, ask, post, said, with_token};
use hedwig_envelope::{
    BoxError, MailId, MailStatus, RecipientStatus, Refusal, RefusalKind, ReversePath, State,
    Status, Timestamp,
};
use hedwig_transport::{MessagesOptions, messages};
use http::{HeaderValue, Method, Request};
use serde_json::json;
use tower::service_fn;

#[tokio::test]
async fn a_mail_that_was_taken_is_202_with_its_id_and_recipients() {
    let desk = Desk::default();
    let request =
        post("/v1/messages?from=a@example.org&to=b@example.net&to=c@example.net", "x: y\r\n");
    let answer = ask(&app(&desk), request).await;
    let id = desk.only().id.to_string();
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("location"), format!("/v1/messages/{id}"));
    assert_eq!(
        answer.body,
        json!({"messages": [{"id": id, "recipients": [
            {"address": "b@example.net", "state": "queued"},
            {"address": "c@example.net", "state": "queued"},
        ]}]})
    );
}

#[tokio::test]
async fn a_request_without_a_body_is_400() {
    let request = post("/v1/messages?from=a@example.org&to=b@example.net", "");
    let answer = ask(&app(&Desk::default()), request).await;
    assert_eq!(
        answer.problem(400, "Empty body"),
        "There is no mail in the request: its body is empty."
    );
    assert_eq!(answer.body["type"], "urn:hedwig:problem:empty-body");
}

#[tokio::test]
async fn a_request_without_a_token_or_with_a_wrong_one_is_401() {
    let desk = Desk::default();
    for (shown, challenge) in [
        (None, "Bearer realm=\"hedwig\""),
        (Some("Bearer wrong"), "Bearer realm=\"hedwig\", error=\"invalid_token\""),
        (Some("Bearer s3cret2"), "Bearer realm=\"hedwig\", error=\"invalid_token\""),
        (Some("Basic czNjcmV0"), "Bearer realm=\"hedwig\""),
        (Some(TOKEN), "Bearer realm=\"hedwig\""),
    ] {
        let mut request = a_post();
        request.headers_mut().remove("authorization");
        if let Some(shown) = shown {
            request.headers_mut().insert("authorization", shown.parse().unwrap());
        }
        let answer = ask(&app(&desk), request).await;
        answer.problem(401, "Unauthorized");
        assert_eq!(answer.body["type"], "about:blank");
        assert_eq!(answer.header("www-authenticate"), challenge, "{shown:?}");
    }
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn without_tokens_nobody_comes_in_unless_the_door_is_open() {
    let desk = Desk::default();
    let closed = ask(&app_with(&desk, MessagesOptions::default()), a_post()).await;
    closed.problem(401, "Unauthorized");
    let open = MessagesOptions { open: true, ..MessagesOptions::default() };
    assert_eq!(ask(&app_with(&desk, open), a_post()).await.status, 202);
    assert_eq!(desk.only().origin.authenticated, None);
}

#[tokio::test]
async fn each_of_several_tokens_opens_and_its_name_is_told() {
    let desk = Desk::default();
    let other = "other".parse::<hedwig_transport::Token>().unwrap().named("laptop");
    let mut options = with_token();
    options.tokens.push(other);
    let mut request = a_post();
    request.headers_mut().insert("authorization", HeaderValue::from_static("bearer other"));
    assert_eq!(ask(&app_with(&desk, options.clone()), request).await.status, 202);
    assert_eq!(desk.only().origin.authenticated.as_deref(), Some("laptop"));
    assert_eq!(ask(&app_with(&desk, options), a_post()).await.status, 202);
}

#[tokio::test]
async fn a_malformed_address_is_400_and_named() {
    for (query, named) in [
        ("from=nobody&to=b@example.net", "\"nobody\""),
        ("from=a@example.org&to=b@@example.net", "\"b@@example.net\""),
        ("from=a@example.org&to=", "\"\""),
        ("from=a@example.org&to=b%0D%0ARSET@example.net", "\"b\\r\\nRSET@example.net\""),
        ("from=a@example.org&to=b@example.net%0A", "\"b@example.net\\n\""),
        ("from=a%0D@example.org&to=b@example.net", "\"a\\r@example.org\""),
    ] {
        let desk = Desk::default();
        let answer = ask(&app(&desk), post(&format!("/v1/messages?{query}"), "x: y\r\n")).await;
        let detail = answer.problem(400, "Malformed address");
        assert!(detail.contains(named), "{detail}");
        assert_eq!(answer.body["type"], "urn:hedwig:problem:malformed-address");
        assert_eq!(desk.count(), 0);
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_400() {
    for (query, title) in [
        ("to=b@example.net", "Missing parameter"),
        ("from=a@example.org", "Missing parameter"),
        ("", "Missing parameter"),
        ("from=a@example.org&from=c@example.org&to=b@example.net", "Malformed parameter"),
        ("from=a@example.org&to=b@example.net&cc=c@example.net", "Unknown parameter"),
        ("from=a@example.org&to=b@example.net&ret=SOME", "Malformed parameter"),
        ("from=a@example.org&to=b@example.net&notify=NEVER,DELAY", "Malformed parameter"),
        ("from=a@example.org&to=b@example.net&envid=", "Malformed parameter"),
        ("from=a@example.org&to=%FF@example.net", "Malformed parameter"),
    ] {
        let answer = ask(&app(&Desk::default()), post(&format!("/v1/messages?{query}"), "x")).await;
        answer.problem(400, title);
    }
}

#[tokio::test]
async fn too_many_recipients_are_400() {
    let options = MessagesOptions { recipients_max: 2, ..with_token() };
    let desk = Desk::default();
    let three = "/v1/messages?from=&to=a@example.net&to=b@example.net&to=c@example.net";
    let answer = ask(&app_with(&desk, options), post(three, "x: y\r\n")).await;
    answer.problem(400, "Too many recipients");
    assert_eq!(desk.count(), 0);
}

#[tokio::test]
async fn an_unknown_content_type_is_415_and_told_what_is_known() {
    for kind in [Some("application/json"), Some("message/rfc822x"), Some(""), None] {
        let mut request = a_post();
        request.headers_mut().remove("content-type");
        if let Some(kind) = kind {
            request.headers_mut().insert("content-type", kind.parse().unwrap());
        }
        let answer = ask(&app(&Desk::default()), request).await;
        answer.problem(415, "Unsupported Media Type");
        assert_eq!(answer.header("accept-post"), "message/rfc822, application/batch-smtp");
        assert_eq!(answer.header("accept"), "message/rfc822, application/batch-smtp");
    }
    let mut request = a_post();
    request.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    ask(&app(&Desk::default()), request).await.problem(415, "Unsupported Media Type");
}

#[tokio::test]
async fn a_content_type_may_have_parameters_and_any_case() {
    let mut request = a_post();
    let kind = HeaderValue::from_static("Message/RFC822; charset=utf-8");
    request.headers_mut().insert("content-type", kind);
    assert_eq!(ask(&app(&Desk::default()), request).await.status, 202);
}

#[tokio::test]
async fn a_wrong_method_is_405_and_told_the_right_one() {
    let id = MailId::from_bytes([7; 16]);
    for (method, path, allowed) in [
        (Method::GET, "/v1/messages".to_owned(), "POST"),
        (Method::PUT, "/v1/messages".to_owned(), "POST"),
        (Method::DELETE, format!("/v1/messages/{id}"), "GET, HEAD"),
        (Method::POST, format!("/v1/messages/{id}"), "GET, HEAD"),
    ] {
        let mut request = post(&path, "");
        *request.method_mut() = method;
        let answer = ask(&app(&Desk::default()), request).await;
        answer.problem(405, "Method Not Allowed");
        assert_eq!(answer.header("allow"), allowed);
    }
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    for path in ["/", "/v1", "/v1/messagesx", "/v2/messages"] {
        let answer = ask(&app(&Desk::default()), post(path, "x")).await;
        answer.problem(404, "Not Found");
        assert_eq!(answer.body["instance"], path);
    }
}

#[tokio::test]
async fn refusals_of_the_service_become_their_statuses() {
    for (kind, status, title, retry_after) in [
        (RefusalKind::Unavailable, 503, "Service Unavailable", "5"),
        (RefusalKind::NoSpace, 503, "No space left", "5"),
        (RefusalKind::TooMany, 429, "Too Many Requests", "5"),
        (RefusalKind::TooLarge, 413, "Mail too large", ""),
        (RefusalKind::Malformed, 400, "Malformed mail", ""),
        (RefusalKind::Forbidden, 403, "Forbidden", ""),
        (RefusalKind::KeyReused, 422, "Idempotency key reused", ""),
    ] {
        let desk = Desk::default();
        desk.next(move |_| Err(Refusal::new(kind, "because").into()));
        let answer = ask(&app(&desk), a_post()).await;
        assert_eq!(answer.problem(status, title), "because");
        assert_eq!(answer.header("retry-after"), retry_after);
        assert!(answer.body["reply"].as_str().unwrap().ends_with(" because"));
    }
}

#[tokio::test]
async fn retry_after_is_what_the_refusal_says() {
    let desk = Desk::default();
    desk.next(|_| {
        let refusal = Refusal::new(RefusalKind::TooMany, "slower");
        Err(refusal.retry_after(Duration::from_millis(90_500)).into())
    });
    assert_eq!(ask(&app(&desk), a_post()).await.header("retry-after"), "91");
}

#[tokio::test]
async fn an_error_nobody_foresaw_is_503_and_tells_nothing() {
    let desk = Desk::default();
    desk.next(|_| Err("the password is hunter2".into()));
    let answer = ask(&app(&desk), a_post()).await;
    answer.problem(503, "Service Unavailable");
    assert!(!answer.body.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_receipt_that_misses_a_recipient_is_503() {
    let desk = Desk::default();
    desk.next(|mail| Ok(hedwig_envelope::Receipt { id: mail.id, outcomes: vec![] }));
    ask(&app(&desk), a_post()).await.problem(503, "Service Unavailable");
}

#[tokio::test]
async fn a_mail_whose_recipients_are_all_refused_is_400_and_each_is_told() {
    let desk = Desk::default();
    desk.next(|mail| {
        said(
            mail,
            hedwig_envelope::Reply::with_status(550, Status::permanent(1, 1), "No such user"),
        )
    });
    let answer = ask(&app(&desk), a_post()).await;
    assert_eq!(answer.problem(400, "Recipients refused"), "No such user");
    assert_eq!(
        answer.body["messages"][0]["recipients"][0],
        json!({"address": "b@example.net", "state": "failed", "status": "5.1.1",
               "reply": "550 5.1.1 No such user"})
    );
}

#[tokio::test]
async fn a_mail_whose_recipients_are_deferred_is_503() {
    let desk = Desk::default();
    desk.next(|mail| {
        let reply = hedwig_envelope::Reply::with_status(451, Status::transient(4, 1), "Not now");
        said(mail, reply)
    });
    let answer = ask(&app(&desk), a_post()).await;
    assert_eq!(answer.problem(503, "Recipients deferred"), "Not now");
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(answer.body["messages"][0]["recipients"][0]["state"], "deferred");
}

#[tokio::test]
async fn a_mail_that_some_recipients_get_is_202_and_the_others_are_told() {
    let desk = Desk::default();
    desk.next(|mail| {
        let mut receipt = crate::common::taken(mail)?;
        let reply = hedwig_envelope::Reply::new(550, None, "No");
        receipt.outcomes[1] = hedwig_envelope::Outcome::of_reply(reply, None);
        Ok(receipt)
    });
    let request = post("/v1/messages?from=&to=b@example.net&to=c@example.net", "x: y\r\n");
    let answer = ask(&app(&desk), request).await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.body["messages"][0]["recipients"],
        json!([{"address": "b@example.net", "state": "queued"},
               {"address": "c@example.net", "state": "failed", "status": "5.0.0", "reply": "550 No"}])
    );
}

#[tokio::test]
async fn a_mail_can_be_asked_for() {
    let now: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
    let id = MailId::new(now, 1);
    let tracker = service_fn(move |asked: MailId| async move {
        let recipients = vec![RecipientStatus {
            address: "b@example.net".parse().unwrap(),
            state: State::Queued,
            status: None,
            next_due: Some(now),
            attempts: vec![],
            report_due: false,
        }];
        let (sender, created_at) = (ReversePath::Null, now);
        let status = MailStatus { id, sender, created_at, size: 5, recipients };
        Ok::<_, BoxError>((asked == id).then_some(status))
    });
    let app = messages(Desk::default(), tracker, with_token());
    let get = |path: String| {
        let request = Request::get(path).header("authorization", format!("Bearer {TOKEN}"));
        request.body(hedwig_transport::empty()).unwrap()
    };
    let answer = ask(&app, get(format!("/v1/messages/{id}"))).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(
        answer.body,
        json!({"id": id.to_string(), "sender": "", "created_at": "2026-11-21T09:00:00Z", "size": 5,
               "recipients": [{"address": "b@example.net", "state": "queued", "status": null,
                               "next_due": "2026-11-21T09:00:00Z", "attempts": []}]})
    );
    for unknown in [MailId::from_bytes([0; 16]).to_string(), "nonsense".to_owned()] {
        let answer = ask(&app, get(format!("/v1/messages/{unknown}"))).await;
        answer.problem(404, "No such mail");
        assert_eq!(answer.body["instance"], format!("/v1/messages/{unknown}"));
    }
}

#[tokio::test]
async fn asking_for_a_mail_needs_a_token_too() {
    let request = Request::get("/v1/messages/x").body(hedwig_transport::empty()).unwrap();
    ask(&app(&Desk::default()), request).await.problem(401, "Unauthorized");
}
