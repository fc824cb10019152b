//! The side that hands mail over: [`Client`] is a `MailService`.

mod options;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, Receipt};
use tower::Service;

pub use options::{ClientError, ClientOptions};

/// Hands mails over to a postoffice.
#[derive(Clone)]
pub struct Client {
    _options: ClientOptions,
}

impl Client {
    /// A client for the postoffices in the options. It connects when the first mail comes.
    ///
    /// # Errors
    /// When there is no URL, or one that cannot be understood.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        Ok(Self { _options: options })
    }
}

impl Service<Mail> for Client {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _mail: Mail) -> Self::Future {
        todo!()
    }
}
