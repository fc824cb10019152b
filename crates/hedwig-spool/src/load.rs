//! From what a claim found to leases with their mails, read from the log where memory does not have them.

use std::sync::Arc;

use hedwig_envelope::{Content, Envelope, Mail, MailId, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Lease, Spool, SpoolError,
    disk::Disk,
    engine::Engine,
    finding::{Finding, Finds, FoundUnit, Limits, Mails},
    holding::HeldMail,
    leases::UnitKey,
    log::{Position, Readers},
    pace::Permit,
    prepare::CONTENTS,
    state::{Act, MailRecord, Place, Unit},
};

/// A unit that was leased, without its mail's content.
pub(crate) struct Granted {
    pub(crate) mail: MailId,
    pub(crate) number: u32,
    pub(crate) token: u64,
    unit: Unit,
    destination: Arc<str>,
    permit: Option<Permit>,
    place: HeldMail,
}

/// A unit that is to be leased.
struct Ready {
    mail: MailId,
    number: u32,
    unit: Unit,
    permit: Option<Permit>,
    sender: Option<Arc<str>>,
    place: HeldMail,
}

/// What a claim found.
pub(crate) struct Found {
    pub(crate) granted: Vec<Granted>,
    pub(crate) more: bool,
    /// There are more units that are only to be put off.
    pub(crate) put_off_more: bool,
    pub(crate) next_due: Option<Timestamp>,
}

impl Engine {
    /// Leases what is due.
    pub(crate) fn claim(&mut self, now: Timestamp, limits: Limits) -> Result<Found, SpoolError> {
        if self.leases.have_run_out(now) {
            self.index.show_leased_again();
        }
        // What was found and could not be leased is found again.
        self.lease_due(now, limits).inspect_err(|_| self.index.show_leased_again())
    }

    fn lease_due(&mut self, now: Timestamp, limits: Limits) -> Result<Found, SpoolError> {
        self.check_index()?;
        self.check_interrupted()?;
        self.holding.begin_claim();
        let mails = Mails { cache: &self.cache, holding: &self.holding };
        let mut finding = Finding::new(&self.leases, mails, now, limits);
        let next_due = self.index.due(now, |index, due| finding.visit(index, due))?;
        let Finds { units, put_off, put_off_more, more, wake } = finding.finish();
        let next_due = next_due.into_iter().chain(wake).min();
        let mut ready = Vec::new();
        for FoundUnit { key: (mail, number), permit, sender, mail: place } in units {
            let Some(unit) = self.index.unit(mail, number)? else { continue };
            ready.push(Ready { mail, number, unit, permit, sender, place });
        }
        self.note(&mut ready)?;
        let length = self.options.lease;
        let grant = |ready: Ready| {
            let Ready { mail, number, unit, permit, sender, place } = ready;
            let key = (mail, number);
            let (token, destination) = self.leases.grant(key, &unit, sender, now, length);
            Granted { mail, number, token, unit, destination, permit, place }
        };
        let granted = ready.into_iter().map(grant).collect();
        if !put_off.is_empty()
            && let Err(error) = self.index.put_off(&put_off)
        {
            // Nothing is lost by it: they are met again.
            self.index_failed(error);
        }
        Ok(Found { granted, more, put_off_more, next_due })
    }

    /// Notes what is going to be tried. What cannot be noted is left out: it waits.
    fn note(&mut self, ready: &mut Vec<Ready>) -> Result<(), SpoolError> {
        let tried = ready.iter().filter(|ready| ready.is_to_be_tried());
        let begun: Vec<_> = tried.map(|r| ((r.mail, r.number), r.unit.attempts)).collect();
        let mut noted = self.under_way.begin(&begun, || self.leases.under_way());
        if let Err(SpoolError::NoSpace(_)) = &noted {
            // The index cannot give anything back while it is read.
            self.end_reading();
            if self.make_room() {
                noted = self.under_way.begin(&begun, || self.leases.under_way());
            }
            self.index.begin_reading();
        }
        let Err(error) = noted else { return Ok(()) };
        ready.retain(|ready| !ready.is_to_be_tried());
        if ready.is_empty() {
            return Err(error);
        }
        self.index.show_leased_again();
        tracing::warn!(%error, "only what is not to be tried is claimed");
        Ok(())
    }

