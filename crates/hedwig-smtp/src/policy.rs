//! The questions a server asks before it takes a mail, and who may answer them.

use std::{
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Envelope, MailParameters, Recipient, Reply, ReversePath, Status};
use tower::{Service, util::BoxCloneSyncService};

use crate::Peer;

/// Something a server wants to know before it goes on. Who asks for what, not yet the mail itself.
///
/// A [success](Reply::is_success) is yes; any other reply is no and goes to the client as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// May this client talk with us? No is said instead of the greeting.
    Connect {
        /// Who asks.
        peer: Arc<Peer>,
    },
    /// May it call itself so? The name is in [`Peer::hello`].
    Hello {
        /// Who asks.
        peer: Arc<Peer>,
    },
    /// May it send from this sender?
    Mail {
        /// Who asks.
        peer: Arc<Peer>,
        /// The envelope's sender.
        sender: ReversePath,
        /// What was asked for with it.
        parameters: MailParameters,
    },
    /// May it send to this recipient?
    Recipient {
        /// Who asks.
        peer: Arc<Peer>,
        /// The envelope's sender.
        sender: ReversePath,
        /// The recipient, and what was asked for it.
        recipient: Recipient,
    },
    /// May it send the content now?
    Data {
        /// Who asks.
        peer: Arc<Peer>,
        /// The envelope with the recipients that were taken.
        envelope: Arc<Envelope>,
    },
}

impl Question {
    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Connect { peer }
            | Self::Hello { peer }
            | Self::Mail { peer, .. }
            | Self::Recipient { peer, .. }
            | Self::Data { peer, .. } => peer,
        }
    }

    /// The reply that says yes and nothing else.
    #[must_use]
    pub fn yes(&self) -> Reply {
        match self {
            Self::Connect { .. } => Reply::new(220, None, "ESMTP"),
            Self::Hello { .. } => Reply::new(250, None, "Hello"),
            Self::Mail { .. } => Reply::with_status(250, Status::success(1, 0), "Sender ok"),
            Self::Recipient { .. } => {
                Reply::with_status(250, Status::success(1, 5), "Recipient ok")
            }
            Self::Data { .. } => Reply::with_status(250, Status::OK, "Go ahead"),
        }
    }
}

/// Who answers [questions](Question). An alias: every [`tower::Service`] of this shape is one.
///
/// An error is no answer; the server says 451 for it.
pub trait Policy:
    Service<Question, Response = Reply, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The policy without its type.
    fn boxed_policy(self) -> BoxPolicy
    where
        Self: Sized,
    {
        BoxCloneSyncService::new(self)
    }
}

impl<S> Policy for S where
    S: Service<Question, Response = Reply, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A [`Policy`] whose type is not told.
pub type BoxPolicy = BoxCloneSyncService<Question, Reply, BoxError>;

/// A policy that this function is: from a question to a reply, at once. [`Question::yes`] is one that says yes to
/// everything.
///
/// Whoever has to ask others first (a database, say) takes [`tower::service_fn`], whose function may wait.
///
/// ```
/// # use hedwig_envelope::{Reply, Status};
/// # use hedwig_smtp::{Policy, Question, policy::policy_fn};
/// fn only_for_example_org() -> impl Policy {
///     policy_fn(|question: &Question| match question {
///         Question::Recipient { recipient, .. }
///             if recipient.address.domain_text() != Some("example.org") =>
///         {
///             Reply::with_status(550, Status::permanent(7, 1), "We do not relay")
///         }
///         _ => question.yes(),
///     })
/// }
/// ```
pub fn policy_fn<F>(answer: F) -> PolicyFn<F>
where
    F: Fn(&Question) -> Reply + Clone + Send + Sync + 'static,
{
    PolicyFn { answer }
}

/// See [`policy_fn`].
#[derive(Clone, Copy)]
pub struct PolicyFn<F> {
    answer: F,
}

impl<F> fmt::Debug for PolicyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyFn").finish_non_exhaustive()
    }
}

impl<F: Fn(&Question) -> Reply> Service<Question> for PolicyFn<F> {
    type Response = Reply;
    type Error = BoxError;
    type Future = Ready<Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Self::Future {
        ready(Ok((self.answer)(&question)))
    }
}

/// Says yes to everything: for tests, and for a socket that only friends can reach.
#[must_use]
pub fn allow_all() -> impl Policy {
    policy_fn(Question::yes)
}

/// Relays for clients on this host only: a recipient that any other client names is refused with
/// 550 5.7.1, so that nobody can make an open relay by leaving out a setting.
///
/// A client without an address came through a Unix socket or a pipe, and is on this host.
#[must_use]
pub fn loopback_only() -> impl Policy {
    policy_fn(only_this_host)
}

/// What [`loopback_only`] answers: for a policy of yours that says yes to some more.
#[must_use]
pub fn only_this_host(question: &Question) -> Reply {
    let client = question.peer().client;
    let is_local = client.is_none_or(|client| client.ip().to_canonical().is_loopback());
    if is_local || !matches!(question, Question::Recipient { .. }) {
        return question.yes();
    }
    Reply::with_status(550, Status::permanent(7, 1), "Relaying is only for this host")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(client: Option<&str>) -> Reply {
        let client = client.map(|address| address.parse().unwrap());
        let question = Question::Recipient {
            peer: Arc::new(Peer::new(client)),
            sender: ReversePath::Null,
            recipient: Recipient::from(
                "a@example.org".parse::<hedwig_envelope::Address>().unwrap(),
            ),
        };
        only_this_host(&question)
    }

    #[test]
    fn only_this_host_may_relay() {
        for local in [None, Some("127.0.0.9:1"), Some("[::1]:1"), Some("[::ffff:127.0.0.1]:1")] {
            assert!(answer(local).is_success(), "{local:?}");
        }
        for other in ["192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            let reply = answer(Some(other));
            assert_eq!((reply.code(), reply.status()), (550, Some(Status::permanent(7, 1))));
        }
    }
}
