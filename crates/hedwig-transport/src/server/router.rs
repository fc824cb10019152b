use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use hedwig_envelope::BoxError;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tower::{Service, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::serve::{HttpService, rescued};
use crate::{Body, Problem};

/// Services side by side, each under a path of its own.
///
/// ```
/// # use hedwig_transport::{Router, full};
/// # use http::Response;
/// let router = Router::new()
///     .get("/healthz", || async { Response::new(full("ok\n")) })
///     .get("/metrics", || async { Response::new(full("hedwig_mails 1\n")) });
/// ```
#[derive(Clone, Default)]
pub struct Router {
    routes: Arc<Vec<(String, Route)>>,
}

type Route = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

impl Router {
    /// A router that answers 404 to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same router, with a service for `path` and all that lies below it (`path/...`). Of several
    /// that fit, the longest path has it.
    #[must_use]
    pub fn route<S: HttpService + Sync>(mut self, path: &str, service: S) -> Self {
        let path = path.trim_end_matches('/').to_owned();
        let routes = Arc::make_mut(&mut self.routes);
        routes.push((path, BoxCloneSyncService::new(service.map_err(Into::into))));
        // Longest first, so that the first that fits is the right one.
        routes.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        self
    }

    /// The same router, answering `GET` on exactly this path.
    #[must_use]
    pub fn get<F, R>(self, path: &str, answer: F) -> Self
    where
        F: Fn() -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let exact = path.to_owned();
        let service = service_fn(move |request: Request<Body>| {
            let refusal = refuse_unless_get(&request, &exact);
            let answer = answer.clone();
            async move {
                match refusal {
                    Some(problem) => Ok::<_, Infallible>(problem.into_response()),
                    None => Ok(answer().await),
                }
            }
        });
        self.route(path, service)
    }

    fn find(&self, path: &str) -> Option<Route> {
        let fits = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.routes.iter().find(|(prefix, _)| fits(prefix)).map(|(_, route)| route.clone())
    }
}

impl Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.find(request.uri().path()) {
            Some(route) => Box::pin(
                route.oneshot(request).map(|a| Ok(a.unwrap_or_else(|error| rescued(&error)))),
            ),
            None => {
                let problem = not_found(request.uri().path());
                Box::pin(std::future::ready(Ok(problem.into_response())))
            }
        }
    }
}

pub(crate) fn not_found(path: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "Not Found", "There is nothing here.")
        .instance(crate::text::printable(path, 256))
}

pub(crate) fn method_not_allowed(method: &Method, allowed: &'static str) -> Problem {
    let detail = format!("{method} means nothing here; what does is {allowed}.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", detail)
        .header(header::ALLOW, HeaderValue::from_static(allowed))
}

fn refuse_unless_get(request: &Request<Body>, exact: &str) -> Option<Problem> {
    if request.uri().path() != exact {
        return Some(not_found(request.uri().path()));
    }
    // RFC 9110 §9.3.2: HEAD is GET without the body, which the server leaves out.
    let allowed = matches!(*request.method(), Method::GET | Method::HEAD);
    (!allowed).then(|| method_not_allowed(request.method(), "GET, HEAD"))
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|(path, _)| path)).finish()
    }
}
