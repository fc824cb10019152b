//! One run: a world, a storm over it, and what is left when it is calm again.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use hedwig_daemon::Metrics;
use hedwig_envelope::State;
use hedwig_spool::{Filter, Grouping, SpoolError};
use jiff::SignedDuration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    chronicle::{Chronicle, Counts},
    clients::Client,
    evidence::{Evidence, number_of},
    host::{Crash, Host},
    mailman,
    names::{Directory, RECEIVERS},
    network::{Network, Node},
    postoffice::{self, Keys},
    promise::{self, Account, Breach},
    receivers::Receivers,
    storm::{Severity, Storm},
};

/// How many programs send mail.
const CLIENTS: usize = 3;
/// Longer than any mail waits before it is given up.
const CALM_MAX: Duration = Duration::from_hours(24 * 12);

/// What one seed came to.
#[derive(Debug)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Whether the promise was kept.
    pub verdict: Result<Account, Vec<Breach>>,
    /// What happened when.
    pub chronicle: Vec<String>,
    /// All that was seen.
    pub evidence: Evidence,
    /// What went wrong, and what came of it, each with how often.
    pub counts: Counts,
}

/// All there is.
pub(crate) struct World {
    pub(crate) chronicle: Chronicle,
    pub(crate) network: Network,
    pub(crate) names: Directory,
    pub(crate) mailman: Host,
    pub(crate) postoffice: Host,
    receivers: Receivers,
    evidence: Arc<Mutex<Evidence>>,
    /// The keys under which mails came to the postoffice.
    handed_over: Keys,
    /// What mailman counts, over all its lives.
    mailman_counts: Metrics,
}

/// Runs the simulation of a seed: the same seed does the same.
///
/// # Panics
/// When the runtime cannot be made.
#[must_use]
pub fn run(seed: u64) -> Run {
    // The crates' own chance: jitter, ids, the order of equal mail exchangers.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(live(seed))
}

async fn live(seed: u64) -> Run {
    let mut chance = fastrand::Rng::with_seed(seed);
    let severity = Severity::draw(&mut chance);
    let mut world = World::new(&mut chance, severity);
    world.chronicle.note(format_args!("{severity:?}"));
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    let numbers = Arc::new(AtomicU64::new(1));
    for _ in 0..CLIENTS {
        let client = Client {
            chance: chance.fork(),
            network: world.network.clone(),
            chronicle: world.chronicle.clone(),
            evidence: world.evidence.clone(),
            numbers: numbers.clone(),
            pause_max: severity.lasts / 8,
            stop: stopped.clone(),
        };
        clients.spawn(client.run());
    }
    Storm::new(chance.fork(), severity).rage(&mut world).await;
    stop.send_replace(true);
    world.calm_down(&mut chance).await;
    clients.join_all().await;
    world.settle().await;
    world.end(seed).await
}

impl World {
    fn new(chance: &mut fastrand::Rng, severity: Severity) -> Self {
        let chronicle = Chronicle::begin();
        let evidence = Arc::<Mutex<Evidence>>::default();
        let network = Network::new(chance.fork(), severity.weather, chronicle.clone());
        let receivers =
            Receivers::new(chance.fork(), severity.moods, evidence.clone(), chronicle.clone());
        for node in RECEIVERS {
            receivers.start(&network, node);
        }
        let host = |node, grouping| Host::new(node, grouping, network.clone(), chronicle.clone());
        let mut world = Self {
            mailman: host(Node::Mailman, Grouping::Whole),
            postoffice: host(Node::Postoffice, Grouping::ByDomain),
            names: Directory::default(),
            network,
            receivers,
            evidence,
            handed_over: Keys::new(chronicle.clone()),
            mailman_counts: Metrics::new(),
            chronicle,
        };
        world.start(true);
        world.start(false);
        world
    }

    /// Starts mailman, or the postoffice; `false` when it cannot.
    pub(crate) fn start(&mut self, mailman: bool) -> bool {
        if mailman {
            let counts = self.mailman_counts.clone();
            return self.mailman.start(|start, tasks| mailman::compose(start, &counts, tasks));
        }
        let (names, handed_over) = (self.names.clone(), self.handed_over.clone());
        self.postoffice.start(|start, tasks| postoffice::compose(start, names, handed_over, tasks))
    }

