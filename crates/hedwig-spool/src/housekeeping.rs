//! What a spool does for itself, in small steps between batches: forget what is past its retention, and
//! keep the log short.
//!
//! The log is cleaned like a ring: what lives in the oldest segment is written again at the end, in its
//! present state, and the segment goes. That happens only when more of the log is dead than alive, so
//! at most one byte is copied for each that is freed. A segment in which nothing lives goes at once.

use std::time::Duration;

use hedwig_envelope::Timestamp;
use tokio::time::Instant;

use crate::{
    SpoolError,
    engine::Engine,
    index::{Change, MailRow},
    log::{Position, Scan, Scanned},
    record::{Encoded, Kind, Record},
    standing::is_damage,
    state::{MailRecord, Place},
};

/// How many mails, and bytes, one step may move or forget.
const STEP_MAILS: usize = 256;
const STEP_BYTES: usize = 1 << 20;
/// How many pages of the index one step may cut off, and for how long.
const STEP_PAGES: u32 = 1024;
const STEP_TIME: Duration = Duration::from_millis(10);
/// If no more pages than so many are in use the index is written anew, which is a matter of some ten milliseconds.
const REWRITTEN_PAGES_MAX: i64 = 2048;
/// How long to wait where the index could not be made shorter, for want of room most likely.
const SHORTEN_AGAIN_AFTER: Duration = Duration::from_hours(1);

/// How long a finished mail is remembered at the most while the spool has filled its disk: no history shall keep mail out. Its
/// key is needed for as long as whoever handed it over may do so again for want of an answer.
const RETENTION_WITHOUT_ROOM: Duration = Duration::from_hours(1);
/// A log that takes more than this part of the disk, with an index about as long, is what filled it.
const SHARE_OF_DISK: u64 = 4;

/// How far the cleaning of a segment has come.
pub(crate) struct Compaction {
    segment: u32,
    /// Nothing when it is over; what still lives there cannot be read.
    scan: Option<Scan>,
}

impl Engine {
    /// Does one step; tells whether there may be another at once.
    pub(crate) fn keep_house(&mut self) -> bool {
        if self.check_index().is_err() {
            return false;
        }
        self.step().unwrap_or_else(|error| {
            // The next batch will try again.
            self.compaction = None;
            match error {
                SpoolError::Index(error) => self.index_failed(error),
                error => tracing::error!(%error, "the log cannot be tidied"),
            }
            false
        })
    }

    fn step(&mut self) -> Result<bool, SpoolError> {
        let forgotten = self.index.forget(self.retained_from(), STEP_MAILS)?;
        self.may_shorten |= forgotten > 0;
        let Some((&oldest, _)) = self.log.segments().first_key_value() else { return Ok(false) };
        let is_last = self.log.segments().len() == 1;
        if !is_last && !self.log.is_active(oldest) && self.index.mails_in(oldest) == 0 {
            self.compaction = None;
            // Or the index in the file would lead there.
            self.index.save()?;
            self.log.unlink_oldest()?;
            return Ok(true);
        }
        if !is_last && (self.is_mostly_dead() || self.is_squeezed(oldest)?) {
            return self.compact(oldest);
        }
        if forgotten == STEP_MAILS {
            return Ok(true);
        }
        // After most batches nothing has been forgotten, and the index need not be asked.
        // Nor is it asked again at once where it fails.
        let may_shorten = std::mem::take(&mut self.may_shorten);
        self.may_shorten = may_shorten && self.shorten_index()?;
        Ok(self.may_shorten)
    }

    /// Lets the index give back some of the room that it does not need; tells whether there is more. That takes room
    /// at first. An index that finds none is as good as it was.
    fn shorten_index(&mut self) -> Result<bool, SpoolError> {
        let failed_at = self.shortening_failed_at;
        if failed_at.is_some_and(|failed_at| failed_at.elapsed() < SHORTEN_AGAIN_AFTER)
            || !self.index.is_mostly_free()?
        {
            return Ok(false);
        }
        self.index.save()?;
        match self.index.give_back(STEP_PAGES, STEP_TIME, REWRITTEN_PAGES_MAX) {
            Err(error) if !is_damage(&error) => {
                tracing::info!(%error, "the index cannot be made shorter now");
                self.shortening_failed_at = Some(Instant::now());
                Ok(false)
            }
            more => Ok(more?),
        }
    }

