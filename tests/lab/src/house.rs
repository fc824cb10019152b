//! Both daemons, the one handing over to the other.

use std::{net::SocketAddr, path::PathBuf};

use crate::{Daemon, DaemonOptions, Half, Program, Result};

/// What a [`House`] stands on.
#[derive(Clone, Debug)]
pub struct HouseOptions {
    /// The name server the postoffice asks.
    pub dns: SocketAddr,
    /// The port at which every mail server of the zone listens.
    pub mx_port: u16,
    /// The directory of DKIM keys; without it nothing is signed.
    pub dkim_keys: Option<PathBuf>,
    /// More for mailman.
    pub mailman: DaemonOptions,
    /// More for the postoffice.
    pub postoffice: DaemonOptions,
}

impl HouseOptions {
    /// Nothing but what is needed.
    #[must_use]
    pub fn new(dns: SocketAddr, mx_port: u16) -> Self {
        Self {
            dns,
            mx_port,
            dkim_keys: None,
            mailman: DaemonOptions::default(),
            postoffice: DaemonOptions::default(),
        }
    }
}

/// A mailman and a postoffice that run.
#[derive(Debug)]
pub struct House {
    /// Where mail is born.
    pub mailman: Daemon,
    /// Where it leaves.
    pub postoffice: Daemon,
}

impl House {
    /// Starts the postoffice, then a mailman that hands over to it.
    ///
    /// # Errors
    /// With the log of the daemon that does not start.
    pub async fn start(program: &Program, options: HouseOptions) -> Result<Self> {
        let postoffice = start_postoffice(program, &options).await?;
        let mailman = start_mailman(program, options.mailman, postoffice.address("http")).await?;
        Ok(Self { mailman, postoffice })
    }

    /// Where a client sends to.
    #[must_use]
    pub fn smtp(&self) -> SocketAddr {
        self.mailman.address("smtp")
    }
}

/// Starts a postoffice.
///
/// # Errors
/// With its log, when it does not start.
pub async fn start_postoffice(program: &Program, options: &HouseOptions) -> Result<Daemon> {
    let mut daemon = options.postoffice.clone().arguments([
        "--hostname".to_owned(),
        "postoffice.lab.example".to_owned(),
        "--dns".to_owned(),
        options.dns.to_string(),
        "--mx-port".to_owned(),
        options.mx_port.to_string(),
        "--allow-loopback".to_owned(),
    ]);
    if let Some(keys) = &options.dkim_keys {
        daemon = daemon.arguments(["--dkim-keys".to_owned(), keys.display().to_string()]);
    }
    Daemon::start(program, Half::Postoffice, daemon).await
}

/// Starts a mailman that hands over to the postoffice at this address.
///
/// # Errors
/// With its log, when it does not start.
pub async fn start_mailman(
    program: &Program,
    options: DaemonOptions,
    postoffice: SocketAddr,
) -> Result<Daemon> {
    let options = options.arguments([
        "--hostname".to_owned(),
        "mailman.lab.example".to_owned(),
        "--postoffice".to_owned(),
        format!("http://{postoffice}"),
    ]);
    Daemon::start(program, Half::Mailman, options).await
}
