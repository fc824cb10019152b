//! The list of recipients that do not exist, as far as anybody knows: not to be tried again for a while.
//!
//! It stands beside the queue and not in its log: what a power cut takes of it (the last entries, never the file)
//! costs one more attempt at an address, and no mail.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use hedwig_envelope::{Address, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{Suppression, SuppressionOrigin, index};

/// The name of its file in a spool's directory.
const FILE: &str = "suppressions.sqlite";
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS suppression (
    domain TEXT NOT NULL, local_part TEXT NOT NULL, address TEXT NOT NULL,
    since INTEGER NOT NULL, until INTEGER, reason TEXT NOT NULL, origin TEXT NOT NULL,
    PRIMARY KEY (domain, local_part)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS suppression_until ON suppression (until)";
const COLUMNS: &str = "address, since, until, reason, origin";
/// So many entries are made between two looks at whether there are too many. The list is then shortened by as many.
const ROOM: u64 = 100;
/// For so long, in microseconds, an empty list is not asked again.
const EMPTY_FOR: i64 = 1_000_000;

/// What went wrong with the list: with its file, or what it lies on.
#[derive(Debug, thiserror::Error)]
#[error("the list of suppressed recipients: {0}")]
pub struct SuppressionError(#[from] rusqlite::Error);

/// The list of recipients that are not tried. A cheap handle.
///
/// Local parts count as they are written, for only their own host may say which are the same (RFC 5321 §2.4);
/// domains count in any case. Several processes may have it open: a daemon, and an operator's command.
#[derive(Clone, Debug)]
pub struct Suppressions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Mutex<Connection>,
    entries_max: u64,
    /// How many this process has made.
    made: AtomicU64,
    /// When it was last seen to be empty, in microseconds of the epoch.
    seen_empty: AtomicI64,
}

impl Suppressions {
    /// The list in a spool's directory, of at most so many entries. A file that is no such list is set aside, and the
    /// list begins anew.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn open(directory: &Path, entries_max: u64) -> Result<Self, SuppressionError> {
        let path = directory.join(FILE);
        let connection = match connect(&path) {
            Err(error) if is_damaged(&error) => {
                set_aside(&path).map_err(|error| index::cannot_open(&path, &error))?;
                connect(&path)?
            }
            other => other?,
        };
        Ok(Self::over(connection, entries_max))
    }

    /// An empty list in memory: for when there is no other.
    ///
    /// # Errors
    /// When SQLite has no memory for it.
    pub fn in_memory(entries_max: u64) -> Result<Self, SuppressionError> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self::over(connection, entries_max))
    }

    fn over(connection: Connection, entries_max: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                connection: Mutex::new(connection),
                entries_max,
                made: AtomicU64::new(0),
                seen_empty: AtomicI64::new(i64::MIN),
            }),
        }
    }

    /// What is known of a recipient that is not to be tried now. What another process adds to an empty list is seen
    /// after a second at the latest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(
        &self,
        address: &Address,
        now: Timestamp,
    ) -> Result<Option<Suppression>, SuppressionError> {
        let seen_empty = self.inner.seen_empty.load(Ordering::Relaxed);
        if (0..EMPTY_FOR).contains(&now.as_microsecond().saturating_sub(seen_empty)) {
            return Ok(None);
        }
        let connection = self.lock();
        let mut any = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM suppression)")?;
        if !any.query_row([], |row| row.get(0))? {
            self.inner.seen_empty.store(now.as_microsecond(), Ordering::Relaxed);
            return Ok(None);
        }
        let find =
            format!("SELECT {COLUMNS} FROM suppression WHERE domain = ?1 AND local_part = ?2");
        let mut find = connection.prepare_cached(&find)?;
        let found = find.query_row((domain(address), address.local_part()), read).optional()?;
        Ok(found.filter(|found| found.until.is_none_or(|until| until > now)))
    }

    /// Puts a recipient on the list; what was said of it before counts no more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn insert(&self, entry: &Suppression) -> Result<(), SuppressionError> {
        let connection = self.lock();
        if self.inner.made.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROOM) {
            tidy(&connection, entry.since, self.inner.entries_max)?;
        }
        let insert = "INSERT OR REPLACE INTO suppression VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.prepare_cached(insert)?.execute((
            domain(&entry.address),
            entry.address.local_part(),
            entry.address.as_str(),
            entry.since.as_microsecond(),
            entry.until.map(Timestamp::as_microsecond),
            &entry.reason,
            entry.origin.name(),
        ))?;
        self.inner.seen_empty.store(i64::MIN, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a recipient off the list; returns whether it was there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&self, address: &Address) -> Result<bool, SuppressionError> {
        let connection = self.lock();
        let remove = "DELETE FROM suppression WHERE domain = ?1 AND local_part = ?2";
        let removed = connection.execute(remove, (domain(address), address.local_part()))?;
        Ok(removed > 0)
    }

    /// At most so many entries whose time is not over, of one domain or of all, in the order of domain and local
    /// part; those behind an address for the next page.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(
        &self,
        of_domain: Option<&str>,
        after: Option<&Address>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Suppression>, SuppressionError> {
        let connection = self.lock();
        let list = format!(
            "SELECT {COLUMNS} FROM suppression
             WHERE (domain, local_part) > (?1, ?2) AND (?3 IS NULL OR domain = ?3)
                AND (until IS NULL OR until > ?4)
             ORDER BY domain, local_part LIMIT ?5"
        );
        let of_domain = of_domain.map(str::to_ascii_lowercase);
        let (after_domain, after_local_part) =
            after.map_or_else(Default::default, |after| (domain(after), after.local_part()));
        let mut list = connection.prepare_cached(&list)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters = (after_domain, after_local_part, of_domain, now.as_microsecond(), limit);
        let rows = list.query_map(parameters, read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A statement that panicked was rolled back.
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    index::make(path).map_err(|error| index::cannot_open(path, &error))?;
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -512)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Forgets what is over; and of too many those that would be over first.
fn tidy(connection: &Connection, now: Timestamp, entries_max: u64) -> Result<(), rusqlite::Error> {
    connection.execute("DELETE FROM suppression WHERE until <= ?1", [now.as_microsecond()])?;
    let count = connection.query_row("SELECT count(*) FROM suppression", [], |row| row.get(0));
    let left = i64::try_from(entries_max.saturating_sub(ROOM)).unwrap_or(i64::MAX);
    let surplus = i64::saturating_sub(count?, left);
    let shorten = "DELETE FROM suppression WHERE (domain, local_part) IN
        (SELECT domain, local_part FROM suppression ORDER BY until IS NULL, until LIMIT ?1)";
    connection.execute(shorten, [surplus.max(0)])?;
    Ok(())
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn set_aside(path: &Path) -> io::Result<()> {
    let aside: PathBuf = path.with_extension("damaged");
    tracing::error!(file = %path.display(), aside = %aside.display(),
        "the list of suppressed recipients is damaged: it was set aside, and begins anew");
    fs::rename(path, aside)
}

fn domain(address: &Address) -> String {
    address.domain_text().unwrap_or_default().to_ascii_lowercase()
}

fn read(row: &Row<'_>) -> Result<Suppression, rusqlite::Error> {
    let wrong = |_| rusqlite::Error::InvalidQuery;
    let time = |value| Timestamp::from_microsecond(value).map_err(wrong);
    Ok(Suppression {
        address: row.get::<_, String>(0)?.parse().map_err(|_| rusqlite::Error::InvalidQuery)?,
        since: time(row.get(1)?)?,
        until: row.get::<_, Option<i64>>(2)?.map(time).transpose()?,
        reason: row.get(3)?,
        origin: match row.get::<_, String>(4)?.as_str() {
            "operator" => SuppressionOrigin::Operator,
            _ => SuppressionOrigin::Reply,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn entry(address: &str, until: Option<i64>) -> Suppression {
        Suppression {
            address: address.parse().unwrap(),
            since: at(10),
            until: until.map(at),
            reason: "550 5.1.1 No such user".into(),
            origin: SuppressionOrigin::Reply,
        }
    }

    fn addresses(entries: &[Suppression]) -> Vec<&str> {
        entries.iter().map(|entry| entry.address.as_str()).collect()
    }

    #[test]
    fn an_entry_counts_until_its_time_is_over_and_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        let bob = entry("Bob@Example.net", Some(100));
        list.insert(&bob).unwrap();
        drop(list);
        let list = Suppressions::open(directory.path(), 10).unwrap();
        let find =
            |address: &str, second| list.find(&address.parse().unwrap(), at(second)).unwrap();
        assert_eq!(find("Bob@example.NET", 99), Some(bob));
        assert_eq!(find("bob@example.net", 99), None);
        assert_eq!(find("Bob@example.net", 100), None);
    }

    #[test]
    fn an_operator_may_take_one_off() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        list.insert(&entry("bob@example.net", None)).unwrap();
        let bob = "bob@example.net".parse().unwrap();
        assert!(list.remove(&bob).unwrap());
        assert!(!list.remove(&bob).unwrap());
        assert_eq!(list.find(&bob, at(20)).unwrap(), None);
    }

    #[test]
    fn it_is_listed_in_pages() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        for (address, until) in [
            ("c@a.example", None),
            ("a@b.example", Some(99)),
            ("b@a.example", None),
            ("d@a.example", Some(15)),
        ] {
            list.insert(&entry(address, until)).unwrap();
        }
        let page = list.list(None, None, 2, at(20)).unwrap();
        assert_eq!(addresses(&page), ["b@a.example", "c@a.example"]);
        let page = list.list(None, Some(&page[1].address), 2, at(20)).unwrap();
        assert_eq!(addresses(&page), ["a@b.example"]);
        assert_eq!(
            addresses(&list.list(Some("B.example"), None, 9, at(20)).unwrap()),
            ["a@b.example"]
        );
    }

    #[test]
    fn a_full_list_forgets_first_what_ends_first() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 200).unwrap();
        for number in 0..200 {
            list.insert(&entry(&format!("u{number}@a.example"), Some(1000 - number))).unwrap();
        }
        list.insert(&entry("forever@a.example", None)).unwrap();
        assert_eq!(list.list(None, None, 1000, at(20)).unwrap().len(), 101);
        assert!(list.find(&"u0@a.example".parse().unwrap(), at(20)).unwrap().is_some());
        assert!(list.find(&"u150@a.example".parse().unwrap(), at(20)).unwrap().is_none());
    }

    #[test]
    fn what_another_process_adds_to_an_empty_list_is_seen_after_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        let bob = "bob@example.net".parse().unwrap();
        assert_eq!(list.find(&bob, at(20)).unwrap(), None);
        let other = Suppressions::open(directory.path(), 10).unwrap();
        other.insert(&entry("bob@example.net", None)).unwrap();
        assert!(list.find(&bob, at(21)).unwrap().is_some());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), [b'x'; 8192]).unwrap();
        let list = Suppressions::open(directory.path(), 10).unwrap();
        list.insert(&entry("bob@example.net", None)).unwrap();
        assert!(directory.path().join("suppressions.damaged").exists());
    }
}
