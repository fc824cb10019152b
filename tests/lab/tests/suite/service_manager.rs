//! The daemons under a service manager that the test plays: it hands over sockets that listen, and hears
//! what it is told.

use std::{fs, net::SocketAddr};

use hedwig_lab::{Client, Half, LabError, PATIENCE, Process, Result, Submission, TOKEN, curl};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::UnixDatagram, process::Command, time::timeout};

/// Opens a socket for each NAME@ADDRESS, as fd 3 and so on, and becomes the program.
const LAUNCHER: &str = "
import os, socket, sys
sockets, *program = sys.argv[1:]
sockets = [socket_.split('@') for socket_ in sockets.split(',')]
for fd, (name, address) in enumerate(sockets, 3):
    listener = socket.create_server((address, 0))
    os.dup2(listener.detach(), fd)
    os.set_inheritable(fd, True)
os.environ['LISTEN_FDS'] = str(len(sockets))
os.environ['LISTEN_FDNAMES'] = ':'.join(name for name, _ in sockets)
os.environ['LISTEN_PID'] = os.environ['WATCHDOG_PID'] = str(os.getpid())
os.execv(program[0], program)
";

struct Manager {
    directory: TempDir,
    notices: UnixDatagram,
}

impl Manager {
    fn new() -> Result<Self> {
        let directory = TempDir::with_prefix("lab-")?;
        fs::write(directory.path().join("token"), TOKEN)?;
        let notices = UnixDatagram::bind(directory.path().join("notify"))?;
        Ok(Self { directory, notices })
    }

    /// Starts a daemon with these sockets; it is to say three times in 600 ms that it is alive.
    fn start(&self, half: Half, sockets: &str, arguments: &[&str]) -> Result<Process> {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", LAUNCHER, sockets, env!("CARGO_BIN_EXE_hedwig-lab"), half.name()]);
        command.args(["serve", "--log-format", "json", "--hostname", "host.lab.example"]);
        command.arg("--spool").arg(self.directory.path().join("spool")).args(arguments);
        command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        command.env("WATCHDOG_USEC", "600000");
        Process::spawn(half.name(), command)
    }

    fn token_file(&self) -> String {
        self.directory.path().join("token").display().to_string()
    }

    /// Waits until the daemon says this, and returns all that it said with it.
    async fn is_told(&self, wanted: &str) -> Result<String> {
        let hear = async {
            loop {
                let mut notice = [0; 4096];
                let length = self.notices.recv(&mut notice).await?;
                let notice = String::from_utf8_lossy(&notice[..length]).into_owned();
                if notice.lines().any(|line| line == wanted) {
                    return Ok(notice);
                }
            }
        };
        let never = |_| LabError::new(format!("{wanted} was never said"));
        timeout(PATIENCE, hear).await.map_err(never)?
    }
}

/// Waits until the daemon says that it listens at a socket it was handed, and where that is.
async fn handed_over(process: &mut Process, protocol: &str) -> Result<SocketAddr> {
    let address = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["protocol"] == protocol && line["from"] == "the service manager";
        is_it.then(|| line["address"].as_str()?.parse().ok())?
    };
    process.find_in_log(address).await
}

#[tokio::test]
async fn mailman_takes_mail_at_a_socket_it_was_handed_and_tells_how_it_is() -> Result<()> {
    let manager = Manager::new()?;
    // Nobody listens at the postoffice's port, so that the mail is committed here.
    let arguments = ["--listen", "192.0.2.1:25", "--postoffice", "http://127.0.0.1:9"];
    let mut mailman = manager.start(Half::Mailman, "smtp@127.0.0.1", &arguments)?;
    manager.is_told("READY=1").await?;
    let address = handed_over(&mut mailman, "smtp").await?;
    let notice = manager.is_told("WATCHDOG=1").await?;
    assert!(notice.contains("STATUS=recipients that wait: 0"), "{notice:?}");
    let mail = Submission::new("a@lab.example", &["b@lab.example"], "Hello\r\n");
    Client::Smtplib.send(address, &mail).await?;
    // Said before the mail came, or after it.
    while !manager.is_told("WATCHDOG=1").await?.contains("STATUS=recipients that wait: 1") {}
    mailman.signal(rustix::process::Signal::TERM)?;
    manager.is_told("STOPPING=1").await?;
    assert!(mailman.wait().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_postoffice_answers_at_every_socket_it_was_handed() -> Result<()> {
    let manager = Manager::new()?;
    let arguments = ["--token-file", &manager.token_file()];
    let sockets = "http@127.0.0.1,http@127.0.0.2";
    let mut postoffice = manager.start(Half::Postoffice, sockets, &arguments)?;
    manager.is_told("READY=1").await?;
    let first = handed_over(&mut postoffice, "http").await?;
    let second = postoffice
        .find_in_log(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address: SocketAddr = line["address"].as_str()?.parse().ok()?;
            (address != first).then_some(address)
        })
        .await?;
    for address in [first, second] {
        let response = curl([format!("http://{address}/readyz")], b"").await?;
        assert_eq!(response.status, 200, "{response:?}");
    }
    manager.is_told("WATCHDOG=1").await?;
    assert!(postoffice.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_socket_that_nobody_would_answer_at_is_an_error_of_the_configuration() -> Result<()> {
    let manager = Manager::new()?;
    let sockets = "smtp@127.0.0.1,hedwig-mailman.socket@127.0.0.1";
    let mut mailman = manager.start(Half::Mailman, sockets, &[])?;
    mailman.find_in_log(|line| line.contains("hedwig-mailman.socket").then_some(())).await?;
    assert_eq!(mailman.wait().await?.code(), Some(78));
    Ok(())
}

#[tokio::test]
async fn a_socket_open_to_a_network_is_refused_without_a_token() -> Result<()> {
    let manager = Manager::new()?;
    // What is configured would be safe.
    let arguments = ["--listen", "127.0.0.1:0"];
    let mut postoffice = manager.start(Half::Postoffice, "http@0.0.0.0", &arguments)?;
    postoffice.find_in_log(|line| line.contains("without a token").then_some(())).await?;
    assert_eq!(postoffice.wait().await?.code(), Some(78));
    Ok(())
}
