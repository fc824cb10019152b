use std::{borrow::Cow, fmt, time::Duration};

use crate::{BoxError, Reply, Status};

/// An error that knows what to tell whoever sent the mail, over SMTP and over HTTP.
///
/// A service returns it as its `Err`; nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who has to do what about it.
    pub kind: RefusalKind,
    /// What to say.
    pub reply: Reply,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
}

/// The kinds of refusal that clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// We cannot just now: 451, or HTTP 503.
    Unavailable,
    /// The queue has no room: 452, or HTTP 503.
    NoSpace,
    /// The client is too quick: 450, or HTTP 429.
    TooMany,
    /// The mail is larger than we take: 552, or HTTP 413.
    TooLarge,
    /// The mail cannot be understood or is against the rules of its format: 554, or HTTP 400.
    Malformed,
    /// The client may not: 550, or HTTP 403.
    Forbidden,
    /// The idempotency key belongs to another mail: 554, or HTTP 422.
    KeyReused,
}

impl Refusal {
    /// A refusal with the code and status that its kind has.
    pub fn new(kind: RefusalKind, text: impl Into<Cow<'static, str>>) -> Self {
        let (code, status) = match kind {
            RefusalKind::Unavailable => (451, Status::transient(3, 0)),
            RefusalKind::NoSpace => (452, Status::transient(3, 1)),
            RefusalKind::TooMany => (450, Status::transient(7, 0)),
            RefusalKind::TooLarge => (552, Status::permanent(3, 4)),
            RefusalKind::Malformed => (554, Status::permanent(6, 0)),
            RefusalKind::Forbidden => (550, Status::permanent(7, 1)),
            RefusalKind::KeyReused => (554, Status::permanent(5, 0)),
        };
        Self { kind, reply: Reply::with_status(code, status, text), retry_after: None }
    }

    /// The refusal at the heart of an error, if there is one.
    #[must_use]
    pub fn of(error: &BoxError) -> Option<&Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            cause = error.source();
        }
        None
    }

    /// The same refusal, with a time after which to try again.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reply.fmt(f)
    }
}

impl std::error::Error for Refusal {}

/// The refusal at the heart of whatever came up a stack.
///
/// An error that nobody foresaw is ours, not the client's: it becomes 451 with nothing told of its
/// inside, so that the mail is sent again. Log the error itself before it goes in here.
///
/// A time limit that ran out is one of these: `tower::timeout` would bring tokio in here, so a stack
/// that wants to say more maps that layer's error to a [`Refusal`] where it is built.
#[must_use]
pub fn rescue(error: &BoxError) -> Refusal {
    if let Some(refusal) = Refusal::of(error) {
        return refusal.clone();
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        if error.is::<tower::load_shed::error::Overloaded>() {
            return Refusal::new(RefusalKind::Unavailable, "Too busy just now, try again later");
        }
        cause = error.source();
    }
    Refusal::new(RefusalKind::Unavailable, "Local error in processing, try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_below_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Refusal);
        let inner = Refusal::new(RefusalKind::TooLarge, "Too large");
        assert_eq!(rescue(&Outer(inner.clone()).into()), inner);
    }

    #[test]
    fn what_nobody_foresaw_is_transient_and_tells_nothing() {
        let refusal = rescue(&"password is hunter2".into());
        assert!(refusal.reply.is_transient());
        assert!(!refusal.reply.text().contains("hunter2"));
    }
}
