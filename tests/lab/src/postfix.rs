//! A real Postfix with a configuration, a queue and mailboxes of its own.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    LabError, Process, Result, clients::run, maildir, wait::eventually, write_certificate,
};

const POSTFIX: &str = "/usr/sbin/postfix";
/// Another test may take a port between its choice and its use.
const ATTEMPTS_MAX: usize = 8;

/// What a [`Postfix`] is to be.
#[derive(Clone, Debug)]
pub struct PostfixOptions {
    /// Its name.
    pub hostname: String,
    /// Where it listens; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// The domains it takes mail for.
    pub domains: Vec<String>,
    /// The only recipients it has, the others getting 550 5.1.1; empty for all of its domains.
    pub mailboxes: Vec<String>,
    /// Whether it offers STARTTLS, with a certificate of its own for its name.
    pub tls: bool,
    /// Further lines of `main.cf`.
    pub main_cf: Vec<String>,
}

impl Default for PostfixOptions {
    fn default() -> Self {
        Self {
            hostname: "mx.lab.example".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            domains: Vec::new(),
            mailboxes: Vec::new(),
            tls: false,
            main_cf: Vec::new(),
        }
    }
}

/// A Postfix that runs until it is dropped.
///
/// It must be started by root, as Postfix itself demands.
#[derive(Debug)]
pub struct Postfix {
    address: SocketAddr,
    directory: TempDir,
    /// Held for its log and its end: Postfix's master runs below it.
    process: Process,
}

impl Postfix {
    /// Starts a server that keeps what it gets in one Maildir.
    ///
    /// # Errors
    /// When the package is missing, the user is not root, or Postfix does not start; with its log.
    pub async fn start(options: &PostfixOptions) -> Result<Self> {
        let mut attempts = 1;
        loop {
            let address = free_address(options.listen)?;
            match Self::start_at(options, address).await {
                Err(_) if options.listen.port() == 0 && attempts < ATTEMPTS_MAX => attempts += 1,
                started => return started,
            }
        }
    }

    async fn start_at(options: &PostfixOptions, address: SocketAddr) -> Result<Self> {
        let directory = TempDir::with_prefix("lab-postfix-")?;
        lay_out(directory.path(), options, address)?;
        let mut command = Command::new(POSTFIX);
        command.arg("-c").arg(directory.path().join("etc")).arg("start-fg");
        let process = Process::spawn("postfix", command)?;
        let mut postfix = Self { address, directory, process };
        eventually("Postfix to start", async || postfix.has_started()).await.map_err(|error| {
            LabError::new(format!("{error}\n{}\n{:?}", postfix.log(), postfix.process.log()))
        })?;
        postfix.process.id()?;
        Ok(postfix)
    }

    fn has_started(&mut self) -> Result<Option<()>> {
        let log = self.log();
        if log.contains("fatal:") || self.process.has_ended()? {
            return Err(LabError::new("Postfix does not start").into());
        }
        Ok(log.contains("daemon started").then_some(()))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with its certificate, if it offers STARTTLS.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("etc/certificate.pem")
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log/postfix.log")).unwrap_or_default()
    }

    /// The line of its log that has this text, once it is there: a process of its own writes it, when that comes to it.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn find_in_log(&self, text: &str) -> Result<String> {
        eventually(text, async || {
            Ok(self.log().lines().find(|line| line.contains(text)).map(str::to_owned))
        })
        .await
    }

    /// The process id of its master.
    ///
    /// # Errors
    /// When it does not run.
    pub fn master_id(&self) -> Result<u32> {
        Ok(fs::read_to_string(self.directory.path().join("queue/pid/master.pid"))?
            .trim()
            .parse()?)
    }

    /// The messages it has delivered, in the order in which it delivered them, with CRLF line ends.
    ///
    /// # Errors
    /// When the mailbox cannot be read.
    pub fn messages(&self) -> Result<Vec<Vec<u8>>> {
        maildir::messages(&self.directory.path().join("mail/box"))
    }

    /// Waits until it has delivered so many messages, and returns them.
    ///
    /// # Errors
    /// When it has not in time, with its log.
    pub async fn wait_for(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        eventually("a delivery by Postfix", async || {
            Ok(Some(self.messages()?).filter(|messages| messages.len() >= count))
        })
        .await
        .map_err(|error| LabError::new(format!("{error}\n{}", self.log())).into())
    }

    /// Waits until its own queue is empty: what was accepted is in the mailbox then.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_until_idle(&self) -> Result<()> {
        let etc = self.directory.path().join("etc");
        eventually("Postfix's queue to become empty", async || {
            let mut command = Command::new("/usr/sbin/postqueue");
            command.arg("-c").arg(&etc).arg("-j");
            Ok(run(command, b"").await?.trim().is_empty().then_some(()))
        })
        .await
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- postfix\n{}", self.log());
        }
        let id = self.master_id().ok().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(id) = id {
            // It ends its own children.
            let _ = kill_process(id, Signal::TERM);
        }
    }
}

