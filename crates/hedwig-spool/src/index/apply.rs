use hedwig_envelope::{MailId, Timestamp};
use rusqlite::OptionalExtension;

use super::{Due, Index, MailRow, Result};
use crate::{
    Counts,
    due::offered,
    log::Position,
    state::{Act, Action, MailRecord, Place, Settlement, Told, Unit},
};

/// What a flushed record of the log changes.
pub(crate) enum Change<'a> {
    /// A mail, and how long its record is in all.
    Mail {
        record: &'a MailRecord,
        bytes: u64,
    },
    Settlement(&'a Settlement),
    Action(&'a Action),
    Told(&'a Told),
}

impl Change<'_> {
    /// About how many rows it changes.
    fn rows(&self) -> usize {
        match self {
            Self::Mail { record, .. } => 1 + record.units.len(),
            Self::Settlement(_) => 1,
            Self::Action(action) => action.units.len(),
            Self::Told(told) => told.recipients.len(),
        }
    }
}

impl Index {
    /// Takes over what a record says; tells how many recipients an operator's action changed.
    pub(crate) fn apply(&mut self, at: Position, change: &Change<'_>) -> Result<u64> {
        self.unsaved += change.rows();
        match change {
            Change::Mail { record, bytes } => self.apply_mail(at, record, *bytes).map(|()| 0),
            Change::Settlement(settlement) => self.apply_settlement(settlement).map(|()| 0),
            Change::Told(told) => self.apply_told(told).map(|()| 0),
            Change::Action(action) => {
                let mut count = 0;
                for (mail, number) in &action.units {
                    count += self.apply_action(action, *mail, *number)?;
                }
                Ok(count)
            }
        }
    }

    fn apply_mail(&mut self, at: Position, record: &MailRecord, bytes: u64) -> Result<()> {
        let content_bytes =
            if record.content.place == Place::Record { record.content.size } else { 0 };
        let rank = -i64::from(record.envelope.parameters.priority.unwrap_or_default().value());
        if !self.insert_mail(at, record, bytes, content_bytes, rank)? {
            let row = self.mail(record.id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            return self.move_mail(&row, at, bytes, content_bytes);
        }
        for (number, unit) in record.units.iter().enumerate() {
            self.tally(unit, 1);
            self.insert_unit(record, number as u32, unit, rank)?;
            if let Some(offered) = offered(unit, record.at) {
                let (destination, mail) = (unit.destination.clone(), record.id);
                self.show_new(rank, &Due { offered, destination, mail, number: number as u32 });
            }
        }
        self.insert_untold(record)?;
        if let Some(key) = &record.origin.idempotency_key {
            self.connection
                .prepare_cached("INSERT OR REPLACE INTO key VALUES (?1, ?2)")?
                .execute((key.as_str(), record.id.to_bytes()))?;
        }
        self.live_bytes += bytes;
        self.home(at.segment, 1);
        Ok(())
    }

    /// Tells whether it is new.
    fn insert_mail(
        &self,
        at: Position,
        record: &MailRecord,
        bytes: u64,
        content_bytes: u64,
        rank: i64,
    ) -> Result<bool> {
        let file = match &record.content.place {
            Place::File { name, .. } => Some(name),
            _ => None,
        };
        let key = record.origin.idempotency_key.as_ref().map(|key| key.as_str());
        let waiting = record.units.iter().filter(|unit| !unit.is_finished()).count();
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO mail VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(rusqlite::params![
                record.id.to_bytes(),
                record.envelope.sender.to_string(),
                record.origin.received_at.as_millisecond(),
                record.content.size as i64,
                at.segment,
                at.offset as i64,
                bytes as i64,
                content_bytes as i64,
                file,
                record.fingerprint,
                key,
                rank,
                waiting as i64,
                record.finished_at.map(Timestamp::as_millisecond),
            ])?;
        Ok(inserted > 0)
    }

    fn insert_unit(&self, record: &MailRecord, number: u32, unit: &Unit, rank: i64) -> Result<()> {
        self.connection
            .prepare_cached("INSERT INTO unit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute((
                record.id.to_bytes(),
                number,
                &unit.destination,
                rank,
                offered(unit, record.at),
                unit.deadline.map(Timestamp::as_second),
                text_of(unit),
            ))
            .map(drop)
    }

    /// A mail that is known lies somewhere else now.
    fn move_mail(&mut self, row: &MailRow, at: Position, bytes: u64, content: u64) -> Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE mail SET segment = ?2, offset = ?3, bytes = ?4, content_bytes = ?5
                 WHERE id = ?1",
            )?
            .execute((
                row.id.to_bytes(),
                at.segment,
                at.offset as i64,
                bytes as i64,
                content as i64,
            ))?;
        let live_bytes = if row.finished_at.is_some() { bytes - content } else { bytes };
        self.live_bytes = (self.live_bytes + live_bytes).saturating_sub(row.live_bytes());
        self.home(row.position.segment, -1);
        self.home(at.segment, 1);
        Ok(())
    }

    fn apply_settlement(&mut self, settlement: &Settlement) -> Result<()> {
        // A unit that is not known was finished and forgotten, or its mail is in quarantine.
        let Some(mut unit) = self.unit(settlement.mail, settlement.unit)? else { return Ok(()) };
        if unit.is_final() {
            return Ok(());
        }
        self.tally(&unit, -1);
        let owed_before = unit.owes();
        unit.settle(settlement, self.attempts_kept_max);
        self.update_unit(settlement.mail, settlement.unit, &unit, owed_before, settlement.at)
    }

    fn apply_action(&mut self, action: &Action, mail: MailId, number: u32) -> Result<u64> {
        let Some(mut unit) = self.unit(mail, number)? else { return Ok(0) };
        if unit.is_final() {
            return Ok(0);
        }
        self.tally(&unit, -1);
        let owed_before = unit.owes();
        let count = unit.act(action.act, action.at);
        if count > 0 && matches!(action.act, Act::Retry | Act::Release) {
            self.woken.insert(unit.destination.clone());
        }
        self.update_unit(mail, number, &unit, owed_before, action.at)?;
        Ok(count)
    }

    pub(super) fn update_unit(
        &mut self,
        mail: MailId,
        number: u32,
        unit: &Unit,
        owed_before: bool,
        at: Timestamp,
    ) -> Result<()> {
        self.tally(unit, 1);
        let offered = offered(unit, at);
        offered.into_iter().for_each(|offered| self.show_changed(offered));
        self.connection
            .prepare_cached(
                "UPDATE unit SET offered = ?3, deadline = ?4, state = ?5
                 WHERE mail = ?1 AND number = ?2",
            )?
            .execute((
                mail.to_bytes(),
                number,
                offered,
                unit.deadline.map(Timestamp::as_second),
                text_of(unit),
            ))?;
        let is_finished = unit.is_finished() && self.finish_unit(mail, at)?;
        // Of a mail that is finished nothing is owed, unless this unit just ceased to.
        if is_finished && !owed_before {
            return Ok(());
        }
        self.note_untold(mail, unit, owed_before, at)
    }

    /// One unit of a mail is finished; tells whether the mail is.
    fn finish_unit(&mut self, mail: MailId, at: Timestamp) -> Result<bool> {
        let finished = self
            .connection
            .prepare_cached(
                "UPDATE mail SET waiting = waiting - 1,
                    finished_at = CASE WHEN waiting = 1 THEN ?2 END
                 WHERE id = ?1 RETURNING finished_at IS NOT NULL, content_bytes, file",
            )?
            .query_row((mail.to_bytes(), at.as_millisecond()), |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)? as u64, row.get(2)?))
            })
            .optional()?;
        let Some((true, content_bytes, file)) = finished else { return Ok(false) };
        // Nobody needs the content of a finished mail.
        self.live_bytes = self.live_bytes.saturating_sub(content_bytes);
        self.finished.push((mail, file));
        Ok(true)
    }

    /// The mails that were finished since this was asked last, and the files of their contents.
    pub(crate) fn take_finished(&mut self) -> Vec<(MailId, Option<String>)> {
        std::mem::take(&mut self.finished)
    }

    /// The destinations that an operator wanted mail to be tried at since this was asked last.
    pub(crate) fn take_woken(&mut self) -> impl Iterator<Item = String> {
        std::mem::take(&mut self.woken).into_iter()
    }

    /// Forgets some of the mails that were finished before this time; tells how many. They may still be
    /// in the log: an index made anew knows them until they are forgotten again.
    pub(crate) fn forget(&mut self, before: Timestamp, limit: usize) -> Result<usize> {
        let rows = self.finished_before(before, limit)?;
        if rows.is_empty() {
            return Ok(0);
        }
        self.begin()?;
        for row in &rows {
            let units = self.units(row.id)?;
            self.unsaved += 1 + units.len();
            units.iter().for_each(|unit| self.tally(unit, -1));
            let id = row.id.to_bytes();
            for sql in [
                "DELETE FROM unit WHERE mail = ?1",
                "DELETE FROM key WHERE mail = ?1 AND key = (SELECT key FROM mail WHERE id = ?1)",
                "DELETE FROM mail WHERE id = ?1",
            ] {
                self.connection.prepare_cached(sql)?.execute([id])?;
            }
            self.live_bytes = self.live_bytes.saturating_sub(row.live_bytes());
            self.home(row.position.segment, -1);
        }
        Ok(rows.len())
    }

    fn home(&mut self, segment: u32, change: i64) {
        let mails = self.homes.entry(segment).or_default();
        *mails = mails.saturating_add_signed(change);
        self.homes_changed.push(segment);
    }

    pub(super) fn tally(&mut self, unit: &Unit, change: i64) {
        for recipient in &unit.recipients {
            let count = &mut self.counts.0[Counts::place(recipient.state)];
            *count = count.saturating_add_signed(change);
        }
    }
}

fn text_of(unit: &Unit) -> String {
    // Plain data of our own with text keys: serde_json cannot fail.
    serde_json::to_string(unit).expect("a unit is plain data")
}
