use hedwig_lab::{MailServerOptions, Result, start_opensmtpd};

use super::{DOMAIN, assert_all_arrived, assert_reported, body, reply, send, states, world};

#[tokio::test]
async fn opensmtpd_takes_mails_over_tls_without_pipelining_on_one_connection() -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let options = MailServerOptions::new(address, DOMAIN);
    let opensmtpd = start_opensmtpd("bookworm-backports", &options).await?;
    let mut sent = Vec::new();
    for number in 0..3 {
        let unknown = format!("nobody{number}");
        let (mail, status) = send(&world, &["bob", &unknown, "alice"], &body(number)).await?;
        assert_eq!(states(&status, Some("TLSv1.3")), ["delivered", "failed", "delivered"]);
        assert!(reply(&status, 1).starts_with("524 5.2.4 "), "{status:#}");
        sent.push(mail);
    }
    for mailbox in ["bob", "alice"] {
        assert_all_arrived(&opensmtpd.wait_for(mailbox, sent.len()).await?, &sent);
    }
    assert_reported(&world, &[("nobody0", "5.2.4")]).await?;
    assert_eq!(opensmtpd.logged("smtp connected"), 1);
    assert_eq!(opensmtpd.logged("smtp tls ciphers=TLSv1.3"), 1);
    assert_eq!(opensmtpd.logged("smtp message msgid"), sent.len());
    assert_eq!(opensmtpd.logged(" nrcpt=2 "), sent.len(), "one transaction for each mail");
    assert_eq!(opensmtpd.logged("PIPELINING"), 0, "it does not offer it");
    world.close().await?;
    Ok(())
}

/// Debian 12's own OpenSMTPD, as it stands in the field.
#[tokio::test]
async fn a_server_whose_every_handshake_fails_gets_its_mail_in_clear_text() -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let options = MailServerOptions::new(address, DOMAIN);
    let opensmtpd = start_opensmtpd("bookworm", &options).await?;
    let (mail, status) = send(&world, &["bob"], &body(0)).await?;
    assert_eq!(states(&status, None), ["delivered"]);
    assert_all_arrived(&opensmtpd.wait_for("bob", 1).await?, &[mail]);
    assert!(opensmtpd.logged("<<< STARTTLS") >= 1, "TLS was tried first");
    assert!(opensmtpd.logged("missing private key") >= 1, "and it failed at the server");
    world.close().await?;
    Ok(())
}
