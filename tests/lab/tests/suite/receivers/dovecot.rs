use hedwig_lab::{MailServerOptions, Result, loopback_address, start_dovecot};

use super::{DOMAIN, assert_all_arrived, assert_reported, body, reply, send, states, world};

#[tokio::test]
async fn dovecot_answers_for_each_recipient_by_lmtp_on_one_connection() -> Result<()> {
    let listen = std::net::TcpListener::bind((loopback_address(), 0))?.local_addr()?;
    let (world, _) = world(|mut options| {
        let route = format!("{DOMAIN}=lmtp://{listen}");
        options.postoffice = options.postoffice.arguments(["--route".to_owned(), route]);
        options
    })
    .await?;
    let mut options = MailServerOptions::new(listen, DOMAIN);
    options.mailboxes.push("full".into());
    let dovecot = start_dovecot(&options).await?;
    let mut sent = Vec::new();
    for number in 0..3 {
        let unknown = format!("nobody{number}");
        let mailboxes = ["bob", &unknown, "full", "alice"];
        let (mail, status) = send(&world, &mailboxes, &body(number)).await?;
        let expected = ["delivered", "failed", "failed", "delivered"];
        assert_eq!(states(&status, Some("TLSv1.3")), expected, "{status:#}");
        assert!(reply(&status, 1).starts_with("550 5.1.1 "), "{status:#}");
        assert!(reply(&status, 2).starts_with("552 5.2.2 "), "{status:#}");
        sent.push(mail);
    }
    for mailbox in ["bob", "alice"] {
        assert_all_arrived(&dovecot.wait_for(mailbox, sent.len()).await?, &sent);
    }
    assert!(dovecot.messages("full")?.is_empty());
    assert_reported(&world, &[("nobody0", "5.1.1"), ("full", "5.2.2")]).await?;
    world.close().await?;
    assert_eq!(dovecot.logged("Connect from"), 1, "{}", dovecot.log());
    Ok(())
}
