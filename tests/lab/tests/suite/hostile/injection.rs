//! What a client writes into a parameter stays there: it becomes no line of the log, no header field, no command to
//! another server, and nothing that was said before TLS is obeyed after it.

use hedwig_lab::{
    Client, Half, HouseOptions, Result, SENDER, Submission, eventually, write_certificate,
};
use serde_json::Value;

use crate::hostile::{assert_others_are_served, mails_for, raw::Raw, start_with, strict};

#[tokio::test]
async fn control_characters_are_refused_in_every_parameter() -> Result<()> {
    let world = strict().await?;
    let mail = "MAIL FROM:<a@geneegroup.com>";
    let rows = [
        ("EHLO", "EHLO a\tb\u{1}c\r\n".to_owned()),
        ("a sender's local part", "MAIL FROM:<\"a\u{1}b\"@geneegroup.com>\r\n".to_owned()),
        ("a sender's domain", "MAIL FROM:<a@b\u{7f}c>\r\n".to_owned()),
        ("ENVID", format!("{mail} ENVID=a+0D+0ARSET\r\n")),
        ("ENVID with NUL", format!("{mail} ENVID=a+00\r\n")),
        ("AUTH=", format!("{mail} AUTH=<a+0A>\r\n")),
        ("ORCPT", "RCPT TO:<bob@example.com> ORCPT=rfc822;a+0D+0ADATA\r\n".to_owned()),
        ("a recipient", "RCPT TO:<\"bob\r\"@example.com>\r\n".to_owned()),
        ("an escape sequence", "RCPT TO:<bob\u{1b}[31m@example.com>\r\n".to_owned()),
    ];
    for (name, line) in rows {
        let mut raw = Raw::greeted(world.house.smtp()).await?;
        if line.starts_with("RCPT") {
            raw.say(&format!("{mail}\r\n"), 250).await?;
        }
        let reply = raw.say(&line, 5).await.map_err(|error| format!("{name}: {error}"))?;
        let text = reply.trim_end_matches("\r\n");
        assert!(!text.contains(|c: char| c.is_control()), "{name}: {reply:?}");
    }
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn quotes_and_newlines_reach_neither_log_nor_header_nor_the_next_server() -> Result<()> {
    let mut world = strict().await?;
    let mut raw = Raw::connect(world.house.smtp()).await?;
    raw.expect(220).await?;
    raw.say("EHLO \"quoted\\\"}\r\n", 250).await?;
    raw.say("MAIL FROM:<\"a\\\" , \\\"status\\\":\\\"x\"@geneegroup.com> ENVID=q+22+7D\r\n", 250)
        .await?;
    raw.say("RCPT TO:<\"bob>+\\\" DATA\"@example.com> ORCPT=rfc822;b+22@x\r\n", 250).await?;
    raw.say("DATA\r\n", 354).await?;
    raw.say("Subject: quoted\r\n\r\n.\r\n", 250).await?;
    let mails = eventually("the mail", async || {
        let mails = mails_for(&world, "\"bob>+\\\" DATA\"@example.com");
        Ok((!mails.is_empty()).then_some(mails))
    });
    let mails = mails.await?;
    let (header, _) = mails[0].split_once("\r\n\r\n").unwrap_or((&mails[0], ""));
    for field in ["status", "DATA", "RSET"] {
        let injected = header.lines().any(|line| line.trim_start().starts_with(field));
        assert!(!injected, "{field} begins a line of the header:\n{header}");
    }
    // A daemon's log is one JSON object in each line, whatever clients are called.
    for daemon in [&mut world.house.mailman, &mut world.house.postoffice] {
        for line in daemon.process().log() {
            let read: std::result::Result<Value, _> = serde_json::from_str(&line);
            assert!(read.is_ok_and(|value| value.is_object()), "not JSON: {line}");
        }
    }
    Ok(())
}

/// Says STARTTLS and more in one breath, and counts what is answered within TLS.
const INJECTING_CLIENT: &str = "
import socket, ssl, sys
raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=30)
lines = raw.makefile('rb')
assert lines.readline().startswith(b'220')
raw.sendall(b'EHLO mallory.example\\r\\n')
while lines.readline()[3:4] == b'-': pass
raw.sendall(b'STARTTLS\\r\\nMAIL FROM:<mallory@geneegroup.com>\\r\\nRCPT TO:<victim@example.com>\\r\\n')
assert lines.readline().startswith(b'220')
trusting = ssl._create_unverified_context()
# The injected lines are where the handshake should be: it fails, or it goes on without them.
try:
    secure = trusting.wrap_socket(raw)
except (ssl.SSLError, OSError):
    print('no handshake')
    sys.exit()
secure.sendall(b'QUIT\\r\\n')
print(secure.makefile('rb').readline().decode().strip())
";

#[tokio::test]
async fn what_was_said_before_tls_is_not_obeyed_after_it() -> Result<()> {
    let files = tempfile::tempdir()?;
    let path = |name: &str| files.path().join(name).display().to_string();
    write_certificate(files.path(), "127.0.0.1")?;
    let world = start_with(|options: HouseOptions| {
        let mailman = options
            .mailman
            .set(Half::Mailman, "tls", "certificate", &path("certificate.pem"))
            .set(Half::Mailman, "tls", "key", &path("key.pem"));
        HouseOptions { mailman, ..options }
    })
    .await?;
    let port = world.house.smtp().port().to_string();
    let mut python = tokio::process::Command::new("/usr/bin/python3");
    let output = python.args(["-c", INJECTING_CLIENT, &port]).output().await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("221") || said.starts_with("no handshake"), "{said}");
    assert_others_are_served(&world).await
}

#[tokio::test]
async fn a_header_with_thousands_of_trace_fields_is_a_loop() -> Result<()> {
    let world = strict().await?;
    let mut mail = Submission::new(SENDER, &["bob@example.com"], "Hello\r\n");
    let traces = "Received: from a by b; Sat, 21 Nov 2026 03:00:00 +0000\r\n".repeat(1000);
    mail.message.splice(..0, traces.into_bytes());
    let refused = Client::Smtplib.send(world.house.smtp(), &mail).await;
    let refused = refused.expect_err("a mail that was everywhere is not sent further").to_string();
    assert!(refused.contains("5.4.6"), "{refused}");
    assert_others_are_served(&world).await
}
