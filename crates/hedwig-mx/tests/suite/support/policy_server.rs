//! A web server that shows a policy, or something else, as a test tells it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::support::certificates::Shown;

/// What the server answers.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    pub(crate) location: Option<String>,
    /// Whether it never answers.
    pub(crate) silent: bool,
}

impl Page {
    pub(crate) fn policy(mode: &str, mx: &str, max_age_seconds: u64) -> Self {
        let body =
            format!("version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age_seconds}\r\n");
        Self { status: 200, content_type: "text/plain", body, location: None, silent: false }
    }
}

#[derive(Default)]
struct State {
    page: Option<Page>,
    /// Host and path of each request.
    requests: Vec<String>,
    asked: Arc<Notify>,
}

pub(crate) struct PolicyServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl PolicyServer {
    /// A server without a page yet: 404.
    pub(crate) async fn start(shown: &Shown) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let acceptor = TlsAcceptor::from(shown.server_config());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    // A client that does not trust us goes away; that is no failure of a test.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let _ = connection.await;
                });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn show(&self, page: Page) {
        self.state.lock().unwrap().page = Some(page);
    }

    pub(crate) fn hide(&self) {
        self.state.lock().unwrap().page = None;
    }

    /// Returns when there is a request that nobody has waited for.
    pub(crate) async fn asked(&self) {
        let asked = Arc::clone(&self.state.lock().unwrap().asked);
        asked.notified().await;
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
    let page = {
        let mut state = state.lock().unwrap();
        state.requests.push(format!("{host}{}", request.uri()));
        state.asked.notify_one();
        state.page.clone()
    };
    let Some(page) = page else {
        return Ok(Response::builder().status(404).body(Full::default()).unwrap());
    };
    if page.silent {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(page.status);
    response = response.header(header::CONTENT_TYPE, page.content_type);
    if let Some(location) = page.location {
        response = response.header(header::LOCATION, location);
    }
    Ok(response.body(Full::from(page.body)).unwrap())
}
