use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::{Mail, trace};

/// Puts a `Received` field above every mail that goes in (RFC 5321 §4.4).
#[derive(Clone, Debug)]
pub struct ReceivedLayer {
    hostname: Arc<str>,
}

impl ReceivedLayer {
    /// A layer for the host of this name.
    pub fn new(hostname: impl Into<Arc<str>>) -> Self {
        Self { hostname: hostname.into() }
    }
}

impl<S> Layer<S> for ReceivedLayer {
    type Service = Received<S>;

    fn layer(&self, inner: S) -> Received<S> {
        Received { inner, hostname: self.hostname.clone() }
    }
}

/// What [`ReceivedLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Received<S> {
    inner: S,
    hostname: Arc<str>,
}

impl<S: Service<Mail>> Service<Mail> for Received<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> S::Future {
        let field = trace::received(&mail, &self.hostname);
        mail.content.prepend(field.as_bytes());
        self.inner.call(mail)
    }
}
