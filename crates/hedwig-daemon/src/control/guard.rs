use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_transport::{Body, Problem, Token, problem};
use http::{HeaderValue, Request, Response, StatusCode, header};
use tower::{Service, ServiceExt};

/// Lets only those through to a service who show one of its tokens (RFC 6750 §2.1); nobody when there
/// is none.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    service: S,
    tokens: Arc<[Token]>,
}

impl<S> Guard<S> {
    /// The service behind these tokens.
    pub fn new(service: S, tokens: impl Into<Arc<[Token]>>) -> Self {
        Self { service, tokens: tokens.into() }
    }

    fn refusal(&self, request: &Request<Body>) -> Option<Response<Body>> {
        if self.tokens.is_empty() {
            return Some(problem(
                StatusCode::FORBIDDEN,
                "Forbidden",
                "The queue is shown here only when a token is configured; on the daemon's own host \
                 use the queue command, which asks over the control socket.",
            ));
        }
        let shown = request.headers().get(header::AUTHORIZATION).and_then(bearer).unwrap_or(b"");
        // No early end: how long this takes must not tell which token was nearly right.
        let matches = self.tokens.iter().fold(false, |found, token| token.matches(shown) | found);
        let refusal = || {
            Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Show a token of this server.")
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                .into_response()
        };
        (!matches).then(refusal)
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.refusal(&request) {
            Some(refusal) => Box::pin(std::future::ready(Ok(refusal))),
            None => {
                let service = self.service.clone();
                Box::pin(async move { service.oneshot(request).await })
            }
        }
    }
}
