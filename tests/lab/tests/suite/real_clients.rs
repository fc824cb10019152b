//! Mail from real clients goes through mailman and the postoffice to a real Postfix, which the
//! postoffice finds by its MX record, and arrives as it was sent, with two good signatures.

use hedwig_lab::{
    Client, Dns, House, HouseOptions, Postfix, PostfixOptions, Program, Result, SENDER,
    SENDER_DOMAIN, Submission, dkim, loopback_address, message::assert_unchanged,
};

const BODY: &str = "Good morning,\r\n.\r\n..a line that begins with dots\r\ntrailing space \r\n\
    Grüße\r\n\r\n \t\r\n\r\n";

async fn arrives_unchanged(client: Client) -> Result<()> {
    let postfix = Postfix::start(&PostfixOptions {
        domains: vec!["126.com".into()],
        listen: (loopback_address(), 0).into(),
        ..PostfixOptions::default()
    })
    .await?;
    let dns = Dns::start().await?;
    dns.mail_domain("126.com", postfix.address().ip()).await;
    let keys = tempfile::tempdir()?;
    dkim::publish_keys(keys.path(), SENDER_DOMAIN, &dns).await?;
    let mut options = HouseOptions::new(dns.address(), postfix.address().port());
    options.dkim_keys = Some(keys.path().to_owned());
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let mut house = House::start(&program, options).await?;

    let mail = Submission::new(SENDER, &["bob@126.com"], BODY);
    client.send(house.smtp(), &mail).await?;
    postfix.wait_for(1).await?;
    house.mailman.stop().await?;
    house.postoffice.stop().await?;
    postfix.wait_until_idle().await?;
    let messages = postfix.messages()?;
    let [message] = messages.as_slice() else { panic!("it arrived {} times", messages.len()) };
    assert_unchanged(message, &mail.message);
    let text = String::from_utf8_lossy(message);
    assert!(text.starts_with("Return-Path: <sender@geneegroup.com>\r\n"), "{text}");
    assert!(text.contains("Delivered-To: bob@126.com\r\n"), "{text}");
    let signatures = dkim::verify(message, dns.address()).await?;
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    assert!(signatures.iter().all(|signature| signature.valid), "{signatures:?}");
    Ok(())
}

#[tokio::test]
async fn what_msmtp_sends_reaches_postfix_unchanged() -> Result<()> {
    arrives_unchanged(Client::Msmtp).await
}

#[tokio::test]
async fn what_swaks_sends_reaches_postfix_unchanged() -> Result<()> {
    arrives_unchanged(Client::Swaks).await
}

#[tokio::test]
async fn what_smtplib_sends_reaches_postfix_unchanged() -> Result<()> {
    arrives_unchanged(Client::Smtplib).await
}

#[tokio::test]
async fn what_mail_send_sends_reaches_postfix_unchanged() -> Result<()> {
    arrives_unchanged(Client::MailSend).await
}
