//! What both daemons show over HTTP besides their work.

use hedwig_spool::Spool;
use hedwig_transport::{Body, Router, Token, full, problem};
use http::{HeaderValue, Response, StatusCode, header};

use crate::{
    Metrics,
    control::{Control, Guard, QUEUE_PATH},
};

/// The routes for whoever watches a daemon, and for its operator:
///
/// - `/healthz`: the process answers;
/// - `/readyz`: the spool answers too, so that mail can be taken;
/// - `/metrics`: for Prometheus;
/// - `/v1/queue`: [control](crate::control) of the queue, for those who show one of the tokens.
#[must_use]
pub fn routes(spool: &Spool, metrics: &Metrics, tokens: Vec<Token>) -> Router {
    let (ready, counted, metrics) = (spool.clone(), spool.clone(), metrics.clone());
    Router::new()
        .get("/healthz", || async { text("text/plain", "ok\n".to_owned()) })
        .get("/readyz", move || {
            let spool = ready.clone();
            async move {
                match spool.counts().await {
                    Ok(_) => text("text/plain", "ok\n".to_owned()),
                    Err(error) => unavailable(error.to_string()),
                }
            }
        })
        .get("/metrics", move || {
            let (spool, metrics) = (counted.clone(), metrics.clone());
            async move {
                match metrics.to_text(&spool).await {
                    Ok(metrics) => text(OPEN_METRICS, metrics),
                    Err(error) => unavailable(error.to_string()),
                }
            }
        })
        .route(QUEUE_PATH, Guard::new(Control::new(spool.clone()), tokens))
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn text(content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn unavailable(detail: String) -> Response<Body> {
    problem(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable", detail)
}
