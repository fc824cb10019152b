use hedwig_envelope::{Content, Envelope, Mail, MailId, Origin, ReversePath, State, Timestamp};
use hedwig_spool::{Spool, SpoolOptions};
use hedwig_transport::{Body, Router, Token, empty};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

async fn spool_with(recipients: &[&str]) -> (Spool, Vec<MailId>) {
    let spool = Spool::in_memory(SpoolOptions::default()).unwrap();
    let mut ids = Vec::new();
    for (number, recipient) in recipients.iter().enumerate() {
        let now = Timestamp::now();
        let id = MailId::new(now, number as u128);
        let sender: ReversePath = "alice@example.org".parse().unwrap();
        let recipient: hedwig_envelope::Address = recipient.parse().unwrap();
        let mail = Mail {
            id,
            envelope: Envelope::new(sender, [recipient]),
            content: Content::from("Subject: hi\r\n\r\n"),
            origin: Origin::local(now),
        };
        spool.commit(mail).await.unwrap();
        ids.push(id);
    }
    (spool, ids)
}

async fn ask(spool: &Spool, method: &str, target: &str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(target).body(empty()).unwrap();
    read(Control::new(spool.clone()).oneshot(request).await.unwrap()).await
}

async fn read(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn state(spool: &Spool, id: MailId) -> State {
    spool.show(id).await.unwrap().unwrap().recipients[0].state
}

#[tokio::test]
async fn the_list_is_narrowed_by_filters_and_has_a_mail_in_each_line() {
    let (spool, ids) = spool_with(&["a@example.net", "b@example.com", "c@example.net"]).await;
    let (status, body) = ask(&spool, "GET", "/v1/queue?domain=example.net").await;
    assert_eq!(status, 200);
    let lines: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listed: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(listed, [ids[0].to_string(), ids[2].to_string()]);
    assert_eq!(lines[0]["recipients"][0]["state"], "queued");
}

#[tokio::test]
async fn what_is_finished_is_listed_only_when_asked_for() {
    let (spool, ids) = spool_with(&["a@example.net"]).await;
    let (status, body) = ask(&spool, "POST", &format!("/v1/queue/drop?id={}", ids[0])).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, r#"{"recipients":1}"#));
    for (query, lines) in [("", 0), ("?all=true", 1), ("?state=dropped", 1), ("?state=queued", 0)] {
        let (_, body) = ask(&spool, "GET", &format!("/v1/queue{query}")).await;
        assert_eq!(body.lines().count(), lines, "{query}");
    }
}

#[tokio::test]
async fn what_is_held_waits_until_it_is_released() {
    let (spool, ids) = spool_with(&["a@example.net", "b@example.com"]).await;
    let (_, body) = ask(&spool, "POST", "/v1/queue/hold?domain=example.com").await;
    assert_eq!(body, r#"{"recipients":1}"#);
    assert_eq!(
        (state(&spool, ids[0]).await, state(&spool, ids[1]).await),
        (State::Queued, State::Held)
    );
    let (_, body) = ask(&spool, "POST", "/v1/queue/release?all=true").await;
    assert_eq!(body, r#"{"recipients":1}"#);
    assert_ne!(state(&spool, ids[1]).await, State::Held);
}

#[tokio::test]
async fn nothing_chosen_is_not_everything() {
    let (spool, ids) = spool_with(&["a@example.net"]).await;
    for query in ["", "?limit=1"] {
        let (status, body) = ask(&spool, "POST", &format!("/v1/queue/drop{query}")).await;
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("or say all=true"), "{body}");
    }
    assert_eq!(state(&spool, ids[0]).await, State::Queued);
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_that_says_why() {
    let (spool, _) = spool_with(&[]).await;
    for (method, target, status, reason) in [
        ("GET", "/v1/queue?state=lost", 400, "a state is one of"),
        ("GET", "/v1/queue/nonsense", 400, "is not a mail id"),
        ("GET", "/v1/queue/01ja0000000000000000000000", 404, "There is no mail"),
        ("POST", "/v1/queue/explode?all=true", 404, "retry, hold, release, fail, drop"),
        ("PUT", "/v1/queue", 405, "read with GET"),
    ] {
        let (got, body) = ask(&spool, method, target).await;
        assert_eq!(got.as_u16(), status, "{target}: {body}");
        assert!(body.contains(reason), "{body}");
    }
}

#[tokio::test]
async fn over_the_network_only_a_token_opens_the_queue() {
    let (spool, _) = spool_with(&["a@example.net"]).await;
    let tokens: Vec<Token> = vec!["first".parse().unwrap(), "second".parse().unwrap()];
    let ask = async |tokens: &[Token], shown: Option<&str>| {
        let guard = Guard::new(Control::new(spool.clone()), tokens);
        let mut request = Request::get("/v1/queue");
        if let Some(shown) = shown {
            request = request.header(header::AUTHORIZATION, shown);
        }
        guard.oneshot(request.body(empty()).unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&tokens, Some("Bearer second")).await, 200);
    assert_eq!(ask(&tokens, Some("bearer first")).await, 200);
    for shown in [None, Some("Bearer third"), Some("Bearer "), Some("Basic first"), Some("first")] {
        assert_eq!(ask(&tokens, shown).await, 401, "{shown:?}");
    }
    assert_eq!(ask(&[], Some("Bearer ")).await, 403);
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let (spool, ids) = spool_with(&["a@example.net"]).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(SOCKET_NAME);
    // What a daemon that was killed has left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { stopped.await.unwrap_or_default() };
    let served =
        serve_control(directory.path(), Control::new(spool), Router::new(), stopped).unwrap();
    let served = tokio::spawn(served);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let server = Server::Socket(socket.clone());
    let shown = server.show(ids[0]).await.unwrap().unwrap();
    assert_eq!(shown.recipients[0].address.as_str(), "a@example.net");
    assert!(server.show("01ja0000000000000000000000".parse().unwrap()).await.unwrap().is_none());
    stop.send(()).unwrap();
    served.await.unwrap();
    assert!(!socket.exists());
}
