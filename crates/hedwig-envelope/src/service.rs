use tower::{Service, util::BoxCloneSyncService};

use crate::{Mail, Receipt};

/// Any error, on its way up a stack. At the top, [`rescue`](crate::rescue) makes a reply of it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Something that a mail can be given to: a queue's commit, a server across the network, a mailbox.
///
/// An alias: every [`tower::Service`] of this shape is one. `Ok` speaks of each recipient; `Err` means
/// that nothing is known to have happened to any.
///
/// ```
/// # use hedwig_envelope::{Mail, MailService, Outcome, Receipt, Reply, Status};
/// fn discard() -> impl MailService {
///     tower::service_fn(|mail: Mail| async move {
///         let reply = Reply::with_status(250, Status::OK, "Discarded");
///         let outcome = Outcome::of_reply(reply, None);
///         Ok(Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome))
///     })
/// }
/// ```
pub trait MailService:
    Service<Mail, Response = Receipt, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The service without its type, for the seams of a stack.
    fn boxed_mail_service(self) -> BoxMailService
    where
        Self: Sized,
    {
        BoxCloneSyncService::new(self)
    }
}

impl<S> MailService for S where
    S: Service<Mail, Response = Receipt, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A [`MailService`] whose type is not told.
pub type BoxMailService = BoxCloneSyncService<Mail, Receipt, BoxError>;
