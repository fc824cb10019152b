//! What was done, and what came of it.

use std::fmt;

use hedwig_envelope::MailStatus;
use hedwig_simulation::{
    evidence::Evidence,
    promise::{Account, Breach},
};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// So many processes are killed at least.
    pub kills: u64,
    /// Draws what goes wrong.
    pub seed: u64,
}

/// How often what went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Troubles {
    /// Of mailman, of the postoffice.
    pub kills: [u64; 2],
    /// Of these, while the daemon was starting.
    pub kills_at_start: u64,
    /// How often both were killed at once.
    pub both_killed: u64,
    /// How often the network between the two broke.
    pub breaks: u64,
    /// How often it let nothing through.
    pub silences: u64,
    /// How often DNS failed.
    pub dns_failures: u64,
    /// How often a disk was filled.
    pub full_disks: u64,
    /// How often a daemon could not start on a full disk, and got room.
    pub no_room_to_start: u64,
    /// How often a clock was set forward.
    pub clocks_forward: u64,
    /// How often it was set back.
    pub clocks_back: u64,
    /// How often a daemon said that it was.
    pub clock_changes_noticed: usize,
}

impl Troubles {
    /// All kills.
    #[must_use]
    pub fn all_kills(&self) -> u64 {
        self.kills.iter().sum()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was to be done.
    pub plan: Plan,
    /// What was.
    pub troubles: Troubles,
    /// Of these troubles there were none, and why.
    pub left_out: Vec<String>,
    /// What became of all that was sent.
    pub mails: Mails,
    /// What else happened, and how often.
    pub counts: Vec<(&'static str, u64)>,
    /// Whether the promise was kept.
    pub verdict: std::result::Result<Account, Vec<Breach>>,
    /// What both queues tell, when it was not.
    pub records: Vec<MailStatus>,
}

/// Mails, as their clients saw them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mails {
    /// Sent, to the end or not.
    pub sent: usize,
    /// At least one recipient was accepted.
    pub accepted: usize,
    /// Attempts of the postoffice that are marked ambiguous.
    pub ambiguous: usize,
    /// Reports that reached a sender.
    pub reports: usize,
}

impl Mails {
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let recipients = evidence.postoffice.iter().flat_map(|mail| &mail.recipients);
        let attempts = recipients.flat_map(|recipient| &recipient.attempts);
        let accepted = evidence.submissions.values().filter(|s| !s.accepted.is_empty());
        Self {
            sent: evidence.submissions.len(),
            accepted: accepted.count(),
            ambiguous: attempts.filter(|attempt| attempt.ambiguous).count(),
            reports: evidence.reports.len(),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { kills, seed } = self.plan;
        writeln!(f, "seed {seed}, at least {kills} kills")?;
        let troubles = &self.troubles;
        let [mailman, postoffice] = troubles.kills;
        for (what, count) in [
            ("kills (SIGKILL)", troubles.all_kills()),
            ("    of mailman", mailman),
            ("    of the postoffice", postoffice),
            ("    of these, while it was starting", troubles.kills_at_start),
            ("    both at once", troubles.both_killed),
            ("times the network between the two broke", troubles.breaks),
            ("times it let nothing through", troubles.silences),
            ("failures of DNS", troubles.dns_failures),
            ("full disks", troubles.full_disks),
            ("    daemons that could not start on one", troubles.no_room_to_start),
            ("clocks set forward", troubles.clocks_forward),
            ("clocks set back", troubles.clocks_back),
            ("    times a daemon said so", troubles.clock_changes_noticed as u64),
            ("mails sent", self.mails.sent as u64),
            ("mails accepted, for one recipient or more", self.mails.accepted as u64),
            ("attempts marked ambiguous", self.mails.ambiguous as u64),
            ("reports that reached their senders", self.mails.reports as u64),
        ] {
            writeln!(f, "{count:>10}  {what}")?;
        }
        self.counts.iter().try_for_each(|(what, count)| writeln!(f, "{count:>10}  {what}"))?;
        self.left_out.iter().try_for_each(|what| writeln!(f, "left out: {what}"))?;
        match &self.verdict {
            Ok(account) => {
                let exact = account.sum() == account.accepted;
                writeln!(f, "{account}the sum is {}", if exact { "exact" } else { "WRONG" })
            }
            Err(breaches) => {
                writeln!(f, "the promise was broken: {breaches:#?}")?;
                self.records.iter().try_for_each(|record| writeln!(f, "{record:?}"))
            }
        }
    }
}
