use std::{collections::HashSet, ops::ControlFlow};

use hedwig_envelope::{MailId, MailStatus, ReversePath, Timestamp};
use rusqlite::{OptionalExtension, Row, types::Type};

use super::{Index, Result};
use crate::{Filter, due::NEVER, log::Position, state::Unit};

/// What the index knows of a mail itself.
#[derive(Clone, Debug)]
pub(crate) struct MailRow {
    pub(crate) id: MailId,
    pub(crate) sender: ReversePath,
    pub(crate) created_at: Timestamp,
    pub(crate) size: u64,
    pub(crate) position: Position,
    bytes: u64,
    content_bytes: u64,
    pub(crate) finished_at: Option<Timestamp>,
}

impl MailRow {
    /// How much of its record somebody still needs.
    pub(crate) fn live_bytes(&self) -> u64 {
        if self.finished_at.is_some() { self.bytes - self.content_bytes } else { self.bytes }
    }
}

const MAIL: &str = "id, sender, created_at, size, segment, offset, bytes, content_bytes,
                    finished_at";

/// What to do with a unit that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// On to the next.
    Next,
    /// On to the next destination: this one gets nothing just now.
    NextDestination,
    /// That is enough.
    Stop,
}

/// Where in the due index a claim stands.
struct Cursor {
    offered: i64,
    destination: String,
    mail: Vec<u8>,
    number: u32,
}

impl Index {
    pub(crate) fn mail(&self, id: MailId) -> Result<Option<MailRow>> {
        self.connection
            .prepare_cached(&format!("SELECT {MAIL} FROM mail WHERE id = ?1"))?
            .query_row([id.to_bytes()], mail_row)
            .optional()
    }

    /// What tells a mail from another one with its key.
    pub(crate) fn fingerprint(&self, id: MailId) -> Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT fingerprint FROM mail WHERE id = ?1")?
            .query_row([id.to_bytes()], |row| row.get(0))
            .optional()
    }

    /// The mail that a key belongs to.
    pub(crate) fn mail_of_key(&self, key: &str) -> Result<Option<MailId>> {
        self.connection
            .prepare_cached("SELECT mail FROM key WHERE key = ?1")?
            .query_row([key], |row| row.get(0).map(MailId::from_bytes))
            .optional()
    }

    pub(crate) fn unit(&self, mail: MailId, number: u32) -> Result<Option<Unit>> {
        self.connection
            .prepare_cached("SELECT state FROM unit WHERE mail = ?1 AND number = ?2")?
            .query_row((mail.to_bytes(), number), |row| unit_in(row, 0))
            .optional()
    }

    pub(crate) fn units(&self, mail: MailId) -> Result<Vec<Unit>> {
        let sql = "SELECT state FROM unit WHERE mail = ?1 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([mail.to_bytes()], |row| unit_in(row, 0))?;
        rows.collect()
    }

    /// What is shown of a mail; `leased` says of each unit whether it is being tried.
    pub(crate) fn status(&self, row: &MailRow, leased: impl Fn(u32) -> bool) -> Result<MailStatus> {
        let mut recipients = Vec::new();
        for (number, unit) in self.units(row.id)?.iter().enumerate() {
            recipients.extend(unit.statuses(leased(number as u32)));
        }
        recipients.sort_unstable_by_key(|(position, _)| *position);
        Ok(MailStatus {
            id: row.id,
            sender: row.sender.clone(),
            created_at: row.created_at,
            size: row.size,
            recipients: recipients.into_iter().map(|(_, recipient)| recipient).collect(),
        })
    }

    /// Some mails after `after`, in order. Finished mails are left out unless they are asked for.
    pub(crate) fn page(
        &self,
        after: Option<MailId>,
        with_finished: bool,
        limit: usize,
    ) -> Result<Vec<MailRow>> {
        let narrowed = if with_finished { "" } else { "AND finished_at IS NULL" };
        let sql = format!("SELECT {MAIL} FROM mail WHERE id > ?1 {narrowed} ORDER BY id LIMIT ?2");
        let after = after.map_or(Vec::new(), |id| id.to_bytes().to_vec());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((after, limit as i64), mail_row)?;
        rows.collect()
    }

    /// Shows what is due at `now`: highest priority first, then by due time. Tells when the next unit will be
    /// due, unless it was stopped.
    pub(crate) fn due(
        &self,
        now: Timestamp,
        mut visit: impl FnMut(MailId, u32, &str) -> Visit,
    ) -> Result<Option<Timestamp>> {
        let mut next = None::<i64>;
        let mut rank = i64::MIN;
        while let Some(found) = self.next_rank(rank)? {
            rank = found;
            let mut from = Some(Cursor {
                offered: i64::MIN,
                destination: String::new(),
                mail: Vec::new(),
                number: 0,
            });
            while let Some(cursor) = from {
                match self.due_from(rank, now, &cursor, &mut visit)? {
                    ControlFlow::Break(()) => return Ok(None),
                    ControlFlow::Continue(further) => from = further,
                }
            }
            next = earlier(next, self.next_offered(rank, now)?);
        }
        Ok(next.map(|second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX)))
    }

    /// Goes on from a cursor, until there is no more or a whole destination is to be skipped.
    fn due_from(
        &self,
        rank: i64,
        now: Timestamp,
        cursor: &Cursor,
        visit: &mut impl FnMut(MailId, u32, &str) -> Visit,
    ) -> Result<ControlFlow<(), Option<Cursor>>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT offered, destination, mail, number FROM unit INDEXED BY unit_due
             WHERE offered IS NOT NULL AND rank = ?1 AND offered <= ?2
                AND (offered, destination, mail, number) > (?3, ?4, ?5, ?6)
             ORDER BY offered, destination, mail, number",
        )?;
        let mut rows = statement.query(rusqlite::params![
            rank,
            now.as_second(),
            cursor.offered,
            cursor.destination,
            cursor.mail,
            cursor.number,
        ])?;
        while let Some(row) = rows.next()? {
            let destination = row.get_ref(1)?.as_str()?;
            let (mail, number) = (MailId::from_bytes(row.get(2)?), row.get(3)?);
            match visit(mail, number, destination) {
                Visit::Next => {}
                Visit::Stop => return Ok(ControlFlow::Break(())),
                Visit::NextDestination => {
                    let (offered, destination) = (row.get(0)?, destination.to_owned());
                    // Behind every mail's sixteen bytes.
                    let mail = vec![0xff; 17];
                    let further = Cursor { offered, destination, mail, number: 0 };
                    return Ok(ControlFlow::Continue(Some(further)));
                }
            }
        }
        Ok(ControlFlow::Continue(None))
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

    pub(super) fn finished_before(&self, before: Timestamp, limit: usize) -> Result<Vec<MailRow>> {
        let sql = format!("SELECT {MAIL} FROM mail WHERE finished_at < ?1 LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map((before.as_millisecond(), limit as i64), mail_row)?;
        rows.collect()
    }

    /// The names of the files that hold contents of mails which still wait.
    pub(crate) fn files(&self) -> Result<HashSet<String>> {
        let sql = "SELECT file FROM mail WHERE finished_at IS NULL AND file IS NOT NULL";
        self.connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    }
}

