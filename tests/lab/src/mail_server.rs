//! Receiving servers that we did not write, besides [`Postfix`](crate::Postfix): Exim, OpenSMTPD, Dovecot.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{LabError, Process, Result, maildir, wait::eventually, write_certificate};

/// What a [`MailServer`] is to be.
#[derive(Clone, Debug)]
pub struct MailServerOptions {
    /// Where it listens, the port included.
    pub listen: SocketAddr,
    /// The domain it takes mail for, and its name: its certificate is for `mx.DOMAIN`.
    pub domain: String,
    /// The local parts that it knows.
    pub mailboxes: Vec<String>,
    /// Further lines of its main configuration.
    pub configuration: Vec<String>,
}

impl MailServerOptions {
    /// A server at this address for `bob` and `alice` of this domain.
    #[must_use]
    pub fn new(listen: SocketAddr, domain: &str) -> Self {
        Self {
            listen,
            domain: domain.to_owned(),
            mailboxes: vec!["bob".to_owned(), "alice".to_owned()],
            configuration: Vec::new(),
        }
    }
}

/// A server that runs until it is dropped, and keeps what it takes in Maildirs.
///
/// It must be started by root, as the servers themselves demand.
#[derive(Debug)]
pub struct MailServer {
    pub(crate) name: &'static str,
    /// Where it has its log, when it does not write it to standard error.
    log: Option<PathBuf>,
    process: Process,
    directory: TempDir,
}

/// What a server's own file makes of its options: how it is run and where its log is.
pub(crate) struct Prepared {
    pub(crate) command: Command,
    pub(crate) log: Option<PathBuf>,
    /// What its log says when it listens.
    pub(crate) ready: &'static str,
}

impl MailServer {
    pub(crate) async fn start(
        name: &'static str,
        options: &MailServerOptions,
        prepare: impl FnOnce(&Path) -> Result<Prepared>,
    ) -> Result<Self> {
        let directory = TempDir::with_prefix(format!("lab-{name}-"))?;
        write_certificate(directory.path(), &format!("mx.{}", options.domain))?;
        let Prepared { command, log, ready } = prepare(directory.path())?;
        let process = Process::spawn(name, command)?;
        let mut server = Self { name, log, process, directory };
        eventually("a mail server to start", async || {
            if server.process.has_ended()? {
                return Err(LabError::new("it has ended").into());
            }
            Ok(server.log().contains(ready).then_some(()))
        })
        .await
        .map_err(|error| {
            LabError::new(format!("{name}: {error}\n{}\n{:?}", server.log(), server.process.log()))
        })?;
        Ok(server)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.log {
            // There is none before the first line.
            Some(file) => fs::read_to_string(file).unwrap_or_default(),
            None => self.process.log().join("\n"),
        }
    }

    /// How many lines of its log have this in them.
    #[must_use]
    pub fn logged(&self, what: &str) -> usize {
        self.log().lines().filter(|line| line.contains(what)).count()
    }

    /// The messages in a mailbox, with CRLF line ends.
    ///
    /// # Errors
    /// When the mailbox cannot be read.
    pub fn messages(&self, mailbox: &str) -> Result<Vec<Vec<u8>>> {
        maildir::messages(&self.directory.path().join("mail").join(mailbox))
    }

    /// Waits until there are so many messages in a mailbox, and returns them.
    ///
    /// # Errors
    /// When they are not there in time, with its log.
    pub async fn wait_for(&self, mailbox: &str, count: usize) -> Result<Vec<Vec<u8>>> {
        eventually("a delivery by another server", async || {
            Ok(Some(self.messages(mailbox)?).filter(|messages| messages.len() >= count))
        })
        .await
        .map_err(|error| LabError::new(format!("{}: {error}\n{}", self.name, self.log())).into())
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        if std::thread::panicking() && self.log.is_some() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}
