//! Round after round of troubles, and the account at the end.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use hedwig_envelope::MailStatus;
use hedwig_lab::{Fault, Half, Program, Result};
use hedwig_simulation::{
    chronicle::Chronicle,
    evidence::Evidence,
    promise::{self, Account, Breach},
    receivers::{Moods, Receivers},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    house::{House, all_mails},
    load::Client,
    proxy::State,
    servers::Servers,
};

const CLIENTS: usize = 8;
/// How often something goes wrong with a receiver.
const ONE_WRONG_IN: u32 = 12;
/// Longer than any mail waits before it is given up.
const PATIENCE: Duration = Duration::from_mins(4);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// So many rounds, each with a kill or two.
    pub rounds: u64,
    /// Draws what goes wrong.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub plan: Plan,
    /// How many processes were killed.
    pub kills: u32,
    /// How often the network was cut.
    pub cuts: u32,
    /// How often DNS failed.
    pub dns_failures: u32,
    /// How often a disk was filled.
    pub full_disks: u32,
    /// How many mails clients tried to send.
    pub mails: usize,
    /// Whether the promise was kept.
    pub verdict: std::result::Result<Account, Vec<Breach>>,
    /// What both queues tell, when it was not.
    pub records: Vec<MailStatus>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { rounds, seed } = self.plan;
        writeln!(
            f,
            "seed {seed}, {rounds} rounds: {} kills, {} cuts of the network, {} failures of DNS, \
             {} full disks; {} mails sent",
            self.kills, self.cuts, self.dns_failures, self.full_disks, self.mails
        )?;
        match &self.verdict {
            Ok(account) => write!(f, "{account}"),
            Err(breaches) => {
                writeln!(f, "the promise was broken: {breaches:#?}")?;
                self.records.iter().try_for_each(|record| writeln!(f, "{record:?}"))
            }
        }
    }
}

/// Runs a plan.
///
/// # Errors
/// When a daemon does not start, or a queue does not come to rest.
pub async fn run(program: &Program, plan: Plan) -> Result<Outcome> {
    let mut chance = fastrand::Rng::with_seed(plan.seed);
    let evidence = Arc::<Mutex<Evidence>>::default();
    let moods = Moods { one_wrong_in: ONE_WRONG_IN, withhold_replies: false };
    let receivers = Receivers::new(chance.fork(), moods, evidence.clone(), Chronicle::begin());
    let servers = Servers::start(&receivers).await?;
    let house = House::start(program, &servers).await?;
    let (stop, stopped) = watch::channel(false);
    let (numbers, mut clients) = (Arc::new(AtomicU64::new(1)), JoinSet::new());
    for _ in 0..CLIENTS {
        let client = Client {
            chance: chance.fork(),
            server: house.mailman.address("smtp"),
            evidence: evidence.clone(),
            numbers: numbers.clone(),
            stop: stopped.clone(),
        };
        clients.spawn(client.run());
    }
    let verdict = Ok(Account::default());
    let outcome = Outcome {
        plan,
        kills: 0,
        cuts: 0,
        dns_failures: 0,
        full_disks: 0,
        mails: 0,
        verdict,
        records: Vec::new(),
    };
    let mut troubles = Troubles { chance, house, servers, outcome };
    for _ in 0..plan.rounds {
        troubles.round().await?;
    }
    stop.send_replace(true);
    clients.join_all().await;
    receivers.calm_down();
    troubles.settle().await?;
    let Troubles { house, mut outcome, servers: _servers, .. } = troubles;
    let mut evidence =
        std::mem::take(&mut *evidence.lock().unwrap_or_else(PoisonError::into_inner));
    evidence.mailman = all_mails(&house.mailman).await?;
    evidence.postoffice = all_mails(&house.postoffice).await?;
    outcome.mails = evidence.submissions.len();
    outcome.verdict = promise::check(&evidence);
    if outcome.verdict.is_err() {
        outcome.records = evidence.mailman.into_iter().chain(evidence.postoffice).collect();
    }
    Ok(outcome)
}

struct Troubles {
    chance: fastrand::Rng,
    house: House,
    servers: Servers,
    outcome: Outcome,
}

impl Troubles {
    /// A trouble that lasts for the round, perhaps, and a kill in the middle of it.
    async fn round(&mut self) -> Result<()> {
        let half = if self.chance.bool() { Half::Mailman } else { Half::Postoffice };
        match self.chance.u8(..8) {
            0 => self.cut(State::Broken),
            1 => self.cut(State::Silent),
            2 => self.break_names(Fault::ServerFailure),
            3 => self.break_names(Fault::Silence),
            4 if self.house.disk(half).is_its_own() => {
                self.house.disk(half).fill()?;
                self.outcome.full_disks += 1;
            }
            _ => {}
        }
        self.pause(400).await;
        let halves: &[Half] = match self.chance.u8(..3) {
            0 => &[Half::Mailman],
            1 => &[Half::Postoffice],
            _ => &[Half::Mailman, Half::Postoffice],
        };
        for half in halves {
            self.house.daemon(*half).kill().await?;
            self.outcome.kills += 1;
        }
        self.pause(100).await;
        for half in halves {
            self.house.start_again(*half).await?;
        }
        self.pause(400).await;
        self.heal()
    }

    fn cut(&mut self, state: State) {
        self.house.proxy.set(state);
        self.outcome.cuts += 1;
    }

    fn break_names(&mut self, fault: Fault) {
        self.servers.break_names(fault);
        self.outcome.dns_failures += 1;
    }

    fn heal(&self) -> Result<()> {
        self.house.proxy.set(State::Open);
        self.servers.mend_names();
        for disk in &self.house.disks {
            disk.empty()?;
        }
        Ok(())
    }

    async fn pause(&mut self, milliseconds_max: u64) {
        sleep(Duration::from_millis(self.chance.u64(..milliseconds_max))).await;
    }

    /// Waits until nothing waits any more in either queue.
    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mailman = self.house.mailman.queue_list().await?.len();
            let postoffice = self.house.postoffice.queue_list().await?.len();
            if mailman + postoffice == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                // What is queued still is a part of the account.
                eprintln!(
                    "still queued: {mailman} mails at mailman, {postoffice} at the postoffice"
                );
                return Ok(());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}
