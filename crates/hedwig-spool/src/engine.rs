//! The one place where a spool changes. It takes what waits as a batch: admits, appends and flushes once,
//! answers everybody, and only then tells the index.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hedwig_envelope::{MailId, Timestamp};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::{
    SpoolError, SpoolOptions,
    cache::Cache,
    holding::Holding,
    housekeeping::Compaction,
    index::{Change, Index},
    leases::{Leases, UnitKey},
    log::{Log, Position},
    pace::Paces,
    prepare::{Prepared, remove_content},
    record::Encoded,
    reserve::Reserve,
    standing::Standing,
    state::{Act, Action, Settlement, Told},
    telling::Tellings,
    under_way::{Interrupted, UnderWay},
};

mod batch;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;

pub(crate) use batch::Wanted;
use batch::{Batch, Pending};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

/// What the engine is asked.
pub(crate) enum Request {
    Commit {
        prepared: Box<Prepared>,
        reply: Reply<MailId>,
    },
    Settle(Box<Settle>),
    Tell(Box<Tell>),
    Act {
        action: Action,
        encoded: Encoded,
        reply: Reply<u64>,
    },
    /// Anything that writes nothing to the log; it is answered after the batch was written.
    Ask(Box<dyn FnOnce(&mut Engine) + Send>),
}

pub(crate) struct Settle {
    pub(crate) token: u64,
    pub(crate) settlement: Settlement,
    pub(crate) encoded: Encoded,
    pub(crate) follow_ups: Vec<Prepared>,
    pub(crate) reply: Reply<()>,
}

/// A mail's sender is told, with these reports.
pub(crate) struct Tell {
    pub(crate) told: Told,
    pub(crate) encoded: Encoded,
    pub(crate) follow_ups: Vec<Prepared>,
    pub(crate) reply: Reply<()>,
}

impl Request {
    /// How much it adds to a batch, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Commit { prepared, .. } => prepared.encoded.len(),
            Self::Settle(settle) => bytes_of(&settle.follow_ups) + settle.encoded.len(),
            Self::Tell(tell) => bytes_of(&tell.follow_ups) + tell.encoded.len(),
            Self::Act { encoded, .. } => encoded.len(),
            Self::Ask(_) => 0,
        }
    }
}

fn bytes_of(mails: &[Prepared]) -> usize {
    mails.iter().map(|prepared| prepared.encoded.len()).sum()
}

pub(crate) struct Engine {
    pub(crate) log: Log,
    pub(crate) index: Index,
    pub(crate) index_path: Option<PathBuf>,
    pub(crate) leases: Leases,
    pub(crate) cache: Cache,
    pub(crate) holding: Arc<Holding>,
    pub(crate) options: SpoolOptions,
    /// The latest time it was ever told.
    pub(crate) now: Timestamp,
    /// The time that it was told last: a clock may be set back.
    pub(crate) clock: Timestamp,
    /// The contents of mails that were refused when they may have been written.
    pub(crate) doubtful_contents: Vec<String>,
    pub(crate) compaction: Option<Compaction>,
    /// Whether mails were forgotten since the index was last asked to give room back.
    pub(crate) may_shorten: bool,
    /// When that failed last.
    pub(crate) shortening_failed_at: Option<Instant>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) quarantined: Arc<AtomicU64>,
    pub(crate) standing: Standing,
    pub(crate) under_way: UnderWay,
    /// What the process before left, until it is recorded.
    pub(crate) interrupted: Option<Interrupted>,
    pub(crate) tellings: Tellings,
    pub(crate) paces: Arc<Paces>,
    pub(crate) reserve: Reserve,
    /// The size of the disk.
    pub(crate) disk_bytes: u64,
}

impl Engine {
    pub(crate) fn handle(&mut self, batch: impl IntoIterator<Item = Request>, now: Timestamp) {
        (self.now, self.clock) = (self.now.max(now), now);
        self.leases.keep_up(now, self.options.lease);
        self.mend_index();
        self.reserve.mend(now);
        self.record_interrupted();
        // Apart, for when there is room only for what makes room.
        let (mut mails, mut work) = (Batch::default(), Batch::default());
        let mut asks = Vec::new();
        self.index.begin_reading();
        for request in batch {
            match request {
                Request::Ask(ask) => asks.push(ask),
                Request::Commit { prepared, reply } => {
                    self.admit_mail(*prepared, reply, &mut mails);
                }
                Request::Settle(settle) => self.admit_settlement(*settle, &mut work),
                Request::Tell(tell) => self.admit_telling(*tell, &mut work),
                Request::Act { action, encoded, reply } => {
                    if action.act == Act::Drop {
                        // Whoever has it under way comes too late, with a report, too.
                        work.settling.extend(&action.units);
                    }
                    work.push(encoded, Pending::Action(action));
                    work.acted.push(reply);
                }
            }
        }
        self.end_reading();
        self.write(work, mails);
        if !asks.is_empty() {
            self.index.begin_reading();
            for ask in asks {
                ask(self);
                // What the next is told must not be older than what was promised.
                self.check_open();
            }
            self.end_reading();
        }
        self.quarantined.store(self.log.quarantined(), Ordering::Relaxed);
    }

    pub(crate) fn end_reading(&mut self) {
        if let Err(error) = self.index.end_reading() {
            self.index_failed(error);
        }
    }

