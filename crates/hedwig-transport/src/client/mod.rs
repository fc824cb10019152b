//! The side that hands mail over: [`Client`] is a `MailService`, [`Endpoint`] a plain HTTP client for one
//! URL.

mod answer;
mod bindings;
mod carrier;
mod connector;
mod endpoint;
mod options;
mod postoffices;
mod queue;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, Receipt, Refusal, RefusalKind};
use tokio::sync::oneshot;
use tower::Service;

pub use connector::{Dialer, DialledStream};
pub use endpoint::{Endpoint, EndpointAnswer, EndpointError};
pub use options::{ClientError, ClientOptions};

use carrier::Carrier;
use postoffices::Postoffices;
use queue::{Queue, Waiting};

/// Hands mails over to a postoffice, and is a [`MailService`](hedwig_envelope::MailService).
///
/// - Calls at the same time share requests: while some are under way, what comes meanwhile is gathered
///   for the next one.
/// - Each mail goes with a key, its origin's or else its id, under which the postoffice takes it once
///   only. So whoever gets an `Err` may call again with the same mail.
/// - `Ok` is the postoffice's word on each recipient, with the id that the mail has there. A final
///   refusal (a problem with a 4xx but 401, 403, 408, 409, 425 and 429; or any 413) is an `Ok` with failed outcomes.
///   Everything else is an `Err` of a [`Refusal`], with the time to try again where that is known.
/// - A call that is dropped leaves the request alone in which its mail went: others ride on it. While it is under way, and
///   for a while after an end that nobody was told, the same mail is offered to no other postoffice.
///
/// Needs a tokio runtime. Clones share all there is.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Queue,
    postoffices: Postoffices,
}

impl Client {
    /// A client for the postoffices in the options. It connects when the first mail comes.
    ///
    /// # Errors
    /// When there is no URL, or one that cannot be understood.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let shared =
            Shared { queue: Queue::new(&options), postoffices: Postoffices::new(&options)? };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Service<Mail> for Client {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let needs_carrier = shared.queue.push(Waiting::new(mail, answer)).await;
            if needs_carrier {
                tokio::spawn(Carrier::new(shared).run());
            }
            answered.await.unwrap_or_else(|_| {
                let text = "The hand-over was interrupted, try again";
                Err(Refusal::new(RefusalKind::Unavailable, text).into())
            })
        })
    }
}
