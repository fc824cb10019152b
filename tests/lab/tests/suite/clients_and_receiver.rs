//! The laboratory itself: what its clients send reaches its scriptable server as it was sent, and what
//! the script says reaches the clients.

use hedwig_envelope::{Reply, Status};
use hedwig_lab::{Client, Receiver, Result, Submission, message::assert_unchanged};

const BODY: &str = "Good morning,\r\n.\r\n..a line that begins with dots\r\ntrailing space \r\n\
    Grüße\r\n\r\n \t\r\n\r\n";

#[tokio::test]
async fn every_client_sends_what_it_was_given() -> Result<()> {
    let receiver = Receiver::start().await?;
    for (index, client) in Client::ALL.into_iter().enumerate() {
        let mail = Submission::new("a@example.org", &["bob@example.com", "eve@example.com"], BODY);
        client.send(receiver.address(), &mail).await?;
        let mails = receiver.wait_for(index + 1).await?;
        let received = &mails[index];
        assert_unchanged(received.content.message(), &mail.message);
        assert_eq!(received.envelope.sender.to_string(), "a@example.org");
        assert_eq!(received.envelope.recipients.len(), 2);
    }
    Ok(())
}

#[tokio::test]
async fn the_script_answers() -> Result<()> {
    let receiver = Receiver::start().await?;
    let mail = Submission::new("a@example.org", &["bob@example.com"], "Hello\r\n");
    let refuse = || Reply::with_status(450, Status::transient(2, 2), "Mailbox full");
    receiver.script(move |step| step.recipient().map(|_| refuse()));
    let error = Client::Swaks.send(receiver.address(), &mail).await.unwrap_err().to_string();
    assert!(error.contains("450 4.2.2 Mailbox full"), "{error}");
    receiver.take_everything();
    Client::Swaks.send(receiver.address(), &mail).await?;
    assert_eq!(receiver.mails().len(), 1);
    Ok(())
}
