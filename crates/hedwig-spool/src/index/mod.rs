//! The index: what the log says, made fit to be asked. It knows how far it has read; it may be lost or old
//! at any time, and is then brought up from the log, but it never knows what the log does not.
//!
//! `synchronous=NORMAL` in WAL mode flushes nothing when a transaction commits, and keeps the file sound
//! over a power cut, for a checkpoint is flushed on both sides.

mod apply;
mod due;
mod pace;
mod query;
mod seal;
mod search;
mod transaction;
mod untold;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use hedwig_envelope::MailId;
use rusqlite::{Connection, config::DbConfig, ffi};
use tokio::time::Instant;

pub(crate) use apply::Change;
pub(crate) use due::{Due, Visit};
pub(crate) use query::MailRow;
pub(crate) use seal::Seal;
pub(crate) use search::Search;

use crate::{Counts, log::Position, owner::hand_over};
use due::Cursor;
use transaction::{CHANGES_MAX, CHANGES_MAX_SMALL};

const SCHEMA: &str = "
    CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        schema INTEGER NOT NULL, spool TEXT NOT NULL,
        segment INTEGER NOT NULL, offset INTEGER NOT NULL,
        counts TEXT NOT NULL, live_bytes INTEGER NOT NULL);
    CREATE TABLE segment (number INTEGER PRIMARY KEY, mails INTEGER NOT NULL);
    CREATE TABLE mail (
        id BLOB PRIMARY KEY, sender TEXT NOT NULL, created_at INTEGER NOT NULL, size INTEGER NOT NULL,
        segment INTEGER NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL,
        content_bytes INTEGER NOT NULL, file TEXT, fingerprint TEXT NOT NULL, key TEXT,
        priority INTEGER NOT NULL, waiting INTEGER NOT NULL, finished_at INTEGER) WITHOUT ROWID;
    CREATE INDEX mail_waiting ON mail (id) WHERE finished_at IS NULL;
    CREATE INDEX mail_finished ON mail (finished_at) WHERE finished_at IS NOT NULL;
    CREATE TABLE key (key TEXT PRIMARY KEY, mail BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE unit (
        mail BLOB NOT NULL, number INTEGER NOT NULL, destination TEXT NOT NULL,
        rank INTEGER NOT NULL, offered INTEGER, deadline INTEGER, state TEXT NOT NULL,
        PRIMARY KEY (mail, number)) WITHOUT ROWID;
    CREATE INDEX unit_due ON unit (rank, offered, destination, mail, number)
        WHERE offered IS NOT NULL;
    CREATE TABLE untold (mail BLOB PRIMARY KEY, since INTEGER NOT NULL, units INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX untold_since ON untold (since, mail);
    CREATE TABLE pace (saved TEXT NOT NULL);
";
/// On a disk with less room than this the index takes less than it likes to.
const SMALL_DISK_BYTES: u64 = 1 << 30;
/// So many pages may wait beside it to be moved into it, and so many on a small disk.
const WAITING_PAGES: i64 = 8000;
const WAITING_PAGES_SMALL: i64 = 250;
/// So many pages (of 4 KiB) may be of no use: new mails will need them.
const FREE_PAGES_KEPT: i64 = 1024;
/// In a file whose pages can be cut off one page of so many is a map of the others, five bytes for each.
const PAGES_BY_MAP_PAGE: i64 = 4096 / 5 + 1;
/// How long to wait for somebody else who has the file locked, as who looks at it does for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Another schema is not migrated but made anew from the log.
const SCHEMA_VERSION: i64 = 5;

pub(crate) type Result<T> = std::result::Result<T, rusqlite::Error>;

pub(crate) struct Index {
    connection: Connection,
    attempts_kept_max: usize,
    position: Position,
    /// Whether a transaction is open in which something was taken over, and how many changes that is.
    is_open: bool,
    unsaved: usize,
    /// How many may become one transaction.
    changes_max: usize,
    counts: Counts,
    /// How many bytes of the log something still needs.
    live_bytes: u64,
    /// How many mails lie in each segment.
    homes: BTreeMap<u32, u64>,
    homes_changed: Vec<u32>,
    finished: Vec<(MailId, Option<String>)>,
    /// The destinations of units that an operator wants to be tried.
    woken: HashSet<String>,
    /// Of each priority, up to where all that is due is leased.
    leased_up_to: HashMap<i64, Cursor>,
    untold_sooner: bool,
}

impl Index {
    /// Opens the index in this file, or in memory.
    pub(crate) fn open(path: Option<&Path>, spool: &str, attempts_kept_max: usize) -> Result<Self> {
        let connection = match path {
            Some(path) => {
                // What SQLite makes beside it gets the same owner.
                make(path).map_err(|error| cannot_open(path, &error))?;
                Connection::open(path)?
            }
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Only before there are tables: a file that has some stays as it is, and is made anew (`SCHEMA_VERSION`).
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAITING_PAGES)?;
        connection.pragma_update(None, "cache_size", -8000)?;
        // Without it, each new value for a statement over a partial index has it prepared anew.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let mut index = Self {
            connection,
            attempts_kept_max,
            position: Position::default(),
            is_open: false,
            unsaved: 0,
            changes_max: CHANGES_MAX,
            counts: Counts::default(),
            live_bytes: 0,
            homes: BTreeMap::new(),
            homes_changed: Vec::new(),
            finished: Vec::new(),
            woken: HashSet::new(),
            leased_up_to: HashMap::new(),
            untold_sooner: false,
        };
        if path.is_some_and(is_on_small_disk) {
            index.take_little()?;
        }
        index.load(spool)?;
        Ok(index)
    }

    /// What its seal says of the index in this file, which may be changed from now on.
    pub(crate) fn seal(path: &Path) -> io::Result<Seal> {
        seal::open(path)
    }

    /// Closes it, and seals its file.
    pub(crate) fn close(self, path: Option<&Path>) {
        let closed = self.connection.close().map_err(|(_, error)| io::Error::other(error));
        let Some(path) = path else { return };
        if let Err(error) = closed.and_then(|()| seal::close(path)) {
            tracing::warn!(%error, "the index is not sealed, and will be looked at more closely");
        }
    }

    /// Whether SQLite finds nothing wrong with its structure. It reads all of it.
    pub(crate) fn is_sound(&self) -> Result<bool> {
        let check = "PRAGMA quick_check(1)";
        let found = self.connection.query_row(check, [], |row| row.get::<_, String>(0))?;
        Ok(found == "ok")
    }

    /// Whether most of its file is of no use.
    pub(crate) fn is_mostly_free(&self) -> Result<bool> {
        let free = self.pages("freelist_count")?;
        Ok(free >= FREE_PAGES_KEPT && 2 * free >= self.pages("page_count")?)
    }

    /// Gives back pages of its file that nothing needs any more: all of them if no more than `rewritten_max` others are
    /// left, or else at most `cut_max` from its end, and for no longer than about `cut_time`. What was taken over has to
    /// be saved. Tells whether there are more.
    pub(crate) fn give_back(
        &self,
        cut_max: u32,
        cut_time: Duration,
        rewritten_max: i64,
    ) -> Result<bool> {
        if self.pages_with_content()? <= rewritten_max {
            return self.rewrite().map(|()| false);
        }
        let begun = Instant::now();
        let cut = format!("PRAGMA incremental_vacuum({cut_max})");
        let mut cut = self.connection.prepare(&cut)?;
        let mut steps = cut.query([])?;
        // Each step cuts a page off, and looks through what is free for it. What was cut when it ends stays so.
        while steps.next()?.is_some() && begun.elapsed() < cut_time {}
        drop(steps);
        self.is_mostly_free()
    }

    /// How many pages are neither free nor a part of the map that says where each one hangs.
    fn pages_with_content(&self) -> Result<i64> {
        let all = self.pages("page_count")?;
        Ok(all - self.pages("freelist_count")? - all / PAGES_BY_MAP_PAGE)
    }

    fn pages(&self, which: &str) -> Result<i64> {
        self.connection.pragma_query_value(None, which, |row| row.get(0))
    }

    /// Writes the file anew with what is left in it. To cut page after page off takes the longer for each the more are
    /// free: after ten million mails more than a quarter of an hour.
    fn rewrite(&self) -> Result<()> {
        // What is left is copied twice, and is small.
        self.connection.pragma_update(None, "temp_store", "MEMORY")?;
        let rewritten = self.connection.execute_batch("VACUUM");
        self.connection.pragma_update(None, "temp_store", "DEFAULT")?;
        rewritten?;
        // Whoever reads it just now is not waited for.
        self.connection.busy_timeout(Duration::ZERO)?;
        let cut = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        cut
    }

    /// Gives back the room that what is yet to be moved into it takes, and takes less from now on.
    pub(crate) fn shrink(&mut self) -> Result<()> {
        self.save()?;
        self.take_little()?;
        let shrink = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(shrink, [], |_| Ok(()))
    }

    /// Lets little wait beside it, and the file that held more give it back.
    fn take_little(&mut self) -> Result<()> {
        self.changes_max = CHANGES_MAX_SMALL;
        self.connection.pragma_update(None, "wal_autocheckpoint", WAITING_PAGES_SMALL)?;
        self.connection.pragma_update(None, "journal_size_limit", WAITING_PAGES_SMALL * 4096)
    }

    /// How far it has read.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// How many mails lie in a segment.
    pub(crate) fn mails_in(&self, segment: u32) -> u64 {
        self.homes.get(&segment).copied().unwrap_or(0)
    }

    fn load(&mut self, spool: &str) -> Result<()> {
        let made = "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'";
        if self.connection.query_row(made, [], |row| row.get::<_, i64>(0))? == 0 {
            self.connection.execute_batch(&format!("BEGIN; {SCHEMA}"))?;
            self.connection.execute(
                "INSERT INTO meta VALUES (1, ?1, ?2, 0, 0, '[0,0,0,0,0,0,0,0]', 0)",
                (SCHEMA_VERSION, spool),
            )?;
            return self.connection.execute_batch("COMMIT");
        }
        let ours = "SELECT 1 FROM meta WHERE spool = ?1 AND schema = ?2";
        self.connection.query_row(ours, (spool, SCHEMA_VERSION), |_| Ok(()))?;
        self.load_totals()
    }

    /// What is kept in memory beside the tables.
    fn load_totals(&mut self) -> Result<()> {
        let totals = "SELECT segment, offset, counts, live_bytes FROM meta";
        let row = self.connection.query_row(totals, [], |row| {
            let counts = serde_json::from_str(&row.get::<_, String>(2)?);
            let counts = counts.map_err(|_| rusqlite::Error::InvalidQuery)?;
            Ok((row.get(0)?, row.get::<_, i64>(1)?, counts, row.get::<_, i64>(3)?))
        });
        let (segment, offset, counts, live_bytes) = row?;
        self.position = Position { segment, offset: offset as u64 };
        self.counts = Counts(counts);
        self.live_bytes = live_bytes as u64;
        let mut homes = self.connection.prepare("SELECT number, mails FROM segment")?;
        let rows = homes.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        self.homes = rows.collect::<Result<_>>()?;
        Ok(())
    }
}

fn is_on_small_disk(index: &Path) -> bool {
    let directory = index.parent().unwrap_or(Path::new("."));
    // Where that cannot be told there is nothing to be done.
    rustix::fs::statvfs(directory)
        .is_ok_and(|disk| disk.f_blocks.saturating_mul(disk.f_frsize) < SMALL_DISK_BYTES)
}

/// Makes an empty file, unless there is one: to SQLite that is a new database.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(file) => hand_over(&file, path.parent().unwrap_or(Path::new("."))),
    }
}

