//! What is written together, and what is let into it: of two who want the same in one batch, one gets it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hedwig_envelope::{Mail, MailId};

use super::{Engine, Reply, Settle, Tell, answer};
use crate::{
    SpoolError,
    leases::Settling,
    prepare::{ContentFile, Prepared},
    record::Encoded,
    state::{Action, MailRecord, Settlement, Told},
};

/// What is written together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Encoded>,
    pub(super) changes: Vec<Pending>,
    pub(super) commits: Vec<(MailId, Reply<MailId>)>,
    pub(super) settled: Vec<Reply<()>>,
    pub(super) acted: Vec<Reply<u64>>,
    pub(super) settling: Settling,
    telling: HashSet<MailId>,
    ids: HashMap<MailId, String>,
    keys: HashMap<String, MailId>,
}

pub(super) enum Pending {
    Mail { mail: Arc<Mail>, record: Box<MailRecord>, file: Option<ContentFile> },
    Settlement(Settlement),
    Told(Told),
    Action(Action),
}

impl Pending {
    /// Whether something may be due after it that was not before, now or later.
    pub(super) fn makes_due(&self) -> bool {
        match self {
            // After one sender another may be told.
            Self::Mail { .. } | Self::Action(_) | Self::Told(_) => true,
            Self::Settlement(settlement) => settlement.next_due.is_some(),
        }
    }
}

/// By what a mail is known.
pub(crate) struct Wanted<'a> {
    pub(crate) id: MailId,
    pub(crate) key: Option<&'a str>,
    pub(crate) fingerprint: &'a str,
}

impl<'a> Wanted<'a> {
    fn of(record: &'a MailRecord) -> Self {
        let key = record.origin.idempotency_key.as_ref().map(|key| key.as_str());
        Self { id: record.id, key, fingerprint: &record.fingerprint }
    }
}

enum Known {
    Stored(MailId),
    InBatch(MailId),
}

impl Engine {
    pub(super) fn admit_mail(
        &mut self,
        prepared: Prepared,
        reply: Reply<MailId>,
        batch: &mut Batch,
    ) {
        let wanted = Wanted::of(&prepared.record);
        let known = match self.known(&wanted, batch) {
            Err(error) if self.rebuild_if_damaged(&error) => self.known(&wanted, batch),
            known => known,
        };
        if let Ok(None) = known
            && let Err(error) = self.check_room()
        {
            return answer(reply, Err(error));
        }
        match known {
            Err(error) => answer(reply, Err(error)),
            Ok(Some(Known::Stored(id))) => answer(reply, Ok(id)),
            Ok(Some(Known::InBatch(id))) => batch.commits.push((id, reply)),
            Ok(None) => {
                let id = prepared.record.id;
                batch.ids.insert(id, prepared.record.fingerprint.clone());
                if let Some(key) = &prepared.record.origin.idempotency_key {
                    batch.keys.insert(key.as_str().to_owned(), id);
                }
                batch.push_mail(prepared);
                batch.commits.push((id, reply));
            }
        }
    }

    /// Whether a mail may take room before it is admitted. One that is known needs none: its id is told.
    pub(crate) fn known_or_room(&self, wanted: &Wanted<'_>) -> Result<Option<MailId>, SpoolError> {
        match self.known(wanted, &Batch::default())? {
            Some(Known::Stored(id) | Known::InBatch(id)) => Ok(Some(id)),
            None => self.check_room().map(|()| None),
        }
    }

    /// The mail that has this one's key or id, and is the same.
    fn known(&self, wanted: &Wanted<'_>, batch: &Batch) -> Result<Option<Known>, SpoolError> {
        let Wanted { id, key, fingerprint } = *wanted;
        let in_batch = key.and_then(|key| batch.keys.get(key)).copied().unwrap_or(id);
        let reused = || {
            let name = key.map_or_else(|| id.to_string(), ToOwned::to_owned);
            Err(SpoolError::KeyReused(name))
        };
        if let Some(found) = batch.ids.get(&in_batch) {
            let same = found == fingerprint;
            return if same { Ok(Some(Known::InBatch(in_batch))) } else { reused() };
        }
        let by_key = key.map(|key| self.index.mail_of_key(key)).transpose()?.flatten();
        let stored = by_key.unwrap_or(id);
        match self.index.fingerprint(stored)? {
            Some(found) if found == fingerprint => Ok(Some(Known::Stored(stored))),
            Some(_) => reused(),
            None => Ok(None),
        }
    }

    pub(super) fn admit_settlement(&mut self, settle: Settle, batch: &mut Batch) {
        let key = (settle.settlement.mail, settle.settlement.unit);
        if !self.leases.holds(key, settle.token) || !batch.settling.insert(key) {
            return answer(settle.reply, Err(SpoolError::LeaseLost));
        }
        let change = Pending::Settlement(settle.settlement);
        batch.push_after(settle.follow_ups, settle.encoded, change);
        batch.settled.push(settle.reply);
    }

    /// What is not owed any more, or is being told in this batch, is not told again.
    pub(super) fn admit_telling(&mut self, tell: Tell, batch: &mut Batch) {
        let owes = match self.owes(&tell.told) {
            Err(error) if self.rebuild_if_damaged(&error) => self.owes(&tell.told),
            owes => owes,
        };
        match owes {
            Err(error) => answer(tell.reply, Err(error)),
            Ok(true) if batch.telling.insert(tell.told.mail) => {
                batch.push_after(tell.follow_ups, tell.encoded, Pending::Told(tell.told));
                batch.settled.push(tell.reply);
            }
            Ok(_) => answer(tell.reply, Err(SpoolError::LeaseLost)),
        }
    }
}

impl Batch {
    /// This batch and then the mails.
    pub(super) fn and(mut self, mails: Self) -> Self {
        self.records.extend(mails.records);
        self.changes.extend(mails.changes);
        self.commits.extend(mails.commits);
        self
    }

    /// Takes the mails off again, which begin with this record.
    pub(super) fn split_off(&mut self, first: usize) -> Self {
        Self {
            records: self.records.split_off(first),
            changes: self.changes.split_off(first),
            commits: std::mem::take(&mut self.commits),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, record: Encoded, change: Pending) {
        self.records.push(record);
        self.changes.push(change);
    }

    /// Adds a record and the mails that follow from what it tells, before it: they count together or not at all.
    fn push_after(&mut self, follow_ups: Vec<Prepared>, mut record: Encoded, change: Pending) {
        for (place, mut follow_up) in follow_ups.into_iter().enumerate() {
            follow_up.encoded = follow_up.encoded.continues();
            if place > 0 {
                follow_up.encoded = follow_up.encoded.follows();
            }
            record = record.follows();
            self.push_mail(follow_up);
        }
        self.push(record, change);
    }

    fn push_mail(&mut self, prepared: Prepared) {
        let Prepared { mail, record, encoded, file } = prepared;
        self.push(encoded, Pending::Mail { mail, record, file });
    }

    /// The files of its mails' contents, which stay.
    pub(super) fn keep_contents(&mut self) -> Vec<String> {
        let file = |change: &mut Pending| match change {
            Pending::Mail { file, .. } => file.take().map(ContentFile::keep),
            _ => None,
        };
        self.changes.iter_mut().filter_map(file).collect()
    }

    pub(super) fn refuse(self, error: &SpoolError) {
        for (_, reply) in self.commits {
            answer(reply, Err(error.duplicate()));
        }
        for reply in self.settled {
            answer(reply, Err(error.duplicate()));
        }
        for reply in self.acted {
            answer(reply, Err(error.duplicate()));
        }
    }
}
