//! Real servers are given an envelope in one piece (RFC 2920): not one of their replies passes before they have all of it.

use std::net::SocketAddr;

use hedwig_lab::{
    MailServerOptions, Postfix, PostfixOptions, Result, SENDER, Submission, Withholding, World,
    loopback_address, start_exim,
};

use super::{DOMAIN, assert_all_arrived, send, states, world};

/// Enough recipients that what is encrypted tells by its length how many of them there are.
const RECIPIENTS: usize = 30;

fn mailboxes() -> Vec<String> {
    (0..RECIPIENTS).map(|n| format!("a.mailbox.with.a.long.name.and.the.number.{n:02}")).collect()
}

/// Whether MAIL was said, in clear text, and its DATA was not.
fn envelope_is_open(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    said.matches("MAIL FROM:").count() > said.matches("\r\nDATA\r\n").count()
}

/// The same over TLS 1.3, by the length of what followed EHLO.
fn encrypted_envelope_is_open(said: &[u8]) -> bool {
    let lengths = application_data(said);
    // What ends the client's handshake, and EHLO.
    let envelope = lengths.get(2..).unwrap_or_default();
    !envelope.is_empty() && envelope.iter().sum::<usize>() < shortest_envelope()
}

/// What an envelope has at least, apart from the parameters of MAIL.
fn shortest_envelope() -> usize {
    let recipients = mailboxes();
    let recipients = recipients.iter().map(|name| format!("RCPT TO:<{name}@{DOMAIN}>\r\n").len());
    format!("MAIL FROM:<{SENDER}>\r\n").len() + recipients.sum::<usize>() + "DATA\r\n".len()
}

/// The lengths of the records of application data that follow STARTTLS (RFC 8446 §5.2).
fn application_data(said: &[u8]) -> Vec<usize> {
    const COMMAND: &[u8] = b"STARTTLS\r\n";
    const APPLICATION_DATA: u8 = 23;
    let begin = said.windows(COMMAND.len()).position(|bytes| bytes == COMMAND);
    let mut rest = begin.map_or(&[][..], |begin| &said[begin + COMMAND.len()..]);
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, records @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == APPLICATION_DATA {
            lengths.push(length);
        }
        rest = records.get(length..).unwrap_or_default();
    }
    lengths
}

/// Sends a mail to all mailboxes, and looks whether all of them got it, with this version of TLS.
async fn send_to_all(world: &World, tls: Option<&str>) -> Result<Submission> {
    let mailboxes = mailboxes();
    let names: Vec<&str> = mailboxes.iter().map(String::as_str).collect();
    let (mail, status) = send(world, &names, "Hello\r\n").await?;
    assert!(states(&status, tls).iter().all(|state| state == "delivered"), "{status:#}");
    Ok(mail)
}

/// Sends a mail through a wire that withholds what the server says before it has the envelope.
async fn postfix_is_told_at_once(tls: bool) -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let mailboxes = mailboxes();
    let postfix = Postfix::start(&PostfixOptions {
        hostname: format!("mx.{DOMAIN}"),
        domains: vec![DOMAIN.to_owned()],
        mailboxes: mailboxes.iter().map(|name| format!("{name}@{DOMAIN}")).collect(),
        tls,
        // So that there is a DATA whose reply is waited for.
        main_cf: vec!["smtpd_discard_ehlo_keywords = chunking".to_owned()],
        ..PostfixOptions::default()
    })
    .await?;
    let withheld = if tls { encrypted_envelope_is_open } else { envelope_is_open };
    let _wire = Withholding::start(address, postfix.address(), withheld).await?;
    send_to_all(&world, tls.then_some("TLSv1.3")).await?;
    postfix.wait_for(RECIPIENTS).await?;
    world.close().await?;
    postfix.find_in_log(" disconnect from ").await?;
    let log = postfix.log();
    assert_eq!(log.matches(" connect from ").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn a_postfix_has_the_whole_envelope_before_its_first_reply_is_heard() -> Result<()> {
    postfix_is_told_at_once(false).await
}

#[tokio::test]
async fn so_it_has_over_tls() -> Result<()> {
    postfix_is_told_at_once(true).await
}

#[tokio::test]
async fn an_exim_has_the_whole_envelope_over_tls_and_notes_that_it_was_pipelined() -> Result<()> {
    let (world, address) = world(|options| options).await?;
    let listen = SocketAddr::new(loopback_address(), address.port());
    let exim = start_exim(&MailServerOptions {
        mailboxes: mailboxes(),
        ..MailServerOptions::new(listen, DOMAIN)
    })
    .await?;
    let _wire = Withholding::start(address, listen, encrypted_envelope_is_open).await?;
    let mail = send_to_all(&world, Some("TLSv1.3")).await?;
    assert_all_arrived(&exim.wait_for(&mailboxes()[RECIPIENTS - 1], 1).await?, &[mail]);
    world.close().await?;
    let log = exim.log();
    let accepted = log.lines().find(|line| line.contains(" <= ")).expect("a mail");
    // L for PIPELINING, with a minus where it was offered and not used; a dot stands for Exim's own early pipelining.
    assert!(accepted.contains(" P=esmtps L. X=TLS1.3"), "{log}");
    Ok(())
}
