//! The two daemons, their disks and clocks, and what is between them.

use std::time::Duration;

use hedwig_envelope::{MailStatus, State};
use hedwig_lab::{Daemon, Half, HouseOptions, Program, Result, start_mailman, start_postoffice};
use hedwig_simulation::receivers::FULL;
use tokio::time::timeout;

use crate::{
    clock::{self, FakeClock},
    disk::SmallDisk,
    proxy::Proxy,
    servers::Servers,
};

/// Enough for all that comes and for what is remembered of it, and soon full.
const DISK_MEBIBYTES: u32 = 768;
/// Mails are given up soon, but not so soon that a clock that is set ends a report.
const EXPIRY: &str = "2m";
/// For how long what a sender is to be told is gathered.
const GATHERED: &str = "2s";
/// What a daemon says whose clock was set.
const CLOCK_WAS_SET: &str = "the clock was set";

pub(crate) struct House {
    pub(crate) mailman: Daemon,
    pub(crate) postoffice: Daemon,
    pub(crate) disks: [SmallDisk; 2],
    pub(crate) clocks: [FakeClock; 2],
    pub(crate) proxy: Proxy,
}

impl House {
    pub(crate) async fn start(program: &Program, servers: &Servers) -> Result<Self> {
        let disks = [SmallDisk::new(DISK_MEBIBYTES)?, SmallDisk::new(DISK_MEBIBYTES)?];
        let clocks = [FakeClock::new()?, FakeClock::new()?];
        let mut options = HouseOptions::new(servers.dns.address(), servers.port);
        options.mailman.spool = Some(disks[0].spool());
        options.postoffice.spool = Some(disks[1].spool());
        for (half, daemon) in
            [(Half::Mailman, &mut options.mailman), (Half::Postoffice, &mut options.postoffice)]
        {
            let set = clocks[place(half)].given_to(std::mem::take(daemon));
            let set = set.set(half, "delivery", "retry", "1s");
            *daemon = set.set(half, "delivery", "retry_max", "8s");
        }
        let postoffice = std::mem::take(&mut options.postoffice);
        let postoffice = postoffice.set(Half::Postoffice, "delivery", "expiry", EXPIRY);
        options.postoffice =
            postoffice.set(Half::Postoffice, "delivery", "reports_gathered", GATHERED);
        let postoffice = start_postoffice(program, &options).await?;
        let proxy = Proxy::start(postoffice.address("http")).await?;
        let mailman = start_mailman(program, options.mailman, proxy.address).await?;
        Ok(Self { mailman, postoffice, disks, clocks, proxy })
    }

    pub(crate) fn daemon(&mut self, half: Half) -> &mut Daemon {
        match half {
            Half::Mailman => &mut self.mailman,
            Half::Postoffice => &mut self.postoffice,
        }
    }

    pub(crate) fn disk(&self, half: Half) -> &SmallDisk {
        &self.disks[place(half)]
    }

    pub(crate) fn clock(&self, half: Half) -> &FakeClock {
        &self.clocks[place(half)]
    }

    /// How often a daemon said, since it was started, that its clock was set.
    pub(crate) fn clock_changes_noticed(&mut self, half: Half) -> usize {
        let log = self.daemon(half).process().log();
        log.iter().filter(|line| line.contains(CLOCK_WAS_SET)).count()
    }

    /// How many damaged places both spools have set aside. (Whole segments are of batches that came to nothing.)
    pub(crate) fn quarantined(&self) -> Result<u64> {
        let mut count = 0;
        for disk in &self.disks {
            for entry in std::fs::read_dir(disk.spool().join("quarantine"))? {
                count += u64::from(entry?.path().extension().is_none_or(|e| e != "segment"));
            }
        }
        Ok(count)
    }

    /// Starts a daemon that was killed. One that finds its disk full gets room; `true` then.
    pub(crate) async fn start_again(&mut self, half: Half) -> Result<bool> {
        let Err(error) = self.daemon(half).start_again().await else { return Ok(false) };
        eprintln!("{half:?} did not start: {error}");
        self.disk(half).empty()?;
        self.daemon(half).start_again().await?;
        Ok(true)
    }

    /// Kills a daemon.
    pub(crate) async fn kill(&mut self, half: Half) -> Result<()> {
        let daemon = self.daemon(half);
        let id = daemon.process().id()?;
        daemon.kill().await?;
        Ok(clock::forget(id)?)
    }

    /// Starts a daemon and kills it before it listens, unless it is quicker.
    pub(crate) async fn kill_at_start(&mut self, half: Half, after: Duration) -> Result<()> {
        let daemon = self.daemon(half);
        // One that ended by itself was in its way to say why, and is started once more anyway.
        if matches!(timeout(after, daemon.start_again()).await, Ok(Err(_))) {
            return Ok(());
        }
        self.kill(half).await
    }
}

fn place(half: Half) -> usize {
    usize::from(half == Half::Postoffice)
}

/// Every mail that a daemon's queue still tells of, finished ones too.
pub(crate) async fn all_mails(daemon: &Daemon) -> Result<Vec<MailStatus>> {
    read(&daemon.queue(&["list", "--all", "--json"]).await?)
}

/// How many recipients will be tried again by themselves: those that no server ever takes, and the others, with those
/// whose senders will be told.
pub(crate) async fn under_way(daemon: &Daemon) -> Result<[usize; 2]> {
    let mails = read(&daemon.queue(&["list", "--json"]).await?)?;
    let mut counts = [0; 2];
    for recipient in mails.iter().flat_map(|mail| &mail.recipients) {
        let waits = !recipient.state.is_final() && recipient.state != State::Held;
        if waits || recipient.report_due {
            let is_full = waits && recipient.address.local_part() == FULL;
            counts[usize::from(!is_full)] += 1;
        }
    }
    Ok(counts)
}

fn read(lines: &str) -> Result<Vec<MailStatus>> {
    lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
