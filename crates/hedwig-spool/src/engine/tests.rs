//! What comes in one batch: of two who want the same, one gets it.

use std::{future::Future, time::Duration};

use hedwig_envelope::{
    Address, Answer, Content, Envelope, Mail, MailId, Origin, Outcome, Reply, ReversePath, Status,
    Timestamp,
};
use tokio::sync::oneshot;

use crate::{Claim, Event, Lease, Owed, Spool, SpoolError, SpoolOptions, state::Act};

pub(super) fn mail(number: u128, recipients: &[&str]) -> Mail {
    let recipients = recipients.iter().map(|to| to.parse::<Address>().unwrap());
    Mail {
        id: MailId::from_bytes(number.to_be_bytes()),
        envelope: Envelope::new(ReversePath::Null, recipients),
        content: Content::new("\r\n".into()),
        origin: Origin::local(Timestamp::UNIX_EPOCH),
    }
}

pub(super) fn refusal() -> Answer {
    let status = Status::permanent(1, 1);
    Answer::new(status, Reply::with_status(550, status, "No"), None)
}

/// A spool with a committing thread: only there do requests wait for each other.
fn open(directory: &tempfile::TempDir) -> Spool {
    Spool::open(directory.path(), SpoolOptions::default()).unwrap()
}

pub(super) async fn claim(spool: &Spool) -> Vec<Lease> {
    spool.claim(spool.clock().now(), Claim::up_to(10)).await.unwrap().leases
}

/// Asks for both while the committing thread is held up, so that it finds them in one batch.
pub(super) async fn in_one_batch<A, B>(
    spool: &Spool,
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> (A, B) {
    let (is_held_up, held_up) = oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let hold_up = spool.ask(move |_| {
        is_held_up.send(()).unwrap();
        goes_on.recv().unwrap();
    });
    let ask = async {
        held_up.await.unwrap();
        // Each is asked for when it is looked at first, in this order.
        let (one, other, ()) = tokio::join!(one, other, async { go_on.send(()).unwrap() });
        (one, other)
    };
    let (gone_on, both) = tokio::join!(hold_up, ask);
    gone_on.unwrap();
    both
}

#[tokio::test]
async fn of_two_who_settle_a_unit_in_one_batch_the_second_has_lost_his_lease() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory);
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    let lease = claim(&spool).await.remove(0);
    let settle = |number| {
        let outcomes = vec![Outcome::Failed(refusal())];
        spool.finish(&lease, outcomes, None, vec![mail(number, &["alice@example.org"])])
    };
    let (first, second) = in_one_batch(&spool, settle(2), settle(3)).await;
    first.unwrap();
    assert!(matches!(second, Err(SpoolError::LeaseLost)), "{second:?}");
    assert_eq!(claim(&spool).await.len(), 1, "one report");
    assert_eq!(spool.show(mail(3, &[]).id).await.unwrap(), None);
}

#[tokio::test]
async fn who_settles_what_is_dropped_in_the_same_batch_has_lost_his_lease() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory);
    spool.commit(mail(1, &["a@x.example"])).await.unwrap();
    let lease = claim(&spool).await.remove(0);
    let reports = vec![mail(2, &["alice@example.org"])];
    let settle = spool.finish(&lease, vec![Outcome::Failed(refusal())], None, reports);
    let units = vec![(lease.mail.id, lease.unit)];
    let (dropped, settled) = in_one_batch(&spool, spool.act_on(Act::Drop, units), settle).await;
    assert_eq!(dropped.unwrap(), 1);
    assert!(matches!(settled, Err(SpoolError::LeaseLost)), "{settled:?}");
    assert!(claim(&spool).await.is_empty(), "no report");
}

#[tokio::test]
async fn of_two_who_tell_a_sender_in_one_batch_the_second_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory);
    spool.commit(mail(1, &["a@x.example", "b@y.example"])).await.unwrap();
    for lease in claim(&spool).await {
        let (answer, at) = (refusal(), spool.clock().now());
        let owed = Owed { event: Event::Failed, answer: answer.clone(), at };
        let outcomes = vec![Outcome::Failed(answer)];
        spool.finish_owing(&lease, outcomes, None, vec![(0, owed)]).await.unwrap();
    }
    let now = spool.clock().now();
    let untold = spool.claim_untold(now, Duration::ZERO, 1).await.unwrap().remove(0);
    let tell = |number| spool.tell(&untold, vec![mail(number, &["alice@example.org"])]);
    let (first, second) = in_one_batch(&spool, tell(2), tell(3)).await;
    first.unwrap();
    assert!(matches!(second, Err(SpoolError::LeaseLost)), "{second:?}");
    assert_eq!(claim(&spool).await.len(), 1, "one report");
    assert_eq!(spool.untold().await.unwrap(), 0);
}

#[tokio::test]
async fn a_key_that_comes_twice_in_one_batch_stands_for_one_mail() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(&directory);
    let commit = |number, key: &str, to| {
        let mut mail = mail(number, &[to]);
        mail.origin.idempotency_key = Some(key.parse().unwrap());
        spool.commit(mail)
    };
    let (first, again) =
        in_one_batch(&spool, commit(1, "one", "a@x.example"), commit(2, "one", "a@x.example"))
            .await;
    assert_eq!(again.unwrap().id, first.unwrap().id);
    let (first, other) =
        in_one_batch(&spool, commit(3, "two", "a@x.example"), commit(4, "two", "b@x.example"))
            .await;
    first.unwrap();
    assert!(matches!(other, Err(SpoolError::KeyReused(_))), "{other:?}");
    assert_eq!(claim(&spool).await.len(), 2);
}
