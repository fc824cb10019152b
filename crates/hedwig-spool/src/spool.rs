use std::{
    fs::{self, File, TryLockError},
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use hedwig_envelope::{
    Answer, BoxError, Mail, MailId, MailStatus, Outcome, Receipt, Reply, Status, Timestamp,
};
use tokio::sync::{oneshot, watch};
use tower::Service;

use crate::{
    Claim, Claimed, Clock, Counts, Grouping, Lease, Owed, SpoolError, SpoolOptions,
    cache::Cache,
    disk::{Disk, RealDisk, SimulatedDisk},
    driver::Driver,
    engine::{Engine, Request, Settle},
    error::Refused,
    finding::Limits,
    leases::Leases,
    log::Readers,
    owner::hand_over,
    pace::Paces,
    prepare::{Prepared, blocks, prepare},
    record::{Encoded, Kind},
    recovery,
    reserve::Reserve,
    schedule::later,
    standing::Standing,
    state::{Act, Action, Settlement, conversation_of},
    telling::Tellings,
    under_way::{Interrupted, UnderWay},
};

pub(crate) const LOCK_FILE: &str = "lock";
const INDEX_FILE: &str = "index.sqlite";

/// A durable queue of mails. A cheap handle: clones share the queue, which closes with the last.
///
/// Calls that were begun are carried out even if their future is dropped; the caller just does not learn
/// how they ended.
#[derive(Clone, Debug)]
pub struct Spool {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) driver: Driver,
    pub(crate) readers: Arc<Readers>,
    pub(crate) disk: Arc<dyn Disk>,
    options: SpoolOptions,
    changed: watch::Receiver<u64>,
    quarantined: Arc<AtomicU64>,
    /// Where notes of attempts could not be read when it was opened.
    pub(crate) damaged_notes: Vec<String>,
    pub(crate) paces: Arc<Paces>,
}

