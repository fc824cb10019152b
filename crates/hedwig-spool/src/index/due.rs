//! What is due, in the order in which it is to be tried.
//!
//! A unit's turn comes with its due time; each step of priority (RFC 6710) is worth as much as having waited
//! so long. So a mail of high priority goes first, and one of low priority is overtaken only for a
//! while, however many others there are.

use std::collections::VecDeque;

use hedwig_envelope::{MailId, Timestamp};
use rusqlite::OptionalExtension;

use super::{Index, Result};
use crate::due::{NEVER, put_off};

/// What a step of priority is worth, in seconds of waiting.
const STEP_SECONDS: i64 = 120;
/// How many rows are read at once, at first and at most.
const ROWS: [i64; 2] = [4, 1024];

/// A unit that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(super) offered: i64,
    pub(crate) destination: String,
    pub(crate) mail: MailId,
    pub(crate) number: u32,
}

/// What to do with a unit that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// On to the next.
    Next,
    /// The same, for it is leased: until that may have changed nobody need be shown it again.
    Leased,
    /// On to the next destination: this one gets nothing just now.
    NextDestination,
    /// That is enough.
    Stop,
}

/// The due units of one priority, the oldest first.
struct Lane {
    rank: i64,
    cursor: Cursor,
    rows: VecDeque<Due>,
    rows_next: i64,
    over: bool,
    /// Up to here all units are leased.
    leased: Cursor,
    /// Whether none was met yet that is not.
    only_leased: bool,
}

/// A place in the due index of one priority.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cursor {
    offered: i64,
    destination: String,
    mail: Vec<u8>,
    number: u32,
}

impl Cursor {
    /// Before every unit.
    fn start() -> Self {
        Self { offered: i64::MIN, destination: String::new(), mail: Vec::new(), number: 0 }
    }

    /// Behind every unit that is offered from the same second for the same destination.
    fn behind(due: Due) -> Self {
        // Behind every mail's sixteen bytes.
        let mail = vec![0xff; 17];
        Self { offered: due.offered, destination: due.destination, mail, number: 0 }
    }

    fn at(due: &Due) -> Self {
        Self {
            offered: due.offered,
            destination: due.destination.clone(),
            mail: due.mail.to_bytes().to_vec(),
            number: due.number,
        }
    }
}

impl Lane {
    /// The lane that begins behind this place.
    fn new(rank: i64, cursor: Cursor) -> Self {
        Self {
            rank,
            leased: cursor.clone(),
            cursor,
            rows: VecDeque::new(),
            rows_next: ROWS[0],
            over: false,
            only_leased: true,
        }
    }

    /// When its first unit's turn is; lower is sooner.
    fn turn(&self) -> Option<(i64, i64)> {
        let first = self.rows.front()?;
        Some((first.offered.saturating_add(self.rank * STEP_SECONDS), self.rank))
    }

    /// Leaves out what else is offered from the same second for the same destination.
    fn skip(&mut self, due: Due) {
        let same = |row: &Due| row.offered == due.offered && row.destination == due.destination;
        while self.rows.front().is_some_and(same) {
            self.rows.pop_front();
        }
        if self.rows.is_empty() && !self.over {
            self.cursor = Cursor::behind(due);
        }
    }
}

impl Index {
    /// Shows what is due at `now`, by turn, but not again what was [leased](Visit::Leased). Tells when the next
    /// unit will be due, unless it was stopped.
    pub(crate) fn due(
        &mut self,
        now: Timestamp,
        visit: impl FnMut(&Self, &Due) -> Result<Visit>,
    ) -> Result<Option<Timestamp>> {
        let leased_up_to = std::mem::take(&mut self.leased_up_to);
        let mut lanes = Vec::new();
        let mut rank = i64::MIN;
        while let Some(found) = self.next_rank(rank)? {
            rank = found;
            let begin = leased_up_to.get(&rank).cloned().unwrap_or_else(Cursor::start);
            lanes.push(Lane::new(rank, begin));
        }
        let next_due = self.show(&mut lanes, now, visit)?;
        self.leased_up_to = lanes.into_iter().map(|lane| (lane.rank, lane.leased)).collect();
        Ok(next_due)
    }

    /// Lets what is due be shown from the beginning: somebody's lease may have ended.
    pub(crate) fn show_leased_again(&mut self) {
        self.leased_up_to.clear();
    }