pub(crate) fn cannot_open(path: &Path, error: &io::Error) -> rusqlite::Error {
    let code = if error.kind() == io::ErrorKind::StorageFull {
        ffi::SQLITE_FULL
    } else {
        ffi::SQLITE_CANTOPEN
    };
    let text = format!("{}: {error}", path.display());
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text))
}

#[cfg(test)]
impl Index {
    /// Lets every write fail that needs another page, as on a full disk; or not any more.
    pub(crate) fn fill_disk(&self, full: bool) {
        let pages: i64 = if full { 1 } else { 1 << 30 };
        // SQLite allows no fewer than there are.
        self.connection.pragma_update(None, "max_page_count", pages).unwrap();
    }

    /// Does what SQLite does after some errors: takes back what was not saved.
    pub(crate) fn lose_transaction(&self) {
        self.connection.execute_batch("ROLLBACK").unwrap();
    }

    /// Makes what it says of all units unreadable.
    pub(crate) fn garble(&self) {
        self.end_reading().unwrap();
        self.connection.execute_batch("UPDATE unit SET state = '{'").unwrap();
    }

    /// Takes a table away.
    pub(crate) fn ruin(&self) {
        self.end_reading().unwrap();
        self.connection.execute_batch("DROP TABLE unit").unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of some 100 pages, and 6,000 that are free.
    fn mostly_free(directory: &tempfile::TempDir) -> Index {
        let index = Index::open(Some(&directory.path().join("index")), "spool", 5).unwrap();
        let fill = "
            CREATE TABLE filler (x BLOB);
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 6100)
                INSERT INTO filler SELECT zeroblob(4000) FROM n;
            DELETE FROM filler WHERE rowid <= 6000";
        index.connection.execute_batch(fill).unwrap();
        assert!(index.pages("freelist_count").unwrap() >= 6000);
        index
    }

