//! Which senders are yet to be told something, and since when. Like all of the index it follows from the log.

use hedwig_envelope::{MailId, Timestamp};

use super::{Index, Result};
use crate::state::{MailRecord, Told, Unit};

/// Since when a sender is owed something that is not to be gathered any longer: nothing else will come.
const FOR_LONG: i64 = i64::MIN;

impl Index {
    /// The mails whose senders are owed something since this time or longer, the longest first.
    pub(crate) fn untold(&self, upto: Timestamp, limit: usize) -> Result<Vec<(MailId, Timestamp)>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT mail, since FROM untold WHERE since <= ?1 ORDER BY since, mail LIMIT ?2",
        )?;
        let rows = statement.query_map((upto.as_millisecond(), limit as i64), |row| {
            let since = Timestamp::from_millisecond(row.get(1)?).unwrap_or(Timestamp::MIN);
            Ok((MailId::from_bytes(row.get(0)?), since))
        })?;
        rows.collect()
    }

    /// How many mails there are whose senders are owed something.
    pub(crate) fn untold_count(&self) -> Result<u64> {
        let count = "SELECT count(*) FROM untold";
        self.connection.query_row(count, [], |row| row.get::<_, i64>(0)).map(|count| count as u64)
    }

    /// Whether something is to be told now, or sooner, that was not; since this was asked last.
    pub(crate) fn take_untold_sooner(&mut self) -> bool {
        std::mem::take(&mut self.untold_sooner)
    }

    /// Takes over a mail that is new here, with what its sender is owed.
    pub(super) fn insert_untold(&mut self, record: &MailRecord) -> Result<()> {
        let owing = record.units.iter().filter(|unit| unit.owes()).count();
        if owing == 0 {
            return Ok(());
        }
        let waits = record.units.iter().any(|unit| !unit.is_final());
        let since = if waits { record.at.as_millisecond() } else { FOR_LONG };
        self.connection.prepare_cached("INSERT INTO untold VALUES (?1, ?2, ?3)")?.execute((
            record.id.to_bytes(),
            since,
            owing as i64,
        ))?;
        self.untold_sooner = true;
        Ok(())
    }

    /// A unit of a mail that is not finished has changed: notes what its sender is owed now.
    pub(super) fn note_untold(
        &mut self,
        mail: MailId,
        unit: &Unit,
        owed_before: bool,
        at: Timestamp,
    ) -> Result<()> {
        match (owed_before, unit.owes()) {
            (true, false) => self.owe_less(mail, at),
            (owed_before, true) => self.owe(mail, !owed_before, at),
            (false, false) if unit.is_final() => self.hasten(mail),
            (false, false) => Ok(()),
        }
    }

    fn owe(&mut self, mail: MailId, is_more: bool, at: Timestamp) -> Result<()> {
        let sql = "INSERT INTO untold VALUES (?1, ?2, 1)
             ON CONFLICT DO UPDATE SET units = units + ?3";
        self.connection.prepare_cached(sql)?.execute((
            mail.to_bytes(),
            at.as_millisecond(),
            i64::from(is_more),
        ))?;
        self.untold_sooner = true;
        self.hasten(mail)
    }

    /// One unit fewer has something to tell. What is left is gathered anew.
    fn owe_less(&mut self, mail: MailId, at: Timestamp) -> Result<()> {
        let id = mail.to_bytes();
        self.connection
            .prepare_cached("UPDATE untold SET units = units - 1, since = ?2 WHERE mail = ?1")?
            .execute((id, at.as_millisecond()))?;
        self.connection
            .prepare_cached("DELETE FROM untold WHERE mail = ?1 AND units <= 0")?
            .execute([id])?;
        self.hasten(mail)
    }

    /// Lets what a sender is owed be told at once, if no unit of the mail waits any more.
    fn hasten(&mut self, mail: MailId) -> Result<()> {
        let sql = "UPDATE untold SET since = ?2 WHERE mail = ?1 AND since <> ?2 AND NOT EXISTS
                (SELECT 1 FROM unit WHERE mail = ?1 AND offered IS NOT NULL)";
        let hastened = self.connection.prepare_cached(sql)?.execute((mail.to_bytes(), FOR_LONG))?;
        self.untold_sooner |= hastened > 0;
        Ok(())
    }

    /// Takes over that a mail's sender was told.
    pub(super) fn apply_told(&mut self, told: &Told) -> Result<()> {
        for recipients in told.recipients.chunk_by(|one, next| one.unit == next.unit) {
            let number = recipients[0].unit;
            let Some(mut unit) = self.unit(told.mail, number)?.filter(Unit::owes) else { continue };
            self.tally(&unit, -1);
            recipients.iter().for_each(|recipient| unit.tell(recipient.position, recipient.event));
            self.update_unit(told.mail, number, &unit, true, told.at)?;
        }
        Ok(())
    }
}
