//! Where the mails come from and where they go: smtp-source and smtp-sink, of Debian's package postfix.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use hedwig_lab::{LabError, Result};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};

/// Nothing may stand still for so long.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How many mails.
    pub(crate) mails: usize,
    /// How large each is, in bytes.
    pub(crate) size_bytes: usize,
    /// Over how many connections at once.
    pub(crate) connections: usize,
    /// Whether a connection is kept for the next mail.
    pub(crate) keep_connections: bool,
}

impl Load {
    /// Sends all the mails to a server; returns when it has taken them.
    pub(crate) async fn send(self, to: SocketAddr) -> Result<()> {
        let mut command = Command::new("/usr/sbin/smtp-source");
        command.args(["-s", &self.connections.to_string(), "-m", &self.mails.to_string()]);
        command.args(["-l", &self.size_bytes.to_string()]);
        command.args(["-f", "sender@geneegroup.com", "-t", "bob@bench.example"]);
        if self.keep_connections {
            command.arg("-d");
        }
        let output = command.arg(to.to_string()).kill_on_drop(true).output().await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(LabError::new(format!("smtp-source: {}: {said}", output.status)).into())
    }
}

/// A server that counts mails and throws them away.
pub(crate) struct Sink {
    counter: watch::Receiver<usize>,
    _child: Child,
}

impl Sink {
    pub(crate) async fn start(address: SocketAddr) -> Result<Self> {
        let mut command = Command::new("/usr/sbin/smtp-sink");
        // Postfix, too, must be started by root: the sink then wants to be somebody else.
        command.args(["-u", "postfix", "-c", &address.to_string(), "1024"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            LabError::new(format!("smtp-sink: {error}; ./test installs the package postfix"))
        })?;
        let mut output =
            child.stdout.take().ok_or_else(|| LabError::new("smtp-sink: no output"))?;
        let (sender, counter) = watch::channel(0);
        tokio::spawn(async move {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = output.read(&mut buffer).await {
                if let Some(count) = last_count(&buffer[..length]) {
                    sender.send_replace(count);
                }
            }
        });
        wait_until_it_listens(address).await?;
        Ok(Self { counter, _child: child })
    }

    /// How many mails it has taken.
    pub(crate) fn count(&self) -> usize {
        *self.counter.borrow()
    }

    /// Waits until it has taken so many.
    pub(crate) async fn wait_for(&mut self, count: usize) -> Result<()> {
        while self.count() < count {
            if timeout(SILENCE_MAX, self.counter.changed()).await.is_err() {
                let arrived = self.count();
                return Err(LabError::new(format!("{arrived} of {count} mails arrived")).into());
            }
        }
        Ok(())
    }
}

async fn wait_until_it_listens(address: SocketAddr) -> Result<()> {
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(LabError::new(format!("smtp-sink does not listen at {address}")).into())
}

/// The last whole counter in output such as `sess=1 quit=0 mesg=17\r`.
fn last_count(output: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(output);
    let whole = &text[..text.rfind('\r')?];
    whole.rsplit_once("mesg=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_counter_counts() {
        assert_eq!(last_count(b"sess=1 quit=0 mesg=3\rsess=1 quit=1 mesg=17\rsess=2 me"), Some(17));
        assert_eq!(last_count(b"sess=1 quit=0 mesg=1"), None);
    }
}
