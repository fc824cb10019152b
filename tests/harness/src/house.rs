//! The two daemons, their disks, and what is between them.

use hedwig_envelope::MailStatus;
use hedwig_lab::{Daemon, Half, HouseOptions, Program, Result, start_mailman, start_postoffice};

use crate::{disk::SmallDisk, proxy::Proxy, servers::Servers};

/// Enough for what waits, and soon full.
const DISK_MEBIBYTES: u32 = 256;
/// Mails are given up soon, so that nobody waits for days.
const EXPIRY: &str = "25s";

pub(crate) struct House {
    pub(crate) mailman: Daemon,
    pub(crate) postoffice: Daemon,
    pub(crate) disks: [SmallDisk; 2],
    pub(crate) proxy: Proxy,
}

impl House {
    pub(crate) async fn start(program: &Program, servers: &Servers) -> Result<Self> {
        let disks = [SmallDisk::new(DISK_MEBIBYTES)?, SmallDisk::new(DISK_MEBIBYTES)?];
        let mut options = HouseOptions::new(servers.dns.address(), servers.port);
        options.mailman.spool = Some(disks[0].spool());
        options.postoffice.spool = Some(disks[1].spool());
        for (half, daemon) in
            [(Half::Mailman, &mut options.mailman), (Half::Postoffice, &mut options.postoffice)]
        {
            let set = std::mem::take(daemon);
            let set = set.set(half, "delivery", "retry", "1s");
            *daemon = set.set(half, "delivery", "retry_max", "2s");
        }
        let postoffice = std::mem::take(&mut options.postoffice);
        options.postoffice = postoffice.set(Half::Postoffice, "delivery", "expiry", EXPIRY);
        let postoffice = start_postoffice(program, &options).await?;
        let proxy = Proxy::start(postoffice.address("http")).await?;
        let mailman = start_mailman(program, options.mailman, proxy.address).await?;
        Ok(Self { mailman, postoffice, disks, proxy })
    }

    pub(crate) fn daemon(&mut self, half: Half) -> &mut Daemon {
        match half {
            Half::Mailman => &mut self.mailman,
            Half::Postoffice => &mut self.postoffice,
        }
    }

    pub(crate) fn disk(&self, half: Half) -> &SmallDisk {
        &self.disks[usize::from(half == Half::Postoffice)]
    }

    /// Starts a daemon that was killed. One that finds its disk full gets room.
    pub(crate) async fn start_again(&mut self, half: Half) -> Result<()> {
        if self.daemon(half).start_again().await.is_ok() {
            return Ok(());
        }
        self.disk(half).empty()?;
        self.daemon(half).start_again().await
    }
}

/// Every mail that a daemon's queue still tells of, finished ones too.
pub(crate) async fn all_mails(daemon: &Daemon) -> Result<Vec<MailStatus>> {
    let lines = daemon.queue(&["list", "--all", "--json"]).await?;
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
