use std::collections::HashSet;

use hedwig_envelope::{MailId, MailStatus, ReversePath, Timestamp};
use rusqlite::{OptionalExtension, Row, types::Type};

use super::{Index, Result};
use crate::{Filter, due::shown, log::Position, state::Unit};

/// What the index knows of a mail itself.
#[derive(Clone, Debug)]
pub(crate) struct MailRow {
    pub(crate) id: MailId,
    pub(crate) sender: ReversePath,
    pub(crate) created_at: Timestamp,
    pub(crate) size: u64,
    pub(crate) position: Position,
    /// How long its record is.
    pub(crate) bytes: u64,
    content_bytes: u64,
    pub(crate) finished_at: Option<Timestamp>,
    /// The file of its content in the directory of contents, if it has one.
    pub(crate) file: Option<String>,
}

impl MailRow {
    /// How much of its record somebody still needs.
    pub(crate) fn live_bytes(&self) -> u64 {
        if self.finished_at.is_some() { self.bytes - self.content_bytes } else { self.bytes }
    }
}

const MAIL: &str = "id, sender, created_at, size, segment, offset, bytes, content_bytes,
                    finished_at, file";

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

    /// The units of a mail, each with the second from which it is offered.
    pub(crate) fn offered_units(&self, mail: MailId) -> Result<Vec<(Unit, Option<i64>)>> {
        let sql = "SELECT state, offered FROM unit WHERE mail = ?1 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows =
            statement.query_map([mail.to_bytes()], |row| Ok((unit_in(row, 0)?, row.get(1)?)));
        rows?.collect()
    }

    /// The sender of a mail, as a text.
    pub(crate) fn sender(&self, mail: MailId) -> Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT sender FROM mail WHERE id = ?1")?
            .query_row([mail.to_bytes()], |row| row.get(0))
            .optional()
    }

    /// When a unit must be offered, whatever is wrong with its destination, in seconds.
    pub(crate) fn deadline(&self, mail: MailId, number: u32) -> Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT deadline FROM unit WHERE mail = ?1 AND number = ?2")?
            .query_row((mail.to_bytes(), number), |row| row.get(0))
            .optional()
            .map(Option::flatten)
    }

    /// What is shown of a mail; `leased` says of each unit whether it is being tried.
    pub(crate) fn status(&self, row: &MailRow, leased: impl Fn(u32) -> bool) -> Result<MailStatus> {
        let mut recipients = Vec::new();
        for (number, (unit, offered)) in self.offered_units(row.id)?.iter().enumerate() {
            let due = unit.due.map(|due| offered.map_or(due, |offered| shown(due, offered)));
            recipients.extend(unit.statuses_due(leased(number as u32), due));
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
        file: row.get(9)?,
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
