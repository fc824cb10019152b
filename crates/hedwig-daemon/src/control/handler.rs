use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::MailId;
use hedwig_spool::{Filter, Selection, Spool, SpoolError};
use hedwig_transport::{Body, Problem, full, problem};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower::Service;

use super::Verb;
use crate::queue::Choice;

/// The path of the queue; its mails and verbs lie below.
pub const QUEUE_PATH: &str = "/v1/queue";

/// How many mails a list has when the request does not say, and at most.
const LIST_MAILS_MAX: usize = 10_000;

/// Answers the requests of an operator about a spool. It asks nobody for a token: see
/// [`Guard`](super::Guard).
#[derive(Clone, Debug)]
pub struct Control {
    spool: Spool,
}

impl Control {
    /// Control of this spool.
    #[must_use]
    pub fn new(spool: Spool) -> Self {
        Self { spool }
    }

    /// Answers one request.
    pub async fn answer(self, method: Method, path: String, query: String) -> Response<Body> {
        let rest = path.strip_prefix(QUEUE_PATH).unwrap_or(&path);
        let answer = match (rest.trim_start_matches('/'), method) {
            ("", Method::GET) => self.list(&query).await,
            (id, Method::GET) => self.show(id).await,
            (verb, Method::POST) => self.act(verb, &query).await,
            _ => Err(Box::new(Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method Not Allowed",
                "The queue is read with GET and acted on with POST.",
            ))),
        };
        answer.unwrap_or_else(|problem| problem.into_response())
    }

    async fn list(&self, query: &str) -> Answer {
        let mails = self.spool.list(&filter_of(&choice_of(query)?)).await.map_err(failed)?;
        let mut lines = Vec::new();
        for mail in &mails {
            serde_json::to_writer(&mut lines, mail).map_err(bad_request)?;
            lines.push(b'\n');
        }
        Ok(answer("application/jsonl", lines))
    }

    async fn show(&self, id: &str) -> Answer {
        let id: MailId = id.parse().map_err(bad_request)?;
        match self.spool.show(id).await.map_err(failed)? {
            Some(mail) => Ok(json(&mail)),
            None => {
                let detail = format!("There is no mail {id} here.");
                Err(Box::new(Problem::new(StatusCode::NOT_FOUND, "No such mail", detail)))
            }
        }
    }

    async fn act(&self, verb: &str, query: &str) -> Answer {
        let verb = Verb::parse(verb).ok_or_else(|| {
            let names = Verb::ALL.map(Verb::name).join(", ");
            let detail = format!("What can be done to the queue is {names}.");
            Box::new(Problem::new(StatusCode::NOT_FOUND, "No such action", detail))
        })?;
        let choice = choice_of(query)?;
        if !choice.is_deliberate() {
            return Err(bad_request("name mails by id or by a filter, or say all=true"));
        }
        let filter = Filter { finished: false, after: None, limit: None, ..filter_of(&choice) };
        let selection =
            if filter.is_empty() { Selection::All } else { Selection::Matching(filter) };
        let recipients = match verb {
            Verb::Retry => self.spool.retry(&selection).await,
            Verb::Hold => self.spool.hold(&selection).await,
            Verb::Release => self.spool.release(&selection).await,
            Verb::Fail => self.spool.fail(&selection).await,
            Verb::Drop => self.spool.drop(&selection).await,
        };
        let recipients = recipients.map_err(failed)?;
        tracing::info!(action = verb.name(), query, recipients, "an operator acted on the queue");
        Ok(json(&serde_json::json!({ "recipients": recipients })))
    }
}

impl Service<Request<Body>> for Control {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let uri = request.uri();
        let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
        let answer = self.clone().answer(request.method().clone(), path, query);
        Box::pin(async { Ok(answer.await) })
    }
}

/// The answer, or one that says why there is none.
type Answer = Result<Response<Body>, Box<Problem>>;

fn choice_of(query: &str) -> Result<Choice, Box<Problem>> {
    Choice::from_query(query).map_err(bad_request)
}

fn filter_of(choice: &Choice) -> Filter {
    Filter {
        ids: choice.ids.clone(),
        domain: choice.domain.clone(),
        sender: choice.sender.clone(),
        state: choice.state,
        older_than: choice.older_than,
        finished: choice.all,
        after: choice.after,
        limit: Some(choice.limit.unwrap_or(LIST_MAILS_MAX).min(LIST_MAILS_MAX)),
    }
}

fn bad_request(reason: impl ToString) -> Box<Problem> {
    Box::new(Problem::new(StatusCode::BAD_REQUEST, "Bad Request", reason.to_string()))
}

fn failed(error: SpoolError) -> Box<Problem> {
    tracing::error!(%error, "the spool did not do what an operator asked");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Box::new(Problem::new(status, "The spool fails", error.to_string()))
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer("application/json", bytes),
        Err(error) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", error.to_string())
        }
    }
}

fn answer(content_type: &'static str, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
