//! What a listener takes, refuses and changes by its own rules.

use hedwig_envelope::{Outcome, Protocol};

use crate::halves::support::{Dialogue, FakePostoffice, House, Running, all_done, send_as, text};

/// A mailman with a listener by these rules besides the ordinary one.
async fn mailman_with_listener(
    house: &mut House,
    postoffice: &FakePostoffice,
    rules: &[(&str, &str)],
) -> (Running, std::net::SocketAddr) {
    let rules: Vec<(String, &str)> =
        rules.iter().map(|(key, value)| (format!("LISTENER_OTHER_{key}"), *value)).collect();
    let mut settings: Vec<(&str, &str)> =
        rules.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    settings.push(("LISTENER_OTHER_LISTEN", "127.0.0.1:0"));
    let mailman = house.mailman_with(postoffice.address, &settings).await;
    (mailman, other_address(house).await)
}

/// Where the listener of the name other listens, as the log says next.
async fn other_address(house: &mut House) -> std::net::SocketAddr {
    let address = house.log.next(|event| {
        let is_it = event["message"] == *"listening" && event["protocol"] == *"other";
        is_it.then(|| event["address"].parse().unwrap())
    });
    address.await
}

#[tokio::test]
async fn each_listener_has_its_own_senders_and_default_sender() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let rules = [
        ("SENDERS", "example.org"),
        ("OTHER_SENDERS", "rewrite"),
        ("DEFAULT_SENDER", "app@example.org"),
    ];
    let (mailman, other) = mailman_with_listener(&mut house, &postoffice, &rules).await;
    for (to, sender, expected) in [
        (mailman.address, "eve@example.com", "eve@example.com"),
        (other, "eve@example.com", "app@example.org"),
        (other, "alice@example.org", "alice@example.org"),
        (other, "root@af5be243f321", "app@example.org"),
        (mailman.address, "root@af5be243f321", "root@mailman.example.org"),
    ] {
        let accept = async { postoffice.next().await.accept() };
        let (outcomes, mail) = tokio::join!(send_as(sender, to, &["bob@example.net"]), accept);
        assert!(all_done(&outcomes), "{outcomes:?}");
        assert_eq!(mail.envelope.sender.to_string(), expected, "{sender} at {to}");
        assert!(text(&mail).contains(&format!("\nFrom: {expected}\r\n")), "{}", text(&mail));
    }
    let (mut dialogue, _) = Dialogue::begin(other).await;
    let accept = async { postoffice.next().await.accept() };
    let sent = dialogue.send("MAIL FROM:<root>", "RCPT TO:<bob>", "Subject: bare\r\n");
    let (reply, mail) = tokio::join!(sent, accept);
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(mail.envelope.sender.to_string(), "app@example.org");
    assert_eq!(mail.envelope.recipients[0].address.as_str(), "bob@mailman.example.org");
    mailman.stop().await;
}

#[tokio::test]
async fn sizes_and_recipients_are_limited_by_listener() {
    let mut house = House::new().await;
    let postoffice = FakePostoffice::start().await;
    let rules = [("SIZE_MAX", "1000"), ("RECIPIENTS_MAX", "1")];
    let (mailman, other) = mailman_with_listener(&mut house, &postoffice, &rules).await;
    let (mut dialogue, offered) = Dialogue::begin(other).await;
    assert!(offered.contains("SIZE 1000\n"), "{offered}");
    let reply = dialogue.say("MAIL FROM:<a@example.org> SIZE=1001").await;
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    dialogue.say("MAIL FROM:<a@example.org>").await;
    dialogue.say("RCPT TO:<b@example.net>").await;
    let reply = dialogue.say("RCPT TO:<c@example.net>").await;
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    // A mail under way would hold up the stop.
    drop(dialogue);
    let (_, offered) = Dialogue::begin(mailman.address).await;
    assert!(offered.contains("SIZE 52428800\n"), "{offered}");
    mailman.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_told_which_limit_and_counted() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let rules = [("PER_CLIENT", "2/d"), ("PER_SENDER", "1/d")];
    let (mailman, other) = mailman_with_listener(&mut house, &postoffice, &rules).await;
    let mut said = Vec::new();
    for sender in ["a@example.org", "A@example.org", "b@example.org", "c@example.org"] {
        let sent = send_as(sender, other, &["bob@example.net"]);
        tokio::pin!(sent);
        let outcomes = tokio::select! {
            outcomes = &mut sent => outcomes,
            asked = postoffice.next() => {
                asked.accept();
                sent.await
            }
        };
        said.push(match &outcomes[0] {
            Outcome::Done(_) => "taken".to_owned(),
            other => other.answer().reply.to_string(),
        });
    }
    let limit = "the limit is";
    assert_eq!([said[0].as_str(), &said[2]], ["taken", "taken"]);
    let begins = |text: &str, beginning: &str| assert!(text.starts_with(beginning), "{text}");
    begins(
        &said[1],
        &format!("450 4.7.1 Too many mails from the sender a@example.org: {limit} 1 in 1d; try"),
    );
    begins(
        &said[3],
        &format!("450 4.7.1 Too many mails from the client 127.0.0.1: {limit} 2 in 1d; try"),
    );
    mailman.stop().await;
}

