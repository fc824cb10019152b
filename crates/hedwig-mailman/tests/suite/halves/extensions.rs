//! What a client asks for with MAIL and RCPT is offered, crosses the hop, and is there at the postoffice.

use hedwig_envelope::{Body, ByMode, Hold, Refusal, RefusalKind, Ret, Timestamp};
use serde_json::Value;

use crate::halves::support::{Dialogue, FakePostoffice, House, send};

#[tokio::test]
async fn every_extension_is_offered() {
    let mut house = House::new().await;
    let postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let (_, offered) = Dialogue::begin(mailman.address).await;
    for keyword in [
        "PIPELINING",
        "SIZE 52428800",
        "8BITMIME",
        "SMTPUTF8",
        "ENHANCEDSTATUSCODES",
        "DSN",
        "CHUNKING",
        "BINARYMIME",
        "MT-PRIORITY",
        "DELIVERBY",
    ] {
        let is_offered = offered.lines().any(|line| line.get(4..) == Some(keyword));
        assert!(is_offered, "{keyword} is not in\n{offered}");
    }
    let hold =
        offered.lines().find_map(|line| line.get(4..)?.strip_prefix("FUTURERELEASE 604800 "));
    let latest: Timestamp = hold.unwrap().parse().unwrap();
    let in_a_week = Timestamp::now().as_second() + 604_800;
    assert!((in_a_week - 30..=in_a_week).contains(&latest.as_second()), "{latest}");
    mailman.stop().await;
}

#[tokio::test]
async fn every_parameter_reaches_the_postoffice() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let (mut dialogue, _) = Dialogue::begin(mailman.address).await;
    let mail = "MAIL FROM:<a@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1 MT-PRIORITY=4 BY=3600;RT HOLDFOR=60";
    let recipient = "RCPT TO:<b@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;B@example.net";
    let begun = Timestamp::now();
    let accept = async { postoffice.next().await.accept() };
    let (reply, mail) = tokio::join!(dialogue.send(mail, recipient, "Subject: x\r\n"), accept);
    let ended = Timestamp::now();
    assert!(reply.starts_with("250 "), "{reply}");

    let asked = &mail.envelope.parameters;
    assert_eq!((asked.body, asked.smtputf8), (Some(Body::EightBitMime), true));
    assert_eq!((asked.ret, asked.envid.as_deref()), (Some(Ret::Hdrs), Some("QQ+1")));
    assert_eq!(asked.priority.map(|priority| priority.value()), Some(4));
    let by = asked.deliver_by.unwrap();
    assert_eq!((by.mode, by.trace), (ByMode::Return, true));
    let spent = i64::from(3600 - by.seconds);
    assert!((0..=ended.duration_since(begun).as_secs() + 1).contains(&spent), "{spent}");
    let Some(Hold::For(hold)) = asked.hold else { panic!("{:?}", asked.hold) };
    assert_eq!(i64::from(60 - hold), spent);
    let recipient = &mail.envelope.recipients[0];
    assert_eq!(recipient.notify.unwrap().to_string(), "SUCCESS,DELAY");
    assert_eq!(recipient.original.as_ref().unwrap().to_string(), "rfc822;B@example.net");
    mailman.stop().await;
}

#[tokio::test]
async fn what_is_left_of_a_mails_time_goes_on() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let mailman = house.mailman(postoffice.address).await;
    let (mut dialogue, _) = Dialogue::begin(mailman.address).await;
    let parameters = "MAIL FROM:<a@example.org> BY=3600;N HOLDFOR=1";
    let refuse = async {
        let asked = postoffice.next().await;
        let mail = asked.mail.clone();
        asked.refuse(Refusal::new(RefusalKind::Unavailable, "Says the test"));
        mail
    };
    let sent = dialogue.send(parameters, "RCPT TO:<b@example.net>", "Subject: x\r\n");
    let (reply, first) = tokio::join!(sent, refuse);
    assert!(reply.starts_with("250 "), "{reply}");
    let queued = house.queue("mailman", |mails| mails.len() == 1).await;
    assert!(
        matches!(state(&queued), Some("held" | "queued" | "deferred" | "delivering")),
        "{queued:?}"
    );

    // It is held here until its time, and handed over with less than was asked for and no hold any more.
    let again = postoffice.next().await.accept();
    assert_eq!(again.envelope.parameters.hold, None);
    let seconds =
        |mail: &hedwig_envelope::Mail| mail.envelope.parameters.deliver_by.unwrap().seconds;
    assert!(seconds(&again) < 3600 && seconds(&again) <= seconds(&first), "{again:?}");
    house.queue("mailman", |mails| state(mails) == Some("delivered")).await;
    mailman.stop().await;
}

fn state(mails: &[Value]) -> Option<&str> {
    mails.first()?["recipients"][0]["state"].as_str()
}

#[tokio::test]
async fn a_hold_is_seen_at_the_real_postoffice() {
    let mut house = House::new().await;
    let postoffice = house.postoffice("127.0.0.1:0".parse().unwrap()).await;
    let mailman = house.mailman(postoffice.address).await;
    let (mut dialogue, _) = Dialogue::begin(mailman.address).await;
    let mail = "MAIL FROM:<a@example.org> HOLDFOR=3600 MT-PRIORITY=-3 BY=7200;N";
    let reply = dialogue.send(mail, "RCPT TO:<b@example.net>", "Subject: later\r\n").await;
    assert!(reply.starts_with("250 "), "{reply}");
    let mails = house.queue("postoffice", |mails| mails.len() == 1).await;
    assert_eq!(mails[0]["recipients"][0]["state"], "held", "{mails:?}");
    let due: Timestamp = mails[0]["recipients"][0]["next_due"].as_str().unwrap().parse().unwrap();
    let left = due.duration_since(Timestamp::now()).as_secs();
    assert!((3500..=3600).contains(&left), "{left}");

    // Meanwhile another goes through.
    send(mailman.address, &["carol@example.net"]).await;
    assert_eq!(
        house.receiver.next().await.envelope.recipients[0].address.as_str(),
        "carol@example.net"
    );
    mailman.stop().await;
    postoffice.stop().await;
    assert!(house.receiver.is_idle());
}

#[tokio::test]
async fn a_hold_that_is_longer_than_is_offered_is_refused() {
    let mut house = House::new().await;
    let postoffice = FakePostoffice::start().await;
    let mailman = house.mailman_with(postoffice.address, &[("SMTP_HOLD_MAX", "1h")]).await;
    let (mut dialogue, offered) = Dialogue::begin(mailman.address).await;
    assert!(offered.contains("FUTURERELEASE 3600 "), "{offered}");
    for parameter in ["HOLDFOR=3601", "HOLDUNTIL=2999-01-01T00:00:00Z"] {
        let reply = dialogue.say(&format!("MAIL FROM:<a@example.org> {parameter}")).await;
        assert!(reply.starts_with("501 5.5.4 "), "{parameter}: {reply}");
    }
    mailman.stop().await;

    let mailman = house.mailman_with(postoffice.address, &[("SMTP_HOLD_MAX", "0s")]).await;
    let (mut dialogue, offered) = Dialogue::begin(mailman.address).await;
    assert!(!offered.contains("FUTURERELEASE"), "{offered}");
    let reply = dialogue.say("MAIL FROM:<a@example.org> HOLDFOR=1").await;
    assert!(reply.starts_with("555 "), "{reply}");
    mailman.stop().await;
}
