use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use hedwig_envelope::{BoxMailService, MailService, Timestamp};
use tokio::{
    select,
    task::{JoinError, JoinSet},
};

use crate::{
    Rates, Reporter, Schedule, Sharing, Spool, SpoolError, Untold, errand::Errand,
    pace::PaceOptions, report::write_reports, schedule::later,
};

const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// A destination that is at fault is tried by one mail at least as often: that costs it little.
const LONGEST_REST: Duration = Duration::from_mins(30);

/// How a [`Courier`] works.
#[derive(Clone)]
pub struct CourierOptions {
    /// When to try again, and when to give up.
    pub schedule: Schedule,
    /// So many units are under way at most.
    pub concurrency: usize,
    /// Their contents take at most so many bytes of memory; units of one mail share theirs. Those of 64 KiB and less are
    /// not counted, and a mail that is larger than all of it goes when none other is under way but such.
    pub content_bytes_max: u64,
    /// So many of them to one destination at most. It begins with five, grows while the destination answers
    /// well and quickly, and shrinks when it breaks off or will not talk.
    pub concurrency_per_destination: usize,
    /// So many of them from one sender.
    pub concurrency_per_sender: usize,
    /// How many mails the destinations get in a time.
    pub rates: Rates,
    /// Which destinations have the same servers, and so share what is said of them here.
    pub sharing: Option<Sharing>,
    /// After how long a sender is told, once, that the mail still waits; `None` for never.
    pub delay_warning: Option<Duration>,
    /// Who writes the reports to senders; `None` and nobody is told anything.
    pub reporter: Option<Arc<dyn Reporter>>,
    /// How long what the sender of a mail to several destinations is to be told is gathered into one report,
    /// unless all recipients have come to their ends.
    pub gathering: Duration,
}

impl Default for CourierOptions {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            concurrency: 512,
            content_bytes_max: 128 << 20,
            concurrency_per_destination: 32,
            concurrency_per_sender: usize::MAX,
            rates: Rates::default(),
            sharing: None,
            delay_warning: Some(Duration::from_hours(4)),
            reporter: None,
            gathering: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for CourierOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CourierOptions")
            .field("schedule", &self.schedule)
            .field("concurrency", &self.concurrency)
            .field("content_bytes_max", &self.content_bytes_max)
            .field("concurrency_per_destination", &self.concurrency_per_destination)
            .field("concurrency_per_sender", &self.concurrency_per_sender)
            .field("rates", &self.rates)
            .field("delay_warning", &self.delay_warning)
            .field("gathering", &self.gathering)
            .finish_non_exhaustive()
    }
}

impl CourierOptions {
    fn pace(&self) -> PaceOptions {
        let longest = self.schedule.longest.min(LONGEST_REST);
        PaceOptions {
            rest: Schedule { longest, ..self.schedule },
            expiry: self.schedule.expiry,
            per_destination_max: self.concurrency_per_destination.max(1),
            per_sender_max: self.concurrency_per_sender.max(1),
            rates: self.rates.clone(),
            sharing: self.sharing.clone(),
        }
    }
}

/// Works a spool off into a service.
#[derive(Debug)]
pub struct Courier {
    spool: Spool,
    service: BoxMailService,
    options: Arc<CourierOptions>,
}

impl Courier {
    /// A courier that carries what is due in `spool` to `service`.
    pub fn new(spool: Spool, service: impl MailService, options: CourierOptions) -> Self {
        Self { spool, service: service.boxed_mail_service(), options: Arc::new(options) }
    }

