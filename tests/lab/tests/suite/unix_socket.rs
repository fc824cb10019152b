//! mailman takes mail at a Unix socket too. The client is Python's smtplib, which speaks LMTP to a path.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use hedwig_lab::{Half, HouseOptions, Process, Program, Result, SENDER, World};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::Command};

fn program() -> Program {
    Program::at(env!("CARGO_BIN_EXE_hedwig-lab"))
}

/// A house whose mailman speaks LMTP at this path.
async fn house(path: &Path) -> Result<World> {
    let set = |options: HouseOptions| {
        let mut mailman = options.mailman;
        let listen = format!("unix:{}", path.display());
        for (key, value) in [("listen", &*listen), ("protocol", "lmtp"), ("mode", "0600")] {
            mailman = mailman.set(Half::Mailman, "listener_local", key, value);
        }
        HouseOptions { mailman, ..options }
    };
    let mut world = World::start(&program(), &["example.com", "example.net"], set).await?;
    listens(world.house.mailman.process(), path).await?;
    Ok(world)
}

async fn listens(mailman: &mut Process, path: &Path) -> Result<()> {
    let address = format!("\"address\":\"unix:{}\"", path.display());
    mailman.find_in_log(|line| line.contains(&address).then_some(())).await
}

/// Sends a mail to two recipients; the replies after its content.
async fn send(path: &Path) -> Result<String> {
    const SCRIPT: &str = "
import smtplib, sys
path, sender = sys.argv[1:]
with smtplib.LMTP(path, local_hostname='lmtp.lab.example') as client:
    client.ehlo_or_helo_if_needed()
    client.mail(sender)
    replies = [client.rcpt('bob@example.com'), client.rcpt('carol@example.net'), client.docmd('DATA')]
    client.send(b'Subject: x\\r\\n\\r\\nx\\r\\n.\\r\\n')
    # One for each recipient.
    replies += [client.getreply(), client.getreply()]
print([code for code, _ in replies])
";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", SCRIPT]).arg(path).arg(SENDER);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    child.stdin.take().expect("a pipe").shutdown().await?;
    let output = child.wait_with_output().await?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    Ok(said.concat())
}

fn place() -> Result<(TempDir, PathBuf)> {
    let directory = TempDir::with_prefix("lab-unix-")?;
    let path = directory.path().join("lmtp.sock");
    Ok((directory, path))
}

#[tokio::test]
async fn lmtp_comes_in_at_a_path_and_goes_out_as_ever() -> Result<()> {
    let (_directory, path) = place()?;
    let world = house(&path).await?;
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(send(&path).await?.trim(), "[250, 250, 354, 250, 250]");
    for mail in world.receiver.wait_for(2).await? {
        let mail = String::from_utf8_lossy(&mail.content.to_bytes()).into_owned();
        assert!(mail.contains("Received: by mailman.lab.example (Hedwig) with LMTP "), "{mail}");
    }
    world.close().await?;
    assert!(!path.exists(), "it goes with the daemon");
    Ok(())
}

#[tokio::test]
async fn what_a_killed_daemon_left_behind_is_replaced() -> Result<()> {
    let (_directory, path) = place()?;
    let mut world = house(&path).await?;
    world.house.mailman.kill().await?;
    assert!(path.exists(), "nobody was there to remove it");
    world.house.mailman.start_again().await?;
    listens(world.house.mailman.process(), &path).await?;
    assert_eq!(send(&path).await?.trim(), "[250, 250, 354, 250, 250]");
    world.receiver.wait_for(2).await?;
    world.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() -> Result<()> {
    let (directory, path) = place()?;
    fs::write(&path, "precious")?;
    let mut command = program().command(Half::Mailman);
    command.args(["serve", "--hostname", "host.lab.example", "--listen", "127.0.0.1:0"]);
    command.arg("--spool").arg(directory.path().join("spool"));
    command.env("HEDWIG_MAILMAN_LISTENER_LOCAL_LISTEN", format!("unix:{}", path.display()));
    let mut mailman = Process::spawn("mailman", command)?;
    assert_eq!(mailman.wait().await?.code(), Some(78));
    mailman.find_in_log(|line| line.contains("no socket").then_some(())).await?;
    assert_eq!(fs::read_to_string(&path)?, "precious");
    Ok(())
}
