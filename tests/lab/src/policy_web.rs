//! A web server that we did not write, with a domain's MTA-STS policy (RFC 8461 §3.3).

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{Process, Result, write_certificate};

/// OpenSSL's own web server, which shows one domain's policy until it is dropped.
#[derive(Debug)]
pub struct PolicyWeb {
    address: SocketAddr,
    directory: TempDir,
    process: Process,
}

impl PolicyWeb {
    /// Starts a server without a policy yet at this address; port 0 chooses a free one. Its self-signed certificate is for
    /// `mta-sts.DOMAIN`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(domain: &str, listen: SocketAddr) -> Result<Self> {
        let directory = TempDir::with_prefix("lab-web-")?;
        write_certificate(directory.path(), &format!("mta-sts.{domain}"))?;
        let pages = directory.path().join("pages");
        fs::create_dir_all(pages.join(".well-known"))?;
        let mut command = Command::new("openssl");
        command.args(["s_server", "-WWW", "-accept", &listen.to_string()]);
        command.arg("-cert").arg(directory.path().join("certificate.pem"));
        command.arg("-key").arg(directory.path().join("key.pem")).current_dir(pages);
        let mut process = Process::spawn("openssl", command)?;
        // It tells the port only where it has chosen it.
        let port = |line: &str| match line.strip_prefix("ACCEPT")?.trim() {
            "" => Some(listen.port()),
            address => address.rsplit_once(':')?.1.parse().ok(),
        };
        let port = process.find_in_log(port).await?;
        Ok(Self { address: SocketAddr::new(listen.ip(), port), directory, process })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file with its certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// It shows this policy from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn show(&self, policy: &str) -> Result<()> {
        let file = Path::new("pages/.well-known/mta-sts.txt");
        Ok(fs::write(self.directory.path().join(file), policy)?)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn end(&mut self) -> Result<()> {
        self.process.kill().await
    }
}