    /// Frees a unit that was not tried, and offers it from `until` on.
    pub(crate) fn put_off(&mut self, key: UnitKey, token: u64, until: Timestamp) {
        if !self.leases.holds(key, token) {
            return;
        }
        self.leases.end(key);
        self.index.show_leased_again();
        self.under_way.withdraw(key, || self.leases.under_way());
        if let Err(error) = self.index.put_off(&[(key.0, key.1, until)]) {
            self.index_failed(error);
        }
        self.changed.send_modify(|version| *version += 1);
    }
}

impl Engine {
    /// Sets aside what there is of a mail that cannot be read.
    pub(crate) fn quarantine_mail(&mut self, id: MailId) -> Result<(), SpoolError> {
        let Some(row) = self.index.mail(id)? else { return Ok(()) };
        let Position { segment, offset } = row.position;
        if let Err(SpoolError::Damaged { .. }) = self.log.readers().read(row.position) {
            self.log.quarantine(segment, offset, offset + row.bytes)?;
        }
        match &row.file {
            Some(name) if row.finished_at.is_none() => {
                self.log.quarantine_file(&format!("{CONTENTS}/{name}"))
            }
            _ => Ok(()),
        }
    }
}

impl Spool {
    pub(crate) async fn load_all(&self, granted: Vec<Granted>) -> Result<Vec<Lease>, SpoolError> {
        let (from_disk, cached): (Vec<_>, Vec<_>) =
            granted.into_iter().partition(Granted::needs_disk);
        let mut leases = Vec::with_capacity(cached.len() + from_disk.len());
        for (granted, lease) in self.load(cached).await? {
            match lease {
                Ok(lease) => leases.push(lease),
                Err(error) => self.set_aside(&granted, &error).await?,
            }
        }
        let mut todo = from_disk;
        while !todo.is_empty() {
            let mut again = Vec::new();
            for (granted, lease) in self.load(todo).await? {
                match lease {
                    Ok(lease) => leases.push(lease),
                    Err(error) => again.extend(self.look_again(granted, error).await?),
                }
            }
            todo = again;
        }
        Ok(leases)
    }

    async fn load(
        &self,
        granted: Vec<Granted>,
    ) -> Result<Vec<(Granted, Result<Lease, SpoolError>)>, SpoolError> {
        let shared = self.shared.clone();
        let blocks = granted.iter().any(Granted::needs_disk) && !shared.driver.is_inline();
        let load = move || {
            let load = |granted: Granted| {
                let lease = granted.load(&shared.readers, &*shared.disk);
                (granted, lease)
            };
            granted.into_iter().map(load).collect()
        };
        if !blocks {
            return Ok(load());
        }
        tokio::task::spawn_blocking(load).await.map_err(|_| SpoolError::Closed)
    }

    /// Finds out whether a mail that could not be read has only been moved meanwhile.
    async fn look_again(
        &self,
        mut granted: Granted,
        error: SpoolError,
    ) -> Result<Option<Granted>, SpoolError> {
        let id = granted.mail;
        let row = self.ask_index(move |engine| Ok(engine.index.mail(id)?)).await?;
        if row.is_some_and(|row| granted.moved_to(row.position)) {
            return Ok(Some(granted));
        }
        self.set_aside(&granted, &error).await?;
        Ok(None)
    }

    /// Holds a unit whose mail cannot be read, so that an operator sees it and nothing spins. What may mend
    /// itself, such as a lack of file descriptors, is tried again when the lease has run out.
    async fn set_aside(&self, granted: &Granted, error: &SpoolError) -> Result<(), SpoolError> {
        if let SpoolError::Io { source, .. } = error
            && source.kind() != std::io::ErrorKind::NotFound
        {
            tracing::error!(id = %granted.mail, %error, "a mail cannot be read just now");
            return Ok(());
        }
        tracing::error!(id = %granted.mail, %error, "a mail cannot be read and is held");
        let id = granted.mail;
        if let Err(error) = self.ask(move |engine| engine.quarantine_mail(id)).await? {
            // Its bytes stay where they are, too, as long as it is held.
            tracing::error!(%id, %error, "a mail that cannot be read could not be set aside");
        }
        self.act_on(Act::Hold, vec![(granted.mail, granted.number)]).await?;
        let (key, token) = ((granted.mail, granted.number), granted.token);
        self.ask(move |engine| engine.give_back(key, token)).await
    }
}

