//! Users authenticate at mailman over TLS with the clients of the real world, each mechanism with one that
//! knows nothing of our code.

mod by_hand;
mod nodemailer;

use std::{
    fs,
    future::IntoFuture,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use hedwig_envelope::{Mail, Outcome, Receipt, Reply, Status};
use hedwig_lab::{
    Half, HouseOptions, Program, Result, SENDER, Submission, World, message::assert_unchanged,
    write_certificate,
};
use hedwig_smtp::{
    ServerOptions,
    policy::allow_all,
    sasl::{Answer, Authenticator, Mechanism, Secret},
    serve,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpListener, process::Command, sync::mpsc};

const USER: &str = "alice";
const PASSWORD: &str = "tan staaf";

/// A house whose mailman knows one user and has a certificate.
struct Stage {
    world: World,
    files: TempDir,
}

impl Stage {
    async fn start() -> Result<Self> {
        let files = TempDir::with_prefix("lab-door-")?;
        let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
        write_certificate(files.path(), "127.0.0.1")?;
        let users = files.path().join("users");
        add_user(&program, &users, PASSWORD).await?;
        let set = |options: HouseOptions| {
            let path = |name: &str| files.path().join(name).display().to_string();
            let mailman = options
                .mailman
                .arguments(["--tls-listen", "127.0.0.1:0", "--users", &path("users")])
                .set(Half::Mailman, "tls", "certificate", &path("certificate.pem"))
                .set(Half::Mailman, "tls", "key", &path("key.pem"));
            HouseOptions { mailman, ..options }
        };
        let world = World::start(&program, &["example.com"], set).await?;
        Ok(Self { world, files })
    }

    fn certificate(&self) -> PathBuf {
        self.files.path().join("certificate.pem")
    }

    fn port(&self, protocol: &str) -> String {
        self.world.house.mailman.address(protocol).port().to_string()
    }

    /// Fails unless one mail more has arrived, as it was sent, from somebody who was authenticated.
    async fn assert_arrived(&self, count: usize, mail: &Submission) -> Result<()> {
        let received = &self.world.receiver.wait_for(count).await?[count - 1];
        assert_unchanged(received.content.message(), &mail.message);
        let text = String::from_utf8_lossy(received.content.message());
        assert!(text.contains(" with ESMTPSA "), "{text}");
        Ok(())
    }
}

async fn add_user(program: &Program, users: &Path, password: &str) -> Result<()> {
    let mut command = program.command(Half::Mailman);
    command.args(["user", "add", USER, "--file"]).arg(users);
    let output = run(command, format!("{password}\n").as_bytes()).await?;
    assert!(output.status.success(), "{}", said(&output));
    Ok(())
}

async fn run(mut command: Command, input: &[u8]) -> Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A client that is refused does not read its input; what it says tells more.
        let _ = stdin.write_all(input).await;
    }
    Ok(child.wait_with_output().await?)
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

fn letter() -> Submission {
    Submission::new(SENDER, &["bob@example.com"], "Hello\r\n")
}

async fn swaks(stage: &Stage, how: &[&str], password: &str, mail: &Submission) -> Result<Output> {
    let protocol = if how.contains(&"--tls-on-connect") { "smtps" } else { "smtp" };
    let mut command = Command::new("/usr/bin/swaks");
    command.args(["--server", "127.0.0.1", "--port", &stage.port(protocol)]).args(how);
    command.args(["--auth-user", USER, "--auth-password", password]);
    command.args(["--from", &mail.sender, "--to", &mail.recipients.join(",")]);
    command.args(["--helo", "swaks.lab.example", "--no-data-fixup", "--data", "-"]);
    run(command, &[&mail.message[..], b".\r\n"].concat()).await
}

/// Sends over TLS from the first byte, and looks whether the certificate is the one in the file.
async fn smtplib(stage: &Stage, mail: &Submission) -> Result<Output> {
    const SCRIPT: &str = "
import smtplib, ssl, sys
port, authority, user, password, sender, *recipients = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
with smtplib.SMTP_SSL('127.0.0.1', int(port), 'smtplib.lab.example', context=context, timeout=30) as client:
    client.login(user, password)
    client.sendmail(sender, recipients, sys.stdin.buffer.read())
";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT, &stage.port("smtps")]).arg(stage.certificate());
    command.args([USER, PASSWORD, &mail.sender]).args(&mail.recipients);
    run(command, &mail.message).await
}

async fn msmtp(stage: &Stage, password: &str, mail: &Submission) -> Result<Output> {
    let configuration = tempfile::NamedTempFile::new()?;
    let text = format!(
        "account default\nhost 127.0.0.1\nport {}\nfrom {}\n\
         tls on\ntls_starttls on\ntls_trust_file {}\n\
         auth scram-sha-256\nuser {USER}\npassword \"{password}\"\n",
        stage.port("smtp"),
        mail.sender,
        stage.certificate().display()
    );
    fs::write(configuration.path(), text)?;
    let mut command = Command::new("/usr/bin/msmtp");
    command.arg("--file").arg(configuration.path()).arg("--").args(&mail.recipients);
    let lines = String::from_utf8(mail.message.clone())?.replace("\r\n", "\n");
    run(command, lines.as_bytes()).await
}

