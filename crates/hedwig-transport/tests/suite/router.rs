//! Several services in one.

use std::convert::Infallible;

use crate::common::{Desk, a_post, app, read};
use hedwig_transport::{Body, Router, empty, full};
use http::{Request, Response};
use tower::{ServiceExt, service_fn};

async fn ask(router: &Router, request: Request<Body>) -> crate::common::Answer {
    read(router.clone().oneshot(request).await.unwrap()).await
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(empty()).unwrap()
}

#[tokio::test]
async fn each_path_has_its_service_and_the_longest_wins() {
    let echo = |text: &'static str| {
        service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Response::new(full(format!("\"{text}\""))))
        })
    };
    let router = Router::new()
        .route("/v1", echo("v1"))
        .route("/v1/messages", app(&Desk::default()))
        .get("/healthz", || async { Response::new(full("\"ok\"")) });
    assert_eq!(ask(&router, a_post()).await.status, 202);
    assert_eq!(ask(&router, get("/v1/other")).await.body, "v1");
    assert_eq!(ask(&router, get("/healthz")).await.body, "ok");
    ask(&router, get("/healthz/x")).await.problem(404, "Not Found");
    ask(&router, get("/v1x")).await.problem(404, "Not Found");
    let post = Request::post("/healthz").body(empty()).unwrap();
    let answer = ask(&router, post).await;
    answer.problem(405, "Method Not Allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn a_service_that_fails_is_503() {
    let broken = service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, hedwig_envelope::BoxError>("secret".into())
    });
    let answer = ask(&Router::new().route("/", broken), get("/x")).await;
    answer.problem(503, "Service Unavailable");
    assert!(!answer.body.to_string().contains("secret"));
}