impl Filter {
    /// Whether finished mails can match.
    pub(crate) fn wants_finished(&self) -> bool {
        self.finished || !self.ids.is_empty() || self.state.is_some_and(|state| state.is_final())
    }

    pub(crate) fn admits_mail(&self, row: &MailRow, now: Timestamp) -> bool {
        let sender = self.sender.as_ref().is_none_or(|sender| *sender == row.sender);
        let age = now.duration_since(row.created_at);
        let old = self.older_than.is_none_or(|least| {
            age > jiff::SignedDuration::try_from(least).unwrap_or(jiff::SignedDuration::MAX)
        });
        sender && old
    }

    pub(crate) fn admits_unit(&self, unit: &Unit, leased: bool) -> bool {
        self.admits_domain(unit)
            && self.state.is_none_or(|state| {
                unit.statuses(leased).any(|(_, recipient)| recipient.state == state)
            })
    }

    fn admits_domain(&self, unit: &Unit) -> bool {
        self.domain.as_ref().is_none_or(|wanted| {
            unit.recipients.iter().any(|recipient| {
                if recipient.state.is_final() && !self.wants_finished() {
                    return false;
                }
                let domain = recipient.address.domain_text().unwrap_or("");
                domain.eq_ignore_ascii_case(wanted)
                    || domain.to_lowercase() == wanted.to_lowercase()
            })
        })
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

fn mail_row(row: &Row<'_>) -> Result<MailRow> {
    let sender: String = row.get(1)?;
    Ok(MailRow {
        id: MailId::from_bytes(row.get(0)?),
        sender: sender.parse().map_err(|error| unreadable(1, error))?,
        created_at: time_in(row, 2)?.unwrap_or_default(),
        size: row.get::<_, i64>(3)? as u64,
        position: Position { segment: row.get(4)?, offset: row.get::<_, i64>(5)? as u64 },
        bytes: row.get::<_, i64>(6)? as u64,
        content_bytes: row.get::<_, i64>(7)? as u64,
        finished_at: time_in(row, 8)?,
    })
}

fn time_in(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    let millisecond: Option<i64> = row.get(column)?;
    let time = millisecond.map(Timestamp::from_millisecond).transpose();
    time.map_err(|error| unreadable(column, error))
}

fn unit_in(row: &Row<'_>, column: usize) -> Result<Unit> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| unreadable(column, error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