#[tokio::test]
async fn plain_and_login_with_swaks_after_starttls_and_over_tls_from_the_first_byte() -> Result<()>
{
    let stage = Stage::start().await?;
    for (index, how) in [
        ["--tls", "--auth", "PLAIN"],
        ["--tls", "--auth", "LOGIN"],
        ["--tls-on-connect", "--auth", "PLAIN"],
    ]
    .iter()
    .enumerate()
    {
        let mail = letter();
        let output = swaks(&stage, how, PASSWORD, &mail).await?;
        assert!(output.status.success(), "{how:?}: {}", said(&output));
        stage.assert_arrived(index + 1, &mail).await?;
    }
    for how in [["--tls", "--auth", "PLAIN"], ["--tls", "--auth", "LOGIN"]] {
        let output = swaks(&stage, &how, "wrong", &letter()).await?;
        assert!(!output.status.success() && said(&output).contains("535 5.7.8"), "{how:?}");
    }
    let output = swaks(&stage, &["--auth", "PLAIN"], PASSWORD, &letter()).await?;
    assert!(!output.status.success(), "nobody may say a password in clear text");
    assert!(!said(&output).contains("250-AUTH") && !said(&output).contains("250 AUTH"));
    stage.world.close().await?;
    Ok(())
}

#[tokio::test]
async fn scram_sha_256_with_msmtp() -> Result<()> {
    let stage = Stage::start().await?;
    let mail = letter();
    let output = msmtp(&stage, PASSWORD, &mail).await?;
    assert!(output.status.success(), "{}", said(&output));
    stage.assert_arrived(1, &mail).await?;
    let output = msmtp(&stage, "wrong", &letter()).await?;
    assert!(!output.status.success() && said(&output).contains("535 5.7.8"), "{}", said(&output));
    stage.world.close().await?;
    Ok(())
}

/// Takes one token, which is alice's.
struct Tokens;

impl Authenticator for Tokens {
    fn mechanisms(&self) -> Vec<Mechanism> {
        vec![Mechanism::OAuthBearer]
    }

    fn check_token<'a>(
        &'a self,
        user: Option<&'a str>,
        token: &'a Secret,
    ) -> Answer<'a, Option<String>> {
        let is_right = user == Some(USER) && token.reveal() == "vF9dft4qmTc2Nvb3RlckBhbHRh";
        Box::pin(async move { Ok(is_right.then(|| USER.to_owned())) })
    }
}

#[tokio::test]
async fn oauthbearer_with_msmtp() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |mail: Mail| {
        let done = Outcome::of_reply(Reply::with_status(250, Status::OK, "Taken"), None);
        let receipt = Receipt::uniform(mail.id, mail.envelope.recipients.len(), done);
        let sent = sender.send(mail.origin.authenticated);
        async move { sent.map(|()| receipt).map_err(hedwig_lab::BoxError::from) }
    });
    let options = ServerOptions { authentication_in_clear_text: true, ..Default::default() };
    let server = serve(listener, allow_all(), service).options(options);
    let server = tokio::spawn(server.authenticator(Arc::new(Tokens)).into_future());

    let mail = letter();
    for (token, is_right) in [("vF9dft4qmTc2Nvb3RlckBhbHRh", true), ("another", false)] {
        let configuration = tempfile::NamedTempFile::new()?;
        let text = format!(
            "account default\nhost 127.0.0.1\nport {port}\nfrom {}\ntls off\n\
             auth oauthbearer\nuser {USER}\npassword {token}\n",
            mail.sender
        );
        fs::write(configuration.path(), text)?;
        let mut command = Command::new("/usr/bin/msmtp");
        command.arg("--file").arg(configuration.path()).arg("--").args(&mail.recipients);
        let output = run(command, &mail.message).await?;
        assert_eq!(output.status.success(), is_right, "{}", said(&output));
    }
    server.abort();
    assert_eq!(arrived.recv().await, Some(Some(USER.to_owned())));
    assert!(arrived.try_recv().is_err(), "the other token lets nobody in");
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_and_a_changed_password_need_no_restart() -> Result<()> {
    let stage = Stage::start().await?;
    let mail = letter();
    let output = smtplib(&stage, &mail).await?;
    assert!(output.status.success(), "{}", said(&output));
    stage.assert_arrived(1, &mail).await?;

    write_certificate(stage.files.path(), "127.0.0.1")?;
    let mail = letter();
    let output = smtplib(&stage, &mail).await?;
    assert!(output.status.success(), "{}", said(&output));
    stage.assert_arrived(2, &mail).await?;

    let program = Program::at(env!("CARGO_BIN_EXE_hedwig-lab"));
    add_user(&program, &stage.files.path().join("users"), "another").await?;
    let output = smtplib(&stage, &letter()).await?;
    assert!(said(&output).contains("SMTPAuthenticationError"), "{}", said(&output));
    stage.world.close().await?;
    Ok(())
}

/// GNU SASL's own client binds the exchange to its TLS 1.3 connection (RFC 9266).
async fn gsasl(stage: &Stage, password: &str) -> Result<Output> {
    let mut command = Command::new("/usr/bin/gsasl");
    command.args([
        "--smtp",
        "--verbose",
        "--connect",
        &format!("127.0.0.1:{}", stage.port("smtp")),
    ]);
    command.args(["--mechanism", "SCRAM-SHA-256-PLUS", "--authentication-id", USER]);
    command.args(["--password", password]);
    command.arg("--x509-ca-file").arg(stage.certificate());
    run(command, b"").await
}

#[tokio::test]
async fn scram_sha_256_plus_with_gnu_sasl() -> Result<()> {
    let stage = Stage::start().await?;
    let output = gsasl(&stage, PASSWORD).await?;
    let said_it = said(&output);
    assert!(
        said_it.contains("AUTH SCRAM-SHA-256-PLUS") && said_it.contains("235 2.7.0"),
        "{said_it}"
    );
    let output = gsasl(&stage, "wrong").await?;
    let said_it = said(&output);
    assert!(said_it.contains("535 5.7.8") && !said_it.contains("235 2.7.0"), "{said_it}");
    stage.world.close().await?;
    Ok(())
}
