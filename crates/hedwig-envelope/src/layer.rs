use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::{Layer, Service};

use crate::{Mail, trace};

/// Changes every mail before it goes in, by a function:
///
/// ```
/// use hedwig_envelope::{ChangeLayer, Mail, adding_received};
///
/// let trace = ChangeLayer::new(adding_received("mail.example.org"));
/// let mark = ChangeLayer::new(|mail: &mut Mail| mail.content.prepend(b"X-Seen: yes\r\n"));
/// # let _ = (trace, mark);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChangeLayer<F> {
    change: F,
}

impl<F: Fn(&mut Mail) + Clone> ChangeLayer<F> {
    /// A layer that makes this change.
    pub fn new(change: F) -> Self {
        Self { change }
    }
}

impl<S, F: Clone> Layer<S> for ChangeLayer<F> {
    type Service = Change<S, F>;

    fn layer(&self, inner: S) -> Change<S, F> {
        Change { inner, change: self.change.clone() }
    }
}

/// What [`ChangeLayer`] puts around a service.
#[derive(Clone, Copy, Debug)]
pub struct Change<S, F> {
    inner: S,
    change: F,
}

impl<S: Service<Mail>, F: Fn(&mut Mail)> Service<Mail> for Change<S, F> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut mail: Mail) -> S::Future {
        (self.change)(&mut mail);
        self.inner.call(mail)
    }
}

/// The change that puts a `Received` field above a mail, for the host of this name (RFC 5321 §4.4).
pub fn adding_received(hostname: &str) -> impl Fn(&mut Mail) + Clone + use<> {
    let hostname: Arc<str> = hostname.into();
    move |mail| mail.content.prepend(trace::received(mail, &hostname).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::ServiceExt;

    use super::*;
    use crate::{Content, Envelope, MailId, Origin, ReversePath, Timestamp};

    #[test]
    fn changes_are_made_in_the_order_of_their_layers() {
        let now = Timestamp::UNIX_EPOCH;
        let recipient: crate::Address = "b@example.net".parse().unwrap();
        let mail = Mail {
            id: MailId::new(now, 7),
            envelope: Envelope::new(ReversePath::Null, [recipient]),
            content: Content::from("Subject: x\r\n\r\n"),
            origin: Origin::local(now),
        };
        let inner = tower::service_fn(|mail: Mail| async move { Ok::<_, Infallible>(mail) });
        let mut service = tower::ServiceBuilder::new()
            .layer(ChangeLayer::new(|mail: &mut Mail| mail.content.prepend(b"A: first\r\n")))
            .layer(ChangeLayer::new(adding_received("host.example.org")))
            .service(inner);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Service::<Mail>::poll_ready(&mut service, &mut context).is_ready());
        let mut call = std::pin::pin!(service.oneshot(mail));
        let Poll::Ready(Ok(mail)) = call.as_mut().poll(&mut context) else { panic!("not ready") };
        let text = String::from_utf8(mail.content.to_bytes().to_vec()).unwrap();
        assert!(text.starts_with("Received: by host.example.org (Hedwig)"), "{text}");
        assert!(text.ends_with("\r\nA: first\r\nSubject: x\r\n\r\n"), "{text}");
    }
}
