use hedwig_lab::{Postfix, PostfixOptions, Result};

use crate::reports::{self, envelope, the_report};

use super::{DOMAIN, assert_all_arrived, assert_reported, body, reply, send, states, world};

#[tokio::test]
async fn postfix_takes_mails_over_tls_and_in_chunks_on_one_connection() -> Result<()> {
    let (world, listen) = world(|options| options).await?;
    let postfix = Postfix::start(&PostfixOptions {
        hostname: format!("mx.{DOMAIN}"),
        listen,
        domains: vec![DOMAIN.to_owned()],
        mailboxes: vec![format!("bob@{DOMAIN}"), format!("alice@{DOMAIN}")],
        tls: true,
        ..PostfixOptions::default()
    })
    .await?;
    let mut sent = Vec::new();
    for number in 0..3 {
        let unknown = format!("nobody{number}");
        let (mail, status) = send(&world, &["bob", &unknown, "alice"], &body(number)).await?;
        assert_eq!(states(&status, Some("TLSv1.3")), ["delivered", "failed", "delivered"]);
        assert!(reply(&status, 1).starts_with("550 5.1.1 "), "{status:#}");
        sent.push(mail);
    }
    postfix.wait_for(2 * sent.len()).await?;
    postfix.wait_until_idle().await?;
    let received = postfix.messages()?;
    assert_eq!(received.len(), 2 * sent.len(), "a copy for each of two recipients");
    let to = |name: &str| {
        let field = format!("X-Original-To: {name}@{DOMAIN}");
        let is_to = |message: &&Vec<u8>| String::from_utf8_lossy(message).contains(&field);
        received.iter().filter(is_to).cloned().collect::<Vec<_>>()
    };
    for mailbox in ["bob", "alice"] {
        assert_all_arrived(&to(mailbox), &sent);
    }
    assert_reported(&world, &[("nobody0", "5.1.1")]).await?;
    world.close().await?;
    // What it counted on the connection, when that has ended.
    let counted = postfix.find_in_log(" disconnect from ").await?;
    assert!(counted.contains(" starttls=1 mail=3 rcpt=6/9 bdat=3 quit=1 "), "{counted}");
    assert!(postfix.log().contains("TLS connection established from unknown[127."));
    Ok(())
}

/// Postfix offers DSN, so the report of success is its own; ours says nothing.
#[tokio::test]
async fn success_is_reported_by_a_postfix_and_not_by_us() -> Result<()> {
    let (world, listen) = world(|options| options).await?;
    let relay = world.receiver.address();
    let postfix = Postfix::start(&PostfixOptions {
        hostname: format!("mx.{DOMAIN}"),
        listen,
        domains: vec![DOMAIN.to_owned()],
        tls: true,
        main_cf: vec![format!("relayhost = [{}]:{}", relay.ip(), relay.port())],
        ..PostfixOptions::default()
    })
    .await?;
    let bob = format!("bob@{DOMAIN}");
    let original = "rfc822;Robert@example.org";
    let envelope = envelope(&[(bob.as_str(), "SUCCESS,FAILURE", Some(original))]);
    reports::send(world.house.smtp(), &envelope).await?;
    postfix.wait_for(1).await?;
    let report = the_report(&world.receiver.wait_for(1).await?).await?;
    let message = &report["per_message"];
    assert_eq!(message["Reporting-MTA"], format!("dns; mx.{DOMAIN}"), "{report:#}");
    assert_eq!(message["Original-Envelope-Id"], "QQ314159");
    let recipient = &report["per_recipient"][0];
    assert_eq!(recipient["Original-Recipient"], "rfc822;Robert@example.org", "{report:#}");
    assert_eq!(recipient["Action"], "delivered");
    postfix.wait_until_idle().await?;
    assert_eq!(world.close().await?, 1, "one report, of Postfix");
    Ok(())
}
