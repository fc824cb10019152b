use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use hedwig_envelope::{BoxError, Mail, MailService, Outcome, Receipt, Reply, Status, header};
use tower::{Layer, Service};

/// So many `Received` fields are a loop; RFC 5321 §6.3 asks for at least 100.
pub const HOPS_MAX: usize = 100;

/// Fails a mail that goes round in a circle (RFC 5321 §6.3): its trace has more than 100 fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopLimitLayer;

impl<S> Layer<S> for HopLimitLayer {
    type Service = HopLimit<S>;

    fn layer(&self, inner: S) -> HopLimit<S> {
        HopLimit { inner }
    }
}

/// What [`HopLimitLayer`] puts around a service.
#[derive(Clone, Debug)]
pub struct HopLimit<S> {
    inner: S,
}

impl<S: MailService> Service<Mail> for HopLimit<S> {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mail: Mail) -> Self::Future {
        if hops(&mail) <= HOPS_MAX {
            return Box::pin(self.inner.call(mail));
        }
        let reply = Reply::with_status(554, Status::permanent(4, 6), "Too many hops: a mail loop");
        let outcome = Outcome::of_reply(reply, None);
        let receipt = Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome);
        Box::pin(std::future::ready(Ok(receipt)))
    }
}

fn hops(mail: &Mail) -> usize {
    let of = |part: &[u8]| header::fields(part).filter(|field| field.is_named("Received")).count();
    mail.content.chunks().into_iter().map(|part| of(part)).sum()
}

#[cfg(test)]
mod tests {
    use hedwig_envelope::{Content, Envelope, MailId, Origin, ReversePath, Timestamp};
    use tower::{ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_mail_that_has_gone_in_circles_fails() {
        let accept = service_fn(|mail: Mail| async move {
            let outcome = Outcome::of_reply(Reply::new(250, None, "Taken"), None);
            Ok::<_, BoxError>(Receipt::uniform(mail.id, mail.envelope.recipients.len(), outcome))
        });
        for (hops, taken) in [(0, true), (100, true), (101, false)] {
            let recipient: hedwig_envelope::Address = "a@example.org".parse().unwrap();
            let header = "Received: from a by b\r\n".repeat(hops);
            let mail = Mail {
                id: MailId::new(Timestamp::UNIX_EPOCH, 1),
                envelope: Envelope::new(ReversePath::Null, [recipient]),
                content: Content::new(format!("{header}Subject: hi\r\n\r\nReceived: x\r\n").into()),
                origin: Origin::local(Timestamp::UNIX_EPOCH),
            };
            let receipt = HopLimitLayer.layer(accept).oneshot(mail).await.unwrap();
            assert_eq!(receipt.is_done(), taken, "{hops} hops: {receipt:?}");
        }
    }
}