    fn check_open(&mut self) {
        if let Err(error) = self.index.check_open() {
            self.index_failed(error);
        }
    }

    /// Whether there is something to save.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.index.is_unsaved()
    }

    /// Lets the index save what it has taken over.
    pub(crate) fn save(&mut self) {
        if let Err(error) = self.index.save() {
            self.index_failed(error);
        }
    }

    /// Writes both together. If there is no room, the mails are refused and the work is tried alone.
    fn write(&mut self, work: Batch, mails: Batch) {
        let work_records = work.records.len();
        let mut batch = work.and(mails);
        if batch.records.is_empty() {
            // A mail may stand for one that is known, but then it was answered.
            return;
        }
        if let Err(error) = self.check_index() {
            return batch.refuse(&error);
        }
        let mut written = self.log.append(&batch.records);
        if let Err(error @ SpoolError::NoSpace(_)) = &written
            && work_records > 0
        {
            let mails = batch.split_off(work_records);
            if self.make_room() || !mails.records.is_empty() {
                self.refuse_written(mails, error);
                written = self.log.append(&batch.records);
            }
        }
        let places = match written {
            Ok(places) => places,
            Err(error) => {
                tracing::error!(%error, mails = batch.commits.len(), "a batch could not be stored");
                return self.refuse_written(batch, &error);
            }
        };
        for name in std::mem::take(&mut self.doubtful_contents) {
            remove_content(&**self.log.disk(), &name);
        }
        self.spend(batch.records.iter().map(|record| record.len() as u64).sum());
        for (id, reply) in batch.commits {
            answer(reply, Ok(id));
        }
        for key in &batch.settling {
            self.leases.end(*key);
        }
        for reply in batch.settled {
            answer(reply, Ok(()));
        }
        let wakes = batch.changes.iter().any(Pending::makes_due);
        let counts = self.take_over(&places, &batch.records, batch.changes);
        let wakes = self.index.take_untold_sooner() || wakes;
        for (place, reply) in batch.acted.into_iter().enumerate() {
            // What was acted upon nobody counts when the index only reads of it later.
            answer(reply, self.check_index().map(|()| counts.get(place).copied().unwrap_or(0)));
        }
        if wakes {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// Refuses what could not be written, or flushed. Some of it may be in the file all the same, and count when this process
    /// ends before the next segment says how far the one before it does. So its contents stay until then: a
    /// mail that comes back is whole.
    fn refuse_written(&mut self, mut batch: Batch, error: &SpoolError) {
        self.doubtful_contents.extend(batch.keep_contents());
        batch.refuse(error);
    }

    /// Tells the index what is durable; tells how many recipients each action changed.
    fn take_over(
        &mut self,
        places: &[Position],
        records: &[Encoded],
        changes: Vec<Pending>,
    ) -> Vec<u64> {
        let mut counts = Vec::new();
        if let Err(error) = self.apply(places, records, &changes, &mut counts) {
            self.index_failed(error);
        }
        for change in changes {
            match change {
                // It is not cached: its content may be a part of something larger still.
                Pending::Mail { file: Some(file), .. } => drop(file.keep()),
                Pending::Mail { mail, .. } => self.cache.insert(mail),
                Pending::Action(action) if action.act == Act::Drop => {
                    action.units.into_iter().for_each(|key| self.leases.end(key));
                }
                Pending::Told(told) => self.tellings.end(told.mail),
                _ => {}
            }
        }
        for (id, file) in self.index.take_finished() {
            self.forget_content(id, file);
        }
        for destination in self.index.take_woken() {
            self.paces.wake(&destination);
        }
        counts
    }

    fn apply(
        &mut self,
        places: &[Position],
        records: &[Encoded],
        changes: &[Pending],
        counts: &mut Vec<u64>,
    ) -> Result<(), rusqlite::Error> {
        self.index.begin()?;
        let mut end = self.index.position();
        for ((at, record), change) in places.iter().zip(records).zip(changes) {
            let bytes = record.len() as u64;
            end = Position { segment: at.segment, offset: at.offset + bytes };
            match change {
                Pending::Mail { record, .. } => {
                    self.index.apply(*at, &Change::Mail { record, bytes })?;
                }
                Pending::Settlement(settlement) => {
                    self.index.apply(*at, &Change::Settlement(settlement))?;
                }
                Pending::Told(told) => {
                    self.index.apply(*at, &Change::Told(told))?;
                }
                Pending::Action(action) => {
                    counts.push(self.index.apply(*at, &Change::Action(action))?);
                }
            }
        }
        self.index.read_up_to(end);
        Ok(())
    }

    /// Ends the engine, and leaves its index so that it will be believed.
    pub(crate) fn close(mut self) {
        self.save();
        if !matches!(self.standing, Standing::Lost(_)) {
            self.index.close(self.index_path.as_deref());
        }
    }

    /// Frees a unit that was not tried, if the lease still holds.
    pub(crate) fn give_back(&mut self, key: UnitKey, token: u64) {
        if self.leases.holds(key, token) {
            self.leases.end(key);
            self.index.show_leased_again();
            self.under_way.withdraw(key, || self.leases.under_way());
            self.changed.send_modify(|version| *version += 1);
        }
    }
}

/// Whoever asked may have gone; that changes nothing.
pub(crate) fn answer<T>(reply: Reply<T>, result: Result<T, SpoolError>) {
    let _ = reply.send(result);
}
