//! A layer of one's own: a mail goes in with one recipient more, and its receipt comes out with one outcome fewer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{Address, BoxError, Mail, MailService, Notify, Receipt, Recipient};
use tower::{Layer, Service};

/// Sends a copy of every mail to one address.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveLayer {
    archive: Recipient,
}

impl ArchiveLayer {
    pub(crate) fn new(archive: Address) -> Self {
        // The sender knows nothing of the archive, so no report may speak of it.
        Self { archive: Recipient { notify: Some(Notify::NEVER), ..Recipient::from(archive) } }
    }
}

impl<S> Layer<S> for ArchiveLayer {
    type Service = Archived<S>;

    fn layer(&self, inner: S) -> Archived<S> {
        Archived { inner, archive: self.archive.clone() }
    }
}

/// What [`ArchiveLayer`] puts around a service.
#[derive(Clone, Debug)]
pub(crate) struct Archived<S> {
    inner: S,
    archive: Recipient,
}

impl<S: MailService> Service<Mail> for Archived<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> Self::Future {
        mail.envelope.recipients.push(self.archive.clone());
        let given = self.inner.call(mail);
        Box::pin(async move {
            let mut receipt = given.await?;
            // Whoever gave us the mail expects an outcome for each recipient that it named, in that order.
            receipt.outcomes.pop();
            Ok(receipt)
        })
    }
}