    /// Works until `shutdown` resolves or the spool is closed; then lets what is under way come to its
    /// end, and returns. Dropped instead, it abandons it: those leases run out.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut changes = self.spool.changes();
        let mut under_way = JoinSet::new();
        let mut horizon = Horizon::due_now();
        if let Err(error) = self.spool.begin_pacing(self.options.pace()).await {
            // It only learns it all again.
            tracing::warn!(%error, "what was known of the destinations cannot be read");
        }
        loop {
            let free = self.options.concurrency.max(1).saturating_sub(under_way.len());
            if free > 0 && horizon.claim_now {
                changes.mark_unchanged();
                horizon = self.claim(free, &mut under_way).await;
                continue;
            }
            let may_claim = free > 0;
            select! {
                // In this order always, so that a simulation can be run again. Nothing starves: what ended
                // and was not seen counts as under way, until nothing more may be claimed.
                biased;
                () = &mut shutdown => break,
                changed = changes.changed(), if may_claim => match changed {
                    Ok(()) => horizon.claim_now = true,
                    Err(_) => break,
                },
                Some(ended) = under_way.join_next() => {
                    log_end(ended);
                    while let Some(ended) = under_way.try_join_next() {
                        log_end(ended);
                    }
                    horizon.claim_now |= horizon.more;
                }
                () = self.sleep_until(horizon.next_due), if may_claim => horizon.claim_now = true,
            }
        }
        while let Some(ended) = under_way.join_next().await {
            log_end(ended);
        }
        match self.spool.save_paces().await {
            Ok(()) | Err(SpoolError::Closed) => {}
            Err(error) => tracing::warn!(%error, "what is known of the destinations is lost"),
        }
    }

    async fn claim(&self, free: usize, under_way: &mut JoinSet<()>) -> Horizon {
        let now = self.spool.clock().now();
        let claimed = match self.spool.claim_paced(now, free, &self.options).await {
            Ok(claimed) => claimed,
            Err(error) => {
                if !matches!(error, SpoolError::Closed) {
                    tracing::error!(%error, "the queue cannot be asked what is due");
                }
                return Horizon::later(later(now, PAUSE_AFTER_ERROR));
            }
        };
        let nothing = claimed.leases.is_empty() && under_way.is_empty();
        for lease in claimed.leases {
            let errand = Errand::new(&self.spool, &self.service, &self.options);
            under_way.spawn(errand.run(lease));
        }
        let is_time = |at: &Timestamp| *at <= now;
        let tells = claimed.next_telling.is_some_and(|at| is_time(&at));
        let tells = tells && self.tell(now, under_way).await;
        let next_telling = claimed.next_telling.filter(|at| !is_time(at));
        // Only others can have what is due then, and they do not tell when they are done.
        let retry_at = (nothing && claimed.more).then(|| later(now, PAUSE_AFTER_ERROR));
        let next_due = claimed.next_due.into_iter().chain(retry_at).chain(next_telling).min();
        Horizon { claim_now: claimed.put_off_more, more: claimed.more || tells, next_due }
    }

    /// Tells the senders that are to be told now; tells whether there is one.
    async fn tell(&self, now: Timestamp, under_way: &mut JoinSet<()>) -> bool {
        let claimed = self.spool.claim_untold(now, self.options.gathering, usize::MAX).await;
        let untold = claimed.unwrap_or_else(|error| {
            tracing::error!(%error, "the queue cannot be asked whom to tell");
            Vec::new()
        });
        let tells = !untold.is_empty();
        for untold in untold {
            under_way.spawn(tell(self.spool.clone(), self.options.clone(), untold));
        }
        tells
    }

    async fn sleep_until(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return std::future::pending().await };
        let wait = due.duration_since(self.spool.clock().now());
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        // A clock may be set; so look again after a while.
        tokio::time::sleep(wait.min(LONGEST_SLEEP)).await;
    }
}

/// What the courier knows of the time to come.
struct Horizon {
    claim_now: bool,
    /// There is more that is due: claim again when something ends.
    more: bool,
    next_due: Option<Timestamp>,
}

impl Horizon {
    fn due_now() -> Self {
        Self { claim_now: true, more: false, next_due: None }
    }

    fn later(time: Timestamp) -> Self {
        Self { claim_now: false, more: false, next_due: Some(time) }
    }
}

/// Tells a mail's sender all that is owed.
async fn tell(spool: Spool, options: Arc<CourierOptions>, untold: Untold) {
    let now = spool.clock().now();
    let reports = write_reports(options.reporter.as_ref(), &untold.mail, &untold.owed, now);
    if let Err(error) = spool.tell(&untold, reports).await {
        // It is still owed, and its turn comes again.
        tracing::warn!(id = %untold.mail.id, %error, "a sender could not be told");
    }
}

fn log_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an errand came to a bad end; its lease has to run out");
    }
}