    /// Lets a unit be shown that is new.
    pub(super) fn show_new(&mut self, rank: i64, due: &Due) {
        let leased = self.leased_up_to.get(&rank).filter(|leased| leased.offered >= due.offered);
        if leased.is_some_and(|leased| *leased >= Cursor::at(due)) {
            self.leased_up_to.remove(&rank);
        }
    }

    /// Lets units be shown whose time changed to this second.
    pub(super) fn show_changed(&mut self, offered: i64) {
        self.leased_up_to.retain(|_, leased| leased.offered < offered);
    }

    fn show(
        &self,
        lanes: &mut [Lane],
        now: Timestamp,
        mut visit: impl FnMut(&Self, &Due) -> Result<Visit>,
    ) -> Result<Option<Timestamp>> {
        loop {
            for lane in lanes.iter_mut().filter(|lane| lane.rows.is_empty() && !lane.over) {
                self.read_on(lane, now)?;
            }
            let first = lanes.iter_mut().filter(|lane| !lane.rows.is_empty());
            let Some(lane) = first.min_by_key(|lane| lane.turn()) else { break };
            let Some(due) = lane.rows.pop_front() else { break };
            match visit(self, &due)? {
                Visit::Leased => {
                    if lane.only_leased {
                        lane.leased = Cursor::at(&due);
                    }
                    continue;
                }
                Visit::Next => {}
                Visit::NextDestination => lane.skip(due),
                Visit::Stop => return Ok(None),
            }
            lane.only_leased = false;
        }
        let mut next = None::<i64>;
        for lane in &*lanes {
            next = next.into_iter().chain(self.next_offered(lane.rank, now)?).min();
        }
        Ok(next.map(|second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX)))
    }

    fn read_on(&self, lane: &mut Lane, now: Timestamp) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT offered, destination, mail, number FROM unit INDEXED BY unit_due
             WHERE offered IS NOT NULL AND rank = ?1 AND offered <= ?2
                AND (offered, destination, mail, number) > (?3, ?4, ?5, ?6)
             ORDER BY offered, destination, mail, number LIMIT ?7",
        )?;
        let Cursor { offered, destination, mail, number } = &lane.cursor;
        let mut rows = statement.query(rusqlite::params![
            lane.rank,
            now.as_second(),
            offered,
            destination,
            mail,
            number,
            lane.rows_next,
        ])?;
        while let Some(row) = rows.next()? {
            lane.rows.push_back(Due {
                offered: row.get(0)?,
                destination: row.get(1)?,
                mail: MailId::from_bytes(row.get(2)?),
                number: row.get(3)?,
            });
        }
        lane.over = (lane.rows.len() as i64) < lane.rows_next;
        lane.rows_next = (2 * lane.rows_next).min(ROWS[1]);
        if let Some(last) = lane.rows.back() {
            lane.cursor = Cursor::at(last);
        }
        Ok(())
    }

    /// Offers units from another time on. The log does not know of it: an index that is made anew offers them
    /// sooner.
    pub(crate) fn put_off(&mut self, units: &[(MailId, u32, Timestamp)]) -> Result<()> {
        self.end_reading()?;
        self.begin()?;
        for (mail, number, until) in units {
            self.connection
                .prepare_cached(
                    "UPDATE unit SET offered = ?3
                     WHERE mail = ?1 AND number = ?2 AND offered IS NOT NULL",
                )?
                .execute((mail.to_bytes(), number, put_off(*until)))?;
        }
        self.unsaved += units.len();
        self.show_leased_again();
        Ok(())
    }

    fn next_rank(&self, after: i64) -> Result<Option<i64>> {
        self.connection
            .prepare_cached(
                "SELECT rank FROM unit INDEXED BY unit_due
                 WHERE offered IS NOT NULL AND rank > ?1 ORDER BY rank LIMIT 1",
            )?
            .query_row([after], |row| row.get(0))
            .optional()
    }

    fn next_offered(&self, rank: i64, now: Timestamp) -> Result<Option<i64>> {
        self.connection
            .prepare_cached(
                "SELECT offered FROM unit INDEXED BY unit_due
                 WHERE offered IS NOT NULL AND rank = ?1 AND offered > ?2 AND offered < ?3
                 ORDER BY offered LIMIT 1",
            )?
            .query_row((rank, now.as_second(), NEVER), |row| row.get(0))
            .optional()
    }
}
