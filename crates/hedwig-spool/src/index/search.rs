use hedwig_envelope::MailId;

use super::{Index, Result};

/// How many units are looked at in one go, so that commits need not wait long.
const STEP_UNITS: usize = 16_384;

/// A search for the mails that wait for one destination. It goes through the index of what is due, which is
/// small and holds every waiting unit, and leaves the mails themselves alone.
#[derive(Clone)]
pub(crate) struct Search {
    destination: String,
    /// The unit that was looked at last: rank, time, destination, mail, number.
    last: (i64, i64, String, Vec<u8>, u32),
    done: bool,
    found: Vec<MailId>,
}

impl Search {
    pub(crate) fn new(destination: String) -> Self {
        let last = (i64::MIN, i64::MIN, String::new(), Vec::new(), 0);
        Self { destination, last, done: false, found: Vec::new() }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// What was found, the oldest first. A unit whose time changed meanwhile may have been met twice.
    pub(crate) fn into_found(mut self) -> Vec<MailId> {
        self.found.sort_unstable();
        self.found.dedup();
        self.found
    }
}

impl Index {
    /// Takes a search a step further.
    pub(crate) fn search(&self, search: &mut Search) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT rank, offered, destination, mail, number FROM unit INDEXED BY unit_due
             WHERE offered IS NOT NULL
                AND (rank, offered, destination, mail, number) > (?1, ?2, ?3, ?4, ?5)
             ORDER BY rank, offered, destination, mail, number LIMIT ?6",
        )?;
        let (rank, offered, destination, mail, number) = &search.last;
        let from = (rank, offered, destination, mail, number, STEP_UNITS as i64);
        let mut rows = statement.query(from)?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            let destination = row.get_ref(2)?.as_str()?;
            // The recipients of a unit without one may be anywhere.
            if destination == search.destination || destination.is_empty() {
                search.found.push(MailId::from_bytes(row.get(3)?));
            }
            if seen == STEP_UNITS {
                search.last = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            }
        }
        search.done = seen < STEP_UNITS;
        Ok(())
    }
}