    #[test]
    fn an_index_of_which_little_is_left_gives_all_back_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let index = mostly_free(&directory);
        assert!(!index.give_back(1000, Duration::MAX, 2048).unwrap());
        assert_eq!(index.pages("freelist_count").unwrap(), 0);
        let length = std::fs::metadata(directory.path().join("index")).unwrap().len();
        assert!(length < 200 * 4096, "{length}");
        assert!(index.is_sound().unwrap());
    }

    #[test]
    fn the_map_of_what_is_free_is_nothing_that_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let index = mostly_free(&directory);
        let in_use = index.pages("page_count").unwrap() - index.pages("freelist_count").unwrap();
        assert!(
            !index.give_back(1, Duration::ZERO, in_use - 7).unwrap(),
            "of 6,200 pages 7 are a map"
        );
        assert_eq!(index.pages("freelist_count").unwrap(), 0);
    }

    #[test]
    fn an_index_of_which_more_is_left_gives_back_bit_by_bit_until_half_of_it_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let index = mostly_free(&directory);
        let mut steps = 0;
        while index.give_back(1000, Duration::MAX, 0).unwrap() {
            steps += 1;
        }
        assert!(steps >= 4, "{steps}");
        let (free, all) = ("freelist_count", "page_count");
        assert!(index.pages(free).unwrap() < 1024 && index.pages(all).unwrap() < 1200);
        assert!(index.is_sound().unwrap());
    }

    #[test]
    fn what_was_cut_off_when_its_time_was_over_stays_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let index = mostly_free(&directory);
        let before = index.pages("page_count").unwrap();
        for _ in 0..10 {
            assert!(index.give_back(1000, Duration::ZERO, 0).unwrap(), "there is more");
        }
        let cut = before - index.pages("page_count").unwrap();
        assert!((10..100).contains(&cut), "{cut}");
        assert!(index.is_sound().unwrap());
    }
}
