//! Why a mail waits, or how one to an address would go, over HTTP: `GET /v1/explain/{id or address}?from=..&text=..`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{Address, BoxError, MailId};
use hedwig_transport::{Body, Problem, full};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower::Service;

/// The path below which explanations are.
pub const EXPLAIN_PATH: &str = "/v1/explain";

/// What is to be explained, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A mail, or an address that one might be sent to.
    pub subject: Subject,
    /// Who would send it.
    pub from: Option<Address>,
    /// Whether the answer is for a person, and not JSON.
    pub text: bool,
}

/// What a [`Question`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A mail that is in the queue, or was.
    Mail(MailId),
    /// Somebody that a mail might be sent to.
    Recipient(Address),
}

impl Subject {
    /// A mail by its id, or an address.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Mail(id));
        }
        let address = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let address = address.unwrap_or(text).parse();
        address.map(Self::Recipient).map_err(|error| {
            let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("{text:?} is neither the id of a mail nor an address: {error}")
        })
    }
}

impl Question {
    /// Where to ask it.
    #[must_use]
    pub fn to_target(&self) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let subject = match &self.subject {
            Subject::Mail(id) => id.to_string(),
            Subject::Recipient(address) => encoded(address.as_str()),
        };
        let mut target = format!("{EXPLAIN_PATH}/{subject}?text={}", self.text);
        if let Some(from) = &self.from {
            target += &format!("&from={}", encoded(from.as_str()));
        }
        target
    }

    fn from_parts(path: &str, query: &str) -> Result<Self, String> {
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| "that is not UTF-8".to_owned())
        };
        let subject = path.strip_prefix(EXPLAIN_PATH).unwrap_or(path).trim_start_matches('/');
        let mut question =
            Self { subject: Subject::parse(&decoded(subject)?)?, from: None, text: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            let wrong = |error: &dyn std::fmt::Display| format!("{name}={value:?}: {error}");
            match name {
                "from" => question.from = Some(value.parse().map_err(|e| wrong(&e))?),
                "text" => question.text = value.parse().map_err(|e| wrong(&e))?,
                _ => return Err(format!("there is no parameter {name:?}")),
            }
        }
        Ok(question)
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Option<String>, BoxError>> + Send>>;

/// Answers questions over HTTP. It asks nobody for a token: see [`Guard`](super::Guard).
#[derive(Clone)]
pub struct Explain(Arc<dyn Fn(Question) -> Answering + Send + Sync>);

impl Explain {
    /// A service whose answers this gives; none for a mail that is not known.
    #[must_use]
    pub fn new<F>(answer: impl Fn(Question) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Option<String>, BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |question| Box::pin(answer(question))))
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Box<Problem>> {
        let problem = |status, title, detail: String| Box::new(Problem::new(status, title, detail));
        if request.method() != Method::GET {
            let detail = "An explanation is asked for with GET.".to_owned();
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(problem(status, "Method Not Allowed", detail));
        }
        let uri = request.uri();
        let question = Question::from_parts(uri.path(), uri.query().unwrap_or_default());
        let question =
            question.map_err(|detail| problem(StatusCode::BAD_REQUEST, "Bad Request", detail))?;
        let text = question.text;
        let answer = (self.0)(question).await.map_err(|error| {
            tracing::error!(%error, "something cannot be explained");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            problem(status, "It cannot be explained", error.to_string())
        })?;
        let answer = answer.ok_or_else(|| {
            let detail = "There is no such mail here (finished mails are kept for some days).";
            problem(StatusCode::NOT_FOUND, "No such mail", detail.to_owned())
        })?;
        let mut response = Response::new(full(answer));
        let kind = if text { "text/plain; charset=utf-8" } else { "application/json" };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }
}

impl Service<Request<Body>> for Explain {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async { Ok(answer.await.unwrap_or_else(|problem| problem.into_response())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_being_asked_over_http() {
        for (subject, from) in [
            ("01ja0000000000000000000000", None),
            ("a+b&c/d@example.org", Some("eve=?@example.net")),
            ("<例@例子.广告>", None),
        ] {
            let subject = Subject::parse(subject).unwrap();
            let from = from.map(|from| from.parse().unwrap());
            let question = Question { subject, from, text: true };
            let target = question.to_target();
            let (path, query) = target.split_once('?').unwrap();
            assert_eq!(Question::from_parts(path, query), Ok(question));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (path, query, text) in [
            ("/v1/explain/", "", "neither the id of a mail nor an address"),
            ("/v1/explain/a@b@c", "", "\"a@b@c\" is neither"),
            ("/v1/explain/a@example.org", "form=x", "there is no parameter \"form\""),
            ("/v1/explain/a@example.org", "from=x@", "from=\"x@\""),
        ] {
            let error = Question::from_parts(path, query).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
