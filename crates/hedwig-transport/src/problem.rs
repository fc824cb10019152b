use std::{borrow::Cow, fmt, time::Duration};

use hedwig_envelope::{Refusal, RefusalKind};
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::{AcceptedMail, Body, full, text::printable};

/// The content type of every error (RFC 9457 §3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that says what went wrong (RFC 9457).
///
/// ```
/// # use hedwig_transport::problem;
/// # use http::StatusCode;
/// let response = problem(StatusCode::NOT_FOUND, "No such mail", "There is no mail 42 here.");
/// assert_eq!(response.status(), 404);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
pub fn problem(
    status: StatusCode,
    title: impl Into<Cow<'static, str>>,
    detail: impl Into<Cow<'static, str>>,
) -> Response<Body> {
    Problem::new(status, title, detail).into_response()
}

/// What goes into a [`problem`], member by member.
#[derive(Debug)]
pub struct Problem(Box<Members>);

#[derive(Debug, Serialize)]
struct Members {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    title: Cow<'static, str>,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    /// The SMTP reply that means the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    /// What became of each mail, when none was taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<AcceptedMail>,
    #[serde(skip)]
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem whose `type` follows from its title: `about:blank` when that is the status's own
    /// phrase, else `urn:hedwig:problem:` and the title in lower case with hyphens.
    #[must_use]
    pub fn new(
        status: StatusCode,
        title: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let title = title.into();
        Self(Box::new(Members {
            kind: kind_of(status, &title),
            title,
            status,
            detail: detail.into(),
            instance: None,
            reply: None,
            messages: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// The problem that a refusal is over HTTP.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal) -> Self {
        let (status, title) = match refusal.kind {
            RefusalKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
            RefusalKind::NoSpace => (StatusCode::SERVICE_UNAVAILABLE, "No space left"),
            RefusalKind::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
            RefusalKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Mail too large"),
            RefusalKind::Malformed => (StatusCode::BAD_REQUEST, "Malformed mail"),
            RefusalKind::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            RefusalKind::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused"),
        };
        let detail = printable(refusal.reply.text(), DETAIL_BYTES_MAX);
        let problem = Self::new(status, title, detail).reply(refusal.reply.to_string());
        match refusal.retry_after {
            Some(delay) => problem.retry_after(delay),
            None => problem,
        }
    }

    /// Names the thing that it is about (`instance`), a path of this server.
    #[must_use]
    pub fn instance(mut self, path: impl Into<String>) -> Self {
        self.0.instance = Some(path.into());
        self
    }

    /// Adds a header field to the answer.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says when to try again (RFC 9110 §10.2.3), in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        let seconds = delay.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u32;
        self.header(header::RETRY_AFTER, seconds.into())
    }

    /// Adds the SMTP reply that means the same.
    pub(crate) fn reply(mut self, reply: String) -> Self {
        self.0.reply = Some(printable(&reply, DETAIL_BYTES_MAX));
        self
    }

    /// Says what became of each mail.
    pub(crate) fn messages(mut self, messages: Vec<AcceptedMail>) -> Self {
        self.0.messages = messages;
        self
    }

    /// The answer. What may go well later says when, if nobody did before.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let status = self.0.status;
        // Strings, a number and lists of strings: nothing in here can fail to be JSON.
        let json = serde_json::to_vec(&self.0).unwrap_or_else(|_| b"{}".to_vec());
        let mut response = Response::new(full(json));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in self.0.headers {
            headers.insert(name, value);
        }
        if matches!(status.as_u16(), 429 | 503) {
            headers.entry(header::RETRY_AFTER).or_insert(RETRY_AFTER_DEFAULT);
        }
        response
    }
}

impl From<Problem> for Response<Body> {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.title, self.0.detail)
    }
}

impl std::error::Error for Problem {}

const DETAIL_BYTES_MAX: usize = 1024;
const RETRY_AFTER_DEFAULT: HeaderValue = HeaderValue::from_static("5");

fn kind_of(status: StatusCode, title: &str) -> Cow<'static, str> {
    if status.canonical_reason() == Some(title) {
        return "about:blank".into();
    }
    let mut kind = String::from("urn:hedwig:problem:");
    for word in title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if !kind.ends_with(':') {
            kind.push('-');
        }
        kind.push_str(&word.to_ascii_lowercase());
    }
    kind.into()
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_title() {
        assert_eq!(kind_of(StatusCode::NOT_FOUND, "Not Found"), "about:blank");
        let kind = kind_of(StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused");
        assert_eq!(kind, "urn:hedwig:problem:idempotency-key-reused");
    }

    #[test]
    fn half_a_second_is_a_whole_one_in_retry_after() {
        let refusal = Refusal::new(RefusalKind::TooMany, "slow down");
        let refusal = refusal.retry_after(Duration::from_millis(500));
        let response = Problem::of_refusal(&refusal).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &HeaderValue::from_static("1"))
        );
    }
}