impl Spool {
    /// Opens the spool in this directory, and makes it if there is none.
    ///
    /// Blocks while it reads what the index does not know yet: open before you serve.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] when somebody has it open; [`SpoolError::NewerFormat`] when a later version
    /// wrote it; else what the disk says.
    pub fn open(directory: impl AsRef<Path>, options: SpoolOptions) -> Result<Self, SpoolError> {
        let directory = directory.as_ref();
        let doing = |what: &str| SpoolError::io(format!("{what} {}", directory.display()));
        make_directory(directory).map_err(doing("make"))?;
        let lock = lock_directory(directory)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(directory));
        let index = directory.join(INDEX_FILE);
        Self::start(disk, directory, Some(&index), options, |engine| Driver::thread(engine, lock))
            .map_err(|error| error.while_opening(directory))
    }

    /// A spool that forgets everything with its last handle: for tests, and for relays that answer only
    /// after the next server did. It does its work in the calls themselves, without a thread.
    ///
    /// # Errors
    /// When SQLite cannot have memory.
    pub fn in_memory(options: SpoolOptions) -> Result<Self, SpoolError> {
        Self::on_disk(Arc::new(SimulatedDisk::new()), None, options)
    }

    /// A spool on any [`Disk`], with its index in a file of the real one or in memory: for tests that let
    /// a disk fail. It does its work in the calls themselves, so that what happens is always the same.
    ///
    /// # Errors
    /// As [`open`](Self::open); nothing keeps a second one from the same disk.
    pub fn on_disk(
        disk: Arc<dyn Disk>,
        index: Option<&Path>,
        options: SpoolOptions,
    ) -> Result<Self, SpoolError> {
        Self::start(disk, Path::new(""), index, options, |engine| Ok(Driver::inline(engine)))
    }

    fn start(
        disk: Arc<dyn Disk>,
        directory: &Path,
        index_path: Option<&Path>,
        options: SpoolOptions,
        drive: impl FnOnce(Engine) -> Result<Driver, SpoolError>,
    ) -> Result<Self, SpoolError> {
        let capacity = disk.capacity().map_err(SpoolError::io("ask for the size of the disk"))?;
        let mut options = options;
        options.segment_bytes_max = options.segment_bytes_max.min(capacity / 16);
        let now = options.clock.now();
        let mut log = recovery::open_log(&disk, directory, &options)?;
        let reserve_bytes = options.reserve_bytes.min(capacity / 8);
        // What is under way must be noted whatever else there is room for.
        let (under_way, left_behind) = UnderWay::open(disk.clone(), reserve_bytes)?;
        let damaged_notes = left_behind.damaged.clone();
        let mut reserve = Reserve::open(disk.clone(), reserve_bytes, now)?;
        match recovery::migrate(&*disk, log.spool()) {
            Err(error) if error.is_no_space() && reserve.give_up(now) => {
                recovery::migrate(&*disk, log.spool())?;
            }
            migrated => migrated?,
        }
        let (index, standing, index_path) =
            recovery::open_index_where_there_is_room(&mut log, index_path, &options, || {
                reserve.give_up(now)
            })?;
        if let Standing::Current = standing {
            recovery::remove_orphans(&*disk, &index)?;
        }
        let (sender, changed) = watch::channel(0);
        let quarantined = Arc::new(AtomicU64::new(log.quarantined()));
        let (readers, paces) = (log.readers(), Arc::<Paces>::default());
        let mut engine = Engine {
            log,
            index,
            index_path: index_path.map(Path::to_owned),
            leases: Leases::default(),
            cache: Cache::new(options.cache_bytes_max),
            options: options.clone(),
            now,
            compaction: None,
            may_shorten: true,
            changed: sender,
            quarantined: quarantined.clone(),
            standing,
            under_way,
            interrupted: Some(Interrupted::new(left_behind)),
            tellings: Tellings::default(),
            paces: paces.clone(),
            reserve,
            disk_bytes: capacity,
        };
        engine.record_interrupted();
        let driver = drive(engine)?;
        let shared =
            Shared { driver, readers, disk, options, changed, quarantined, damaged_notes, paces };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Stores a mail. `Ok` means it is on stable storage: done for every recipient.
    ///
    /// A mail whose idempotency key (or id) is known stands for the earlier one, whose id is returned.
    ///
    /// # Errors
    /// [`SpoolError::KeyReused`] when the key belongs to another mail; [`SpoolError::NoSpace`] or
    /// [`SpoolError::Io`] when it could not be stored, and was not.
    pub async fn commit(&self, mail: Mail) -> Result<Receipt, SpoolError> {
        let recipients = mail.envelope.recipients.len();
        if blocks(&mail, &self.shared.options) {
            // Before its content takes the room that is left.
            self.ask(|engine| engine.check_room()).await??;
        }
        let prepared = Box::new(self.prepare(mail).await?);
        let id = self.request(|reply| Request::Commit { prepared, reply }).await?;
        let text = format!("queued as {id}");
        let reply = Reply::with_status(250, Status::OK, text);
        let answer = Answer::new(Status::OK, reply, None);
        Ok(Receipt::uniform(id, recipients, Outcome::Done(answer)))
    }

    /// Leases what is due at `now`.
    ///
    /// # Errors
    /// When the index cannot be read. A mail that cannot be read is held, and the error logged.
    pub async fn claim(&self, now: Timestamp, claim: Claim) -> Result<Claimed, SpoolError> {
        let found = self.ask_index(move |engine| engine.claim(now, Limits::Plain(claim))).await?;
        let leases = self.load_all(found.granted).await?;
        Ok(Claimed { leases, more: found.more, next_due: found.next_due })
    }

    /// Makes a lease hold for another [`SpoolOptions::lease`], counted from `now`.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when somebody else has the unit, or it is done with.
    pub async fn extend(&self, lease: &Lease, now: Timestamp) -> Result<(), SpoolError> {
        let (key, token) = ((lease.mail.id, lease.unit), lease.token);
        let until = later(now, self.shared.options.lease);
        let holds = self.ask(move |engine| engine.leases.extend(key, token, until)).await?;
        if holds { Ok(()) } else { Err(SpoolError::LeaseLost) }
    }

    /// Stores what became of a unit's recipients, in the order of the lease's mail, and the mails that
    /// follow from it, in one commit. What is deferred is due again at `next_due`; without one it is
    /// given up, and its state is expired.
    ///
    /// # Errors
    /// [`SpoolError::LeaseLost`] when somebody else has the unit, or it is done with: nothing was stored.
    /// After any other error the lease still holds, and this may be tried again.
    pub async fn finish(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        follow_ups: Vec<Mail>,
    ) -> Result<(), SpoolError> {
        self.settle(lease, outcomes, next_due, follow_ups, Vec::new()).await
    }

    /// As [`finish`](Self::finish), without a report: what the mail's sender is owed, and of whom (by their
    /// places in the lease's mail), stays with the mail until it is [told](Self::tell).
    ///
    /// # Errors
    /// As for [`finish`](Self::finish).
    pub async fn finish_owing(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        owed: Vec<(usize, Owed)>,
    ) -> Result<(), SpoolError> {
        self.settle(lease, outcomes, next_due, Vec::new(), owed).await
    }

    pub(crate) async fn settle(
        &self,
        lease: &Lease,
        outcomes: Vec<Outcome>,
        next_due: Option<Timestamp>,
        follow_ups: Vec<Mail>,
        owed: Vec<(usize, Owed)>,
    ) -> Result<(), SpoolError> {
        let (wanted, given) = (lease.positions.len(), outcomes.len());
        if wanted != given {
            return Err(SpoolError::OutcomesMismatch { wanted, given });
        }
        let mut placed = Vec::with_capacity(owed.len());
        for (index, owed) in owed {
            let position = lease.positions.get(index);
            let given = index.saturating_add(1);
            let mismatch = SpoolError::OutcomesMismatch { wanted, given };
            placed.push((*position.ok_or(mismatch)?, owed));
        }
        let mut prepared = Vec::with_capacity(follow_ups.len());
        for mail in follow_ups {
            prepared.push(self.prepare(mail).await?);
        }
        let conversation = conversation_of(&outcomes);
        let settlement = Settlement {
            mail: lease.mail.id,
            unit: lease.unit,
            at: self.shared.options.clock.now(),
            outcomes: lease.positions.iter().copied().zip(outcomes).collect(),
            next_due,
            delay_reported: lease.delay_reported,
            deadline_over: lease.deadline_over,
            conversation,
            owed: placed,
        };
        let encoded = Encoded::new(Kind::Settlement, &settlement, Default::default());
        let (token, follow_ups) = (lease.token, prepared);
        self.request(|reply| {
            Request::Settle(Box::new(Settle { token, settlement, encoded, follow_ups, reply }))
        })
        .await
    }

    /// Gives a unit back untried: it is due as before.
    ///
    /// # Errors
    /// When the spool is closed.
    pub async fn give_back(&self, lease: Lease) -> Result<(), SpoolError> {
        let key = (lease.mail.id, lease.unit);
        self.ask(move |engine| engine.give_back(key, lease.token)).await
    }

    /// How far a mail has come; `None` when it is not known (any more).
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn show(&self, id: MailId) -> Result<Option<MailStatus>, SpoolError> {
        self.ask_index(move |engine| engine.show(id)).await
    }

    /// How many recipients are in each state; of those that are final, since their retention began.
    ///
    /// # Errors
    /// When the spool is closed.
    pub async fn counts(&self) -> Result<Counts, SpoolError> {
        self.ask(|engine| engine.leases.overlay(engine.index.counts())).await
    }

    /// How many damaged places were found in the log and set aside in `quarantine/`, since it was opened.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.shared.quarantined.load(Ordering::Relaxed)
    }

    /// Waits until all that was asked is done, and closes the spool for every handle.
    pub async fn close(&self) {
        let Some(thread) = self.shared.driver.close() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the committing thread did not end well");
        }
    }

    pub(crate) fn grouping(&self) -> Grouping {
        self.shared.options.grouping
    }

    /// How long a lease holds.
    pub(crate) fn lease_length(&self) -> std::time::Duration {
        self.shared.options.lease
    }

    /// The clock this spool goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.options.clock
    }

    /// Changes whenever a mail was committed, or a unit may have become due in another way.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.clone()
    }

    pub(crate) async fn act_on(
        &self,
        act: Act,
        units: Vec<(MailId, u32)>,
    ) -> Result<u64, SpoolError> {
        let action = Action { act, at: self.shared.options.clock.now(), units };
        let encoded = Encoded::new(Kind::Action, &action, Default::default());
        self.request(|reply| Request::Act { action, encoded, reply }).await
    }

    /// Lets the engine answer a question.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (sender, receiver) = oneshot::channel();
        let ask = Box::new(move |engine: &mut Engine| {
            // Whoever asked may have gone; that changes nothing.
            let _ = sender.send(question(engine));
        });
        self.shared.driver.send(self.shared.options.clock.now(), Request::Ask(ask))?;
        receiver.await.map_err(|_| SpoolError::Closed)
    }

    /// Lets the engine answer a question from the index: again, if that has to be made anew first.
    pub(crate) async fn ask_index<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Engine) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        self.ask(move |engine| match question(engine) {
            Err(error) if engine.rebuild_if_damaged(&error) => question(engine),
            answer => answer,
        })
        .await?
    }

    pub(crate) async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, SpoolError>>) -> Request,
    ) -> Result<T, SpoolError> {
        let (sender, receiver) = oneshot::channel();
        self.shared.driver.send(self.shared.options.clock.now(), request(sender))?;
        receiver.await.map_err(|_| SpoolError::Closed)?
    }

    pub(crate) async fn prepare(&self, mail: Mail) -> Result<Prepared, SpoolError> {
        let shared = self.shared.clone();
        let now = shared.options.clock.now();
        if !blocks(&mail, &shared.options) || shared.driver.is_inline() {
            return prepare(mail, now, &shared.options, &shared.disk);
        }
        let task = move || prepare(mail, now, &shared.options, &shared.disk);
        tokio::task::spawn_blocking(task).await.map_err(|_| SpoolError::Closed)?
    }
}

/// Makes the spool's directory, unless there is one. A name that was just made is durable only when what it
/// stands in is.
fn make_directory(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.next().is_some() {
        return Ok(());
    }
    let whole = directory.canonicalize()?;
    for parent in whole.ancestors().skip(1) {
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            // Who may not look into it has not made anything there.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lock_directory(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join(LOCK_FILE);
    let doing = || SpoolError::io(format!("lock {}", path.display()));
    let file = File::options().create(true).append(true).open(&path).map_err(doing())?;
    hand_over(&file, directory).map_err(doing())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(doing()(error)),
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("driver", &self.driver).finish_non_exhaustive()
    }
}

impl Service<Mail> for Spool {
    type Response = Receipt;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Receipt, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    /// [Commits](Spool::commit) the mail.
    fn call(&mut self, mail: Mail) -> Self::Future {
        let spool = self.clone();
        Box::pin(async move { spool.commit(mail).await.map_err(|e| Refused::from(e).into()) })
    }
}
