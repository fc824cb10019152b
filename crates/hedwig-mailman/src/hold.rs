//! How long a client may have a mail held back (RFC 4865).

use std::{future::ready, time::Duration};

use futures_util::future::Either;
use hedwig_envelope::{BoxError, Hold, Reply, Status, Timestamp};
use hedwig_smtp::{Policy, Question};
use tower::{ServiceExt, service_fn};

/// Refuses a mail that is to be held back until a time later than `max` from now (RFC 4865 §4), and asks `policy` about all
/// else.
pub(crate) fn hold_policy<P: Policy>(max: Duration, policy: P) -> impl Policy {
    service_fn(move |question: Question| {
        if let Question::Mail { parameters, .. } = &question
            && let Some(Hold::Until(release_at)) = parameters.hold
            && Timestamp::now().checked_add(max).is_ok_and(|latest| release_at > latest)
        {
            let text = "The hold is longer than was offered";
            let reply = Reply::with_status(501, Status::permanent(5, 4), text);
            return Either::Left(ready(Ok::<_, BoxError>(reply)));
        }
        Either::Right(policy.clone().oneshot(question))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hedwig_envelope::{MailParameters, ReversePath};
    use hedwig_smtp::{Peer, policy::allow_all};
    use tower::Service;

    use super::*;

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::from_second(Timestamp::now().as_second() - seconds).unwrap()
    }

    #[tokio::test]
    async fn nobody_may_have_a_mail_held_for_longer_than_is_offered() {
        let mut policy = hold_policy(Duration::from_secs(3600), allow_all());
        for (hold, code) in [(ago(-3500), 250), (ago(-3700), 501), (ago(10), 250)] {
            let hold = Some(Hold::Until(hold));
            let question = Question::Mail {
                peer: Arc::new(Peer::new(None)),
                sender: ReversePath::Null,
                parameters: MailParameters { hold, ..MailParameters::default() },
            };
            assert_eq!(policy.call(question).await.unwrap().code(), code);
        }
    }
}