    /// Repairs all, so that what was accepted can go its way.
    async fn calm_down(&mut self, chance: &mut fastrand::Rng) {
        self.chronicle.note("the storm is over");
        self.network.clear_up();
        self.names.set_reachable(true);
        self.receivers.calm_down();
        // Half the seeds give everybody a new life; the others see whether one who lives on has got stuck.
        let spare_the_living = chance.bool();
        self.chronicle.count(if spare_the_living {
            "ends in which the living live on"
        } else {
            "ends in which all start again"
        });
        if !(spare_the_living && self.postoffice.has_power()) {
            self.note_what_the_power_cut_ends().await;
        }
        for host in [&mut self.mailman, &mut self.postoffice] {
            host.clock.set_ahead(SignedDuration::ZERO);
            if !(spare_the_living && host.has_power()) {
                host.crash(Crash::PowerCut, chance);
            }
            // Nor does the power go at an operation to come.
            host.heal();
        }
        for mailman in [true, false] {
            let is_alive = if mailman { &self.mailman } else { &self.postoffice }.is_alive();
            let lives = is_alive || self.start(mailman);
            assert!(lives, "a healthy disk's spool can be opened: {:#?}", self.chronicle.take());
        }
    }

    /// Notes what the postoffice is trying, whose power has gone or is going to.
    pub(crate) async fn note_what_the_power_cut_ends(&self) {
        let Some(spool) = self.postoffice.spool() else { return };
        let under_way = Filter { state: Some(State::Delivering), ..Filter::default() };
        let statuses = spool.list(&under_way).await.expect("the index in memory can be read");
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        for status in statuses {
            let number = status.sender.address().and_then(|sender| number_of(sender.as_str()));
            let tried = status.recipients.into_iter().filter(|r| r.state == State::Delivering);
            // A report goes to the sender of a mail.
            let tried = tried.filter_map(|r| {
                Some((number.or_else(|| number_of(r.address.as_str()))?, r.address))
            });
            evidence.power_went_during.extend(tried);
        }
    }

    /// Waits until nothing is queued any more, or what is would stay for ever.
    async fn settle(&self) {
        let end = Instant::now() + CALM_MAX;
        while Instant::now() < end {
            let waiting = [&self.mailman, &self.postoffice].map(waiting);
            let [mailman, postoffice] = waiting;
            if mailman.await + postoffice.await == 0 {
                return;
            }
            sleep(Duration::from_hours(1)).await;
        }
    }

    async fn end(self, seed: u64) -> Run {
        let all = Filter { finished: true, ..Filter::default() };
        let mut evidence =
            std::mem::take(&mut *self.evidence.lock().unwrap_or_else(PoisonError::into_inner));
        for (host, list) in
            [(&self.mailman, &mut evidence.mailman), (&self.postoffice, &mut evidence.postoffice)]
        {
            let Some(spool) = host.spool() else { continue };
            *list = spool.list(&all).await.expect("the index in memory can be read");
            evidence.quarantined += host.quarantined();
        }
        if let Some(spool) = self.mailman.spool() {
            let text = self.mailman_counts.to_text(spool).await.expect("the spool can be counted");
            let count =
                text.lines().find_map(|line| line.strip_prefix("hedwig_mails_accepted_total "));
            let count = count.and_then(|count| count.parse().ok());
            evidence.taken = Some(count.expect("mailman counts the mails it takes"));
        }
        self.chronicle.count_many("mails sent by clients", evidence.submissions.len() as u64);
        self.chronicle.count_many("attempts marked ambiguous", ambiguous(&evidence));
        self.chronicle
            .count_many("reports that reached their senders", evidence.reports.len() as u64);
        Run {
            seed,
            verdict: promise::check_settled(&evidence, |_| false),
            counts: self.chronicle.counts(),
            chronicle: self.chronicle.take(),
            evidence,
        }
    }
}

fn ambiguous(evidence: &Evidence) -> u64 {
    let recipients = evidence.postoffice.iter().flat_map(|mail| &mail.recipients);
    let attempts = recipients.flat_map(|recipient| &recipient.attempts);
    attempts.filter(|attempt| attempt.ambiguous).count() as u64
}

/// How many recipients wait there for something that will come by itself, and how many senders to be told.
async fn waiting(host: &Host) -> u64 {
    let Some(spool) = host.spool() else { return 0 };
    let counts: Result<_, SpoolError> = spool.counts().await;
    let untold = spool.untold().await.unwrap_or(1);
    counts.map_or(1, |counts| counts.waiting() - counts.of(State::Held)) + untold
}
