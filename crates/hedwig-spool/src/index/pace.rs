//! What is kept of the paces over a restart. None of it is in the log: whoever loses it goes slower.

use super::{Index, Result};

impl Index {
    /// Keeps these texts until they are taken.
    pub(crate) fn save_paces(&mut self, saved: &[String]) -> Result<()> {
        self.end_reading()?;
        self.begin()?;
        self.connection.prepare_cached("DELETE FROM pace")?.execute([])?;
        for text in saved {
            self.connection.prepare_cached("INSERT INTO pace VALUES (?1)")?.execute([text])?;
        }
        self.save()
    }

    /// What was kept. It is flushed away before it is told, so that a power cut cannot bring it back when it
    /// is old: a rate would be spent twice.
    pub(crate) fn take_paces(&mut self) -> Result<Vec<String>> {
        self.end_reading()?;
        self.save()?;
        let saved: Vec<String> = {
            let mut statement = self.connection.prepare("SELECT saved FROM pace")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_>>()?
        };
        if !saved.is_empty() {
            self.connection.execute("DELETE FROM pace", [])?;
            self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
        }
        Ok(saved)
    }
}
