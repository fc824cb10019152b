//! Mailman and postoffice together: from a client's SMTP to the recipient's server.

use crate::halves::support::{House, all_done, request, send, text};
use hedwig_envelope::{
    Address, Content, Envelope, Mail, MailId, Origin, Outcome, ReversePath, Timestamp,
};
use hedwig_spool::{Spool, SpoolOptions};
use hedwig_transport::RECIPIENTS_MAX;
use serde_json::json;

const ANY_PORT: &str = "127.0.0.1:0";

#[tokio::test]
async fn a_mail_reaches_its_recipient_through_both_halves() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;

    let outcomes = send(mailman.address, &["bob@example.net"]).await;
    assert!(all_done(&outcomes), "{outcomes:?}");

    let mail = house.receiver.next().await;
    assert_eq!(mail.envelope.sender.to_string(), "alice@example.org");
    assert_eq!(mail.envelope.recipients[0].address.as_str(), "bob@example.net");
    let text = text(&mail);
    let by = |host| text.matches(&format!("by {host} (Hedwig)")).count();
    assert_eq!((by("mailman.example.org"), by("postoffice.example.org")), (1, 1), "{text}");
    assert!(text.ends_with("Subject: hello\r\n\r\nHi.\r\n"), "{text}");

    // Cut through: the postoffice has it, and mailman's disk was not touched.
    house.queue("mailman", <[_]>::is_empty).await;
    house.queue("postoffice", |mails| mails[0]["recipients"][0]["state"] == "delivered").await;
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
}

#[tokio::test]
async fn a_mail_with_all_the_recipients_that_mailman_may_take_is_taken_by_the_postoffice_too() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let most = RECIPIENTS_MAX.to_string();
    let mailman = house.mailman_with(postoffice.address, &[("SMTP_RECIPIENTS_MAX", &most)]).await;
    let recipients: Vec<String> =
        (0..RECIPIENTS_MAX).map(|number| format!("{number}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    assert!(all_done(&send(mailman.address, &recipients).await));

    let is_there = |mails: &[serde_json::Value]| !mails.is_empty();
    let mails = house.queue("postoffice", is_there).await;
    assert_eq!(mails[0]["recipients"].as_array().map(Vec::len), Some(RECIPIENTS_MAX));
    mailman.stop().await;
    postoffice.stop().await;
}

#[tokio::test]
async fn while_the_postoffice_is_down_mail_is_held_and_later_handed_over_once() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let address = postoffice.address;
    postoffice.stop().await;

    let mailman = house.mailman(address).await;
    let outcomes = send(mailman.address, &["bob@example.net", "carol@example.com"]).await;
    assert!(all_done(&outcomes), "{outcomes:?}");
    house.queue("mailman", |mails| mails[0]["recipients"][0]["state"] == "deferred").await;

    let postoffice = house.postoffice(address).await;
    let mut recipients = vec![];
    for _ in 0..2 {
        let mail = house.receiver.next().await;
        recipients.extend(mail.envelope.recipients.into_iter().map(|r| r.address.to_string()));
    }
    recipients.sort();
    assert_eq!(recipients, ["bob@example.net", "carol@example.com"]);
    house.queue("mailman", |mails| mails[0]["recipients"][1]["state"] == "delivered").await;
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
}

#[tokio::test]
async fn what_mailman_holds_survives_its_restart() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let address = postoffice.address;
    postoffice.stop().await;
    let mailman = house.mailman(address).await;
    assert!(all_done(&send(mailman.address, &["bob@example.net"]).await));
    mailman.stop().await;

    let postoffice = house.postoffice(address).await;
    let mailman = house.mailman(address).await;
    assert_eq!(house.receiver.next().await.envelope.recipients.len(), 1);
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
}