#[tokio::test]
async fn another_address_of_a_listener_is_no_way_round_its_rates() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let settings = [
        ("LISTENER_OTHER_LISTEN", "127.0.0.1:0,127.0.0.1:0"),
        ("LISTENER_OTHER_PER_SENDER", "1/d"),
    ];
    let mailman = house.mailman_with(postoffice.address, &settings).await;
    let first = other_address(&mut house).await;
    let second = other_address(&mut house).await;
    assert_ne!(first, second);
    let accept = async { postoffice.next().await.accept() };
    let sent = send_as("a@example.org", first, &["bob@example.net"]);
    let (outcomes, _) = tokio::join!(sent, accept);
    assert!(all_done(&outcomes), "{outcomes:?}");
    let refused = send_as("a@example.org", second, &["bob@example.net"]).await;
    let refused = refused[0].answer().reply.to_string();
    assert!(refused.starts_with("450 4.7.1 Too many mails from the sender"), "{refused}");
    mailman.stop().await;
}

/// The salt, and what follows, of what somebody of the name eve is asked to prove, in base64.
async fn salt(address: std::net::SocketAddr) -> String {
    let (mut dialogue, _) = Dialogue::begin(address).await;
    let challenge = dialogue.say("AUTH SCRAM-SHA-256 biwsbj1ldmUscj1jbGllbnQ=").await;
    // The nonce with its comma is 33 bytes, or 44 in base64.
    challenge.strip_prefix("334 ").unwrap()[44..].to_owned()
}

#[tokio::test]
async fn whoever_does_not_exist_has_one_salt_at_all_listeners_and_after_a_restart() {
    let mut house = House::new().await;
    let postoffice = FakePostoffice::start().await;
    let users = house.directory.path().join("users");
    std::fs::write(&users, "").unwrap();
    let users = users.display().to_string();
    let settings = [
        ("USERS_FILE", &*users),
        ("USERS_IN_CLEAR_TEXT", "true"),
        ("LISTENER_OTHER_LISTEN", "127.0.0.1:0"),
    ];
    let mut salts = Vec::new();
    for _ in 0..2 {
        let mailman = house.mailman_with(postoffice.address, &settings).await;
        let other = other_address(&mut house).await;
        salts.extend([salt(mailman.address).await, salt(other).await]);
        mailman.stop().await;
    }
    assert!(salts.iter().all(|salt| *salt == salts[0]), "{salts:?}");
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let mut house = House::new().await;
    let mut postoffice = FakePostoffice::start().await;
    let (mailman, other) =
        mailman_with_listener(&mut house, &postoffice, &[("PROTOCOL", "lmtp")]).await;
    let (mut dialogue, refused) = Dialogue::begin(other).await;
    assert!(refused.starts_with("500 5.5.1 This is LMTP"), "{refused}");
    assert!(dialogue.say("LHLO client.example.org").await.contains("PIPELINING"));
    dialogue.say("MAIL FROM:<a@example.org>").await;
    dialogue.say("RCPT TO:<b@example.net>").await;
    dialogue.say("RCPT TO:<c@example.net>").await;
    dialogue.say("DATA").await;
    let accept = async { postoffice.next().await.accept() };
    let (first, mail) = tokio::join!(dialogue.say("Subject: x\r\n\r\n."), accept);
    assert!(first.starts_with("250 "), "{first}");
    // The second recipient's reply stands behind the first one's, and before that to RSET.
    assert_eq!(dialogue.say("RSET").await, first);
    assert_eq!(mail.origin.protocol, Protocol::Http);
    assert!(text(&mail).contains(" with LMTP id "), "{}", text(&mail));
    assert_eq!(mail.envelope.recipients.len(), 2);
    mailman.stop().await;
}
