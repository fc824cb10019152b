//! What a person types at `openssl s_client`, and every mechanism and TLS mode that swaks knows.

use std::process::Stdio;

use base64::{Engine, engine::general_purpose::STANDARD};
use hedwig_lab::{LabError, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::authentication::{PASSWORD, Stage, USER, letter, said, swaks};

/// `openssl s_client`, at which lines are typed.
struct Terminal {
    _child: Child,
    keys: ChildStdin,
    screen: BufReader<ChildStdout>,
}

impl Terminal {
    async fn start(stage: &Stage, protocol: &str, how: &[&str]) -> Result<Self> {
        let mut command = Command::new("/usr/bin/openssl");
        command.args(["s_client", "-quiet", "-crlf", "-verify_return_error"]);
        command.args(["-connect", &format!("127.0.0.1:{}", stage.port(protocol))]).args(how);
        command.arg("-CAfile").arg(stage.certificate());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn()?;
        let missing = || LabError::new("s_client has no terminal");
        let keys = child.stdin.take().ok_or_else(missing)?;
        let screen = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { _child: child, keys, screen })
    }

    /// The next whole reply, without its line ends.
    async fn reply(&mut self) -> Result<String> {
        let mut reply = Vec::new();
        loop {
            let mut line = String::new();
            if self.screen.read_line(&mut line).await? == 0 {
                return Err(LabError::new(format!("it hung up after {reply:?}")).into());
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            reply.push(line.trim_end().to_owned());
            if is_last {
                return Ok(reply.join("|"));
            }
        }
    }

    async fn say(&mut self, line: &str) -> Result<String> {
        self.keys.write_all(format!("{line}\n").as_bytes()).await?;
        self.reply().await
    }
}

#[tokio::test]
async fn a_mail_typed_at_openssl_after_starttls() -> Result<()> {
    let stage = Stage::start().await?;
    // s_client says EHLO and STARTTLS by itself, and shows nothing of that.
    let mut terminal = Terminal::start(&stage, "smtp", &["-starttls", "smtp"]).await?;
    let offered = terminal.say("EHLO openssl.lab.example").await?;
    assert!(offered.contains("|250-AUTH ") && offered.contains(" PLAIN"), "{offered}");
    assert!(offered.contains("REQUIRETLS") && !offered.contains("STARTTLS"), "{offered}");
    let claim = |password: &str| STANDARD.encode(format!("\0{USER}\0{password}"));
    for (line, begins) in [
        ("AUTH CRAM-MD5", "504 5.5.4 "),
        (&format!("AUTH PLAIN {}", claim("wrong")), "535 5.7.8 "),
        ("AUTH LOGIN", "334 "),
        ("*", "501 5.7.0 "),
        (&format!("AUTH PLAIN {}", claim(PASSWORD)), "235 2.7.0 "),
        (&format!("AUTH PLAIN {}", claim(PASSWORD)), "503 5.5.1 "),
        ("MAIL FROM:<typed@geneegroup.com>", "250 2.1.0 "),
        ("RCPT TO:<bob@example.com>", "250 2.1.5 "),
        ("DATA", "354 "),
        ("Subject: typed\n\nby hand\n.", "250 2."),
        ("QUIT", "221 2.0.0 "),
    ] {
        let reply = terminal.say(line).await?;
        assert!(reply.starts_with(begins), "{line}: {reply}");
    }
    let received = &stage.world.receiver.wait_for(1).await?[0];
    let text = String::from_utf8_lossy(received.content.message()).into_owned();
    assert!(text.contains("Subject: typed\r\n\r\nby hand\r\n"), "{text}");
    stage.world.close().await?;
    Ok(())
}

#[tokio::test]
async fn openssl_speaks_tls_from_the_first_byte_where_that_is_meant() -> Result<()> {
    let stage = Stage::start().await?;
    let mut terminal = Terminal::start(&stage, "smtps", &[]).await?;
    assert!(terminal.reply().await?.starts_with("220 "));
    let reply = terminal.say("STARTTLS").await?;
    assert!(reply.starts_with("502 ") || reply.starts_with("500 "), "{reply}");
    // At the port for STARTTLS the first byte of TLS is no command.
    let mut wrong = Terminal::start(&stage, "smtp", &[]).await?;
    assert!(wrong.reply().await.is_err());
    stage.world.close().await?;
    Ok(())
}

#[tokio::test]
async fn every_mechanism_and_tls_mode_of_swaks() -> Result<()> {
    let stage = Stage::start().await?;
    let mut arrived = 0;
    for (tls, mechanism, expected) in [
        ("--tls", "PLAIN", Some("235 2.7.0")),
        ("--tls", "LOGIN", Some("235 2.7.0")),
        ("--tls-on-connect", "PLAIN", Some("235 2.7.0")),
        ("--tls-on-connect", "LOGIN", Some("235 2.7.0")),
        // Neither is offered: what a listener learns of their passwords is too much. swaks does not know SCRAM.
        ("--tls", "CRAM-MD5", None),
        ("--tls", "DIGEST-MD5", None),
        ("--tls-on-connect", "CRAM-MD5", None),
        // Without TLS nothing is.
        ("--protocol=ESMTP", "PLAIN", None),
        ("--protocol=ESMTP", "LOGIN", None),
        ("--protocol=ESMTP", "CRAM-MD5", None),
    ] {
        let mail = letter();
        let output = swaks(&stage, &[tls, "--auth", mechanism], PASSWORD, &mail).await?;
        let transcript = said(&output);
        assert_eq!(output.status.success(), expected.is_some(), "{tls} {mechanism}: {transcript}");
        if let Some(reply) = expected {
            assert!(transcript.contains(reply), "{transcript}");
            arrived += 1;
            stage.assert_arrived(arrived, &mail).await?;
        }
    }
    assert_eq!(stage.world.close().await?, arrived, "whoever was refused sent nothing");
    Ok(())
}
