//! When what the index has taken over reaches its file: many batches together, for each rewrites much the same pages.
//!
//! The index may be older than the log. So a transaction stays open from batch to batch, and is [saved](Index::save)
//! when it has grown long, when nothing is to be done for a moment, and before a segment goes that only an older index
//! needs. What a crash takes with it is read again from the log.

use rusqlite::ffi;

use super::{Index, Result};
use crate::log::Position;

/// So many changes, and then those of one batch more, are saved together at the most: what waits to be moved into the
/// file takes room beside it.
pub(super) const CHANGES_MAX: usize = 1024;
/// Where there is little room each batch is saved by itself.
pub(super) const CHANGES_MAX_SMALL: usize = 1;

impl Index {
    /// Makes sure that a transaction is open for what is applied next.
    ///
    /// # Errors
    /// Also when the transaction is gone in which earlier batches were applied ([`check_open`](Self::check_open)).
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.check_open()?;
        if self.unsaved >= self.changes_max {
            self.save()?;
        }
        if !self.is_open {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.is_open = true;
        }
        Ok(())
    }

    /// SQLite takes a transaction back by itself after some errors, even of a statement that only reads. Then
    /// what the index says is older than it seems.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_open && self.connection.is_autocommit() {
            let rolled_back = ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK);
            return Err(rusqlite::Error::SqliteFailure(rolled_back, None));
        }
        Ok(())
    }

    /// The log has been read up to this position.
    pub(crate) fn read_up_to(&mut self, position: Position) {
        self.position = position;
    }

    /// Whether something was taken over that its file does not have yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.is_open
    }

    /// Ends the transaction, if one is open: all that was taken over is in its file, as a whole.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.check_open()?;
        if !self.is_open {
            return Ok(());
        }
        self.save_homes()?;
        // Eight numbers always have a text.
        let counts = serde_json::to_string(&self.counts.0).unwrap_or_default();
        let Position { segment, offset } = self.position;
        self.connection
            .prepare_cached(
                "UPDATE meta SET segment = ?1, offset = ?2, counts = ?3, live_bytes = ?4",
            )?
            .execute((segment, offset as i64, counts, self.live_bytes as i64))?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        (self.is_open, self.unsaved) = (false, 0);
        // Not before: what could not be saved is saved with what follows.
        self.homes_changed.clear();
        self.homes.retain(|_, mails| *mails > 0);
        Ok(())
    }

    fn save_homes(&mut self) -> Result<()> {
        self.homes_changed.sort_unstable();
        self.homes_changed.dedup();
        for &number in &self.homes_changed {
            let mails = self.mails_in(number);
            if mails == 0 {
                self.connection
                    .prepare_cached("DELETE FROM segment WHERE number = ?1")?
                    .execute([number])?;
            } else {
                self.connection
                    .prepare_cached("INSERT OR REPLACE INTO segment VALUES (?1, ?2)")?
                    .execute((number, mails as i64))?;
            }
        }
        Ok(())
    }

    /// Takes back all that was not saved: the index is again what its file is.
    pub(crate) fn roll_back(&mut self) -> Result<()> {
        (self.is_open, self.unsaved) = (false, 0);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.homes_changed.clear();
        self.finished.clear();
        self.show_leased_again();
        self.load_totals()
    }

    /// Lets what is read until [`end_reading`](Self::end_reading) be read in one transaction: each by itself
    /// would lock and unlock the file.
    pub(crate) fn begin_reading(&self) {
        if !self.is_open {
            // Without it, they do that.
            let _ = self.connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
        }
    }

    /// Ends what [`begin_reading`](Self::begin_reading) began.
    ///
    /// # Errors
    /// Also those of [`check_open`](Self::check_open).
    pub(crate) fn end_reading(&self) -> Result<()> {
        self.check_open()?;
        if self.is_open || self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.prepare_cached("ROLLBACK")?.execute([]).map(drop)
    }
}
