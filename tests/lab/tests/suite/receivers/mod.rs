//! Servers that we did not write take mail from both real daemons: over TLS, several mails on one
//! connection, several recipients in one transaction, and every recipient gets its own outcome.

mod dovecot;
mod exim;
mod opensmtpd;
mod pipelining;
mod postfix;

use std::net::SocketAddr;

use hedwig_lab::{
    Client, Half, HouseOptions, Program, Result, SENDER, Submission, World, loopback_address,
    message::assert_unchanged, read_report,
};
use serde_json::Value;

/// The domain whose server is the one at hand.
const DOMAIN: &str = "example.com";

/// Lines that servers and clients are known to spoil.
fn body(number: usize) -> String {
    let longest = "x".repeat(998);
    format!(
        "Grüße, {number}\r\n.\r\n..two dots\r\n.a\r\n{longest}\r\ntrailing space \r\n\r\nFrom the start\r\n"
    )
}

/// A world, and where the server of [`DOMAIN`] is to listen: at the port that all of them share.
async fn world(change: impl FnOnce(HouseOptions) -> HouseOptions) -> Result<(World, SocketAddr)> {
    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    let world = World::start(&program, &[], |options| {
        let mut options = change(options);
        // No second connection is opened because a reply is slow.
        let set = ("delivery", "concurrency_per_destination", "1");
        options.postoffice = options.postoffice.set(Half::Postoffice, set.0, set.1, set.2);
        options
    })
    .await?;
    let address = SocketAddr::new(loopback_address(), world.receiver.address().port());
    world.dns.mail_domain(DOMAIN, address.ip()).await;
    Ok((world, address))
}

/// Sends a mail to these mailboxes; what became of it, and what was sent.
async fn send(world: &World, mailboxes: &[&str], body: &str) -> Result<(Submission, Value)> {
    let recipients: Vec<String> = mailboxes.iter().map(|name| format!("{name}@{DOMAIN}")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mail = Submission::new(SENDER, &recipients, body);
    let reply = Client::MailSend.send(world.house.smtp(), &mail).await?;
    let id = reply.split_once("queued as ").expect("an id").1.trim().to_owned();
    Ok((mail, world.house.postoffice.message_done(&id).await?))
}

/// The states of a mail's recipients, in the order in which they were given, each after one attempt; the
/// attempts were made with this version of TLS.
#[track_caller]
fn states(status: &Value, tls: Option<&str>) -> Vec<String> {
    let recipients = status["recipients"].as_array().expect("recipients");
    let state = |recipient: &Value| {
        let [attempt] = &recipient["attempts"].as_array().expect("attempts")[..] else {
            panic!("not one attempt in {status:#}")
        };
        let used = attempt["tls"].as_str().map(|tls| tls.split(' ').next().unwrap_or(tls));
        assert_eq!(used, tls, "{status:#}");
        recipient["state"].as_str().expect("a state").to_owned()
    };
    recipients.iter().map(state).collect()
}

/// What the server said to a recipient at the only attempt.
fn reply(status: &Value, recipient: usize) -> &str {
    status["recipients"][recipient]["attempts"][0]["reply"].as_str().expect("a reply")
}

/// Looks whether each of the messages is one of those that were sent, and none is there twice.
#[track_caller]
fn assert_all_arrived(received: &[Vec<u8>], sent: &[Submission]) {
    assert_eq!(received.len(), sent.len(), "messages");
    for mail in sent {
        let end = b"\r\n\r\n";
        let header = mail.message.windows(4).position(|bytes| bytes == end).expect("a header");
        let mut id = mail.message[..header].split(|&byte| byte == b'\n');
        let id = id.find(|line| line.starts_with(b"Message-ID:")).expect("an id");
        let same: Vec<_> = received
            .iter()
            .filter(|message| message.windows(id.len()).any(|bytes| bytes == id))
            .collect();
        let [same] = same[..] else { panic!("{} copies of one mail", same.len()) };
        assert_unchanged(same, &mail.message);
    }
}

/// Looks whether the first report told the sender of these recipients with these statuses, and of no other.
async fn assert_reported(world: &World, failed: &[(&str, &str)]) -> Result<()> {
    let mails = world.receiver.wait_for(1).await?;
    let report = read_report(&mails[0].content.to_bytes()).await?;
    let told = report["per_recipient"].as_array().expect("recipients");
    assert_eq!(told.len(), failed.len(), "{report:#}");
    for (fields, (mailbox, status)) in told.iter().zip(failed) {
        assert_eq!(fields["Final-Recipient"], format!("rfc822; {mailbox}@{DOMAIN}"));
        assert_eq!(fields["Action"], "failed");
        assert_eq!(fields["Status"], *status, "{report:#}");
    }
    Ok(())
}