impl Ready {
    /// Whether it is to be offered to the next server, as far as is known.
    fn is_to_be_tried(&self) -> bool {
        self.unit.give_up.is_none() && !matches!(self.permit, Some(Permit::TooLate(_)))
    }
}

impl Granted {
    /// Whether the mail must be read from the disk.
    pub(crate) fn needs_disk(&self) -> bool {
        self.place.cached.is_none() && self.place.held.mail().is_none()
    }

    /// Looks for the mail here instead: it was moved.
    pub(crate) fn moved_to(&mut self, position: Position) -> bool {
        let moved = self.place.position != position;
        self.place.position = position;
        moved
    }

    /// Reads the mail, and makes it a lease.
    pub(crate) fn load(&self, readers: &Readers, disk: &dyn Disk) -> Result<Lease, SpoolError> {
        let HeldMail { held, cached, position } = &self.place;
        let whole = match held.mail().or(cached.as_ref()) {
            Some(mail) => mail.clone(),
            None => Arc::new(read_mail(readers, disk, *position)?),
        };
        // Those of its units that come later need not have it once more.
        held.keep(whole.clone());
        Ok(Lease {
            mail: self.narrow(&whole),
            destination: self.destination.clone(),
            attempts: self.unit.attempts,
            give_up: self.unit.give_up.clone(),
            delay_reported: self.unit.delay_reported,
            unreached: self.unit.unreached,
            deadline: self.unit.deadline,
            deadline_over: false,
            permit: self.permit.clone(),
            _held: held.clone(),
            unit: self.number,
            is_whole: self.unit.recipients.len() == whole.envelope.recipients.len(),
            positions: self.unit.waiting().map(|recipient| recipient.position).collect(),
            token: self.token,
        })
    }

    /// The mail with only the recipients of the unit that still wait.
    fn narrow(&self, mail: &Mail) -> Mail {
        let whole = &mail.envelope.recipients;
        let recipients = self.unit.waiting();
        let recipients = recipients.filter_map(|r| whole.get(r.position as usize).cloned());
        Mail {
            id: mail.id,
            envelope: Envelope {
                sender: mail.envelope.sender.clone(),
                parameters: mail.envelope.parameters.clone(),
                recipients: recipients.collect(),
            },
            content: mail.content.clone(),
            origin: mail.origin.clone(),
        }
    }
}

pub(crate) fn read_mail(
    readers: &Readers,
    disk: &dyn Disk,
    position: Position,
) -> Result<Mail, SpoolError> {
    let record = readers.read(position)?;
    let unreadable = |reason: String| SpoolError::Damaged {
        file: format!("log/{:010}.segment", position.segment),
        reason: format!("the mail at {}: {reason}", position.offset),
    };
    let mail: MailRecord = record.metadata().map_err(|error| unreadable(error.to_string()))?;
    let bytes = match &mail.content.place {
        Place::Record => record.content(),
        Place::File { name, checksum } => {
            read_content(disk, name, mail.content.size, *checksum)?.into()
        }
        Place::Nowhere => return Err(unreadable("its content is gone".into())),
    };
    let added = usize::try_from(mail.content.added).unwrap_or(usize::MAX);
    if added > bytes.len() || bytes.len() as u64 != mail.content.size {
        return Err(unreadable("its content has another length".into()));
    }
    let content = Content::with_added(bytes.slice(..added), bytes.slice(added..));
    Ok(Mail { id: mail.id, envelope: mail.envelope, content, origin: mail.origin })
}

fn read_content(
    disk: &dyn Disk,
    name: &str,
    size: u64,
    checksum: u64,
) -> Result<Vec<u8>, SpoolError> {
    let path = format!("{CONTENTS}/{name}");
    let doing = || SpoolError::io(format!("read {path}"));
    let file = disk.open(&path).map_err(doing())?;
    let damaged = |reason: &str| SpoolError::Damaged { file: path.clone(), reason: reason.into() };
    if file.length().map_err(doing())? != size {
        return Err(damaged("it has another length than when it was written"));
    }
    let mut bytes = vec![0; size as usize];
    let read = file.read_at(0, &mut bytes).map_err(doing())?;
    if read != bytes.len() || xxh3_64(&bytes) != checksum {
        return Err(damaged("its checksum does not hold"));
    }
    Ok(bytes)
}