/// The address itself, or for port 0 one with a port that was free a moment ago.
fn free_address(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.port() == 0 { TcpListener::bind(address)?.local_addr() } else { Ok(address) }
}

fn lay_out(directory: &Path, options: &PostfixOptions, address: SocketAddr) -> Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for name in ["etc", "queue", "data", "mail", "log"] {
        fs::create_dir(directory.join(name))?;
    }
    let owner = user_id("postfix")?;
    chown(directory.join("data"), Some(owner), None)?;
    chown(directory.join("mail"), Some(owner), None)?;
    if options.tls {
        write_certificate(&directory.join("etc"), &options.hostname)?;
    }
    fs::write(directory.join("etc/main.cf"), main_cf(directory, options, owner))?;
    fs::write(directory.join("etc/master.cf"), master_cf(address))?;
    Ok(())
}

/// The id of a user of the system.
pub(crate) fn user_id(name: &str) -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut ids = fields
        .filter(|fields| fields[0] == name)
        .filter_map(|fields| fields.get(2).and_then(|id| id.parse().ok()));
    ids.next().ok_or_else(|| {
        LabError::new(format!(
            "there is no user {name}: is its Debian package installed? ./test does it"
        ))
        .into()
    })
}

fn main_cf(directory: &Path, options: &PostfixOptions, owner: u32) -> String {
    let directory = directory.display();
    let hostname = &options.hostname;
    let domains = options.domains.join(" ");
    let mailboxes = if options.mailboxes.is_empty() {
        options.domains.iter().map(|domain| format!("@{domain}")).collect()
    } else {
        options.mailboxes.clone()
    };
    let mailboxes: String = mailboxes.iter().map(|name| format!("{{ {name} = box/ }} ")).collect();
    let mut further = options.main_cf.join("\n");
    if options.tls {
        let files = format!("{directory}/etc/key.pem, {directory}/etc/certificate.pem");
        further += &format!("\nsmtpd_tls_security_level = may\nsmtpd_tls_chain_files = {files}");
        further += "\nsmtpd_tls_loglevel = 1";
    }
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {directory}/queue\n\
         data_directory = {directory}/data\n\
         command_directory = /usr/sbin\n\
         daemon_directory = /usr/lib/postfix/sbin\n\
         meta_directory = /etc/postfix\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         maillog_file_prefixes = {directory}\n\
         maillog_file = {directory}/log/postfix.log\n\
         myhostname = {hostname}\n\
         inet_interfaces = all\n\
         inet_protocols = all\n\
         mydestination =\n\
         alias_maps =\n\
         mynetworks =\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         local_header_rewrite_clients =\n\
         message_drop_headers =\n\
         message_size_limit = 104857600\n\
         smtpd_peername_lookup = no\n\
         virtual_mailbox_domains = {domains}\n\
         virtual_mailbox_base = {directory}/mail\n\
         virtual_mailbox_limit = 0\n\
         virtual_mailbox_maps = inline:{{ {mailboxes}}}\n\
         virtual_minimum_uid = 1\n\
         virtual_uid_maps = static:{owner}\n\
         virtual_gid_maps = static:{owner}\n\
         {further}\n"
    )
}

fn master_cf(address: SocketAddr) -> String {
    let listen = match address {
        SocketAddr::V4(address) => address.to_string(),
        SocketAddr::V6(address) => format!("[{}]:{}", address.ip(), address.port()),
    };
    format!(
        "{listen} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\n\
         flush unix n - n 1000? 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\n\
         showq unix n - n - - showq\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         discard unix - - n - - discard\n\
         virtual unix - n n - - virtual\n\
         anvil unix - - n - 1 anvil\n\
         scache unix - - n - 1 scache\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}
