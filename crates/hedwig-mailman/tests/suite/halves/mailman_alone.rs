//! What mailman makes of a postoffice that refuses, is slow, or comes back.

use hedwig_envelope::{Outcome, Refusal, RefusalKind, ReversePath};

use crate::halves::support::{FakePostoffice, House, all_done, send, send_as, text};

fn refusal(kind: RefusalKind) -> Refusal {
    Refusal::new(kind, "Says the test")
}

#[tokio::test]
async fn what_the_postoffice_refuses_for_good_the_client_is_told_at_once() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let refuse = async { postoffice.next().await.refuse(refusal(RefusalKind::Malformed)) };
    let (outcomes, ()) = tokio::join!(send(mailman.address, &["bob@example.net"]), refuse);
    assert!(matches!(outcomes[0], Outcome::Failed(_)), "{outcomes:?}");
    house.queue("mailman", <[_]>::is_empty).await;
    mailman.stop().await;
}

#[tokio::test]
async fn what_the_postoffice_cannot_take_now_is_queued_and_sent_again_under_its_key() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let refuse = async {
        let asked = postoffice.next().await;
        let key = asked.mail.origin.idempotency_key.clone();
        asked.refuse(refusal(RefusalKind::Unavailable));
        key
    };
    let (outcomes, key) = tokio::join!(send(mailman.address, &["bob@example.net"]), refuse);
    assert!(all_done(&outcomes), "{outcomes:?}");
    let again = postoffice.next().await.accept();
    assert!(key.is_some());
    assert_eq!(again.origin.idempotency_key, key);
    house.queue("mailman", |mails| mails[0]["recipients"][0]["state"] == "delivered").await;
    mailman.stop().await;
}

#[tokio::test]
async fn a_queued_mail_that_is_refused_for_good_comes_back_to_its_sender() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let first = async { postoffice.next().await.refuse(refusal(RefusalKind::NoSpace)) };
    let (outcomes, ()) = tokio::join!(send(mailman.address, &["bob@example.net"]), first);
    assert!(all_done(&outcomes), "{outcomes:?}");

    postoffice.next().await.refuse(refusal(RefusalKind::Malformed));
    let bounce = postoffice.next().await.accept();
    assert_eq!(bounce.envelope.sender, ReversePath::Null);
    assert_eq!(bounce.envelope.recipients[0].address.as_str(), "alice@example.org");
    let text = text(&bounce);
    assert!(text.contains("Final-Recipient: rfc822; bob@example.net"), "{text}");
    assert!(text.contains("Reporting-MTA: dns; mailman.example.org"), "{text}");
    house.queue("mailman", |mails| mails[0]["recipients"][0]["state"] == "failed").await;
    mailman.stop().await;
}

#[tokio::test]
async fn a_postoffice_that_does_not_answer_holds_up_neither_the_client_nor_a_stop() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let settings = [("POSTOFFICE_WITHIN", "50ms"), ("SERVER_GRACE", "50ms")];
    let mailman = house.mailman_with(postoffice.address, &settings).await;
    let outcomes = send(mailman.address, &["bob@example.net"]).await;
    assert!(all_done(&outcomes), "{outcomes:?}");
    house.queue("mailman", |mails| mails.len() == 1).await;
    let asked = postoffice.next().await;
    mailman.stop().await;

    let mailman = house.mailman(postoffice.address).await;
    // While the first request is under way, another with its key is told to come again (409).
    let key = asked.accept().origin.idempotency_key;
    let answer_all = async {
        loop {
            assert_eq!(postoffice.next().await.accept().origin.idempotency_key, key);
        }
    };
    let is_delivered =
        |mails: &[serde_json::Value]| mails[0]["recipients"][0]["state"] == "delivered";
    tokio::select! {
        () = answer_all => {}
        _ = house.queue("mailman", is_delivered) => {}
    }
    mailman.stop().await;
}

#[tokio::test]
async fn more_mails_than_may_be_in_hand_are_told_to_come_again() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let settings = [("SMTP_MAILS_MAX", "1"), ("POSTOFFICE_WITHIN", "1h")];
    let mailman = house.mailman_with(postoffice.address, &settings).await;
    let first = tokio::spawn(send(mailman.address, &["bob@example.net"]));
    let asked = postoffice.next().await;
    let outcomes = send(mailman.address, &["carol@example.net"]).await;
    let reply = outcomes[0].answer().reply.to_string();
    assert!(matches!(outcomes[0], Outcome::Deferred(_)) && reply.contains("Too busy"), "{reply}");
    asked.accept();
    assert!(all_done(&first.await.unwrap()));
    mailman.stop().await;
}

#[tokio::test]
async fn a_containers_sender_gets_our_domain_and_others_may_not_send() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let settings = [("MAIL_DOMAIN", "example.org"), ("MAIL_SENDERS", "example.org")];
    let mailman = house.mailman_with(postoffice.address, &settings).await;
    let accept = async { postoffice.next().await.accept() };
    let sent = send_as("root@af5be243f321", mailman.address, &["bob@example.net"]);
    let (outcomes, mail) = tokio::join!(sent, accept);
    assert!(all_done(&outcomes), "{outcomes:?}");
    assert_eq!(mail.envelope.sender.to_string(), "root@example.org");
    assert!(text(&mail).contains("\r\nFrom: root@example.org\r\n"), "{}", text(&mail));

    let outcomes = send_as("eve@example.com", mailman.address, &["bob@example.net"]).await;
    let reply = outcomes[0].answer().reply.to_string();
    assert_eq!(reply, "550 5.7.1 Nobody may send as eve@example.com from here");
    mailman.stop().await;
}