    fn retained_from(&self) -> Timestamp {
        let mut retention = self.options.retention;
        // What others filled a disk with is not made up for by forgetting.
        if self.reserve.is_given() && self.log_bytes() > self.disk_bytes / SHARE_OF_DISK {
            retention = retention.min(RETENTION_WITHOUT_ROOM);
        }
        self.now.checked_sub(retention).unwrap_or(Timestamp::MIN)
    }

    fn is_mostly_dead(&self) -> bool {
        let live = self.index.live_bytes();
        self.dead_bytes() > live.max(2 * self.options.segment_bytes_max)
    }

    /// How much of the log nobody needs.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.log_bytes().saturating_sub(self.index.live_bytes())
    }

    fn log_bytes(&self) -> u64 {
        self.log.segments().values().sum()
    }

    fn compact(&mut self, oldest: u32) -> Result<bool, SpoolError> {
        let log = &self.log;
        let compaction = self.compaction.get_or_insert_with(|| {
            let scan = log.scan_segment(Position { segment: oldest, offset: 0 });
            Compaction { segment: oldest, scan: Some(scan) }
        });
        debug_assert_eq!(compaction.segment, oldest, "only the oldest segment is cleaned");
        let Some(mut scan) = compaction.scan.take() else { return Ok(false) };
        let mut copies = Vec::new();
        let mut bytes = 0;
        let mut over = false;
        while copies.len() < STEP_MAILS && bytes < STEP_BYTES && !over {
            match scan.next()? {
                None => over = true,
                Some(Scanned::Damage { segment, from, to }) => {
                    self.log.quarantine(segment, from, to)?;
                }
                Some(Scanned::Record { at, record, .. }) if record.kind == Kind::Mail => {
                    if let Some(copy) = self.copy_of(at, &record)? {
                        bytes += copy.1.len();
                        copies.push(copy);
                    }
                }
                Some(Scanned::Record { .. }) => {}
            }
        }
        self.write_copies(copies)?;
        if over && self.index.mails_in(oldest) > 0 {
            let mails = self.index.mails_in(oldest);
            tracing::error!(segment = oldest, mails, "mails cannot be read and keep their segment");
        }
        let scan = (!over).then_some(scan);
        self.compaction = Some(Compaction { segment: oldest, scan });
        Ok(!over || self.index.mails_in(oldest) == 0)
    }

    /// The mail in its present state, if it lives here.
    fn copy_of(
        &self,
        at: Position,
        record: &Record,
    ) -> Result<Option<(MailRecord, Encoded)>, SpoolError> {
        let Ok(mut mail) = record.metadata::<MailRecord>() else { return Ok(None) };
        let Some(row) = self.index.mail(mail.id)?.filter(|row| row.position == at) else {
            return Ok(None);
        };
        self.update(&mut mail, &row)?;
        let content = match mail.content.place {
            Place::Record => [record.content(), Default::default()],
            _ => Default::default(),
        };
        let encoded = Encoded::new(Kind::Mail, &mail, content);
        Ok(Some((mail, encoded)))
    }

    fn update(&self, mail: &mut MailRecord, row: &MailRow) -> Result<(), SpoolError> {
        mail.units = self.index.units(mail.id)?;
        mail.at = self.now;
        mail.finished_at = row.finished_at;
        if row.finished_at.is_some() {
            mail.content.place = Place::Nowhere;
        }
        Ok(())
    }

    fn write_copies(&mut self, copies: Vec<(MailRecord, Encoded)>) -> Result<(), SpoolError> {
        if copies.is_empty() {
            return Ok(());
        }
        let (mails, records): (Vec<_>, Vec<_>) = copies.into_iter().unzip();
        let places = self.log.append(&records)?;
        self.spend(records.iter().map(|record| record.len() as u64).sum());
        self.index.begin()?;
        let mut end = self.index.position();
        for ((at, encoded), record) in places.iter().zip(&records).zip(&mails) {
            let bytes = encoded.len() as u64;
            end = Position { segment: at.segment, offset: at.offset + bytes };
            self.index.apply(*at, &Change::Mail { record, bytes })?;
        }
        self.index.read_up_to(end);
        Ok(())
    }
}
