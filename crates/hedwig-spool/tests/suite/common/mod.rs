//! What the tests of the spool share.

pub(crate) mod cut;
pub(crate) mod life;
pub(crate) mod promise;
pub(crate) mod running;

use std::time::Duration;

use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Notify, Origin, Outcome, Reply, Ret, ReversePath,
    State, Status, Timestamp,
};
use hedwig_spool::{Claim, Clock, Lease, Spool, SpoolOptions};

/// Where every test begins.
pub(crate) const START: i64 = 1_795_000_000;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// Options whose clock stands still.
pub(crate) fn options() -> SpoolOptions {
    SpoolOptions { clock: Clock::new(|| at(0)), ..SpoolOptions::default() }
}

pub(crate) fn id(number: u128) -> MailId {
    MailId::new(at(0), number)
}

pub(crate) fn mail(number: u128, recipients: &[&str]) -> Mail {
    let sender: ReversePath = "alice@example.org".parse().unwrap();
    let recipients = recipients.iter().map(|text| text.parse::<Address>().unwrap());
    let text = format!("Subject: mail {number}\r\n\r\nHello\r\n");
    Mail {
        id: id(number),
        envelope: Envelope::new(sender, recipients),
        content: Content::with_added("Received: by here\r\n".into(), text.into()),
        origin: Origin::local(at(0)),
    }
}

/// The mail with all that a sender may wish for.
pub(crate) fn with_wishes(mut mail: Mail) -> Mail {
    let parameters = &mut mail.envelope.parameters;
    (parameters.ret, parameters.require_tls) = (Some(Ret::Hdrs), true);
    parameters.envid = Some("QQ314159".into());
    for recipient in &mut mail.envelope.recipients {
        recipient.notify = Some(Notify { success: true, failure: true, delay: false });
        recipient.original = Some("rfc822;someone@else.example".parse().unwrap());
    }
    mail
}

pub(crate) fn with_key(mut mail: Mail, key: &str) -> Mail {
    mail.origin.idempotency_key = Some(key.parse().unwrap());
    mail
}

pub(crate) fn outcome(code: u16, text: &'static str) -> Outcome {
    Outcome::of_reply(Reply::new(code, None, text), None)
}

pub(crate) fn done() -> Outcome {
    Outcome::of_reply(Reply::with_status(250, Status::OK, "Ok"), None)
}

pub(crate) async fn claim(spool: &Spool, now: Timestamp) -> Vec<Lease> {
    spool.claim(now, Claim::up_to(1000)).await.unwrap().leases
}

pub(crate) async fn claim_one(spool: &Spool, now: Timestamp) -> Lease {
    let mut leases = claim(spool, now).await;
    assert_eq!(leases.len(), 1, "one unit should be due");
    leases.pop().unwrap()
}

pub(crate) async fn states(spool: &Spool, id: MailId) -> Vec<State> {
    let status = spool.show(id).await.unwrap().expect("the mail should be known");
    status.recipients.into_iter().map(|recipient| recipient.state).collect()
}

/// Settles everything that is due, as delivered.
pub(crate) async fn deliver_all(spool: &Spool, now: Timestamp) -> usize {
    let leases = claim(spool, now).await;
    for lease in &leases {
        let outcomes = vec![done(); lease.mail.envelope.recipients.len()];
        spool.finish(lease, outcomes, None, vec![]).await.unwrap();
    }
    leases.len()
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
