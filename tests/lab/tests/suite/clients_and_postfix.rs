//! The laboratory itself: what its clients send arrives in its Postfix as it was sent. Whatever is
//! lost between the two when Hedwig stands there was lost by Hedwig.

use hedwig_lab::{
    Client, Postfix, PostfixOptions, Result, Submission,
    message::{assert_unchanged, below_trace},
};

const BODY: &str = "Good morning,\r\n.\r\n..a line that begins with dots\r\ntrailing space \r\n\
    Grüße\r\n\r\n \t\r\n\r\n";

async fn postfix() -> Result<Postfix> {
    let domains = vec!["example.com".to_owned(), "example.net".to_owned()];
    Postfix::start(&PostfixOptions { domains, ..PostfixOptions::default() }).await
}

#[tokio::test]
async fn every_client_sends_what_it_was_given() -> Result<()> {
    let postfix = postfix().await?;
    for (index, client) in Client::ALL.into_iter().enumerate() {
        let body = format!("{BODY}{}\r\n{client:?}\r\n\r\n", "x".repeat(990));
        let mail = Submission::new("sender@geneegroup.com", &["bob@example.com"], body);
        client.send(postfix.address(), &mail).await?;
        let received = postfix.wait_for(index + 1).await?;
        let received = received
            .iter()
            .find(|message| {
                below_trace(message).ends_with(&mail.message[mail.message.len() - 20..])
            })
            .expect("the message has arrived");
        assert_unchanged(received, &mail.message);
    }
    Ok(())
}

#[tokio::test]
async fn two_recipients_get_two_copies() -> Result<()> {
    let postfix = postfix().await?;
    let mail =
        Submission::new("a@example.org", &["bob@example.com", "eve@example.net"], "Hello\r\n");
    Client::Smtplib.send(postfix.address(), &mail).await?;
    postfix.wait_for(2).await?;
    postfix.wait_until_idle().await?;
    assert_eq!(postfix.messages()?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_unknown_mailbox_is_refused_and_every_client_says_so() -> Result<()> {
    let postfix = Postfix::start(&PostfixOptions {
        domains: vec!["example.com".into()],
        mailboxes: vec!["bob@example.com".into()],
        ..PostfixOptions::default()
    })
    .await?;
    let mail = Submission::new("a@example.org", &["nobody@example.com"], "Hello\r\n");
    for client in Client::ALL {
        let error = client.send(postfix.address(), &mail).await.unwrap_err();
        assert!(format!("{error:?}").contains("User unknown"), "{client:?}: {error:?}");
    }
    Ok(())
}
