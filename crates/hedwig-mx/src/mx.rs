use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, Receipt};
use tower::Service;

use crate::{MxOptions, Resolver};

/// Delivers mails: a [`MailService`](hedwig_envelope::MailService) that finds each recipient's server
/// and gives it the mail. A cheap handle; clones share their connections.
#[derive(Clone, Debug)]
pub struct Mx {
    inner: Arc<(Resolver, MxOptions)>,
}

impl Mx {
    /// A service that finds servers with `resolver`.
    #[must_use]
    pub fn new(resolver: Resolver, options: MxOptions) -> Self {
        Self { inner: Arc::new((resolver, options)) }
    }

    /// Says QUIT on all connections that wait for their next mail.
    pub async fn close(&self) {
        todo!()
    }
}

impl Service<Mail> for Mx {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move {
            let _ = (mail, inner);
            todo!()
        })
    }
}
