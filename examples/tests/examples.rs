//! The examples do what they say.

use std::{net::SocketAddr, process::Stdio};

use hedwig_lab::{
    Client, Dns, HouseOptions, Process, Program, Receiver, Result, SENDER, Submission,
    message::assert_unchanged, start_postoffice,
};
use tokio::{io::AsyncWriteExt, process::Command};

#[tokio::test]
async fn the_journey_ends_well() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_journey")).output().await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{text}");
    for wanted in
        ["7 checks, all true", "DKIM rsa-sha256", "DKIM ed25519-sha256", "it arrived once"]
    {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "colours are for terminals:\n{text}");
    Ok(())
}

#[tokio::test]
async fn a_program_sends_through_a_postoffice() -> Result<()> {
    let dns = Dns::start().await?;
    let receiver = Receiver::start().await?;
    dns.mail_domain("126.com", receiver.address().ip()).await;
    let program = Program::at(env!("CARGO_BIN_EXE_journey"));
    let options = HouseOptions::new(dns.address(), receiver.address().port());
    let postoffice = start_postoffice(&program, &options).await?;

    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n.\r\nBob\r\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_send"))
        .arg(format!("http://{}", postoffice.address("http")))
        .arg(postoffice.token_file())
        .args([SENDER, "bob@126.com"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = String::from_utf8(mail.message.clone())?.replace("\r\n", "\n");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).await?;
    let output = child.wait_with_output().await?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && text.starts_with("bob@126.com: 250 "), "{text}");
    assert_unchanged(&receiver.wait_for(1).await?[0].content.to_bytes(), &mail.message);
    Ok(())
}

#[tokio::test]
async fn a_relay_is_made_of_the_same_parts() -> Result<()> {
    let receiver = Receiver::start().await?;
    let spool = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    command.arg("127.0.0.1:0").arg(spool.path()).arg(format!("smtp://{}", receiver.address()));
    command.arg("archive@example.org");
    let mut relay = Process::spawn("relay", command)?;
    let address = where_it_listens(&mut relay).await?;
    let mail = Submission::new(SENDER, &["bob@126.com"], "Hello\r\n");
    Client::Smtplib.send(address, &mail).await?;
    let mut recipients = Vec::new();
    // Each of the two domains has its own delivery.
    for copy in receiver.wait_for(2).await? {
        assert_unchanged(&copy.content.to_bytes(), &mail.message);
        recipients.extend(copy.envelope.recipients.iter().map(|r| r.address.to_string()));
    }
    recipients.sort();
    assert_eq!(recipients, ["archive@example.org", "bob@126.com"]);
    Ok(())
}

#[tokio::test]
async fn a_receiving_server_takes_mail_for_whom_it_knows() -> Result<()> {
    let maildir = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_receive"));
    command.arg("127.0.0.1:0").arg(maildir.path()).args(["bob@example.org", "carol@example.org"]);
    let mut server = Process::spawn("receive", command)?;
    let address = where_it_listens(&mut server).await?;
    let mail = Submission::new(SENDER, &["bob@example.org", "carol@example.org"], "Hello\r\n");
    Client::Smtplib.send(address, &mail).await?;
    let kept: Vec<_> = std::fs::read_dir(maildir.path().join("new"))?.collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let kept = std::fs::read_to_string(kept[0].as_ref().expect("a file").path())?;
    assert!(kept.starts_with(&format!("Return-Path: <{SENDER}>\r\nReceived: from ")), "{kept}");
    assert!(kept.contains("by mx.example.org (Hedwig) with ESMTP"), "{kept}");
    assert_unchanged(kept.as_bytes(), &mail.message);

    let unknown = Submission::new(SENDER, &["dave@example.org"], "Hello\r\n");
    let refused = Client::Smtplib.send(address, &unknown).await.unwrap_err().to_string();
    assert!(refused.contains("550") && refused.contains("no such mailbox here"), "{refused}");
    assert_eq!(std::fs::read_dir(maildir.path().join("new"))?.count(), 1);
    assert_eq!(std::fs::read_dir(maildir.path().join("tmp"))?.count(), 0);
    Ok(())
}

async fn where_it_listens(server: &mut Process) -> Result<SocketAddr> {
    server
        .find_in_log(|line| line.strip_prefix("listening at ").and_then(|text| text.parse().ok()))
        .await
}