#[tokio::test]
async fn a_deferred_mail_is_shown_with_the_reply_and_can_be_dropped() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;
    assert!(all_done(&send(mailman.address, &["later@example.net"]).await));

    let reply = house.log.next(|event| {
        (event["message"] == *"attempt" && event["status"] == *"deferred")
            .then(|| format!("{} {}", &event["to"], &event["reply"]))
    });
    assert_eq!(reply.await, "later@example.net 451 4.7.1 Greylisted, come again");
    let is_deferred =
        |mails: &[serde_json::Value]| mails[0]["recipients"][0]["state"] == "deferred";
    let mails = house.queue("postoffice", is_deferred).await;
    let recipient = &mails[0]["recipients"][0];
    assert_eq!(recipient["status"], "4.7.1");
    assert_eq!(recipient["attempts"][0]["outcome"], "deferred");
    assert_eq!(recipient["attempts"][0]["reply"], "451 4.7.1 Greylisted, come again");
    assert_eq!(recipient["attempts"][0]["address"], house.receiver.address.to_string());
    assert!(recipient["next_due"].is_string(), "{recipient}");

    let socket = house.directory.path().join("postoffice/control.sock");
    let answer = request(&socket, "POST", "/v1/queue/drop?domain=example.net").await;
    assert_eq!(answer, json!({ "recipients": 1 }).to_string());
    house.queue("postoffice", |mails| mails[0]["recipients"][0]["state"] == "dropped").await;
    mailman.stop().await;
    postoffice.stop().await;
}

#[tokio::test]
async fn a_refused_mail_comes_back_to_its_sender_and_a_bounce_never_bounces() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;
    assert!(all_done(&send(mailman.address, &["nobody@example.net"]).await));

    let bounce = house.receiver.next().await;
    assert_eq!(bounce.envelope.sender, ReversePath::Null);
    assert_eq!(bounce.envelope.recipients[0].address.as_str(), "alice@example.org");
    let text = text(&bounce);
    for part in [
        "Content-Type: multipart/report",
        "Final-Recipient: rfc822; nobody@example.net",
        "Action: failed",
        "Status: 5.1.1",
        "550 5.1.1 No such user here",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
}

/// No mail with a NUL is taken any more, but an earlier version did while the postoffice was away.
#[tokio::test]
async fn the_sender_of_a_mail_with_a_nul_that_waits_already_is_told() {
    let mut house = House::new().await;
    let now = Timestamp::now();
    let recipient: Address = "bob@example.net".parse().unwrap();
    let waiting = Mail {
        id: MailId::new(now, 1),
        envelope: Envelope::new("alice@example.org".parse::<ReversePath>().unwrap(), [recipient]),
        content: Content::from("Subject: a\0b\r\n\r\nc\0d\r\n"),
        origin: Origin::local(now),
    };
    let spool = Spool::open(house.spool("mailman"), SpoolOptions::default()).unwrap();
    spool.commit(waiting).await.unwrap();
    spool.close().await;
    drop(spool);

    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;
    let report = house.receiver.next().await;
    assert_eq!(report.envelope.sender, ReversePath::Null);
    assert_eq!(report.envelope.recipients[0].address.as_str(), "alice@example.org");
    let text = text(&report);
    assert!(text.contains("Status: 5.6.0\r\n"), "{text}");
    assert!(text.contains("\r\nSubject: a?b\r\n\r\nc?d\r\n"), "{text}");
    mailman.stop().await;
    postoffice.stop().await;
}

#[tokio::test]
async fn one_refused_recipient_does_not_hold_up_another() {
    let mut house = House::new().await;
    let postoffice = house.postoffice(ANY_PORT.parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;
    let outcomes = send(mailman.address, &["nobody@example.net", "bob@example.net"]).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))));

    let mails = [house.receiver.next().await, house.receiver.next().await];
    let mut recipients = mails.map(|mail| mail.envelope.recipients[0].address.to_string());
    recipients.sort();
    assert_eq!(recipients, ["alice@example.org", "bob@example.net"]);
    mailman.stop().await;
    postoffice.stop().await;
}
