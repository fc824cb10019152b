//! Room set aside for what must be written when the disk is full.
//!
//! A spool that fills a disk of its own could not drain: to settle a mail takes a few hundred bytes, and
//! only settled mails give space back. So a file takes up some room and is given up when a settlement, or
//! what an operator does, finds none. From then on no new mail is taken, until there is room to make the
//! file again.

use std::sync::Arc;

use hedwig_envelope::Timestamp;

use crate::{
    SpoolError,
    disk::{self, Disk},
    engine::Engine,
    log::{Position, Scanned},
    record::Kind,
    schedule::Pause,
    state::MailRecord,
};

const FILE: &str = "reserve";

pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    bytes: u64,
    /// Set while it is given up.
    given: Option<Given>,
}

struct Given {
    /// It was tried to make it again, and so the oldest segment was looked at.
    pause: Pause,
    /// How much has been written since, in bytes.
    spent: u64,
    /// The segment that there is room to clean.
    squeeze: Option<u32>,
}

impl Reserve {
    /// Takes up the reserve, or makes it. One that cannot be made counts as given up.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        bytes: u64,
        now: Timestamp,
    ) -> Result<Self, SpoolError> {
        let names = disk.list("").map_err(SpoolError::io("list the spool"))?;
        let mut reserve = Self { disk, bytes, given: None };
        if bytes > 0 && !names.iter().any(|name| name == FILE) {
            reserve.given = Some(Given { pause: Pause::since(now), spent: 0, squeeze: None });
            reserve.make(now);
        }
        Ok(reserve)
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Tries to make it, if it is given up and some time has passed.
    pub(crate) fn mend(&mut self, now: Timestamp) {
        if self.given.as_ref().is_some_and(|given| given.pause.is_over(now)) {
            self.make(now);
        }
    }

    fn make(&mut self, now: Timestamp) {
        match disk::put(&*self.disk, FILE, |file| file.allocate(self.bytes)) {
            Ok(()) => {
                tracing::info!(bytes = self.bytes, "the reserve of disk space is there");
                self.given = None;
            }
            Err(error) => {
                tracing::warn!(%error, "no room for the reserve: new mail is refused until there is");
                if let Some(given) = &mut self.given {
                    (given.pause, given.squeeze) = (Pause::since(now), None);
                }
            }
        }
    }

    /// Gives it up; tells whether that made room.
    pub(crate) fn give_up(&mut self, now: Timestamp) -> bool {
        if self.bytes == 0 || self.is_given() {
            return false;
        }
        self.given = Some(Given { pause: Pause::since(now), spent: 0, squeeze: None });
        let gone = self.disk.unlink(FILE).and_then(|()| self.disk.flush_directory(""));
        match gone {
            Ok(()) => {
                tracing::warn!(
                    bytes = self.bytes,
                    "the disk is full: the reserve is given up so that the queue can drain"
                );
                true
            }
            Err(error) => {
                tracing::error!(%error, "the reserve of disk space cannot be given up");
                false
            }
        }
    }

    fn room(&self) -> u64 {
        self.given.as_ref().map_or(0, |given| self.bytes.saturating_sub(given.spent))
    }
}

impl Engine {
    /// Makes room for what must be written; tells whether there is more than before.
    pub(crate) fn make_room(&mut self) -> bool {
        let made = self.reserve.give_up(self.clock);
        if made && let Err(error) = self.index.shrink() {
            // It was to give back more; what the reserve gave is there all the same.
            tracing::debug!(%error, "the index keeps the room it has taken");
        }
        made
    }

    /// Why no new mail is taken just now, if so.
    pub(crate) fn check_room(&self) -> Result<(), SpoolError> {
        if self.reserve.is_given() {
            return Err(SpoolError::NoSpace("what is left is for the mails that are here".into()));
        }
        Ok(())
    }

    /// Counts what was written of the room that the reserve gave.
    pub(crate) fn spend(&mut self, bytes: u64) {
        if let Some(given) = &mut self.reserve.given {
            given.spent += bytes;
        }
    }

    /// Whether the oldest segment shall be cleaned because space is short: what lives in it must fit into
    /// half of what is left of the reserve, for until the segment is gone both are there.
    pub(crate) fn is_squeezed(&mut self, oldest: u32) -> Result<bool, SpoolError> {
        let room = self.reserve.room();
        let Some(given) = &self.reserve.given else { return Ok(false) };
        if given.squeeze.is_some() || self.dead_bytes() == 0 {
            return Ok(given.squeeze == Some(oldest));
        }
        let fits = self.live_bytes_in(oldest, room / 2)?;
        if let Some(given) = &mut self.reserve.given {
            // Whatever was found, it is not looked at again before the reserve was tried again.
            given.squeeze = Some(if fits { oldest } else { u32::MAX });
        }
        Ok(fits)
    }

    /// Whether no more than so many bytes of a segment are still needed.
    fn live_bytes_in(&self, segment: u32, most: u64) -> Result<bool, SpoolError> {
        let mut scan = self.log.scan_segment(Position { segment, offset: 0 });
        let mut live = 0;
        while let Some(scanned) = scan.next()? {
            let Scanned::Record { at, record, .. } = scanned else { continue };
            if record.kind != Kind::Mail {
                continue;
            }
            let Ok(mail) = record.metadata::<MailRecord>() else { continue };
            let row = self.index.mail(mail.id)?.filter(|row| row.position == at);
            live += row.map_or(0, |row| row.live_bytes());
            if live > most {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
